"""The report of a study: each task and method at its budget, over seeds, as rows, a table and a plot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from lomaq.analysis.groups import along
from lomaq.analysis.statistics import estimate, improvement, time_to
from lomaq.analysis.stored import evaluate_checkpoint, open_checkpoint
from lomaq.config.words import word_of
from lomaq.inputs.plain import changed
from lomaq.runs import RunRecord
from lomaq.runs.files import replacing
from lomaq.training.build import env_maker

#: Settings of a study's grid that name neither the task nor the method.
ASIDE = (
    *("env", "env.n_agents", "algo", "seed", "learner", "learner.n_envs", "learner.epsilon.anneal_env_steps"),
    *("total_env_steps", "evaluation.episodes"),
)
#: The absolute metric takes no more episodes than this, unless a test does.
MOST_EPISODES = 1000
#: What a task is called whose mixers get a graph with shuffled names.
SHUFFLED = "graph shuffled"


class Case(NamedTuple):
    """What the runs of a row have in common."""

    task: str
    method: str
    env_steps: int


def case_of(run: RunRecord) -> Case:
    """The environment with its settings that the study varies, the method with the others, and the budget."""
    task, method = [f"{run.config['env']['name']}, {run.summary['n_agents']} agents"], [run.label]
    for key, value in run.settings.items():
        word = f"{key.rpartition('.')[2]}={word_of(value)}"
        if key == "env.permute":  # shuffles of all seeds are one task; 0 is a shuffle
            task += [] if value is False else [SHUFFLED]
        elif key not in ASIDE:
            (task if key.startswith("env.") else method).append(word)
    return Case(", ".join(task), ", ".join(method), run.config["total_env_steps"])


def rows_of(runs: list[RunRecord], case: Callable[[RunRecord], Case] = case_of) -> list[dict[str, Any]]:
    """A row for each case, in the order of the runs, tasks together.

    Returns:
        For each case ``task``, ``method``, ``env_steps`` and ``agent_steps`` (env steps times agents), ``seeds``, and
        over seeds: ``returns`` of the last test, their ``iqm`` with its 95 % ``interval``, the same of the area under
        the test curve without the test of the untrained networks (``along``, null with one test alone), the same of
        the absolute metric (``absolute``, see :func:`absolute`; null where a run has none), ``reached``
        (threshold → :class:`TimeTo`), ``better`` (the probability that a run is better than one of the task's first
        method at this budget, with its interval; null for the first) and the task's best known ``reference``.
    """
    found: dict[Case, list[RunRecord]] = {}
    for run in runs:
        found.setdefault(case(run), []).append(run)
    order = {task: place for place, task in enumerate(dict.fromkeys(one.task for one in found))}
    references: dict[str, float | None] = {}
    rows: list[dict[str, Any]] = []
    for one, mine in sorted(found.items(), key=lambda item: order[item[0].task]):
        if one.task not in references:
            references[one.task] = _reference(mine[0])
        returns = [float(run.summary["test_return_mean"]) for run in mine]
        iqm, low, high = estimate(returns)
        first = next((r for r in rows if (r["task"], r["env_steps"]) == (one.task, one.env_steps)), None)
        row = {**one._asdict(), "agent_steps": one.env_steps * mine[0].summary["n_agents"]}
        row |= {"seeds": [run.config["seed"] for run in mine], "returns": returns, "iqm": iqm, "interval": [low, high]}
        row |= {"along": along(mine), "absolute": _absolute(mine)}
        row |= {"reached": _reached(mine, one.env_steps)}
        row |= {"better": first and [*improvement([returns], [first["returns"]])], "reference": references[one.task]}
        rows.append(row)
    return rows


def report(folder: Path, runs: list[RunRecord]) -> dict[str, Any]:
    """The rows of :func:`rows_of`, one plot, named as the folder, and a table in ``table.md``."""
    rows = rows_of(runs)
    draw(folder, {"rows": rows})
    with replacing(folder / "table.md") as file:
        file.write(table(rows).encode())
    return {"rows": rows}


def absolute(run: RunRecord) -> dict[str, Any]:
    """Absolute metric (Gorsane et al. 2022) of a run that has ended: what its best checkpoint gets in fresh episodes.

    No test of the run has seen them, so that it is not raised by having chosen the best of many tests, as the best test
    is (``absolute_metrics`` in results.json: the episodes of that test, which marl-eval takes). They are ten times as
    many as those of a test (up to :data:`MOST_EPISODES`, or as many as a test has), the same for all runs.

    Returns:
        ``absolute`` with the ``return`` per episode and the ``episodes``; nothing with one test alone, from which
        nothing was chosen.
    """
    if len(run.tests.mean) < 2:
        return {}
    own, stored = run.config["evaluation"]["episodes"], open_checkpoint(run.folder, resume=False)
    config = changed(stored.config, {"evaluation.references": False})
    metrics = evaluate_checkpoint(stored, config, min(10 * own, max(own, MOST_EPISODES)), 0)
    return {"absolute": {"return": metrics["test_return_mean"], "episodes": metrics["episodes"]}}


def _absolute(runs: list[RunRecord]) -> dict[str, Any] | None:
    """Absolute metrics of all runs; None where one of them has none."""
    if not all("absolute" in run.found for run in runs):
        return None
    found = [run.found["absolute"] for run in runs]
    returns = [one["return"] for one in found]
    iqm, low, high = estimate(returns)
    return {"episodes": found[0]["episodes"], "returns": returns, "iqm": iqm, "interval": [low, high]}


def _reached(runs: list[RunRecord], budget: int) -> dict[str, Any]:
    thresholds = runs[0].summary["first_env_steps_at"]
    firsts = {name: [run.tests.first_at(float(name)) for run in runs] for name in thresholds}
    return {name: time_to(first, budget)._asdict() for name, first in firsts.items()}


def _reference(run: RunRecord) -> float | None:
    """The best return that the environment knows; of a shuffled graph that of the true one."""
    true = {"env.permute": False} if "permute" in run.config["env"] else {}
    with env_maker(changed(run.config, true))(1, 0, torch.device("cpu")) as env:
        return max(env.references().values(), default=None)


def number(value: float, digits: int | None = None) -> str:
    """A number of a table: about four digits, or as many decimals as given, and a true minus.

    >>> number(-1234.5), number(0.0512), number(98.76), number(98.76, 0)
    ('−1,234', '0.0512', '98.8', '99')
    """
    if digits is None:
        digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 4
    return f"{value:,.{digits}f}".replace("-", "−")


def seeds_of(row: dict[str, Any]) -> str:
    """Seeds of a row, in words.

    >>> seeds_of({"seeds": [0, 1, 2]}), seeds_of({"seeds": [0, 2]}), seeds_of({"seeds": [0, 0]})
    ('seeds 0–2', 'seeds 0, 2', '2 runs')
    """
    seeds = row["seeds"]
    if len({*seeds}) < len(seeds):
        return f"{len(seeds)} runs"
    if len(seeds) > 2 and seeds == [*range(seeds[0], seeds[-1] + 1)]:
        return f"seeds {seeds[0]}–{seeds[-1]}"
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a table for each task, budget and set of seeds, its heading with these."""
    parts: dict[str, list[str]] = {}
    for row in rows:
        known = "" if row["reference"] is None else f"; best reference {number(row['reference'])}"
        heading = f"**{row['task']}, {row['env_steps']:,} env steps, {seeds_of(row)}{known}**"
        lines = parts.setdefault(heading, [])
        cells = [row["method"], _cell(row), number(min(row["returns"]))]
        cells += ["–" if (one := row[name]) is None else _cell(one) for name in ("along", "absolute")]
        cells.append("–" if row["better"] is None else "{:.2f} ({:.2f} to {:.2f})".format(*row["better"]))
        times = [f"{name}: {_time(time)}" for name, time in row["reached"].items()]
        lines.append(f"| {' | '.join([*cells, '; '.join(times) or '–'])} |")
    columns = ["method", "last test, IQM (95 %)", "worst", "along the run, IQM (95 %)"]
    columns += ["best checkpoint, fresh episodes, IQM (95 %)", "P(better than the first row)", "reached at"]
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"
    body = ("\n".join([heading, "", head, *lines]) for heading, lines in parts.items())
    return "\n\n".join(body) + "\n"


def _cell(entry: dict[str, Any]) -> str:
    low, high = map(number, entry["interval"])
    return f"{number(entry['iqm'])} ({low} to {high})"


def _time(time: dict[str, Any]) -> str:
    """The median in thousands of env steps with its interval, and how many runs got there."""
    low, median, high = ("∞" if (t := time[name]) is None else f"{t / 1000:,.0f}" for name in ("low", "median", "high"))
    between = "" if time["low"] is None else f" ({low} to {high})"
    return f"{'' if time['median'] is None else f'{median} K{between}, '}{time['reached']} of {time['runs']}"


def draw(folder: Path, summary: dict[str, Any]) -> Path:
    """Draw the plot, named as the folder: a panel for each task, every seed, IQM and its interval."""
    rows = summary["rows"]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    heights = [sum(row["task"] == task for row in rows) + 1.2 for task in tasks]
    figure = Figure(figsize=(10, 0.3 * sum(heights) + 0.8), layout="constrained", dpi=110)
    panels = figure.subplots(len(tasks), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, task in zip(panels, tasks, strict=True):
        mine = [row for row in rows if row["task"] == task]
        reference = mine[0]["reference"]
        unit = reference / 100 if reference is not None and reference > 0 else 1.0
        for place, row in enumerate(mine):
            low, high = (value / unit for value in row["interval"])
            axes.plot([low, high], [place, place], color="C0", linewidth=6, alpha=0.35, solid_capstyle="butt")
            axes.plot(np.array(row["returns"]) / unit, [place] * len(row["returns"]), ".", color="C0", alpha=0.7)
            axes.plot(row["iqm"] / unit, place, "|", color="C0", markersize=13, markeredgewidth=2.5)
        if reference is not None:
            axes.axvline(reference / unit, color="black", linestyle="--", linewidth=1)
        steps = {row["env_steps"] for row in mine}
        names = [row["method"] + (f", {row['env_steps']:,} env steps" if len(steps) > 1 else "") for row in mine]
        axes.set_yticks(range(len(mine)), names)
        axes.set_ylim(len(mine) - 0.5, -0.5)
        axes.set_title(f"{task}: {'test return' if unit == 1 else '% of the reference'}", fontsize=10, loc="left")
        axes.grid(axis="x", alpha=0.3)
    words = "last test: each seed, interquartile mean and its 95 % interval; dashed: best known reference"
    figure.supxlabel(words, fontsize=10)
    path = folder / f"{folder.name}.png"
    figure.savefig(path)
    return path
