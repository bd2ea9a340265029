import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Polygon

from lomaq.analysis.certificate.locality import influence
from lomaq.analysis.certificate.probe import Probe
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import SumMixer
from lomaq.plots import graph_view
from lomaq.plots.graph_plot import SMALLEST_NAME, draw_graph
from lomaq.plots.graph_view import OTHER, GraphView, block_colours

GRID = AgentGraph.grid(4, 5)


def drawn(graph=GRID, **settings):
    """Axes with a picture on them."""
    axes = Figure().subplots()
    draw_graph(axes, GraphView(graph, **settings))
    return axes


def discs_of(axes):
    return next(part for part in axes.collections if isinstance(part, EllipseCollection))


def edges_of(axes):
    return next(part for part in axes.collections if isinstance(part, LineCollection))


def legend_of(axes):
    legend = axes.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def colours_of(axes):
    return [to_hex(colour) for colour in discs_of(axes).get_facecolor()]


@st.composite
def graphs_with_partitions(draw):
    n = draw(st.integers(1, 12))
    pairs = [(a, b) for a in range(n) for b in range(a)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    label = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    blocks = [[i for i in range(n) if label[i] == k] for k in set(label)]
    return AgentGraph.from_edges(n, edges), Partition(blocks, n)


# --------------------------------------------------------------------- colours


@given(graphs_with_partitions())
def test_blocks_that_touch_differ_in_colour(case):
    graph, partition = case
    colour = block_colours(graph, partition)
    group, colours, _ = GraphView(graph, partition).groups
    for a, b in graph.pairs.tolist():
        j, k = int(partition.block_of[a]), int(partition.block_of[b])
        if j != k:
            assert colour[j] != colour[k]
            assert colours[group[a]] != colours[group[b]]
    for block in partition.blocks:
        assert len({int(group[i]) for i in block}) == 1


def test_many_blocks_that_all_touch_have_a_colour_each():
    group, colours, _ = GraphView(AgentGraph.complete(30), Partition.singletons(30)).groups
    assert len({colours[g] for g in group}) == 30


def test_a_large_regular_graph_needs_few_colours():
    assert block_colours(AgentGraph.grid(10, 10), Partition.singletons(100)).max() == 1


def test_without_anything_to_show_all_agents_are_alike():
    assert len(set(colours_of(drawn()))) == 1
    assert legend_of(drawn()) == []


def test_classes_have_a_colour_and_a_legend_entry_each():
    axes = drawn(AgentGraph.line(6), classes=True)
    colours = colours_of(axes)
    assert colours[0] == colours[5] != colours[1]
    assert len(set(colours[1:5])) == 1
    assert legend_of(axes) == ["class 1: 4 agents", "class 0: 2 agents"]


def test_the_rarest_classes_share_the_last_colour():
    axes = drawn(AgentGraph.line(20), classes=True, kappa=9)  # nine classes of two and one of two in the middle
    names = legend_of(axes)
    assert len(names) == 7
    assert names[-1] == "4 others: 8 agents"
    assert colours_of(axes).count(OTHER.lower()) == 8


def test_classes_of_endless_neighbourhoods_are_refused(monkeypatch):
    monkeypatch.setattr(graph_view, "MOST_SURROUNDINGS", 10)
    with pytest.raises(InputError, match=r"^classes: expected at most 10 edges .*kappa=2; take a smaller kappa"):
        drawn(classes=True, kappa=2)


# ------------------------------------------------------- neighbourhoods, values


def test_the_neighbourhood_is_outlined_and_its_members_have_thick_rims():
    axes = drawn(agent=7, kappa=1)
    assert legend_of(axes) == ["within 1 hop of agent 7 (5)"]
    rims = discs_of(axes).get_linewidths()
    assert [i for i, rim in enumerate(rims) if rim == max(rims)] == [2, 6, 7, 8, 12]
    assert sum(isinstance(patch, Polygon) for patch in axes.patches) == 1


def test_agents_are_numbered_where_there_is_room():
    assert [text.get_text() for text in drawn().texts] == [str(i) for i in range(20)]
    assert not drawn(AgentGraph.ring(1000)).texts
    assert [text.get_text() for text in drawn(AgentGraph.ring(1000), agent=77).texts] == ["77"]


def test_agents_with_names_are_called_by_them():
    short = AgentGraph.from_edges(3, [(0, 1), (1, 2)], names=["A1", "A2", "A3"])
    axes = drawn(short, agent=1)
    assert [text.get_text() for text in axes.texts] == short.names
    assert legend_of(axes) == ["within 1 hop of A2 (3)"]
    long = AgentGraph.from_edges(2, [(0, 1)], names=["a name of twenty and more letters", "b"])
    assert all(text.get_fontsize() == SMALLEST_NAME for text in drawn(long).texts)


def test_values_colour_the_agents_beside_a_scale():
    values = torch.arange(20.0)
    axes = drawn(values=values, value_name="degree of joy", classes=True)
    assert discs_of(axes).get_array().tolist() == values.tolist()
    assert axes.figure.axes[1].get_ylabel() == "degree of joy"
    assert legend_of(axes) == []


def test_values_of_several_steps_are_drawn_as_their_mean():
    axes = drawn(AgentGraph.line(2), values=[[0.0, 4.0], [2.0, 8.0]], value_name="reward")
    assert discs_of(axes).get_array().tolist() == [1.0, 6.0]
    assert axes.figure.axes[1].get_ylabel() == "mean reward"


def test_equal_values_have_a_scale_around_them():
    assert discs_of(drawn(values=np.full(20, 3.0))).get_clim() == (2.5, 3.5)


def test_edges_inside_a_block_have_its_colour():
    line = AgentGraph.line(4)
    axes = drawn(line, partition=Partition([[0, 1], [2, 3]], 4))
    inside = [to_hex(colour) for colour in edges_of(axes).get_colors()]
    assert {inside[1], inside[2]} == set(colours_of(axes))
    assert inside[0] not in colours_of(axes)  # the one between the blocks lies below


def test_widths_are_in_proportion_to_weights():
    axes = drawn(AgentGraph.line(4), edge_weights=[1.0, 2.0, 4.0])
    widths = np.array(edges_of(axes).get_linewidths())
    assert widths / widths[0] == pytest.approx([1, 2, 4])
    assert legend_of(axes) == ["largest weight 4"]


def test_weights_of_either_sign_are_as_wide_as_they_are_large():
    axes = drawn(AgentGraph.line(3), edge_weights=[-4.0, 2.0])
    widths = np.array(edges_of(axes).get_linewidths())
    assert widths[0] == pytest.approx(2 * widths[1])
    assert legend_of(axes) == ["largest weight ±4"]


def test_weights_may_all_be_zero_and_edges_none():
    assert legend_of(drawn(AgentGraph.line(3), edge_weights=[0, 0])) == ["largest weight 0"]
    assert legend_of(drawn(AgentGraph.empty(3), edge_weights=[])) == ["largest weight 0"]


def test_influence_is_the_mean_size_of_both_directions():
    graph = AgentGraph.from_edges(3, [[0, 1], [0, 2]])
    matrix = torch.tensor([[1.0, 2, -3], [4, 1, 0], [5, 0, 1]])  # row J, column i
    weights = influence(Probe(lambda u, _: u @ matrix.T, graph, Partition.singletons(3), 1, torch.zeros(2, 3)))
    assert weights.tolist() == [3.0, 4.0]
    drawn(graph, edge_weights=weights)


def test_influence_in_a_sum_is_one_inside_blocks_and_nothing_between_them():
    graph, blocks = AgentGraph.line(4), Partition([[0, 1], [2, 3]], 4)
    mixer = SumMixer(graph, blocks, 0)
    assert influence(Probe(mixer, graph, blocks, 0, torch.randn(5, 4))).tolist() == [1.0, 0.0, 1.0]


def test_influence_of_a_constant_is_refused():
    graph, blocks = AgentGraph.line(2), Partition.singletons(2)
    with pytest.raises(InputError, match=r"^mixer: expected block values that can be differentiated"):
        influence(Probe(lambda u, _: torch.zeros(3, 2), graph, blocks, 1, torch.zeros(3, 2)))


# ----------------------------------------------------------------------- files


@pytest.mark.parametrize("graph", [AgentGraph.line(15), AgentGraph.empty(1), AgentGraph.ring(1000)])
@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_pictures_are_written_in_every_format(tmp_path, graph, ending):
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    path = tmp_path / f"graph.{ending}"
    draw_graph(path, GraphView(graph, agent=0, title="a graph"))
    assert path.read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"values": np.zeros(19)}, r"values: expected numbers of shape \[20\] or \[T, 20\], got \[19\]"),
        ({"values": np.full(20, np.nan)}, "values: expected finite numbers, got NaN"),
        ({"edge_weights": np.ones(3)}, r"edge_weights: expected numbers of shape \[31\], got \[3\]"),
        ({"agent": 20}, "agent: expected a whole number from 0 to 19, got 20"),
        ({"kappa": -1}, "kappa: expected a whole number of at least 0, got -1"),
        ({"partition": Partition.full(3)}, "partition: expected blocks of the graph's 20 agents, got 3 agents"),
    ],
)
def test_what_does_not_fit_the_graph_is_refused_by_name(settings, line):
    with pytest.raises(InputError, match=f"^{line}"):
        drawn(**settings)


def test_unknown_endings_are_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match=r"graph\.gif: expected one of \.png, \.svg, \.pdf, got '\.gif'"):
        draw_graph(tmp_path / "graph.gif", GraphView(GRID))
    assert list(tmp_path.iterdir()) == []


def test_a_title_is_whole_beside_a_colour_bar_and_over_a_legend(tmp_path):
    view = GraphView(AgentGraph.ring(30), agent=1, values=np.arange(30), edge_weights=np.ones(30), title="title")
    draw_graph(tmp_path / "graph.png", view)
    assert (imread(tmp_path / "graph.png")[:5, ..., :3] == 1).all()  # white above it
