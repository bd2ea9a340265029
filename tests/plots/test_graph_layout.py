from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from lomaq.graphs import AgentGraph
from lomaq.plots.graph_layout import LONGEST_CIRCLE, disc_radius, edge_lines, hull, layout


def without_positions(graph: AgentGraph) -> AgentGraph:
    return AgentGraph.from_edges(graph.n_agents, graph.pairs.numpy().tolist())


def distances(pos, pairs):
    return np.linalg.norm(pos[pairs[:, 0]] - pos[pairs[:, 1]], axis=1)


# ------------------------------------------------------------------- positions


@pytest.mark.parametrize("graph", [AgentGraph.line(15), AgentGraph.ring(50), AgentGraph.grid(4, 5), AgentGraph.star(7)])
def test_agents_are_where_the_graph_says(graph):
    assert layout(graph) == pytest.approx(graph.pos.numpy())


def test_a_path_without_positions_becomes_a_line_in_its_own_order():
    graph = AgentGraph.from_edges(4, [[2, 0], [0, 3], [3, 1]])  # 1 – 3 – 0 – 2
    assert layout(graph).tolist() == [[2, 0], [0, 0], [3, 0], [1, 0]]


def test_a_ring_without_positions_becomes_a_circle():
    graph = AgentGraph.from_edges(5, [[0, 3], [3, 1], [1, 4], [4, 2], [2, 0]])
    pos = layout(graph)
    middle = pos.mean(axis=0)
    assert np.ptp(np.linalg.norm(pos - middle, axis=1)) == pytest.approx(0, abs=1e-9)
    assert np.ptp(distances(pos, graph.pairs.numpy())) == pytest.approx(0, abs=1e-9)


def test_complete_graphs_become_circles():
    pos = layout(AgentGraph.complete(6))
    assert np.ptp(np.linalg.norm(pos - pos.mean(axis=0), axis=1)) == pytest.approx(0, abs=1e-9)


def test_a_grid_without_positions_is_found_again_up_to_a_turn():
    graph = AgentGraph.grid(6, 6)
    pos, true = layout(without_positions(graph)), graph.pos.numpy()
    found, wanted = (np.linalg.norm(x[:, None] - x[None], axis=-1)[np.triu_indices(36, 1)] for x in (pos, true))
    assert np.corrcoef(found, wanted)[0, 1] > 0.98


@pytest.mark.parametrize("n", [21, 100, 1000])
def test_long_lines_are_folded_so_that_neighbours_stay_neighbours(n):
    for graph in (AgentGraph.line(n), without_positions(AgentGraph.line(n))):
        pos = layout(graph)
        assert distances(pos, graph.pairs.numpy()) == pytest.approx(1)
        width, height = np.ptp(pos, axis=0)
        assert width < 4 * (height + 1)
        assert len(np.unique(pos.round(6), axis=0)) == n


def test_slanting_lines_are_folded_too_and_upright_ones_in_the_order_of_their_agents():
    along = np.arange(30.0)
    for direction in ([1, 0], [3, 4], [0, 1]):
        graph = AgentGraph.from_edges(30, list(pairwise(range(30))), pos=along[:, None] * np.array(direction))
        assert layout(graph)[0].tolist() == [0, 0]
        assert distances(layout(graph), graph.pairs.numpy()) == pytest.approx(1)


@pytest.mark.parametrize("n", [LONGEST_CIRCLE + 1, 300, 1000])
def test_long_rings_are_drawn_in_waves_whose_discs_do_not_touch(n):
    graph = AgentGraph.ring(n)
    pos, pairs = layout(graph), graph.pairs.numpy()
    assert np.ptp(pos, axis=0).max() < 0.8 * n / np.pi  # smaller than the circle, so agents are larger
    assert distances(pos, pairs) == pytest.approx(1, abs=0.08)
    apart = np.linalg.norm(pos[:, None] - pos[None], axis=-1)[np.triu_indices(n, 1)]
    assert apart.min() > 2 * disc_radius(pos)


def test_connected_parts_lie_beside_each_other():
    graph = AgentGraph.from_edges(9, [[0, 1], [1, 2], [2, 0], [3, 4], [5, 6], [6, 7], [7, 5]])
    pos = layout(graph)
    parts = [[0, 1, 2], [3, 4], [5, 6, 7], [8]]
    boxes = [(pos[part].min(axis=0), pos[part].max(axis=0)) for part in parts]
    for i, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[:i]:
            assert ((low > other_high + 0.5) | (high < other_low - 0.5)).any()


def test_layouts_are_never_random():
    graph = AgentGraph.from_networkx(nx.barabasi_albert_graph(40, 2, seed=1))
    assert np.array_equal(layout(graph), layout(graph))
    assert len(np.unique(layout(graph).round(3), axis=0)) == 40


def test_large_graphs_without_positions_are_laid_out_by_landmarks_alone():
    graph = AgentGraph.grid(46, 46)
    pos = layout(without_positions(graph))
    assert np.isfinite(pos).all()
    assert distances(pos, graph.pairs.numpy()).mean() == pytest.approx(1)


@pytest.mark.parametrize(
    "graph", [AgentGraph.line(1), AgentGraph.line(2), AgentGraph.empty(7), AgentGraph.complete(3), AgentGraph.star(5)]
)
def test_the_smallest_graphs_have_places_apart(graph):
    for one in (graph, without_positions(graph)):
        pos = layout(one)
        assert pos.shape == (graph.n_agents, 2)
        assert disc_radius(pos) > 0
        apart = np.linalg.norm(pos[:, None] - pos[None], axis=-1)[np.triu_indices(graph.n_agents, 1)]
        assert (apart > 2 * disc_radius(pos)).all()


def test_agents_in_one_place_still_have_a_size():
    assert disc_radius(np.zeros((3, 2))) > 0


# ----------------------------------------------------------------------- edges


def test_edge_pairs_are_each_edge_once_in_order():
    graph = AgentGraph.from_edges(4, [[3, 1], [0, 3], [1, 0]])
    assert graph.pairs.numpy().tolist() == [[0, 1], [0, 3], [1, 3]]
    assert AgentGraph.empty(2).pairs.shape == (0, 2)


def test_edges_are_straight_where_nobody_is_in_the_way():
    pos, pairs = layout(AgentGraph.grid(2, 2)), AgentGraph.grid(2, 2).pairs.numpy()
    lines = edge_lines(pos, pairs, 0.3)
    assert lines.shape == (4, 2, 2)
    assert np.array_equal(lines, pos[pairs])


def test_an_edge_bends_around_the_agents_between_its_ends():
    pos, pairs, radius = np.array([[0.0, 0], [1, 0], [2, 0]]), np.array([[0, 1], [0, 2], [1, 2]]), 0.3
    lines = edge_lines(pos, pairs, radius)
    assert lines[:, 0] == pytest.approx(pos[pairs[:, 0]])
    assert lines[:, -1] == pytest.approx(pos[pairs[:, 1]])
    assert lines[[0, 2], :, 1] == pytest.approx(0)
    assert np.linalg.norm(lines[1] - pos[1], axis=1).min() > radius


def test_an_edge_that_passes_more_agents_bends_more():
    pos = np.stack([np.arange(5.0), np.zeros(5)], axis=1)
    lines = edge_lines(pos, np.array([[0, 2], [0, 3], [0, 4]]), 0.3)
    height = np.abs(lines[:, :, 1]).max(axis=1)
    assert (np.diff(height) > 0.1).all()


# ----------------------------------------------------------------------- hulls


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=1, max_size=8), st.floats(0.1, 2))
def test_hull_is_convex_and_keeps_its_margin_around_every_point(points, margin):
    cloud = np.array(points, dtype=float)
    outline = hull(cloud, margin)
    edge = np.roll(outline, -1, axis=0) - outline
    following = np.roll(edge, -1, axis=0)
    assert (edge[:, 0] * following[:, 1] - edge[:, 1] * following[:, 0] > -1e-9).all()  # always to the left
    offset = cloud[None] - outline[:, None]
    inwards = (edge[:, :1] * offset[..., 1] - edge[:, 1:] * offset[..., 0]) / np.linalg.norm(edge, axis=1)[:, None]
    assert inwards.min() > 0.99 * margin
    assert np.linalg.norm(outline[:, None] - cloud[None], axis=-1).min() == pytest.approx(margin)


@pytest.mark.parametrize("points", [[[1, 2]], [[0, 0], [3, 4]], [[0, 0], [1, 1], [2, 2]], [[5, 5], [5, 5]]])
def test_one_point_and_points_in_a_row_have_a_hull(points):
    points = np.array(points, dtype=float)
    assert Outline(hull(points, 0.5)).contains_points(points).all()


@pytest.mark.parametrize(
    ("graph", "agent", "kappa"),
    [
        (AgentGraph.line(15), 7, 2),
        (AgentGraph.line(15), 0, 0),
        (AgentGraph.grid(10, 10), 44, 1),
        (AgentGraph.grid(10, 10), 44, 3),
        (AgentGraph.grid(10, 10), 0, 2),
        (AgentGraph.ring(50), 0, 2),
        (AgentGraph.star(9), 3, 1),
        (AgentGraph.line(60), 30, 1),
    ],
)
def test_on_regular_graphs_the_hull_holds_exactly_the_neighbourhood(graph, agent, kappa):
    pos = layout(graph)
    members = graph.neighbourhood(agent, kappa)
    outline = hull(pos[members], 1.6 * disc_radius(pos))
    assert np.flatnonzero(Outline(outline).contains_points(pos)).tolist() == members
