"""Pictures of agent graphs as one interactive HTML file, by plotly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lomaq.errors import INSTALL, InputError, check_choice
from lomaq.plots.graph_view import DARK, GraphView, classes_of, value_span
from lomaq.runs.files import write_atomic

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Pixels: the drawing, and the smallest and largest disc in it.
WIDTH, HEIGHT, DISCS = 1000, 620, (5, 44)
#: Widths that weighted edges are rounded to, since every width is a trace of its own.
WIDTHS = 6
#: Pixels of the largest weight.
WIDEST = 8
#: Milliseconds from step to step.
PACE = 120


def write_graph_html(path: str | Path, view: GraphView) -> None:
    """Write :func:`graph_figure` as one ``.html`` file with all that it needs to work offline (some 5 MB).

    Raises:
        InputError: If plotly is missing or the file would be of another kind.
    """
    check_choice(f"ending of {path}", Path(path).suffix, (".html",))
    options = {"displaylogo": False, "scrollZoom": True}
    write_atomic(Path(path), graph_figure(view).to_html(include_plotlyjs=True, auto_play=False, config=options))


def graph_figure(view: GraphView) -> go.Figure:
    """The picture as a plotly figure, for a notebook; the discs are its last trace.

    A disc that is pointed at tells agent, degree, block, ego class and value.

    Raises:
        InputError: If plotly is missing.
    """
    try:
        import plotly.graph_objects as go  # an extra, and slow to import
    except ImportError as error:
        raise InputError("output", "installed packages", error, INSTALL.format("html")) from error
    traces = [_hull_trace(view)] if view.hull is not None else []
    traces += [*_edge_traces(view), *_legend_traces(view), _disc_trace(view)]
    figure = go.Figure([go.Scatter(**trace) for trace in traces], _layout(view))
    if view.numbers is not None and len(view.numbers) > 1:
        place = [len(traces) - 1]
        figure.frames = [
            go.Frame(name=str(step), data=[{"type": "scatter", "marker": {"color": row}}], traces=place)
            for step, row in enumerate(_short(view.numbers))
        ]
        figure.update_layout(**_player(len(view.numbers)))
    return figure


def _short(values: np.ndarray) -> list[list[float]]:
    """Values with as many decimals as the eye can tell apart on a scale from end to end, for a smaller file.

    As lists, since plotly merges frames into a trace key by key.
    """
    low, high = value_span(values)
    return values.round(5 - int(np.floor(np.log10(high - low)))).tolist()


def _edge_traces(view: GraphView) -> list[dict[str, Any]]:
    """One trace for all edges of one colour and width, those inside blocks last; gaps are NaN."""
    width = 1 + 0.6 * view.inside if view.widths is None else 0.4 + WIDEST * np.ceil(WIDTHS * view.widths) / WIDTHS
    lines = np.pad(view.lines, ((0, 0), (0, 1), (0, 0)), constant_values=np.nan)  # [E, S + 1, 2]
    colours = np.array(view.edge_colours)
    traces = []
    for inside, colour, size in sorted(set(zip(view.inside.tolist(), view.edge_colours, width.tolist(), strict=True))):
        chosen = lines[(view.inside == inside) & (colours == colour) & (width == size)]
        look = {"line": {"color": colour, "width": size}, "hoverinfo": "skip", "showlegend": False}
        traces.append(_trace(chosen.reshape(-1, 2), "lines", **look))
    return traces


def _trace(points: np.ndarray, mode: str, **more: Any) -> dict[str, Any]:
    return {"x": points[:, 0], "y": points[:, 1], "mode": mode, **more}


def _hull_trace(view: GraphView) -> dict[str, Any]:
    assert view.hull is not None
    look = {"fill": "toself", "fillcolor": "rgba(0,0,0,0.09)", "line": {"color": "black", "width": 1.5}}
    return _trace(np.pad(view.hull, ((0, 1), (0, 0)), "wrap"), "lines", name=view.hull_name, hoverinfo="skip", **look)


def _legend_traces(view: GraphView) -> list[dict[str, Any]]:
    """Points nowhere, since the discs of all classes are one trace, and the lines of a width another."""
    looks = [{"color": colour, "size": 12} for colour in view.groups[1]]
    nowhere = np.full((1, 2), None)
    traces = [
        _trace(nowhere, "markers", name=name, marker=look) for name, look in zip(view.groups[2], looks, strict=False)
    ]
    if view.weight_name is not None:
        traces.append(_trace(nowhere, "lines", name=view.weight_name, line={"color": DARK, "width": WIDEST}))
    return traces


def _disc_trace(view: GraphView) -> dict[str, Any]:
    graph, n = view.graph, view.graph.n_agents
    scale = ([WIDTH, HEIGHT] / np.subtract(*view.box[::-1])).min()  # pixels of a unit, before anybody zooms
    size = float(np.clip(2 * view.radius * scale, *DISCS))
    rim = np.full(n, min(1.0, 0.05 * size))
    rim[view.members] = max(2.0, 0.06 * size)
    rim[[] if view.agent is None else [view.agent]] = max(3.0, 0.12 * size)
    marker: dict[str, Any] = {"size": size, "opacity": 1, "line": {"color": "black", "width": rim}}
    told = {
        "agent": list(range(n)),
        "name": graph.names if "names" in graph else None,
        "degree": graph.degree.tolist(),
        "block": None if view.partition is None else view.partition.block_of.tolist(),
        f"ego class (κ = {view.kappa})": None if (found := classes_of(graph, view.kappa)) is None else found.tolist(),
    }
    told = {name: numbers for name, numbers in told.items() if numbers is not None}
    lines = [f"{name} %{{customdata[{i}]}}" for i, name in enumerate(told)]
    if view.numbers is None:
        marker["color"] = [view.groups[1][group] for group in view.groups[0]]
    else:
        low, high = value_span(view.numbers)
        bar = {"title": {"text": view.value_name, "side": "right"}}
        colours = {"color": _short(view.numbers)[0], "cmin": low, "cmax": high, "colorscale": "Viridis"}
        marker |= {**colours, "colorbar": bar}
        lines.append(f"{view.value_name} %{{marker.color:.4g}}")
    text = {
        "customdata": list(zip(*told.values(), strict=True)),
        "hovertemplate": "<br>".join(lines) + "<extra></extra>",
    }
    return _trace(view.pos, "markers", marker=marker, showlegend=False, **text)


def _layout(view: GraphView) -> dict[str, Any]:
    x, y = np.stack(view.box, axis=1).tolist()
    return {
        "title": {"text": view.title, "x": 0.5},
        "height": HEIGHT + 160,
        "plot_bgcolor": "white",
        "hovermode": "closest",
        "xaxis": {"visible": False, "range": x, "constrain": "domain"},
        "yaxis": {"visible": False, "range": y, "constrain": "domain", "scaleanchor": "x"},
        "legend": {"orientation": "h", "x": 0.5, "xanchor": "center", "y": 1.02, "yanchor": "bottom"},
        "margin": {"l": 20, "r": 20, "t": 90, "b": 20},
    }


def _player(steps: int) -> dict[str, Any]:
    """Slider and buttons, for a figure with so many frames."""
    still = {"transition": {"duration": 0}, "mode": "immediate"}

    def place(step: str) -> dict[str, Any]:
        frame = {"frame": {"duration": 0, "redraw": True}, **still}
        return {"label": step, "method": "animate", "args": [[step], frame]}

    playing = {"frame": {"duration": PACE, "redraw": True}, **still, "fromcurrent": True}
    play = {"label": "play", "method": "animate", "args": [None, playing]}
    pause = {"label": "pause", "method": "animate", "args": [[None], still]}
    buttons = {"type": "buttons", "direction": "left", "x": 0.1, "xanchor": "right", "y": 0, "buttons": [play, pause]}
    places = [place(str(step)) for step in range(steps)]
    slider = {"active": 0, "x": 0.12, "len": 0.86, "currentvalue": {"prefix": "step "}, "steps": places}
    return {"sliders": [slider], "updatemenus": [buttons]}
