"""Figure 9: how many hops does a mixer need? Cart-pole with different κ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lomaq.analysis.results import read_curve
from lomaq.studies.runner import StudyRun


def report(folder: Path, runs: list[StudyRun]) -> dict[str, Any]:
    """Test return against env steps for each κ: mean over seeds, band from the lowest to the highest."""
    figure = Figure(figsize=(7, 4.2), layout="constrained", dpi=120)
    axes = figure.subplots()
    result: dict[str, Any] = {}
    for kappa in sorted({run.settings["kappa"] for run in runs}):
        mine = [run for run in runs if run.settings["kappa"] == kappa]
        steps, curves = zip(*(read_curve(run.folder) for run in mine), strict=True)
        length = min(map(len, steps))
        x = np.mean([s[:length] for s in steps], axis=0)
        y = np.array([c[:length] for c in curves])  # [seeds, evaluations]
        (line,) = axes.plot(x, y.mean(axis=0), label=f"κ = {kappa}")
        axes.fill_between(x, y.min(axis=0), y.max(axis=0), alpha=0.15, color=line.get_color(), linewidth=0)
        first = [run.summary["first_env_steps_at"] for run in mine]
        result[f"kappa={kappa}"] = {
            "seeds": len(mine),
            "first_env_steps_at": {name: [f[name] for f in first] for name in first[0]},
            "last": y[:, -1].tolist(),
            "mean_over_the_run": y.mean(axis=1).tolist(),
        }
    best = runs[0].summary["references"]["best possible"]
    axes.axhline(best, color="gray", linestyle="--", linewidth=1, label="best possible")
    axes.set_xlabel("environment steps")
    axes.set_ylabel("test return")
    axes.set_title(f"{runs[0].summary['env']}, {runs[0].summary['n_agents']} agents: κ of the mixer", fontsize=11)
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=9, frameon=False)
    figure.savefig(folder / "fig9.png")
    return result
