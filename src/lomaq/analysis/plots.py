"""Pictures of runs."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lomaq.analysis.results import Evaluation


def draw_curve(path: Path, title: str, evaluations: list[Evaluation], best_return: float | None) -> None:
    """Test return against env steps: mean line, band from the lowest to the highest episode.

    Args:
        path: Picture to write, ``.png`` or another ending that matplotlib knows.
        title: Heading.
        evaluations: In order of env steps.
        best_return: Best possible return, drawn as a dashed line where known.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained", dpi=120)
    axes = figure.subplots()
    steps = [e.env_steps for e in evaluations]
    axes.fill_between(
        steps,
        [min(e.returns) for e in evaluations],
        [max(e.returns) for e in evaluations],
        color="tab:blue",
        alpha=0.18,
        linewidth=0,
        label="lowest to highest episode",
    )
    axes.plot(steps, [e.mean for e in evaluations], color="tab:blue", marker="o", markersize=3, label="mean")
    if best_return is not None:
        axes.axhline(best_return, color="gray", linestyle="--", linewidth=1, label=f"best possible: {best_return:g}")
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("environment steps")
    axes.set_ylabel(f"test return ({len(evaluations[-1].returns)} greedy episodes)")
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=min(0.0, *(min(e.returns) for e in evaluations)))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=9, frameon=False)
    figure.savefig(path)
