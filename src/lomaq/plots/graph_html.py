"""Pictures of agent graphs as one HTML file to zoom, to point at and to play, by plotly."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lomaq.errors import InputError, check_choice
from lomaq.plots.graph_view import GraphView, classes_of, value_span
from lomaq.runs.files import write_atomic

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Pixels: the drawing, and the smallest and largest disc in it.
WIDTH, HEIGHT, DISCS = 1000, 620, (5, 44)
#: Widths that weighted edges are rounded to, since every width is a trace of its own.
WIDTHS = 6
#: Milliseconds from step to step.
PACE = 120


def write_graph_html(path: str | Path, view: GraphView) -> None:
    """Write the picture that :func:`graph_figure` builds, with all that it needs to work offline (some 5 MB).

    Args:
        path: File to write, ending ``.html``.
        view: What is shown.

    Raises:
        InputError: If plotly is missing or the file would be of another kind.
    """
    check_choice(f"ending of {path}", Path(path).suffix, (".html",))
    options = {"displaylogo": False, "scrollZoom": True}
    write_atomic(Path(path), graph_figure(view).to_html(include_plotlyjs=True, auto_play=False, config=options))


def graph_figure(view: GraphView) -> go.Figure:
    """The picture as a plotly figure, for a notebook.

    The discs are its last trace. One that is pointed at tells agent, degree, block, ego class and value.

    Raises:
        InputError: If plotly is missing.
    """
    try:
        import plotly.graph_objects as go  # an extra, and slow to import
    except ImportError as error:
        raise InputError("output", "installed packages", error, "pip install 'lomaq[html]'") from error
    steps = None if view.numbers is None else _short(view.numbers)  # [T, N]
    traces = [_hull_trace(view)] if view.hull is not None else []
    traces += [*_edge_traces(view), *_legend_traces(view), _disc_trace(view, steps)]
    figure = go.Figure([go.Scatter(**trace) for trace in traces], _layout(view))
    if steps is not None and len(steps) > 1:
        place = [len(traces) - 1]
        figure.frames = [
            go.Frame(name=str(step), data=[{"type": "scatter", "marker": {"color": row}}], traces=place)
            for step, row in enumerate(steps.tolist())  # lists: frames are merged into the trace key by key
        ]
        figure.update_layout(sliders=[_slider(len(steps))], updatemenus=[_buttons()])
    return figure


def _short(values: np.ndarray) -> np.ndarray:
    """Values with as many decimals as the eye can tell apart on a scale from end to end, for a smaller file."""
    low, high = value_span(values)
    return values.round(5 - math.floor(math.log10(high - low)))


# ---------------------------------------------------------------------- traces


def _edge_traces(view: GraphView) -> list[dict[str, Any]]:
    """One trace for all edges of one colour and width, those inside blocks last; gaps are NaN."""
    width = 1 + 0.6 * view.inside if view.widths is None else 0.4 + 8 * np.ceil(WIDTHS * view.widths) / WIDTHS
    gap = np.full((len(view.lines), 1, 2), np.nan)
    lines = np.concatenate([view.lines, gap], axis=1)  # [E, S + 1, 2]
    kinds = sorted(set(zip(view.inside.tolist(), view.edge_colours, width.tolist(), strict=True)))
    colours = np.array(view.edge_colours)
    traces = []
    for inside, colour, size in kinds:
        chosen = lines[(view.inside == inside) & (colours == colour) & (width == size)].reshape(-1, 2)
        line = {"color": colour, "width": size}
        quiet = {"hoverinfo": "skip", "showlegend": False}
        traces.append({"x": chosen[:, 0], "y": chosen[:, 1], "mode": "lines", "line": line, **quiet})
    return traces


def _hull_trace(view: GraphView) -> dict[str, Any]:
    assert view.hull is not None
    closed = np.concatenate([view.hull, view.hull[:1]])
    look = {"fill": "toself", "fillcolor": "rgba(0,0,0,0.09)", "line": {"color": "black", "width": 1.5}}
    return {"x": closed[:, 0], "y": closed[:, 1], "mode": "lines", "name": view.hull_name, "hoverinfo": "skip", **look}


def _legend_traces(view: GraphView) -> list[dict[str, Any]]:
    """Points nowhere, since the discs of all classes are one trace."""
    _, colours, names = view.groups
    return [
        {"x": [None], "y": [None], "mode": "markers", "name": name, "marker": {"color": colour, "size": 12}}
        for colour, name in zip(colours, names, strict=False)
    ]


def _disc_trace(view: GraphView, values: np.ndarray | None) -> dict[str, Any]:
    graph = view.graph
    n = graph.n_agents
    scale = ([WIDTH, HEIGHT] / np.subtract(*view.box()[::-1])).min()  # pixels of a unit, before anybody zooms
    size = float(np.clip(2 * view.radius * scale, *DISCS))
    rim = np.full(n, min(1.0, 0.05 * size))
    rim[view.members] = max(2.0, 0.06 * size)
    rim[[] if view.agent is None else [view.agent]] = max(3.0, 0.12 * size)
    marker: dict[str, Any] = {"size": size, "opacity": 1, "line": {"color": "black", "width": rim}}
    lines = ["agent %{customdata[0]}", "degree %{customdata[1]}"]
    known = [list(range(n)), graph.degree.tolist()]
    if "agent_name" in graph:
        lines[0] += " (%{customdata[2]})"
        known.append(list(graph.agent_name))
    if view.partition is not None:
        known.append(view.partition.block_of.tolist())
        lines.append(f"block %{{customdata[{len(known) - 1}]}}")
    found = classes_of(graph, view.kappa)
    if found is not None:
        known.append(found.tolist())
        lines.append(f"ego class %{{customdata[{len(known) - 1}]}} (κ = {view.kappa})")
    if values is None:
        groups, colours, _ = view.groups
        marker["color"] = [colours[group] for group in groups]
    else:
        low, high = value_span(values)
        bar = {"title": {"text": view.value_name, "side": "right"}}
        marker |= {"color": values[0].tolist(), "cmin": low, "cmax": high, "colorscale": "Viridis", "colorbar": bar}
        lines.append(f"{view.value_name} %{{marker.color:.4g}}")
    return {
        "x": view.pos[:, 0],
        "y": view.pos[:, 1],
        "mode": "markers",
        "marker": marker,
        "customdata": [list(row) for row in zip(*known, strict=True)],
        "hovertemplate": "<br>".join(lines) + "<extra></extra>",
        "showlegend": False,
    }


# ---------------------------------------------------------------------- around


def _layout(view: GraphView) -> dict[str, Any]:
    low, high = view.box()
    axis = {"visible": False}
    return {
        "title": {"text": view.title, "x": 0.5},
        "height": HEIGHT + 160,
        "plot_bgcolor": "white",
        "hovermode": "closest",
        "xaxis": {**axis, "range": [float(low[0]), float(high[0])], "constrain": "domain"},
        "yaxis": {**axis, "range": [float(low[1]), float(high[1])], "scaleanchor": "x", "constrain": "domain"},
        "legend": {"orientation": "h", "x": 0.5, "xanchor": "center", "y": 1.02, "yanchor": "bottom"},
        "margin": {"l": 20, "r": 20, "t": 90, "b": 20},
    }


def _animation(frames: list[str] | None, pace: int) -> list[Any]:
    """What plotly's ``animate`` takes; ``frames`` None plays all from where it is."""
    options = {"frame": {"duration": pace, "redraw": True}, "transition": {"duration": 0}, "mode": "immediate"}
    return [frames, {**options, "fromcurrent": True}]


def _slider(steps: int) -> dict[str, Any]:
    return {
        "active": 0,
        "x": 0.12,
        "len": 0.86,
        "currentvalue": {"prefix": "step "},
        "steps": [{"label": str(t), "method": "animate", "args": _animation([str(t)], 0)} for t in range(steps)],
    }


def _buttons() -> dict[str, Any]:
    play = {"label": "play", "method": "animate", "args": _animation(None, PACE)}
    pause = {"label": "pause", "method": "animate", "args": [[None], {"mode": "immediate"}]}
    return {"type": "buttons", "direction": "left", "x": 0.1, "xanchor": "right", "y": 0, "buttons": [play, pause]}
