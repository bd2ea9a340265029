"""Test returns against env steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lomaq.runs import Curve, Evaluation
from lomaq.runs.files import replacing


def draw_band(axes: Axes, curve: Curve, label: str, style: str = "-", **line: Any) -> None:
    """Draw a mean line and its band in one colour; ``line`` is passed to ``Axes.plot``."""
    (drawn,) = axes.plot(curve.steps, curve.mean, style, label=label, **line)
    axes.fill_between(curve.steps, curve.low, curve.high, alpha=0.15, color=drawn.get_color(), linewidth=0)


def finish_axes(axes: Axes, lowest: float = 0.0) -> None:
    """Name and scale the axes of curves; the return's begins at 0, or at ``lowest`` where that is below."""
    axes.set_xlabel("environment steps")
    axes.set_ylabel("test return")
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=min(0.0, lowest))
    axes.grid(alpha=0.3)


def looks() -> Iterable[tuple[str, str]]:
    """Style and colour of line after line, 27 that differ; gray is for references."""
    return itertools.product(["-", "--", ":"], [f"C{number}" for number in range(10) if number != 7])


def draw_curve(path: Path, title: str, evaluations: list[Evaluation], references: dict[str, float]) -> None:
    """Draw the tests of one run, in order of env steps: mean line, band from the lowest to the highest episode.

    Metrics of the environment have a narrow panel each, below.

    Args:
        path: Picture to write, ``.png`` or another ending that matplotlib knows.
        title: Heading.
        evaluations: The tests.
        references: Returns to compare with, drawn as broken lines.
    """
    names = list(evaluations[-1].metrics)
    figure = Figure(figsize=(7, 4.2 + 1.3 * len(names)), layout="constrained", dpi=120)
    ratios = [3.4, *[1.0] * len(names)]
    (axes, *below) = figure.subplots(len(ratios), squeeze=False, height_ratios=ratios)[:, 0]
    curve = Curve.of(evaluations)
    draw_band(axes, curve, "mean, and lowest to highest episode", color="tab:blue", marker="o", markersize=3)
    styles = itertools.cycle(["--", ":", "-.", (0, (1, 4))])
    for (name, value), style in zip(references.items(), styles, strict=False):
        axes.axhline(value, color="gray", linestyle=style, linewidth=1, label=f"{name}: {value:,.6g}")
    finish_axes(axes, min(curve.low))
    axes.set_title(title, fontsize=11)
    few, episodes = (pick(len(test.returns) for test in evaluations) for pick in (min, max))
    counted = f"{few:,} episodes" if few == episodes else f"the first {few:,} episodes of each test"  # see Curve
    axes.set_ylabel("test return" + (f" ({counted})" if episodes > 1 else ""))
    axes.legend(loc="lower right", fontsize=9, frameon=False)
    for panel, name in zip(below, names, strict=True):
        curve = Curve.of(evaluations, name)
        draw_band(panel, curve, name, color="tab:green", marker="o", markersize=2)
        finish_axes(panel, min(curve.low))
        panel.set_ylabel("")
        panel.set_title(name.replace("_", " "), fontsize=9, loc="left")
    figure.savefig(path)


def draw_curves(path: Path, panels: Mapping[str, Mapping[str, Curve]], band: str, line: str = "mean") -> None:
    """Draw curves in panels, as PNG.

    Args:
        path: Picture to write.
        panels: Title of a panel → name of a curve → curve; at least one curve, with at least one test.
        band: What the bands are, for the heading.
        line: What the lines are.
    """
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(8.5 * columns, 4.6 * rows), layout="constrained", dpi=110)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (title, curves) in zip(grid, panels.items(), strict=False):
        for (name, curve), (style, colour) in zip(curves.items(), itertools.cycle(looks()), strict=False):
            alone = {"marker": "o"} if len(curve.steps) == 1 else {}  # a line through one point shows nothing
            draw_band(axes, curve, name, style, color=colour, linewidth=2, **alone)
        finish_axes(axes, min(min(curve.low) for curve in curves.values()))
        axes.set_title(title, fontsize=12)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9, frameon=False)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.suptitle(f"line: {line}; band: {band}", fontsize=10, color="gray")
    with replacing(path) as file:
        figure.savefig(file, format="png")
