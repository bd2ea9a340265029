"""The search for methods' settings, and learning rates beyond its grid where the best lies on the edge."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from lomaq.analysis.statistics import area
from lomaq.runs import RunRecord

#: The setting that a search goes on with beyond its grid.
RATE = "learner.lr"


def report(folder: Path, runs: list[RunRecord]) -> dict[str, Any]:
    """For each method all settings tried, and those with the highest area under the test curve, the mean over seeds.

    The area leaves out the test of the untrained networks: how they happen to start says nothing about the settings.
    """
    tried: dict[str, dict[str, float]] = {}
    for (name, words), mine in _tries(runs).items():
        tried.setdefault(name, {})[words] = _score(mine)
    return {name: {"chosen": max(score, key=score.__getitem__), "tried": score} for name, score in tried.items()}


def beyond(runs: list[RunRecord]) -> list[dict[str, Any]]:
    """The next runs of a search: where the best learning rate of a method is its highest or lowest, one beyond it.

    It is as many times as large, or as small, as the last two on this side, in two digits; the other settings and the
    seeds are those of the best. A method of which one rate alone was tried gets none.

    Returns:
        The settings of the runs.
    """
    tries, settings = _tries(runs), []
    for name in dict.fromkeys(name for name, _ in tries):
        best = max((mine for (other, _), mine in tries.items() if other == name), key=_score)
        rates = sorted({run.settings[RATE] for run in runs if run.settings["algo"] == name})
        rate = best[0].settings[RATE]
        for edge in (rates, rates[::-1]):
            if len(rates) > 1 and rate == edge[-1]:
                settings += [{**run.settings, RATE: float(f"{rate * rate / edge[-2]:.1e}")} for run in best]
    return settings


def _tries(runs: list[RunRecord]) -> dict[tuple[str, str], list[RunRecord]]:
    """Method and its settings in words → its runs, one a seed."""
    found: dict[tuple[str, str], list[RunRecord]] = {}
    for run in runs:
        words = " ".join(f"{key}={value}" for key, value in run.settings.items() if key not in ("algo", "seed"))
        found.setdefault((run.settings["algo"], words), []).append(run)
    return found


def _score(runs: list[RunRecord]) -> float:
    return fmean(area(run.tests.steps, run.tests.mean) for run in runs)
