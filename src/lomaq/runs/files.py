"""The files of a run: metrics.csv, results.json, summary.json, config.yaml."""

from __future__ import annotations

import csv
import itertools
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from lomaq.errors import InputError

COLUMNS = (
    "env_steps",
    "train_seconds",
    "epsilon",
    "lr",
    "loss",
    "grad_norm",
    "value_scale",
    "reward_per_agent_step",
    "reward_pass_rate",
    "reward_error",
    "local_reward_error",
    "reward_loss",
    "test_return_mean",
    "test_return_min",
    "test_return_max",
)


@dataclass(frozen=True)
class Evaluation:
    """Greedy episodes at one moment of training.

    Attributes:
        env_steps: Env steps trained so far.
        train_seconds: Seconds of collecting and learning so far.
        returns: Return of each episode, summed over agents.
    """

    env_steps: int
    train_seconds: float
    returns: list[float]

    @property
    def mean(self) -> float:
        """Mean return."""
        return sum(self.returns) / len(self.returns)


class RunFiles:
    """Writes into one run folder.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.metrics = folder / "metrics.csv"

    def begin(self, config: dict[str, Any]) -> None:
        """Start a new run.

        Raises:
            InputError: If the folder is in use already.
        """
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise InputError(
                "run_dir", "a new or empty folder", self.folder, "choose another, or resume=" + str(self.folder)
            )
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        self.metrics.write_text(",".join(COLUMNS) + "\n")

    def cut_metrics(self, env_steps: int) -> None:
        """Drop the rows behind a checkpoint, so that a resumed run appends to what it really continues."""
        if not self.metrics.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            self.metrics.write_text(",".join(COLUMNS) + "\n")
            return
        with self.metrics.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["env_steps"].isdigit()]
        kept = [row for row in rows if int(row["env_steps"]) <= env_steps]
        lines = [",".join(row.get(name) or "" for name in COLUMNS) for row in kept]
        write_atomic(self.metrics, "\n".join([",".join(COLUMNS), *lines]) + "\n")

    def append_metrics(self, rows: list[dict[str, float]]) -> None:
        """Add rows; a column that a row lacks stays empty."""
        with self.metrics.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
            writer.writerows(
                {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
                for row in rows
            )

    def write_results(self, env: str, task: str, algorithm: str, seed: int, evaluations: list[Evaluation]) -> None:
        """``results.json`` in marl-eval's layout: env → task → algorithm → seed → step → per-episode returns."""
        best = max(evaluations, key=lambda e: e.mean)
        steps: dict[str, Any] = {
            f"step_{i}": {"step_count": e.env_steps, "elapsed_time": round(e.train_seconds, 3), "return": e.returns}
            for i, e in enumerate(evaluations)
        }
        steps["absolute_metrics"] = {"return": best.returns}
        self.write_json("results.json", {env: {task: {algorithm: {f"seed_{seed}": steps}}}})

    def write_json(self, name: str, content: Any) -> None:
        """Write one JSON file, whole or not at all."""
        write_atomic(self.folder / name, json.dumps(content, indent=2) + "\n")


def first_at(
    evaluations: list[Evaluation], thresholds: dict[str, float]
) -> tuple[dict[str, int | None], dict[str, float | None]]:
    """For each threshold, env steps and training seconds of the first evaluation at or above; None: never."""
    steps: dict[str, int | None] = {}
    seconds: dict[str, float | None] = {}
    for name, threshold in thresholds.items():
        hit = next((e for e in evaluations if e.mean >= threshold), None)
        steps[name] = hit.env_steps if hit else None
        seconds[name] = round(hit.train_seconds, 2) if hit else None
    return steps, seconds


def read_returns(folder: Path) -> list[Evaluation]:
    """All tests in a run's ``results.json``."""
    content = json.loads((folder / "results.json").read_text())
    for _ in range(4):  # env, task, algorithm, seed: one each
        (content,) = content.values()
    points = [entry for name, entry in content.items() if name.startswith("step_")]
    return [Evaluation(p["step_count"], p["elapsed_time"], p["return"]) for p in points]


def read_curve(folder: Path) -> tuple[list[int], list[float]]:
    """Env steps and mean returns of all tests in a run's ``results.json``."""
    tests = read_returns(folder)
    return [test.env_steps for test in tests], [test.mean for test in tests]


def solved_at(steps: Sequence[float], means: Sequence[float], threshold: float) -> float | None:
    """Env steps of the first of two tests in a row that reach ``threshold``; None: never."""
    pairs = zip(steps, itertools.pairwise(means), strict=False)  # the last test has no successor
    return next((step for step, pair in pairs if min(pair) >= threshold), None)


def pack(evaluations: list[Evaluation]) -> list[dict[str, Any]]:
    """Plain containers, for a checkpoint."""
    return [asdict(e) for e in evaluations]


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write in place of ``path``: a temporary one beside it, put there whole or, on any error, not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_atomic(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())
