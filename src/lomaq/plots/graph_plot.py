"""Pictures of agent graphs by matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon
from matplotlib.patheffects import withStroke

from lomaq.errors import check_choice
from lomaq.plots.graph_view import DARK, GraphView, value_span
from lomaq.runs.files import free_path, replacing

FORMATS = (".png", ".svg", ".pdf")
#: Agents are numbered where they are at most so many, or their discs so many points across.
MOST_LABELS, LABELLED_DISC = 60, 14
#: Points: the smallest letters of names.
SMALLEST_NAME = 8.0
#: Inches: the largest drawing, and the largest disc in it.
WIDEST, HIGHEST, LARGEST_DISC = 10.0, 8.5, 0.5
_OUTLINE: dict[str, Any] = {"facecolor": (0, 0, 0, 0.09), "edgecolor": "black", "linewidth": 1.5}


def draw_graph(where: str | Path | Axes, view: GraphView) -> Path | None:
    """Draw a graph; agents are numbered where there is room.

    Args:
        where: Picture to write, ending ``.png``, ``.svg`` or ``.pdf``, where a name that is taken gets a number; or
            axes to draw on.
        view: What is shown.

    Returns:
        The file that was written; None for axes.

    Raises:
        InputError: If the file would be of another kind.

    Example:
        >>> from lomaq import AgentGraph
        >>> axes = Figure().subplots()
        >>> draw_graph(axes, GraphView(AgentGraph.ring(6), agent=2))
        >>> [text.get_text() for text in axes.get_legend().get_texts()]
        ['within 1 hop of agent 2 (3)']
    """
    low, high = view.box
    if isinstance(where, Axes):
        axes, size = where, np.array(where.get_window_extent().size) / where.figure.dpi
    else:
        check_choice(f"ending of {where}", Path(where).suffix, FORMATS)
        largest = ([WIDEST, HIGHEST] / (high - low)).min()
        size = (high - low) * min(largest, LARGEST_DISC / (2 * view.radius))
        width, height = (0.0, 2.4) if view.numbers is None else (1.3, 3.4)  # room for the colour bar
        around = 0.8 if view.numbers is None else 1.2  # for title and legend; beside a colour bar they need more
        figure = Figure((max(6.0, size[0] + width), max(height, size[1] + around)), layout="constrained")
        axes = figure.subplots()
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.set_axis_off()
    axes.set_title(view.title, fontsize=15)
    disc = 72 * 2 * view.radius * float((size / (high - low)).min())  # points across
    _draw_edges(axes, view, disc)
    _draw_agents(axes, view, disc)
    _draw_legend(axes, view, disc, width=max(6.0, size[0]))
    if isinstance(where, Axes):
        return None
    with replacing(path := free_path(where)) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=120)
    return path


def _draw_edges(axes: Axes, view: GraphView, disc: float) -> None:
    """Lines under the agents, those inside a block over the others."""
    widths = np.where(view.inside, 1.6, 1.0) * np.clip(0.1 * disc, 0.5, 2)
    if view.widths is not None:
        widths = _widest(disc) * np.maximum(view.widths, 0.03)
    order = np.argsort(view.inside, kind="stable")
    colours = [view.edge_colours[i] for i in order]
    lines = LineCollection(list(view.lines[order]), linewidths=widths[order], colors=colours, zorder=2)
    axes.add_collection(lines, autolim=False)


def _widest(disc: float) -> float:
    """Points of the largest weight, for a disc of so many."""
    return float(np.clip(0.4 * disc, 2, 8))


def _draw_agents(axes: Axes, view: GraphView, disc: float) -> None:
    """Discs, those of the neighbourhood with thick rims, and a colour bar where they show values."""
    n = len(view.pos)
    rim = np.full(n, np.clip(0.04 * disc, 0.2, 1))
    rim[view.members] = np.clip(0.1 * disc, 1.0, 2)
    size = np.full(n, 2 * view.radius)
    where: dict[str, Any] = {"units": "xy", "offsets": view.pos, "offset_transform": axes.transData, "zorder": 3}
    discs = EllipseCollection(size, size, np.zeros(n), linewidths=rim, edgecolors="black", **where)
    if view.numbers is None:
        colours: Any = to_rgba_array(view.groups[1])[view.groups[0], :3]
        discs.set_facecolor(colours)
    else:
        values, many = view.numbers.mean(axis=0), len(view.numbers) > 1
        discs.set(array=values, cmap="viridis", clim=value_span(values))
        colours = discs.to_rgba(values)[:, :3]
        bar = axes.figure.colorbar(discs, ax=axes, shrink=0.9, pad=0.02, aspect=25)
        bar.set_label("mean " * many + view.value_name, fontsize=12)
        bar.ax.tick_params(labelsize=11)
    axes.add_collection(discs, autolim=False)
    if n <= MOST_LABELS or disc >= LABELLED_DISC:
        _label_agents(axes, view, colours, disc)
    elif view.agent is not None:
        place = view.pos[view.agent]
        inwards = -36 if place[1] > view.pos[:, 1].mean() else 36
        style: dict[str, Any] = {"ha": "center", "fontsize": 14, "weight": "bold", "zorder": 5}
        style["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        arrow = {"arrowstyle": "-|>", "linewidth": 1.5, "color": "black", "shrinkB": 0.5 * disc}
        axes.annotate(
            view.graph.labels[view.agent], place, (0, inwards), textcoords="offset points", arrowprops=arrow, **style
        )


def _label_agents(axes: Axes, view: GraphView, colours: np.ndarray, disc: float) -> None:
    """Names or numbers in the discs; over their edges, on a white rim, where a name is too long to be read inside."""
    labels = view.graph.labels
    dark = colours @ [0.299, 0.587, 0.114] < 0.45
    size = float(np.clip(0.5 * disc, 4, 15))
    style: dict[str, Any] = {"ha": "center", "va": "center_baseline", "zorder": 4}
    if "names" in view.graph and (size := min(size, 1.2 * disc / max(map(len, labels)))) < SMALLEST_NAME:
        size, dark = SMALLEST_NAME, np.zeros_like(dark)
        style["path_effects"] = [withStroke(linewidth=2.5, foreground="white")]
    for i, (x, y) in enumerate(view.pos):
        style["color"], style["weight"] = "white" if dark[i] else "black", "bold" if i == view.agent else "normal"
        axes.text(x, y, labels[i], fontsize=size, **style)


def _draw_legend(axes: Axes, view: GraphView, disc: float, width: float) -> None:
    """Below the drawing, so many inches wide: the outline, the ego classes and the scale of the widths, if any."""
    handles: list[Line2D | Patch] = []
    if view.hull is not None:
        axes.add_patch(Polygon(view.hull, zorder=1, **_OUTLINE))
        handles.append(Patch(label=view.hull_name, **_OUTLINE))
    _, colours, names = view.groups
    dots: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 11, "markeredgecolor": "black"}
    for colour, name in zip(colours, names, strict=False):
        handles.append(Line2D([], [], color=colour, label=name, **dots))
    if view.weights is not None:
        handles.append(Line2D([], [], color=DARK, linewidth=_widest(disc), label=view.weight_name))
    if handles:
        longest = max(len(str(handle.get_label())) for handle in handles)
        columns = max(1, int(width // max(3.0, 0.55 + 0.085 * longest)))
        place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "ncols": columns}
        axes.legend(handles=handles, fontsize=12, frameon=False, **place)
