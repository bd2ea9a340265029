"""Training speed against other libraries, 15 agents, at equal width and passes: make bench-peers.

    python benchmarks/peers.py --jaxmarl FOLDER [--rounds 5] [--only WORD …] [--json FILE]

JaxMARL's PQN-VDN and VDN are its own scripts, in FOLDER, a checkout of its repository; each function that trains is
compiled before it is timed. BenchMARL's QMIX trains on VMAS. Sizes are those of this project's defaults for the
environment: hidden layers, parallel environments, steps of a rollout, and passes over a rollout in minibatches.

One thread on one core; seconds are of CPU time, and the rounds of all rows are interleaved, so that a shared machine
changes ratios little. Rates leave out compiling, building and tests.
"""

from __future__ import annotations

import os

os.environ.update(  # before jax and torch read them
    JAX_PLATFORMS="cpu",
    XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    OMP_NUM_THREADS="1",
)
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import argparse
import importlib.metadata
import importlib.util
import io
import json
import logging
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from speed import matrix_product

from lomaq.config import compose
from lomaq.errors import InputError
from lomaq.training.run import train

AGENTS, SEEDS = 15, 8
#: Iterations of a timed training; ours has two lengths, whose difference is timed.
LONG, SHORT = 14, 2
VERSIONS = ("lomaq", "torch", "jax", "jaxmarl", "benchmarl", "vmas", "torchrl")


@dataclass(frozen=True)
class Size:
    """What must be equal: hidden units of two layers, parallel environments, passes, parts of a pass."""

    hidden: int
    n_envs: int
    passes: int
    minibatches: int
    steps: int = 25

    @property
    def rollout(self) -> int:
        """Env steps of an iteration."""
        return self.n_envs * self.steps


SIZES = {"cartpole": Size(64, 32, 2, 4), "nav": Size(128, 64, 3, 8)}


@dataclass
class Row:
    """One training: its ``size``, seeds trained at once, and a function that gives env steps and CPU seconds."""

    name: str
    task: str
    size: Size
    seeds: int
    measure: Callable[[], tuple[int, float]]
    compiling: float | None = None


# ------------------------------------------------------------------------- ours


def ours(env: str, algo: str, seeds: int) -> Row | None:
    """A training of this project; None where several seeds at once are asked for and there is no setting ``seeds``."""
    size = SIZES[env]
    words = [f"env={env}", f"env.n_agents={AGENTS}", f"algo={algo}", "evaluation.references=false"]
    words += ["evaluation.episodes=1", "evaluation.every_env_steps=1000000000", "evaluation.at_start=false"]
    words += [] if seeds == 1 else [f"seeds={seeds}"]
    try:
        config = compose(words)
    except InputError:
        return None
    learner, hidden = config["learner"], config["agent"]["hidden"]
    found = [learner[key] for key in ("n_envs", "epochs", "minibatches", "rollout_steps")]
    assert [hidden, *found] == [[size.hidden] * 2, size.n_envs, size.passes, size.minibatches, size.steps]

    def seconds(iterations: int) -> float:
        config = compose([*words, f"total_env_steps={iterations * size.rollout}"])
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time()
            train(config, Path(folder) / "run", Console(file=io.StringIO()))
            return time.process_time() - began

    def measure() -> tuple[int, float]:
        return (LONG - SHORT) * size.rollout * seeds, seconds(LONG) - seconds(SHORT)

    return Row(f"lomaq, {algo}", env, size, seeds, measure)


# ---------------------------------------------------------------------- JaxMARL


def script(folder: Path, name: str) -> ModuleType:
    """A training script of JaxMARL's."""
    spec = importlib.util.spec_from_file_location(name, folder / "baselines" / "QLearning" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def jaxmarl(folder: Path, name: str, task: str, size: Size, seeds: int) -> Row:
    """JaxMARL's PQN-VDN (``pqn_vdn_ff``) or VDN with a replay memory (``vdn_ff``), compiled."""
    import jax
    import jaxmarl
    from jaxmarl.wrappers.baselines import LogWrapper, MPELogWrapper
    from peers_cartpole import CoupledCartPole, check_same

    if task == "cartpole":
        check_same(AGENTS)
        env = LogWrapper(CoupledCartPole(AGENTS))
    else:
        env = MPELogWrapper(jaxmarl.make("MPE_simple_spread_v3", num_agents=AGENTS, num_landmarks=AGENTS))
    config = {"TOTAL_TIMESTEPS": LONG * size.rollout, "NUM_ENVS": size.n_envs, "NUM_STEPS": size.steps}
    config |= {"HIDDEN_SIZE": size.hidden, "NUM_LAYERS": 2, "NORM_TYPE": "layer_norm", "LR_LINEAR_DECAY": True}
    config |= {"EPS_START": 1.0, "EPS_FINISH": 0.05, "EPS_DECAY": 0.5, "MAX_GRAD_NORM": 10.0, "LR": 3e-3}
    config |= {"GAMMA": 0.99, "LAMBDA": 0.8, "TEST_DURING_TRAINING": False, "TEST_NUM_ENVS": 1, "TEST_NUM_STEPS": 1}
    config |= {"WANDB_MODE": "disabled"}
    if name == "pqn_vdn_ff":
        config |= {"NUM_EPOCHS": size.passes, "NUM_MINIBATCHES": size.minibatches}
    else:  # as many updates of as many transitions, drawn from a memory
        config |= {"NUM_EPOCHS": size.passes * size.minibatches, "BUFFER_SIZE": 1e5, "LEARNING_STARTS": 0, "TAU": 1.0}
        config |= {"BUFFER_BATCH_SIZE": size.rollout // size.minibatches, "TARGET_UPDATE_INTERVAL": 10}
    keys = jax.random.split(jax.random.PRNGKey(0), seeds)
    began = time.process_time()
    run = jax.jit(jax.vmap(script(folder, name).make_train(config, env))).lower(keys).compile()
    compiling = time.process_time() - began

    def measure() -> tuple[int, float]:
        began = time.process_time()
        state = jax.block_until_ready(run(keys))["runner_state"][0]
        seconds = time.process_time() - began
        learning = LONG - (name == "vdn_ff")  # a memory of one rollout is too small to draw from
        assert (state.grad_steps == learning * size.passes * size.minibatches).all()
        return LONG * size.rollout * seeds, seconds

    label = {"pqn_vdn_ff": "JaxMARL, PQN-VDN", "vdn_ff": "JaxMARL, VDN"}[name]
    return Row(label, "cartpole" if task == "cartpole" else "MPE simple spread", size, seeds, measure, compiling)


# -------------------------------------------------------------------- BenchMARL


def benchmarl(size: Size, iterations: int = 2) -> Row:
    """BenchMARL's QMIX on VMAS's simple spread."""
    from benchmarl.algorithms import QmixConfig
    from benchmarl.environments import VmasTask
    from benchmarl.experiment import Experiment, ExperimentConfig
    from benchmarl.models.mlp import MlpConfig

    def measure() -> tuple[int, float]:
        task = VmasTask.SIMPLE_SPREAD.get_from_yaml()
        task.config["n_agents"] = AGENTS
        settings = ExperimentConfig.get_from_yaml()
        for key, value in {
            "max_n_frames": None,
            "max_n_iters": iterations,
            "off_policy_collected_frames_per_batch": size.rollout,
            "off_policy_n_envs_per_worker": size.n_envs,
            "off_policy_n_optimizer_steps": size.passes * size.minibatches,
            "off_policy_train_batch_size": size.rollout // size.minibatches,
            "off_policy_memory_size": 100_000,
            "off_policy_init_random_frames": 0,
            "prefer_continuous_actions": False,
            "evaluation": False,
            "loggers": [],
            "create_json": False,
        }.items():
            setattr(settings, key, value)
        model = MlpConfig.get_from_yaml()
        model.num_cells = [size.hidden] * 2
        with tempfile.TemporaryDirectory() as folder:
            settings.save_folder = folder
            experiment = Experiment(task, QmixConfig.get_from_yaml(), model, seed=0, config=settings)
            began = time.process_time()
            experiment.run()
            return iterations * size.rollout, time.process_time() - began

    return Row("BenchMARL, QMIX", "VMAS simple spread", size, 1, measure)


# ------------------------------------------------------------------------ table


def rows(options: argparse.Namespace) -> list[Row]:
    """Those that are asked for; JaxMARL's are compiled."""
    found: list[Row] = []
    makers: list[tuple[str, Callable[[], Row | None]]] = []
    for env, size in SIZES.items():
        for seeds in (1, SEEDS):
            for algo in ("lomaq", "vdn"):
                makers.append((f"lomaq {algo} {env} {seeds}", lambda e=env, a=algo, s=seeds: ours(e, a, s)))
            for name in ("pqn_vdn_ff", "vdn_ff"):
                make = lambda n=name, e=env, z=size, s=seeds: jaxmarl(options.jaxmarl, n, e, z, s)  # noqa: E731
                makers.append((f"jaxmarl {name} {env} {seeds}", make))
    makers.append(("lomaq qmix nav 1", lambda: ours("nav", "qmix", 1)))
    makers.append(("benchmarl qmix nav 1", lambda: benchmarl(SIZES["nav"])))
    for name, make in makers:
        if {*options.only} <= {*name.split()}:
            print(f"building {name}", flush=True)
            if (row := make()) is None:
                print(f"left out: {name}, which the settings do not have")
            else:
                found.append(row)
    return found


def ratios(row: Row, rates: dict[int, float], peers: list[Row]) -> str:
    """Of a row of ours over each peer's with the same seeds and size."""
    if not row.name.startswith("lomaq"):
        return ""
    same = [
        peer for peer in peers if not peer.name.startswith("lomaq") and (peer.size, peer.seeds) == (row.size, row.seeds)
    ]
    return ", ".join(f"{rates[id(row)] / rates[id(peer)]:.2f} × {peer.name.partition(', ')[2]}" for peer in same)


def main() -> None:
    """Measure, print and write."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jaxmarl", type=Path, required=True, help="checkout of JaxMARL's repository")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[], help="of the rows, such as: --only cartpole 1")
    parser.add_argument("--json", type=Path, help="file to write as well")
    options = parser.parse_args()
    found = rows(options)
    times: dict[int, list[tuple[int, float]]] = {id(row): [] for row in found}
    products = []
    for number in range(options.rounds):
        products.append(matrix_product())
        for row in found:
            times[id(row)].append(row.measure())
        print(f"round {number + 1} of {options.rounds}", flush=True)
    rates = {key: statistics.median(steps / seconds for steps, seconds in pairs) for key, pairs in times.items()}
    columns = (
        "what",
        "task",
        "seeds",
        "hidden",
        "passes",
        "env steps/s",
        "agent-steps learned/s",
        "compiling",
        "ratio",
    )
    table, lines = Table(*columns), []
    for row in found:
        learned = rates[id(row)] * row.size.passes * AGENTS
        compiling = "" if row.compiling is None else f"{row.compiling:.0f} s"
        numbers = [
            str(row.seeds),
            str(row.size.hidden),
            str(row.size.passes),
            f"{rates[id(row)]:,.0f}",
            f"{learned:,.0f}",
        ]
        table.add_row(row.name, row.task, *numbers, compiling, ratios(row, rates, found))
        lines.append(
            {"name": row.name, "task": row.task, "seeds": row.seeds, "size": vars(row.size), "compiling": row.compiling}
            | {"rounds": times[id(row)], "env_steps_per_second": rates[id(row)], "agent_steps_per_second": learned}
        )
    about: dict[str, Any] = {"date": str(date.today()), "machine": f"{platform.machine()}, {platform.system()}"}
    about |= {"python": platform.python_version(), "versions": {x: importlib.metadata.version(x) for x in VERSIONS}}
    about |= {"agents": AGENTS, "gflops": statistics.median(products)}
    Console(width=180).print(table)
    print(json.dumps(about))
    if options.json:
        options.json.write_text(json.dumps({**about, "rows": lines}, indent=2) + "\n")


if __name__ == "__main__":
    main()
