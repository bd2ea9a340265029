"""Draws the plots of stored results again, from their numbers alone: ``make figures``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lomaq.analysis.compare import task_of
from lomaq.errors import InputError
from lomaq.inputs.text import read_checked
from lomaq.plots.curves import draw_curves
from lomaq.plots.regret import draw_regret
from lomaq.runs import Curve
from lomaq.runs.record import is_run, read_run
from lomaq.studies import dilemma, report, sweep, transfer, voltage
from lomaq.studies.paper import fig6, fig8, fig9, theorem1

#: Beginning of a study's folder → what draws its plot from the folder and its ``summary.json``.
DRAWERS: dict[str, Callable[[Path, dict[str, Any]], Path]] = {
    "fig6": fig6.draw,
    "fig8": fig8.draw,
    "fig9": fig9.draw,
    "dilemma": dilemma.draw,
    "theorem1": theorem1.draw,
    "transfer": transfer.draw,
    "voltage": voltage.draw,
    **dict.fromkeys(
        [
            *("cognac", "fig5_", "methods_", "nav_budgets", "scaling"),
            *("sensitivity", "sharing", "soft", "sumo", "wrong_graph"),
        ],
        report.draw,
    ),
}


def draw_all(results: Path) -> tuple[list[Path], dict[str, str]]:
    """Draw every plot whose numbers are in the folders of ``results``.

    A study's or a sweep's folder has ``summary.json``, a bandit's ``bandit.json``; other runs get ``curves.png``.

    Returns:
        The plots, and for each folder without one the reason.

    Raises:
        InputError: If it is no folder, or nothing in it can be drawn.
    """
    if not results.is_dir():
        raise InputError("results", "a folder of results", results)
    drawn: list[Path] = []
    left: dict[str, str] = {}
    for folder in sorted(place for place in results.iterdir() if place.is_dir()):
        try:
            drawn.append(draw(folder))
        except InputError as error:
            left[folder.name] = str(error)
    if not drawn:
        raise InputError("results", "a folder with results of studies or runs", results)
    return drawn, left


def draw(folder: Path) -> Path:
    """Draw the plot of one folder of results.

    Raises:
        InputError: If its numbers are missing, or of an older version of the study.
    """
    if (folder / "bandit.json").is_file():
        draw_regret(folder / "bandit.png", read_checked(folder / "bandit.json"))
        return folder / "bandit.png"
    summary = folder / "summary.json"
    drawer = next((drawer for name, drawer in DRAWERS.items() if folder.name.startswith(name)), None)
    if (folder / "sweep.json").is_file():
        drawer = sweep.draw
    if drawer is None:
        if summary.is_file():
            raise InputError(folder.name, "a study with a plot", "one without")
        return _draw_runs(folder)
    if not summary.is_file():
        raise InputError(folder.name, "a finished study, with summary.json", "none")
    try:
        return drawer(folder, read_checked(summary))
    except KeyError as error:
        remedy = f"python train.py experiment={folder.name} makes it anew"
        raise InputError(folder.name, "the numbers of this version of the study", f"none of {error}", remedy) from error


def _draw_runs(folder: Path) -> Path:
    found = {place.name: read_run(place) for place in sorted(folder.iterdir()) if is_run(place)}
    runs = {name: run for name, run in found.items() if run.tests.mean}
    if not runs:
        raise InputError(folder.name, "run folders with tests", "none")
    tasks = {name: task_of(run) for name, run in runs.items() if run.config or run.summary}
    rest = next(iter(tasks.values())) if len({*tasks.values()}) == 1 else "task not stored"  # only metrics.csv kept
    panels: dict[str, dict[str, Curve]] = {}
    for name, run in runs.items():
        panels.setdefault(tasks.get(name, rest), {})[name] = run.tests
    draw_curves(folder / "curves.png", panels, "lowest to highest episode")
    return folder / "curves.png"
