"""Pictures of runs."""

from __future__ import annotations

import itertools
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lomaq.analysis.results import Evaluation


def draw_curve(path: Path, title: str, evaluations: list[Evaluation], references: dict[str, float]) -> None:
    """Test return against env steps: mean line, band from the lowest to the highest episode.

    Args:
        path: Picture to write, ``.png`` or another ending that matplotlib knows.
        title: Heading.
        evaluations: In order of env steps.
        references: Returns to compare with, drawn as broken lines.
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
    styles = itertools.cycle(["--", ":", "-.", (0, (1, 4))])
    for (name, value), style in zip(references.items(), styles, strict=False):
        axes.axhline(value, color="gray", linestyle=style, linewidth=1, label=f"{name}: {value:,.6g}")
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("environment steps")
    episodes = len(evaluations[-1].returns)
    axes.set_ylabel("test return" + (f" ({episodes} greedy episodes)" if episodes > 1 else ""))
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=min(0.0, *(min(e.returns) for e in evaluations)))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=9, frameon=False)
    figure.savefig(path)
