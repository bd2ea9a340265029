"""Runs that are killed at any moment and started again end in the same bytes as one that was left alone."""

from __future__ import annotations

import csv
import itertools
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lomaq.training.checkpoint import load_checkpoint

Words = tuple[str, ...]
SMALL = (
    "env.n_agents=3",
    "deterministic=true",
    "learner.n_envs=4",
    "evaluation.episodes=2",
    "evaluation.every_env_steps=80",
    "total_env_steps=400",
    "run_dir=run",
)
ROLLOUTS = ("learner.rollout_steps=10", "learner.minibatches=2")
EPISODES = ("env.max_steps=20", "learner.n_envs=1", "learner.replay_capacity=12", "learner.batch_size=4")
LEARNERS = {
    "fast": ROLLOUTS,
    "paper": ("learner=paper", *EPISODES),
    "lomaq_rd": ("algo=lomaq_rd", *ROLLOUTS),
    "qmix": ("algo=qmix", *ROLLOUTS),
    "gru": ("agent=gru", "agent.last_action=true", *ROLLOUTS),
    "ddp": ("trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu", *ROLLOUTS),
}
#: What a process dies of, and at most at which time of it: before its nth rename of a temporary file, its nth flush of
#: one to the disk, its nth rollout, or a number of milliseconds after it began.
DEATHS = {"replace": 12, "fsync": 20, "_collect": 8, "time": 4000}
Death = tuple[str, int]


@pytest.fixture(scope="module")
def run():
    """Train in a process of its own: ``run(folder, words, death)`` → exit status."""
    script = Path(__file__).with_name("victim.py")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, script, "serve"], env=environment, **pipes) as server:

        def one(folder: Path, words: Words, death: Death | None = None) -> int:
            if "trainer.devices=2" in words:  # starts its own command again, which a fork cannot
                with (folder / "log").open("a") as log:
                    command = [sys.executable, script, folder, json.dumps(death), *words]
                    return subprocess.run(command, stdout=log, stderr=log, env=environment, timeout=300).returncode
            print(json.dumps([str(folder), words, death]), file=server.stdin, flush=True)
            return int(server.stdout.readline())

        yield one
        server.stdin.close()


def equal(a: Any, b: Any, path: str = "") -> list[str]:
    """Paths at which two nested containers differ; times aside."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        aside = ("train_seconds", "elapsed_time")
        return [d for key in a if key not in aside for d in equal(a[key], b[key], f"{path}.{key}")]
    if isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in equal(x, y, f"{path}[{i}]")]
    if isinstance(a, torch.Tensor):
        same = torch.equal(a, b) if a.layout == torch.strided else torch.equal(a.to_dense(), b.to_dense())
        return [] if same and a.dtype == b.dtype else [path]
    return [] if a == b else [path]


def contents(folder: Path) -> dict[str, Any]:
    """What a run leaves, as far as two runs of the same settings have it alike."""
    state = load_checkpoint(folder / "checkpoints" / "last.ckpt")
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    return {
        "files": sorted(str(file.relative_to(folder)) for file in folder.rglob("*")),
        "last": {key: state[key] for key in ("state_dict", "optimizer_states", "lomaq")},
        "best": load_checkpoint(folder / "checkpoints" / "best.ckpt"),
        "metrics": rows,
        "results": json.loads((folder / "results.json").read_text()),
        "config": (folder / "config.yaml").read_text(),
    }


def campaign(run, folder: Path, learner: str, kills: int, rng: random.Random) -> dict[str, int]:
    """Kill ``kills`` runs of a learner; returns how many died before and after their first checkpoint."""
    words, whole = (*SMALL, *LEARNERS[learner]), folder / "whole"
    ranks = tuple(word for word in words if word.startswith("trainer."))
    whole.mkdir(parents=True)
    assert run(whole, words) == 0, (whole / "log").read_text()
    expected, done = contents(whole / "run"), {"before": 0, "after": 0}
    numbers = itertools.count()
    while sum(done.values()) < kills:
        cut = folder / str(next(numbers))
        cut.mkdir()
        what = rng.choice([*DEATHS])
        status = run(cut, words, (what, rng.randint(1, DEATHS[what])))
        if status == 0:  # it ended before its death
            continue
        assert status == -signal.SIGKILL, (cut / "log").read_text()
        saved = (cut / "run" / "checkpoints" / "last.ckpt").exists()
        done["after" if saved else "before"] += 1
        assert run(cut, ("resume=run", *ranks) if saved else words) == 0, (cut / "log").read_text()
        assert equal(expected, contents(cut / "run")) == []
    return done


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_runs_that_are_started_again_equal_one_that_was_left_alone(run, tmp_path: Path, request) -> None:
    many = request.config.getoption("--torture", default=False)
    kills = {"fast": 8, "paper": 8, "lomaq_rd": 7, "qmix": 7, "gru": 7, "ddp": 3} if many else {"fast": 4, "paper": 2}
    for number, (learner, count) in enumerate(kills.items()):
        print(learner, campaign(run, tmp_path / learner, learner, count, random.Random(number)))
