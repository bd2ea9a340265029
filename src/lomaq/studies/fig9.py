"""Figure 9: how many hops does a mixer need? Cart-pole with different κ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lomaq.analysis.statistics import area
from lomaq.plots.curves import draw_band, finish_axes
from lomaq.runs import Curve, RunRecord


def report(folder: Path, runs: list[RunRecord]) -> dict[str, Any]:
    """Test return against env steps for each κ, with the mean and the range over seeds, and one plot ``fig9.png``."""
    result: dict[str, Any] = {}
    for kappa in sorted({run.settings["kappa"] for run in runs}):
        mine = [run for run in runs if run.settings["kappa"] == kappa]
        first, tests = [run.summary["first_env_steps_at"] for run in mine], [run.tests for run in mine]
        result[f"kappa={kappa}"] = {
            "seeds": len(mine),
            "first_env_steps_at": {name: [f[name] for f in first] for name in first[0]},
            "last": [test.mean[-1] for test in tests],
            "mean_over_the_run": [area(test.steps, test.mean) for test in tests],
            "curve": vars(Curve.over_seeds(tests)),
        }
    result["about"] = {key: runs[0].summary[key] for key in ("env", "n_agents", "references")}
    draw(folder, result)
    return result


def draw(folder: Path, summary: dict[str, Any]) -> Path:
    """Draw ``fig9.png`` from what :func:`report` returned."""
    figure = Figure(figsize=(7, 4.2), layout="constrained", dpi=120)
    axes = figure.subplots()
    about = summary["about"]
    for name, entry in summary.items():
        if name != "about":
            draw_band(axes, Curve(**entry["curve"]), name.replace("kappa=", "κ = "))
    name = "best possible"
    axes.axhline(about["references"][name], color="gray", linestyle="--", linewidth=1, label=name)
    finish_axes(axes)
    axes.set_title(f"{about['env']}, {about['n_agents']} agents: κ of the mixer", fontsize=11)
    axes.legend(loc="lower right", fontsize=9, frameon=False)
    figure.savefig(folder / "fig9.png")
    return folder / "fig9.png"
