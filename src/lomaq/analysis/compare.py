"""Run folders in words: one run in a few lines, several side by side; no checkpoint is opened."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from lomaq.config.words import flat
from lomaq.errors import InputError
from lomaq.runs import Curve, RunFiles
from lomaq.runs.files import HIDDEN
from lomaq.runs.record import RunRecord, find_runs, is_run, names_of, read_run

#: Settings that have no effect on what a run finds, or repeat another setting.
ASIDE = ("run_dir", "resume", "study", "jobs", "logger", "method", "env.tuned")
#: Keys, at any depth, of values that settings refer to; in a resolved configuration those settings hold them.
NOTED = ("recommended", "searched")


def describe_run(folder: Path) -> dict[str, str]:
    """What was trained, how far, how well, and what to do with it; also for a run that has not ended.

    Args:
        folder: A run folder.

    Returns:
        Name of each line → its text.

    Raises:
        InputError: If it is no run folder, or has no ``config.yaml``.
    """
    run = read_run(folder) if is_run(folder) else None
    if run is None or not run.config:
        raise InputError("run", "a run folder with its config.yaml and metrics.csv", folder)
    config, trains = run.config, _trains(run)
    lines = {"run": str(folder), "state": _state(run), "env": f"{config['env']['name']}, {n_agents(run)} agents"}
    lines["algorithm"] = f"{method_of(run)}, seed {config['seed']}"
    if trains:
        lines |= {
            "mixer": f"{config['mixer']['name']}, κ={config['kappa']}",
            "partition": str(config["partition"]),
            "learner": f"{config['learner']['name']}, reward {config['reward']['name']}",
        }
        lines |= {"tests": "of drawn actions, evaluation.sample=true"} if config["evaluation"]["sample"] else {}
    if run.tests.mean:
        best, reached = max(run.tests.mean), _reached(run)
        firsts = [f"{threshold:,.6g} at {step:,}" for threshold, step in reached.items() if step is not None]
        none = "none of " + ", ".join(f"{threshold:,.6g}" for threshold in reached) if reached else "no threshold"
        lines["last test"] = f"{last_test(run):,.1f} at {run.tests.steps[-1]:,.0f} env steps"
        lines["best test"] = f"{best:,.1f} at {run.tests.first_at(best):,} env steps"
        lines["first reached"] = ", ".join(firsts) or none
        lines |= {f"last {name}": f"{value:,.4g}" for name, value in run.summary.get("test_metrics", {}).items()}
    if run.train_seconds:
        speed = run.env_steps / run.train_seconds
        lines["speed"] = f"{speed:,.0f} env steps/s, {run.train_seconds:,.1f} s of training"
    lines["files"] = ", ".join(f"{name} {decimal(size)}" for name, size in _sizes(folder).items())
    return lines | _remedies(run, trains)


def n_agents(run: RunRecord) -> int:
    """How many agents a run has; its environment is built where it has not ended.

    Raises:
        InputError: If that cannot be built any more, since a file is missing.
    """
    if "n_agents" in run.summary:
        return int(run.summary["n_agents"])
    import torch  # only here: nobody waits for it to see a run that has ended

    from lomaq.training.build import env_maker

    return env_maker(run.config)(1, 0, torch.device("cpu")).n_agents


def method_of(run: RunRecord) -> str:
    """Name of a run's method; runs of before it was computed have it in their summary."""
    return str(run.config.get("method") or run.summary.get("algorithm", run.config["algo"]["name"]))


def _trains(run: RunRecord) -> bool:
    algo = run.config["algo"]
    return bool(algo["policy" if "policy" in algo else "plays"] == "utilities")  # plays: runs of before


def _state(run: RunRecord) -> str:
    if not _trains(run):
        return "played, nothing is learned"
    total = run.config["total_env_steps"]
    share = f"{run.env_steps:,} of {total:,} env steps"
    if run.env_steps >= total and run.summary:
        return f"finished, {share}"
    if _stopped(run):
        return f"finished, {share}: a test reached evaluation.stop_at={run.summary['stopped_at']:,.6g}"
    written = time.strftime("%Y-%m-%d %H:%M", time.localtime((run.folder / "metrics.csv").stat().st_mtime))
    return f"running or stopped, {share} ({run.env_steps / total:.0%}), last written {written}"


def last_test(run: RunRecord) -> float | None:
    """Mean return of the last test: of all its episodes where the run has ended."""
    ended = run.summary.get("env_steps") == run.env_steps
    return run.summary["test_return_mean"] if ended else run.tests.mean[-1] if run.tests.mean else None


def _stopped(run: RunRecord) -> bool:
    """Whether a test was good enough to end the run, and it has not been resumed with another ``stop_at``."""
    return "stopped_at" in run.summary and run.summary["stopped_at"] == run.config["evaluation"]["stop_at"]


def _reached(run: RunRecord) -> dict[float, int | None]:
    thresholds = [x * n_agents(run) for x in run.config["evaluation"]["thresholds_per_agent"]]
    return {threshold: run.tests.first_at(threshold) for threshold in thresholds}


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file and, with a ``/``, of each folder, ``checkpoints`` file by file."""
    shown = [place for place in folder.iterdir() if place.name not in ("checkpoints", *HIDDEN)]
    places = sorted([*shown, *folder.glob("checkpoints/*")])
    return {
        f"{place.relative_to(folder)}{'/' * place.is_dir()}": sum(
            p.stat().st_size for p in [place, *place.rglob("*")] if p.is_file()
        )
        for place in places
    }


def _remedies(run: RunRecord, trains: bool) -> dict[str, str]:
    """What can be done with a run."""
    folder, checkpoints, lines = run.folder, run.folder / "checkpoints", {}
    if trains and (checkpoints / "last.ckpt").is_file():
        total = run.config["total_env_steps"]
        ended = " evaluation.stop_at=null" if _stopped(run) else ""
        more = f" total_env_steps={2 * total}" if run.env_steps >= total else ended
        lines["continue"] = f"lomaq train {shlex.quote(f'resume={folder}')}{more}"
    if (checkpoints / "best.ckpt").is_file():
        lines["play"] = f"lomaq evaluate {shlex.quote(f'checkpoint={folder}')} episodes=100"
    return lines


@dataclass(frozen=True)
class Comparison:
    """Several runs side by side.

    Attributes:
        names: The runs, R of them.
        rows: Settings that differ, then results → ``[R]`` values; None where a run has none.
        panels: Title of a task → name of a run, or of a group with its seeds → its tests.
        folders: The run folders, R of them.
        curves: The tests of each, R of them.
        groups: A row for each group of runs that differ by their seeds alone, see
            :func:`lomaq.analysis.groups.rows_of`; none where every run is a group of its own.
    """

    names: list[str]
    rows: dict[str, list[Any]]
    panels: dict[str, dict[str, Curve]]
    folders: list[Path]
    curves: list[Curve]
    groups: list[dict[str, Any]]

    def write(self, output: Path) -> None:
        """Write ``compare.json`` into ``output``, which is made where it is missing."""
        output.mkdir(parents=True, exist_ok=True)
        columns = [dict(zip(self.rows, values, strict=True)) for values in zip(*self.rows.values(), strict=True)]
        curves = [vars(curve) if curve.mean else None for curve in self.curves]
        runs = zip(self.names, self.folders, columns, curves, strict=True)
        each = {name: {"folder": str(folder), **row, "curve": curve} for name, folder, row, curve in runs}
        content = {"runs": each, "groups": self.groups}
        RunFiles(output).write_json("compare.json", content)


def compare(patterns: Sequence[str]) -> Comparison:
    """Set runs side by side.

    Args:
        patterns: Run folders, or patterns such as ``runs/cartpole-*``; together at least two runs, one with a test.

    Raises:
        InputError: If one means no run, or there is nothing to compare.
    """
    folders = find_runs(patterns)
    if len(folders) < 2:
        raise InputError("run", "at least two runs", f"{folders[0]} alone", "name more: lomaq compare run=A run=B")
    runs = [read_run(folder) for folder in folders]
    if not any(run.tests.mean for run in runs):
        raise InputError("run", "at least one run with a test", "none", "wait for its first evaluation")
    names = names_of(folders)
    settings = {key: row for key, row in differing([run.config for run in runs]).items() if "._" not in key}
    groups = _groups(runs)
    panels: dict[str, dict[str, Curve]] = {}
    for row in groups:
        panels.setdefault(f"{row['task']}, {row['env_steps']:,} env steps", {})[
            f"{row['method']}, {len(row['seeds'])} seeds"
        ] = Curve(**row["curve"])
    for name, run in zip(names, runs, strict=True):
        if run.tests.mean and not groups:
            panels.setdefault(task_of(run), {})[name] = run.tests
    return Comparison(names, {**settings, **_results(runs)}, panels, folders, [run.tests for run in runs], groups)


def _groups(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Rows of runs with tests that differ by their seeds alone; none where all differ by more."""
    tested = [run for run in runs if run.tests.mean]
    settings = {key: row for key, row in differing([run.config for run in tested]).items() if key != "seed"}
    found: dict[str, list[RunRecord]] = {}
    for place, run in enumerate(tested):
        found.setdefault(repr([task_of(run), method_of(run), *(row[place] for row in settings.values())]), []).append(
            run
        )
    if len(found) == len(tested):
        return []
    from lomaq.analysis.groups import rows_of  # SciPy, for which nobody waits in vain

    return rows_of([*found.values()])


def task_of(run: RunRecord) -> str:
    """What a run with a configuration or a summary was trained on, as a title."""
    return f"{run.summary['env'] if run.summary else run.config['env']['name']}, {n_agents(run)} agents"


def differing(configs: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Settings, by their dotted names, that are not alike in all configurations; None where one lacks it.

    >>> differing([{"seed": 0, "env": {"name": "nav"}}, {"seed": 1, "env": {"name": "nav"}}])
    {'seed': [0, 1]}
    """
    settings = [{key: value for key, value in flat(config).items() if _counts(key)} for config in configs]
    rows = {key: [one.get(key) for one in settings] for key in dict.fromkeys(chain.from_iterable(settings))}
    return {key: values for key, values in rows.items() if any(value != values[0] for value in values)}


def _counts(key: str) -> bool:
    parts = key.split(".")
    aside = any(".".join(parts[:end]) in ASIDE for end in range(1, len(parts) + 1))
    return not aside and not set(NOTED) & set(parts) and (parts[0] != "algo" or parts[1:] in ([], ["name"]))


def _results(runs: Sequence[RunRecord]) -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = {
        "env steps": [run.env_steps for run in runs],
        "last test": [last_test(run) for run in runs],
        "best test": [max(run.tests.mean, default=None) for run in runs],
    }
    stopped = [run.summary.get("stopped_at") for run in runs]
    rows |= {"stopped at": stopped} if any(value is not None for value in stopped) else {}
    reached = [_reached(run) if run.config else {} for run in runs]
    for threshold in sorted({threshold for one in reached for threshold in one}):
        firsts = [one.get(threshold) for one in reached]
        if any(first is not None for first in firsts):
            rows[f"first {threshold:,.6g} at"] = firsts
    metrics = [run.summary.get("test_metrics", {}) for run in runs]
    for name in dict.fromkeys(chain.from_iterable(metrics)):
        rows[f"last {name}"] = [one.get(name) for one in metrics]
    rows["env steps/s"] = [round(run.env_steps / run.train_seconds) if run.train_seconds else None for run in runs]
    return rows
