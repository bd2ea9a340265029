import builtins
import json
import re

import numpy as np
import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.plots.graph_html import graph_figure, write_graph_html
from lomaq.plots.graph_view import GraphView

GRID = AgentGraph.grid(3, 4)


def traces_of(figure):
    return json.loads(figure.to_json())["data"]


def test_every_agent_is_a_disc_that_tells_what_it_is():
    blocks = Partition([[0, 1, 2, 3], [4, 5, 6, 7, 8, 9, 10, 11]], 12)
    discs = traces_of(graph_figure(GraphView(GRID, blocks, values=np.arange(12.0), value_name="reward")))[-1]
    degree = [2, 3, 3, 2, 3, 4, 4, 3, 2, 3, 3, 2]
    classes = [0, 1, 1, 0, 1, 2, 2, 1, 0, 1, 1, 0]
    assert discs["customdata"] == [[i, degree[i], int(i >= 4), classes[i]] for i in range(12)]
    for part in ("agent %{customdata[0]}", "degree %{customdata[1]}", "block %{customdata[2]}"):
        assert part in discs["hovertemplate"]
    assert "ego class (κ = 1) %{customdata[3]}" in discs["hovertemplate"]
    assert "reward %{marker.color:.4g}" in discs["hovertemplate"]


def test_names_of_agents_are_shown_and_absent_things_are_not():
    graph = AgentGraph.line(2)
    graph.names = ["north", "south"]
    discs = traces_of(graph_figure(GraphView(graph)))[-1]
    assert discs["customdata"] == [[0, "north", 1, 0], [1, "south", 1, 0]]
    assert discs["hovertemplate"].startswith("agent %{customdata[0]}<br>name %{customdata[1]}<br>degree")
    assert "block" not in discs["hovertemplate"]


def test_an_episode_has_a_frame_and_a_place_on_the_slider_for_each_step():
    values = torch.randn(7, 12)
    figure = graph_figure(GraphView(GRID, agent=5, values=values))
    assert len(figure.frames) == 7
    for step, frame in enumerate(figure.frames):
        assert frame.name == str(step)
        assert tuple(frame.traces) == (len(figure.data) - 1,)
        assert frame.data[0].marker.color == pytest.approx(values[step].tolist(), abs=1e-5)
    slider, button = figure.layout.sliders[0], figure.layout.updatemenus[0].buttons[0]
    assert [list(step.args[0]) for step in slider.steps] == [[str(t)] for t in range(7)]
    assert button.label == "play"
    discs = figure.data[-1].marker
    ends = float(values.min()), float(values.max())
    assert (discs.cmin, discs.cmax) == pytest.approx(ends, abs=1e-5)  # one scale for all


def test_frames_hold_plain_numbers():
    steps = json.loads(graph_figure(GraphView(GRID, values=np.arange(24.0).reshape(2, 12))).to_json())["frames"]
    assert [step["data"][0]["marker"]["color"] for step in steps] == [list(range(12)), list(range(12, 24))]


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e12])
def test_rounding_keeps_what_can_be_told_apart(scale):
    values = scale * np.linspace(0, 1, 12)
    assert graph_figure(GraphView(GRID, values=values)).data[-1].marker.color == pytest.approx(
        values.tolist(), abs=1e-5 * scale
    )


@pytest.mark.parametrize("values", [None, np.arange(12.0), np.ones((1, 12))])
def test_what_does_not_change_has_no_slider(values):
    figure = graph_figure(GraphView(GRID, values=values))
    assert len(figure.frames) == 0
    assert len(figure.layout.sliders) == 0


def test_neighbourhood_and_classes_are_in_the_legend():
    figure = graph_figure(GraphView(AgentGraph.line(6), agent=2, kappa=1, classes=True))
    shown = [trace.name for trace in figure.data if trace.name]
    assert shown == ["within 1 hop of agent 2 (3)", "class 1: 4 agents", "class 0: 2 agents"]
    assert figure.data[0].fill == "toself"


def test_edges_are_one_trace_a_width():
    figure = graph_figure(GraphView(AgentGraph.line(4), edge_weights=[0.0, 1.0, 1.0]))
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert [line.name for line in lines] == [None, None, "largest weight 1"]
    x = np.array(lines[1].x, dtype=float)
    assert x[~np.isnan(x)].tolist() == [1, 2, 2, 3]
    assert lines[1].line.width > lines[0].line.width


def test_the_file_holds_all_that_it_needs(tmp_path):
    path = tmp_path / "new" / "graph.html"
    write_graph_html(path, GraphView(GRID, values=np.random.default_rng(0).random((5, 12)), title="twelve agents"))
    page = path.read_text()
    assert "twelve agents" in page
    assert not re.search(r"<script[^>]*\ssrc\s*=", page)
    assert not re.search(r"<link[^>]*href\s*=\s*[\"']?http", page)
    assert page.count('"customdata":[[0,2,0],[1,3,1]') == 1
    assert len(page) > 3_000_000  # plotly itself


def test_a_graph_without_edges_is_a_picture_too():
    assert len(traces_of(graph_figure(GraphView(AgentGraph.empty(3))))) == 1


def test_without_plotly_the_extra_is_named(monkeypatch, tmp_path):
    real = builtins.__import__

    def missing(name, *rest, **more):
        if name.startswith("plotly"):
            raise ImportError("No module named 'plotly'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r"No module named 'plotly'; pip install '\.\[html\]'$"):
        write_graph_html(tmp_path / "graph.html", GraphView(GRID))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(11,), (3, 11), (2, 3, 12), (0, 12)])
def test_values_of_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match=r"^values: expected numbers of shape \[12\] or \[T, 12\], got "):
        graph_figure(GraphView(GRID, values=np.zeros(shape)))


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"graph\.png: expected one of \.html, got '\.png'"):
        write_graph_html(tmp_path / "graph.png", GraphView(GRID))
