"""Several runs at once: ``python train.py -m seed=0,1,2 algo=lomaq,vdn``.

Each run has its own process and folder; their results are merged. A run that fails does not stop the others. A sweep
that was stopped continues when it is started again in its folder. Processes are of this machine, or a launcher's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

from lomaq.config import Job
from lomaq.cores import cores
from lomaq.errors import InputError, check_int
from lomaq.inputs.text import read_json
from lomaq.plots.curves import draw_curves
from lomaq.runs import Curve, RunFiles, RunRecord
from lomaq.runs.files import read_results
from lomaq.studies.elsewhere import Launch, train_elsewhere
from lomaq.studies.runner import run_name, train_all


def run_sweep(jobs: list[Job], folder: Path, console: Console, launch: Launch | None = None) -> dict[str, Any]:
    """Train all jobs, each on one core, and merge their results.

    Args:
        jobs: The runs; ``jobs`` of the first one's configuration is how many train at once, null for one a core.
        folder: The sweep's folder: new, empty, or that of the same sweep, whose finished runs are kept.
        console: Where progress is shown.
        launch: Trains them elsewhere, in its own order.

    Returns:
        ``summary.json``: ``groups``, the results of runs that differ by their seed alone, and ``failed``, a line for
        each run without a result. The folder also gets ``results.json``, in marl-eval's layout, and ``curves.png``.

    Raises:
        InputError: If a setting is impossible or the folder in use.
    """
    at_once = _check(jobs, folder, launched=launch is not None)
    names, files = [run_name(job.settings) for job in jobs], RunFiles(folder)
    files.write_json("sweep.json", names)
    how = f"{at_once} at once" if launch is None else "through the launcher"
    console.print(f"{len(jobs)} runs, {how}, in {folder}", highlight=False, soft_wrap=True)
    if launch is None:
        ended, failed = train_all(jobs, len(jobs), folder, at_once, console, keep_going=True)
    else:
        ended, failed = train_elsewhere(jobs, folder, launch)
    done = [ended[name] for name in names if name in ended]
    files.write_json("results.json", merge_results(done))
    summary = {"groups": {name: _metrics(runs) for name, runs in _groups(done).items()}, "failed": failed}
    files.write_checked("summary.json", summary)
    if done:
        draw(folder, summary)
    return summary


def draw(folder: Path, summary: dict[str, Any]) -> Path:
    """Draw ``curves.png`` from what :func:`run_sweep` returned: a panel for each task, a curve for each group."""
    panels: dict[str, dict[str, Curve]] = {}
    for name, group in summary["groups"].items():
        panels.setdefault(f"{group['env']}, {group['n_agents']} agents", {})[name] = Curve(**group["curve"])
    draw_curves(folder / "curves.png", panels, "lowest to highest seed; with one seed, episode")
    return folder / "curves.png"


def _check(jobs: list[Job], folder: Path, launched: bool = False) -> int:
    """Refuse what cannot run; returns how many runs train at once."""
    wanted = jobs[0].config["jobs"]
    at_once = cores() if wanted is None else check_int("jobs", wanted, 1)
    if launched and wanted is not None:
        raise InputError("jobs", "null with hydra/launcher=…, which has limits of its own", wanted, "leave it out")
    names = [run_name(job.settings) for job in jobs]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError("-m", "runs that all differ", f"{twice[0]} twice")
    for job in jobs:
        trainer, remedy = job.config["trainer"], "start runs of several processes alone"
        if (trainer["devices"], trainer["num_nodes"]) != (1, 1):  # its processes would start the whole sweep again
            raise InputError("trainer.devices", "1 with -m", trainer["devices"], remedy)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        marker = folder / "sweep.json"
        if not marker.is_file() or read_json(marker) != names:
            raise InputError("run_dir", "a new folder, or that of the same sweep", folder, "choose another run_dir")
    return min(at_once, len(jobs))


def merge_results(runs: Iterable[RunRecord]) -> dict[str, Any]:
    """One ``results.json`` of many: env → task → algorithm → seed → step → per-episode returns.

    Where runs that differ by other settings would share an entry, the name of the algorithm gets these settings.
    """
    entries = [(run, *read_results(run.folder)) for run in runs]
    ambiguous = {path[2] for path, count in Counter(path for _, path, _ in entries).items() if count > 1}
    merged: dict[str, Any] = {}
    for run, (env, task, algorithm, seed), content in entries:
        others = run_name({key: value for key, value in run.settings.items() if key not in ("seed", "algo", "env")})
        name = f"{algorithm}, {others}" if algorithm in ambiguous else algorithm
        merged.setdefault(env, {}).setdefault(task, {}).setdefault(name, {})[seed] = content
    return merged


def _groups(runs: list[RunRecord]) -> dict[str, list[RunRecord]]:
    """The settings that runs share → runs that differ only by their seed."""
    found: dict[str, list[RunRecord]] = {}
    for run in runs:
        shared = {key: value for key, value in run.settings.items() if key != "seed"}
        found.setdefault(run_name(shared) or run.summary["algorithm"], []).append(run)
    return found


def _metrics(runs: list[RunRecord]) -> dict[str, Any]:
    tests = [run.tests for run in runs]
    last, best = ([run.summary[key] for run in runs] for key in ("test_return_mean", "best_test_return_mean"))
    return {
        **{key: runs[0].summary[key] for key in ("env", "n_agents", "algorithm")},
        "seeds": [run.summary["seed"] for run in runs],
        "last": last,
        "last_mean": sum(last) / len(last),
        "best": best,
        "best_mean": sum(best) / len(best),
        "env_steps": [run.summary["env_steps"] for run in runs],
        "folders": [run.folder.name for run in runs],
        "curve": vars(tests[0] if len(tests) == 1 else Curve.over_seeds(tests)),
    }
