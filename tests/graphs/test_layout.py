"""Where agents lie: lines, rings, grids, parts; nothing random."""

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest

from lomaq.graphs import AgentGraph
from lomaq.graphs.layout import LONGEST_CIRCLE, layout
from lomaq.plots.geometry import disc_radius


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
