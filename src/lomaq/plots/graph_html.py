"""Pictures of agent graphs as one HTML file to zoom, to point at and to play, by plotly."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from lomaq.errors import InputError, check_choice
from lomaq.graphs import AgentGraph, Partition
from lomaq.plots.graph_scene import Scene, check_numbers, classes_of, make_scene, value_span
from lomaq.runs.files import write_atomic

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Pixels: the drawing, and the smallest and largest disc in it.
WIDTH, HEIGHT, DISCS = 1000, 620, (5, 44)
#: Widths that weighted edges are rounded to, since every width is a trace of its own.
WIDTHS = 6
#: Milliseconds from step to step.
PACE = 120


def write_graph_html(
    path: str | Path,
    graph: AgentGraph,
    *,
    partition: Partition | None = None,
    agent: int | None = None,
    kappa: int = 1,
    values: np.ndarray | Tensor | None = None,
    edge_weights: np.ndarray | Tensor | None = None,
    classes: bool = False,
    title: str = "",
    value_name: str = "value",
) -> None:
    """Write the picture that :func:`graph_figure` builds, with all that it needs to work offline (some 5 MB).

    Args:
        path: File to write, ending ``.html``.
        graph: The N agents; for this and all else see :func:`lomaq.plots.graph_plot.draw_graph`.
        partition: Blocks.
        agent: Agent whose neighbourhood is outlined.
        kappa: Hops of the neighbourhood and of the ego classes.
        values: ``[N]``, or ``[T, N]`` to be played step by step.
        edge_weights: ``[E]`` widths.
        classes: Colour agents by their ego class.
        title: Heading.
        value_name: What ``values`` are.

    Raises:
        InputError: If an argument does not fit the graph, plotly is missing or the file would be of another kind.
    """
    check_choice(f"ending of {path}", Path(path).suffix, (".html",))
    figure = graph_figure(graph, partition, agent, kappa, values, edge_weights, classes, title, value_name)
    page = figure.to_html(include_plotlyjs=True, auto_play=False, config={"displaylogo": False, "scrollZoom": True})
    write_atomic(Path(path), page)


def graph_figure(
    graph: AgentGraph,
    partition: Partition | None = None,
    agent: int | None = None,
    kappa: int = 1,
    values: np.ndarray | Tensor | None = None,
    edge_weights: np.ndarray | Tensor | None = None,
    classes: bool = False,
    title: str = "",
    value_name: str = "value",
) -> go.Figure:
    """The picture as a plotly figure, for a notebook; the arguments are those of :func:`write_graph_html`.

    The discs are its last trace. One that is pointed at tells agent, degree, block, ego class and value.

    Raises:
        InputError: If an argument does not fit the graph, or plotly is missing.
    """
    try:
        import plotly.graph_objects as go  # an extra, and slow to import
    except ImportError as error:
        raise InputError("output", "installed packages", error, "pip install 'lomaq[html]'") from error
    numbers = None
    if values is not None:
        numbers = check_numbers("values", values, graph.n_agents, "[{0}] or [T, {0}]", (1, 2))
        numbers = _short(numbers.reshape(-1, graph.n_agents))  # [T, N]
    scene = make_scene(graph, partition, agent, kappa, edge_weights, classes and numbers is None)
    traces = [go.Scatter(**trace) for trace in _edge_traces(scene)]
    if scene.hull is not None:
        traces.insert(0, go.Scatter(**_hull_trace(scene)))
    if numbers is None:
        traces += [go.Scatter(**trace) for trace in _legend_traces(scene)]
    discs = _disc_trace(graph, scene, partition, agent, kappa, numbers, value_name)
    traces.append(go.Scatter(**discs))
    figure = go.Figure(traces, _layout(scene, title))
    if numbers is not None and len(numbers) > 1:
        place = [len(traces) - 1]
        figure.frames = [
            go.Frame(name=str(step), data=[{"type": "scatter", "marker": {"color": row}}], traces=place)
            for step, row in enumerate(numbers.tolist())  # lists: frames are merged into the trace key by key
        ]
        figure.update_layout(sliders=[_slider(len(numbers))], updatemenus=[_buttons()])
    return figure


def _short(values: np.ndarray) -> np.ndarray:
    """Values with as many decimals as the eye can tell apart on a scale from end to end, for a smaller file."""
    low, high = value_span(values)
    return values.round(5 - math.floor(math.log10(high - low)))


# ---------------------------------------------------------------------- traces


def _scale(scene: Scene) -> float:
    """Pixels of a unit of the positions, before anybody zooms."""
    low, high = scene.box()
    return float((np.array([WIDTH, HEIGHT]) / (high - low)).min())


def _edge_traces(scene: Scene) -> list[dict[str, Any]]:
    """One trace for all edges of one colour and width, those inside blocks last; gaps are NaN."""
    width = 1 + 0.6 * scene.inside if scene.widths is None else 0.4 + 8 * np.ceil(WIDTHS * scene.widths) / WIDTHS
    gap = np.full((len(scene.lines), 1, 2), np.nan)
    lines = np.concatenate([scene.lines, gap], axis=1)  # [E, S + 1, 2]
    kinds = sorted(set(zip(scene.inside.tolist(), scene.edge_colours, width.tolist(), strict=True)))
    colours = np.array(scene.edge_colours)
    traces = []
    for inside, colour, size in kinds:
        chosen = lines[(scene.inside == inside) & (colours == colour) & (width == size)].reshape(-1, 2)
        line = {"color": colour, "width": size}
        quiet = {"hoverinfo": "skip", "showlegend": False}
        traces.append({"x": chosen[:, 0], "y": chosen[:, 1], "mode": "lines", "line": line, **quiet})
    return traces


def _hull_trace(scene: Scene) -> dict[str, Any]:
    assert scene.hull is not None
    closed = np.concatenate([scene.hull, scene.hull[:1]])
    look = {"fill": "toself", "fillcolor": "rgba(0,0,0,0.09)", "line": {"color": "black", "width": 1.5}}
    return {"x": closed[:, 0], "y": closed[:, 1], "mode": "lines", "name": scene.hull_name, "hoverinfo": "skip", **look}


def _legend_traces(scene: Scene) -> list[dict[str, Any]]:
    """Points nowhere, since the discs of all classes are one trace."""
    return [
        {"x": [None], "y": [None], "mode": "markers", "name": name, "marker": {"color": colour, "size": 12}}
        for colour, name in zip(scene.colours, scene.names, strict=False)
    ]


def _disc_trace(
    graph: AgentGraph,
    scene: Scene,
    partition: Partition | None,
    agent: int | None,
    kappa: int,
    values: np.ndarray | None,
    value_name: str,
) -> dict[str, Any]:
    n = graph.n_agents
    size = float(np.clip(2 * scene.radius * _scale(scene), *DISCS))
    rim = np.full(n, min(1.0, 0.05 * size))
    rim[scene.members] = max(2.0, 0.06 * size)
    rim[[] if agent is None else [agent]] = max(3.0, 0.12 * size)
    marker: dict[str, Any] = {"size": size, "opacity": 1, "line": {"color": "black", "width": rim}}
    lines = ["agent %{customdata[0]}", "degree %{customdata[1]}"]
    known = [list(range(n)), graph.degree.tolist()]
    if "agent_name" in graph:
        lines[0] += " (%{customdata[2]})"
        known.append(list(graph.agent_name))
    if partition is not None:
        known.append(partition.block_of.tolist())
        lines.append(f"block %{{customdata[{len(known) - 1}]}}")
    found = classes_of(graph, kappa)
    if found is not None:
        known.append(found.tolist())
        lines.append(f"ego class %{{customdata[{len(known) - 1}]}} (κ = {kappa})")
    if values is None:
        marker["color"] = [scene.colours[group] for group in scene.group]
    else:
        low, high = value_span(values)
        bar = {"title": {"text": value_name, "side": "right"}}
        marker |= {"color": values[0].tolist(), "cmin": low, "cmax": high, "colorscale": "Viridis", "colorbar": bar}
        lines.append(f"{value_name} %{{marker.color:.4g}}")
    return {
        "x": scene.pos[:, 0],
        "y": scene.pos[:, 1],
        "mode": "markers",
        "marker": marker,
        "customdata": [list(row) for row in zip(*known, strict=True)],
        "hovertemplate": "<br>".join(lines) + "<extra></extra>",
        "showlegend": False,
    }


# ---------------------------------------------------------------------- around


def _layout(scene: Scene, title: str) -> dict[str, Any]:
    low, high = scene.box()
    axis = {"visible": False}
    return {
        "title": {"text": title, "x": 0.5},
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
