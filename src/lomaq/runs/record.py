"""Run folders as they are stored: what was trained, how far, and the tests; no checkpoint is opened."""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lomaq.errors import InputError
from lomaq.runs.curve import Curve
from lomaq.runs.files import RunFiles, read_returns


@dataclass(frozen=True)
class RunRecord:
    """What the text files of a run folder say.

    Attributes:
        folder: The run folder.
        config: Its resolved configuration; empty where it was not kept.
        summary: ``summary.json``; empty where the run has not ended.
        tests: Its test returns so far; perhaps none.
        env_steps: Env steps trained when it last wrote, at least 0.
        train_seconds: Seconds of collecting and learning until then.
        settings: What it varies, where it belongs to a study or sweep.
    """

    folder: Path
    config: dict[str, Any]
    summary: dict[str, Any]
    tests: Curve
    env_steps: int
    train_seconds: float
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name of its method, as legends and tables call it."""
        return str(self.config["algo"]["label"]) if self.config["method"] != "custom" else "custom"

    @property
    def reads(self) -> str:
        """Kind of reward that its method learns from, in words."""
        return {"local": "local rewards", "team": "the team reward"}[self.config["algo"]["reads"]]

    @property
    def best(self) -> float | None:
        """Highest mean test return so far; None: no test."""
        return max(self.tests.mean, default=None)

    @property
    def last(self) -> float | None:
        """Mean of the last test; None: no test."""
        return self.tests.mean[-1] if self.tests.mean else None

    def first_at(self, threshold: float) -> int | None:
        """Env steps of the first test at or above ``threshold``; None: never."""
        reached = (s for s, mean in zip(self.tests.steps, self.tests.mean, strict=True) if mean >= threshold)
        return next((int(step) for step in reached), None)


def is_run(folder: Path) -> bool:
    """Whether a folder holds the files of a run."""
    return (folder / "metrics.csv").is_file()


def read_run(folder: Path) -> RunRecord:
    """Read a run folder; ``metrics.csv`` suffices.

    Raises:
        InputError: If it is none, or one of its files is damaged.
    """
    if not is_run(folder):
        raise InputError("run", "a run folder, with config.yaml and metrics.csv", folder)
    return read_record(folder)


def read_record(folder: Path) -> RunRecord:
    """The record of a run's folder, also where nothing but its results was kept.

    Raises:
        InputError: If one of its files is damaged.
    """
    config, summary = folder / "config.yaml", folder / "summary.json"
    try:
        stored = yaml.safe_load(config.read_text()) if config.is_file() else {}
        ended = json.loads(summary.read_text()) if summary.is_file() else {}
        rows = RunFiles(folder).read_metrics()[1] if is_run(folder) else []
        tests = _curve(row for row in rows if row.get("test_return_max"))
        if not tests.steps and (folder / "results.json").is_file():  # played, not trained
            tests = Curve.of(read_returns(folder))
        steps, seconds = (int(rows[-1]["env_steps"]), float(rows[-1]["train_seconds"])) if rows else (0, 0.0)
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise InputError(
            "run", "a run folder whose files are whole", folder, f"{type(error).__name__}: {error}"
        ) from error
    return RunRecord(folder, stored, ended, tests, steps, seconds)


def _curve(rows: Any) -> Curve:
    names = ("env_steps", "test_return_mean", "test_return_min", "test_return_max")
    table = [[float(row[name]) for name in names] for row in rows]
    return Curve(*map(list, zip(*table, strict=True))) if table else Curve([], [], [], [])


def find_runs(patterns: Sequence[str]) -> list[Path]:
    """The run folders that paths and patterns such as ``runs/cartpole-*`` mean, each once, in the order given.

    Raises:
        InputError: If one of them means none.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        there = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern))
        runs = [Path(place) for place in there if is_run(Path(place))]
        if not runs:
            raise InputError("run", "a run folder, or a pattern that run folders match", pattern)
        found |= dict.fromkeys(runs)
    return list(found)


def names_of(folders: Sequence[Path]) -> list[str]:
    """The last part of each path, as many parts as it takes to tell them apart.

    >>> names_of([Path("runs/a/seed=0"), Path("runs/b/seed=0")])
    ['a/seed=0', 'b/seed=0']
    """
    whole = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, whole)) + 1):
        names = ["/".join(parts[-length:]) for parts in whole]
        if len(set(names)) == len(names):
            break
    return names
