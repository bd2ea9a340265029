"""Actor-critics beside value decomposition: last test returns of every method and setting, with intervals."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import bootstrap

from lomaq.runs import RunRecord

#: What a row of the table is: settings that differ between runs and are neither seed nor what a search chose.
PARTS = ("algo", "mixer.weight_sharing", "kappa", "partition")


def report(folder: Path, runs: list[RunRecord]) -> dict[str, Any]:
    """For each method and setting the last tests and the means of all tests of its seeds, and 95 % intervals.

    The intervals are bias-corrected and accelerated bootstraps of the mean over seeds. The means of all tests, but for
    the one before training, tell apart methods that all solve a task.
    """
    rows: dict[str, dict[str, Any]] = {}
    for run in runs:
        setting = {name: run.settings[name] for name in PARTS if name in run.settings}
        words = ", ".join(str(run.label if name == "algo" else f"{name}={value}") for name, value in setting.items())
        row = rows.setdefault(words, {"label": run.label, "setting": setting, "seeds": [], "last": [], "along": []})
        row["seeds"].append(run.settings["seed"])
        row["last"].append(run.tests.mean[-1])
        trained = [mean for steps, mean in zip(run.tests.steps, run.tests.mean, strict=True) if steps > 0]
        row["along"].append(fmean(trained))
    for row in rows.values():
        row |= {"mean": fmean(row["last"]), "interval": interval(row["last"])}
        row |= {"mean_along": fmean(row["along"]), "interval_along": interval(row["along"])}
    about = {key: runs[0].summary[key] for key in ("env", "n_agents", "references")}
    result = {**about, "env_steps": runs[0].tests.steps[-1], "rows": rows}
    draw(folder, result)
    return result


def interval(values: list[float]) -> tuple[float, float]:
    """95 % interval of the mean; of equal numbers, or one, the number itself."""
    if len(set(values)) < 2:
        return values[0], values[0]
    found = bootstrap((np.array(values),), np.mean, rng=np.random.default_rng(0)).confidence_interval
    return float(found.low), float(found.high)


def draw(folder: Path, summary: dict[str, Any]) -> Path:
    """Draw the plot, named as the folder, from what :func:`report` returned: every seed, the mean and its interval."""
    rows: dict[str, dict[str, Any]] = summary["rows"]
    figure = Figure(figsize=(9, 1.2 + 0.34 * len(rows)), layout="constrained", dpi=120)
    axes = figure.subplots()
    colours = {label: f"C{i}" for i, label in enumerate(dict.fromkeys(row["label"] for row in rows.values()))}
    for place, row in enumerate(rows.values()):
        low, high = row["interval"]
        colour = colours[row["label"]]
        axes.plot([low, high], [place, place], color=colour, linewidth=6, alpha=0.35, solid_capstyle="butt")
        axes.plot(row["last"], [place] * len(row["last"]), "o", color=colour, markersize=3.5, alpha=0.7)
        axes.plot(row["mean"], place, "|", color=colour, markersize=14, markeredgewidth=2.5)
    for (name, value), style in zip(summary["references"].items(), ("--", ":", "-."), strict=False):
        axes.axvline(value, color="gray", linestyle=style, linewidth=1, label=f"{name}: {value:,.0f}")
    if summary["references"]:
        axes.legend(fontsize=9, framealpha=0.8)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    figure.supxlabel("test return of the last networks: each seed, mean and 95 % interval of the mean", fontsize=11)
    figure.suptitle(f"{summary['env']}, {summary['n_agents']} agents, {summary['env_steps']:,} env steps", fontsize=13)
    path = folder / f"{folder.name}.png"
    figure.savefig(path)
    return path
