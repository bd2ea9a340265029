"""Runs that differ by their seeds alone, as one row: statistics over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lomaq.analysis.compare import differing, last_test, method_of, task_of
from lomaq.analysis.statistics import area, estimate, improvement
from lomaq.config.words import word_of
from lomaq.runs import Curve
from lomaq.runs.record import RunRecord


def rows_of(groups: Sequence[list[RunRecord]]) -> list[dict[str, Any]]:
    """A row for each group of runs that have tests.

    Returns:
        For each ``task`` and ``method``, in words, with ``env_steps`` (the budget of a run): ``seeds``; over them
        ``returns`` of the last test, their ``iqm`` with its 95 % ``interval``; the same of the area under the test
        curve without the untrained networks (``along``; null with one test of trained networks alone); ``better`` (the
        probability that a run is better than one of the task's first method, with its interval; null for the first);
        and ``curve``, the interquartile means of the tests, as far as all runs have them, with their intervals.
    """
    rows: list[dict[str, Any]] = []
    for (task, method), mine in zip(_names([runs[0] for runs in groups]), groups, strict=True):
        returns = [mean for run in mine if (mean := last_test(run)) is not None]
        iqm, low, high = estimate(returns)
        first = next((row for row in rows if row["task"] == task), None)
        row = {"task": task, "method": method, "env_steps": mine[0].config.get("total_env_steps", mine[0].env_steps)}
        row |= {"seeds": [run.config.get("seed", run.summary.get("seed")) for run in mine], "returns": returns}
        row |= {"iqm": iqm, "interval": [low, high], "along": along(mine)}
        row |= {"better": first and [*improvement([returns], [first["returns"]])], "curve": vars(_curve(mine))}
        rows.append(row)
    return rows


def _names(runs: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Task and method of each, with settings by which it differs from others of its task, or of its method there."""
    tasks, methods = [task_of(run) for run in runs], [method_of(run) for run in runs]
    named = [*zip(tasks, methods, strict=True)]
    for key, values in differing([run.config for run in runs]).items():
        of_task = key.startswith("env.") or key == "total_env_steps"
        for place, value in enumerate(values):
            depth = 1 if of_task else 2
            others = [o for name, o in zip(named, values, strict=True) if name[:depth] == named[place][:depth]]
            if any(other != value for other in others):
                (tasks if of_task else methods)[place] += f", {key.rpartition('.')[2]}={word_of(value)}"
    return [*zip(tasks, methods, strict=True)]


def along(runs: Sequence[RunRecord]) -> dict[str, Any] | None:
    """Areas under the test curves of runs, over seeds; None with one test of trained networks alone."""
    if min(sum(step > 0 for step in run.tests.steps) for run in runs) < 2:
        return None
    areas = [area(run.tests.steps, run.tests.mean) for run in runs]
    iqm, low, high = estimate(areas)
    return {"areas": areas, "iqm": iqm, "interval": [low, high]}


def _curve(runs: Sequence[RunRecord]) -> Curve:
    """Interquartile means of tests, up to the end of the shortest run, and their intervals."""
    steps = np.mean([*zip(*(run.tests.steps for run in runs), strict=False)], axis=1)
    points = [estimate(means) for means in zip(*(run.tests.mean for run in runs), strict=False)]
    return Curve(steps.tolist(), *map(list, zip(*points, strict=True)))
