"""Several runs at once: ``python train.py -m seed=0,1,2 algo=lomaq,vdn``.

Each run has a process and a folder of its own; what they found is merged. A run that fails leaves the others alone, and
a sweep that was stopped goes on when it is started again in its folder.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console

from lomaq.config import Job
from lomaq.errors import InputError, check_int
from lomaq.plots.curves import draw_curves
from lomaq.runs import Curve, RunFiles, RunRecord
from lomaq.runs.files import read_returns
from lomaq.studies.runner import run_name, train_together


def run_sweep(jobs: list[Job], folder: Path, console: Console) -> dict[str, Any]:
    """Train all jobs, each on one core, and merge what they found.

    Args:
        jobs: The runs; ``jobs`` of the first one's configuration is how many train at once, null for one a core.
        folder: The sweep's folder: new, empty, or that of the same sweep, whose finished runs are kept.
        console: Where progress is shown.

    Returns:
        ``summary.json``: ``groups``, the results of runs that differ by their seed alone, and ``failed``, a line for
        each run without a result. Beside it stand ``results.json``, in marl-eval's layout, and ``curves.png``.

    Raises:
        InputError: If a setting is impossible or the folder in use.
    """
    at_once = _check(jobs, folder)
    RunFiles(folder).write_json("sweep.json", [run_name(job.settings) for job in jobs])
    console.print(f"{len(jobs)} runs, {at_once} at once, in {folder}", highlight=False, soft_wrap=True)
    done, failed = _train_all(jobs, folder, at_once, console)
    files = RunFiles(folder)
    files.write_json("results.json", merge_results(done))
    summary = {"groups": {name: _metrics(runs) for name, runs in _groups(done).items()}, "failed": failed}
    files.write_json("summary.json", summary)
    if done:
        draw(folder, summary)
    return summary


def draw(folder: Path, summary: dict[str, Any]) -> Path:
    """Draw ``curves.png`` from what :func:`run_sweep` found: a panel for each task, a curve for each group."""
    panels: dict[str, dict[str, Curve]] = {}
    for name, group in summary["groups"].items():
        panels.setdefault(f"{group['env']}, {group['n_agents']} agents", {})[name] = Curve(**group["curve"])
    draw_curves(folder / "curves.png", panels, "lowest to highest seed; with one seed, episode")
    return folder / "curves.png"


def _check(jobs: list[Job], folder: Path) -> int:
    """Refuse what cannot run; how many train at once."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = jobs[0].config["jobs"]
    at_once = cores if wanted is None else check_int("jobs", wanted, 1)
    names = [run_name(job.settings) for job in jobs]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError("-m", "runs that all differ", f"{twice[0]} twice")
    for job in jobs:
        trainer = job.config["trainer"]
        if (trainer["devices"], trainer["num_nodes"]) != (1, 1):  # its processes would start the whole sweep again
            raise InputError(
                "trainer.devices", "1 with -m", trainer["devices"], "start runs of several processes alone"
            )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        marker = folder / "sweep.json"
        if not marker.is_file() or json.loads(marker.read_text()) != names:
            raise InputError("run_dir", "a new folder, or that of the same sweep", folder, "choose another run_dir")
    return min(at_once, len(jobs))


# -------------------------------------------------------------------- training


def _train_all(jobs: list[Job], folder: Path, at_once: int, console: Console) -> tuple[list[RunRecord], dict[str, str]]:
    """The runs that ended, in order, and a line for each that did not."""
    done: dict[str, RunRecord] = {}
    failed: dict[str, str] = {}
    with closing(train_together(jobs, folder, at_once)) as ended:
        for job, run in ended:
            name = run_name(job.settings)
            if isinstance(run, Exception):
                kind = "" if isinstance(run, InputError) else f"{type(run).__name__}: "
                failed[name] = " ".join(f"{kind}{run}".split())
                line = f"failed: {failed[name]}"
            else:
                done[name] = run
                line = f"test return {run.summary['test_return_mean']:,.1f}"
            number = f"{len(done) + len(failed)} of {len(jobs)}"
            console.print(f"{number}: {name}: {line}", highlight=False, markup=False, soft_wrap=True)
    return [done[run_name(job.settings)] for job in jobs if run_name(job.settings) in done], failed


# --------------------------------------------------------------------- merging


def merge_results(runs: Iterable[RunRecord]) -> dict[str, Any]:
    """One ``results.json`` of many: env → task → algorithm → seed → step → per-episode returns.

    Runs that would be one entry, since they differ by other settings, get these into the name of their algorithm.
    """
    entries = []
    for run in runs:
        content = json.loads((run.folder / "results.json").read_text())
        path = []
        for _ in range(4):
            ((key, content),) = content.items()
            path.append(key)
        entries.append((run, path, content))
    meant = Counter(tuple(path) for _, path, _ in entries)
    ambiguous = {path[2] for path, count in meant.items() if count > 1}
    merged: dict[str, Any] = {}
    for run, (env, task, algorithm, seed), content in entries:
        others = run_name({key: value for key, value in run.settings.items() if key not in ("seed", "algo", "env")})
        name = f"{algorithm}, {others}" if algorithm in ambiguous else algorithm
        merged.setdefault(env, {}).setdefault(task, {}).setdefault(name, {})[seed] = content
    return merged


def _groups(runs: list[RunRecord]) -> dict[str, list[RunRecord]]:
    """Runs that differ by their seed alone, under the settings that they share."""
    found: dict[str, list[RunRecord]] = {}
    for run in runs:
        shared = {key: value for key, value in run.settings.items() if key != "seed"}
        found.setdefault(run_name(shared) or run.summary["algorithm"], []).append(run)
    return found


def _metrics(runs: list[RunRecord]) -> dict[str, Any]:
    tests = [Curve.of(read_returns(run.folder)) for run in runs]
    last, best = ([run.summary[key] for run in runs] for key in ("test_return_mean", "best_test_return_mean"))
    return {
        "env": runs[0].summary["env"],
        "n_agents": runs[0].summary["n_agents"],
        "algorithm": runs[0].summary["algorithm"],
        "seeds": [run.summary["seed"] for run in runs],
        "last": last,
        "last_mean": sum(last) / len(last),
        "best": best,
        "best_mean": sum(best) / len(best),
        "env_steps": [run.summary["env_steps"] for run in runs],
        "folders": [run.folder.name for run in runs],
        "curve": vars(tests[0] if len(tests) == 1 else Curve.over_seeds(tests)),
    }
