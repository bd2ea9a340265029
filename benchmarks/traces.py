"""Traces of short deterministic runs: does a change keep the numbers of every method?

    python benchmarks/traces.py                    # compare with benchmarks/traces.json, status 1 where one differs
    python benchmarks/traces.py --record           # write that file
    python benchmarks/traces.py --only lomaq,dcg   # some of the runs

A trace holds a digest of all trained parameters, one of each column of metrics.csv but the seconds, and the test
returns. Floating-point sums depend on the processor and on the version of torch, so a recording is compared only where
both are the same; elsewhere record the commit before the change first.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import lomaq

ROOT = Path(__file__).resolve().parents[1]
RECORDING = ROOT / "benchmarks" / "traces.json"
#: Settings of every run: two small iterations between tests.
SMALL = (
    "deterministic=true",
    "learner.n_envs=4",
    "learner.rollout_steps=10",
    "learner.minibatches=2",
    "evaluation.episodes=2",
    "evaluation.every_env_steps=80",
    "total_env_steps=400",
)
#: The paper's learner, small.
PAPER = (
    "learner=paper",
    "learner.n_envs=1",
    "learner.rollout_steps=null",
    "learner.minibatches=1",
    "learner.batch_size=3",
    "learner.replay_capacity=8",
    "learner.target_every=3",
    "env.max_steps=10",
    "total_env_steps=150",
)
METHODS = [
    "lomaq",
    "lomaq_gcn",
    "lomaq_soft",
    "lomaq_rd",
    "vdn_local",
    "iql_nbr",
    "iql_local",
    "vdn",
    "qmix",
    "ow_qmix",
    "cw_qmix",
    "qplex",
    "graphmix",
    "qtran",
    "dcg",
    "coma",
    "iql",
    "ippo",
    "ippo_local",
    "khop_ppo",
    "mappo",
    "lomaq_ppo",
    "loc_facmac",
]
FOUR = "env.n_agents=4"
#: Name of a run → environment and what else is set; ``resumed`` stops in the middle.
RUNS: dict[str, tuple[str, ...]] = {
    **{method: ("cartpole", FOUR, f"algo={method}") for method in METHODS},
    **{
        f"paper_{method}": ("cartpole", FOUR, *PAPER, f"algo={method}")
        for method in ("lomaq", "lomaq_rd", "vdn", "qmix", "qplex", "qtran", "dcg", "graphmix", "cw_qmix", "loc_facmac")
    },
    "oracle": ("nav", FOUR, "algo=oracle"),
    "random": ("sysadmin", "algo=random"),
    "nav_gcn": ("nav", FOUR, "mixer=gcn", "kappa=2"),
    "nav_vdn_local": ("nav", FOUR, "algo=vdn_local", "env.layout=grid", "learner.target=soft"),
    "sysadmin": ("sysadmin", "evaluation.references=false"),
    "sysadmin_untied": (
        "sysadmin",
        "env.n_agents=9",
        "mixer.weight_sharing=0.5",
        "env.permute=true",
        "partition=pairs",
    ),
    "sysadmin_rd": ("sysadmin", "algo=lomaq_rd", "reward.max_size=2"),
    "matrix": ("matrix", "partition=full", "mixer.init=negative_bias", "mixer.activation=split"),
    "matrix_rd": ("matrix", "algo=lomaq_rd", "reward.variant=classification", "reward.values=[[0,1,2],[0,1,2]]"),
    "polymatrix_dcg": ("polymatrix", FOUR, "algo=dcg", "agent.payoff_rank=2", "agent.reduction=mean"),
    "two_step_qmix": ("two_step", "algo=qmix", "learner.target=hard", "learner.target_every=2"),
    "two_step_ow_qmix": ("two_step", "algo=ow_qmix"),
    "soft_enforced": ("cartpole", FOUR, "algo=lomaq_soft", "partition=[[0,1],[2],[3]]", "mixer.enforce=full"),
    "state_local": ("cartpole", FOUR, "mixer.state=local", "kappa=2"),
    "share_all": ("cartpole", FOUR, "mixer.share=all", "mixer.monotonicity=projection", "mixer.init=normal"),
    "redistribute": ("cartpole", FOUR, "reward.redistribute=full"),
    "share_equal": ("sysadmin", "env.n_agents=9", "reward.share=equal"),
    "share_learned": ("sysadmin", "env.n_agents=9", "reward.share=learned", "partition=pairs"),
    "communities": ("cartpole", "env.n_agents=9", "partition=communities"),
    "gru": ("cartpole", FOUR, "agent=gru", "agent.last_action=true"),
    "gru_coma": ("cartpole", FOUR, "algo=coma", "agent=gru"),
    "gru_khop_ppo": ("cartpole", FOUR, "algo=khop_ppo", "agent=gru", "learner.objective.max_kl=0.01"),
    "share_all_ppo": ("cartpole", "env.n_agents=9", "algo=lomaq_ppo", "learner.objective.share=all"),
    "graphmix_edges": ("cartpole", FOUR, "algo=graphmix", "mixer.edges=graph", "agent.agent_id=true"),
    "soft_target_double": ("cartpole", FOUR, "algo=qplex", "learner.target=soft", "learner.objective.double_q=true"),
    "sampled": ("cartpole", FOUR, "learner.objective.target=sampled", "learner.epsilon.spread=3"),
    "raw_values": ("cartpole", FOUR, "learner.value_scale=none", "learner.optimizer=adam"),
    "resumed": ("cartpole", FOUR, "env.max_steps=30"),
}


def digest(*parts: bytes) -> str:
    """A short fingerprint."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def machine() -> dict[str, str]:
    """What the last bit of a sum depends on."""
    model = platform.processor()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        kept = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "flags"))][:2]
        model = f"{kept[0]} {digest(kept[1].encode())}" if len(kept) == 2 else model
    return {"processor": model, "torch": torch.__version__}


def run(name: str, folder: Path) -> None:
    """Train one of :data:`RUNS`."""
    env, *words = RUNS[name]
    if name != "resumed":
        lomaq.train(env, *SMALL, *words, run_dir=folder)
        return
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    for part in ([f"env={env}", *SMALL, *words, "total_env_steps=200"], [f"resume={folder}", "total_env_steps=400"]):
        if part[0].startswith("env="):
            part = [*part, f"run_dir={folder}"]
        subprocess.run([sys.executable, ROOT / "train.py", *part], env=environment, check=True, capture_output=True)


def trace(folder: Path) -> dict[str, Any]:
    """The trace of a finished run; names of parameters do not count."""
    parameters = []
    checkpoint = folder / "checkpoints" / "last.ckpt"
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)["state_dict"]
        parameters = sorted(digest(x.contiguous().numpy().tobytes(), str(x.shape).encode()) for x in state.values())
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in (rows[0] if rows else {}) if name != "train_seconds" and any(row[name] for row in rows)]
    results = json.loads((folder / "results.json").read_text())
    for _ in range(4):
        (results,) = results.values()
    return {
        "parameters": digest(*(part.encode() for part in parameters)),
        "metrics": {name: digest(*(row[name].encode() for row in rows)) for name in sorted(names)},
        "returns": [sum(test["return"]) / len(test["return"]) for key, test in results.items() if key[:4] == "step"],
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What changed, in words; a metric that is new is no difference."""
    found = [what for what in ("parameters", "returns") if before[what] != after[what]]
    return found + [name for name, value in before["metrics"].items() if after["metrics"].get(name) != value]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(RUNS))
    parser.add_argument("--file", type=Path, default=RECORDING)
    given = parser.parse_args()
    torch.set_num_threads(1)
    known: dict[str, Any] = json.loads(given.file.read_text()) if given.file.is_file() else {}
    if not given.record and known.get("machine") != machine():
        print(f"{given.file}: recorded on {known.get('machine')}, this is {machine()}; --record on the commit before")
        return 2
    found, changed = {}, 0
    for name in given.only:
        with tempfile.TemporaryDirectory() as scratch:
            run(name, Path(scratch) / "run")
            found[name] = trace(Path(scratch) / "run")
        if not given.record:
            differs = differences(known["runs"][name], found[name]) if name in known["runs"] else ["not recorded"]
            changed += bool(differs)
            print(f"{name:<20}{'differs: ' + ', '.join(differs) if differs else 'equal'}", flush=True)
    if given.record:
        runs = {**(known.get("runs", {}) if given.only != list(RUNS) else {}), **found}
        given.file.write_text(json.dumps({"machine": machine(), "runs": runs}, indent=1) + "\n")
        print(f"{len(found)} runs are recorded in {given.file}")
        return 0
    print(f"{len(found) - changed} of {len(found)} runs equal")
    return int(changed > 0)


if __name__ == "__main__":
    sys.exit(main())
