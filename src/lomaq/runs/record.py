"""Run folders as they are stored: what was trained, how far, and the tests; no checkpoint is opened."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lomaq.errors import InputError
from lomaq.inputs.text import at_home, read_checked, read_json
from lomaq.runs.curve import Curve
from lomaq.runs.files import RunFiles, read_returns

#: What a study keeps in the folder of each of its runs.
FOUND = "found.json"


@dataclass(frozen=True)
class RunRecord:
    """What the text files of a run folder hold.

    Attributes:
        folder: The run folder.
        config: Its resolved configuration; empty where it was not kept.
        summary: ``summary.json``; empty where the run has not ended.
        tests: Its test returns so far; perhaps none. Those of a run that has ended are not rounded.
        env_steps: Env steps trained when it last wrote, at least 0.
        train_seconds: Seconds of collecting and learning until then.
        settings: The settings that a study or sweep varies.
        found: What a study found out about the run when it had ended, see :func:`lomaq.studies.runner.run_study`.
        code: Commits of the code that it was started with, and what was changed since; empty where that was not kept.
    """

    folder: Path
    config: dict[str, Any]
    summary: dict[str, Any]
    tests: Curve
    env_steps: int
    train_seconds: float
    settings: dict[str, Any] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)
    code: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name of its method, as legends and tables call it."""
        if self.config["method"] == "custom" or self.config["algo"].get("policy") == "baseline":
            return str(self.config["method"])
        return str(self.config["algo"]["label"])

    @property
    def reads(self) -> str:
        """Kind of reward that its method learns from, in words."""
        return {"local": "local rewards", "team": "the team reward"}[self.config["algo"]["reads"]]


def is_run(folder: Path) -> bool:
    """Whether a folder holds the files of a run."""
    return (folder / "metrics.csv").is_file()


def read_run(folder: Path) -> RunRecord:
    """Read a run folder; ``metrics.csv`` suffices, and so does the ``summary.json`` of a run that has ended.

    Raises:
        InputError: If it is no run folder, or one of its files is damaged.
    """
    files = RunFiles(folder)
    if not is_run(folder) and not (folder / "summary.json").is_file():
        raise InputError("run", "a run folder, with config.yaml and metrics.csv", folder)
    stored, ended = files.read_config(), files.read_summary()
    try:
        rows = files.read_metrics()[1]
        tests = [Curve.of(read_returns(folder))] if (folder / "results.json").exists() else []
        tests.append(_rounded(row for row in rows if row.get("test_return_max")))
        furthest = max(tests, key=lambda curve: len(curve.steps))  # a run that continues has its old results.json
        steps, seconds = (int(rows[-1]["env_steps"]), float(rows[-1]["train_seconds"])) if rows else (0, 0.0)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise InputError("run", "a run folder whose files are whole", folder, why) from error
    if tests[:-1] and not ended and is_run(folder):
        remedy = "it was removed, or the run was killed as it ended; the others are whole"
        raise InputError(str(folder / "summary.json"), "the last file of a run with results.json", "none", remedy)
    found = read_checked(folder / FOUND) if (folder / FOUND).is_file() else {}
    code = read_json(folder / "code.json") if (folder / "code.json").is_file() else {}
    return RunRecord(folder, stored, ended, furthest, steps, seconds, found=found, code=code)


def _rounded(rows: Iterable[dict[str, str]]) -> Curve:
    """The tests in ``metrics.csv``, to six digits."""
    names = ("env_steps", "test_return_mean", "test_return_min", "test_return_max")
    table = [[float(row[name]) for name in names] for row in rows]
    return Curve(*map(list, zip(*table, strict=True))) if table else Curve([], [], [], [])


def runs_in(folder: Path) -> list[Path]:
    """The folder, if it is that of a run; else the run folders in it, in rising order."""
    return [folder] if is_run(folder) else sorted(filter(is_run, folder.iterdir())) if folder.is_dir() else []


def find_runs(patterns: Sequence[str]) -> list[Path]:
    """The run folders that match paths and patterns such as ``runs/cartpole-*``, each once, in the order given.

    A folder of runs, such as that of a sweep, means these.

    Raises:
        InputError: If one of them matches none.
    """
    found: dict[Path, None] = {}
    for pattern in map(at_home, patterns):
        there = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern))
        runs = [run for place in there for run in runs_in(Path(place))]
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
