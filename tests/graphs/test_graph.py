"""Graphs of agents as builders make them: edges, drawings, overlapping regions, types, and impossible arguments."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph

# ---------------------------------------------------------- graphs with a name


@pytest.mark.parametrize(
    ("graph", "n_agents", "expected"),
    [
        (AgentGraph.line(1), 1, []),
        (AgentGraph.line(4), 4, [(0, 1), (1, 2), (2, 3)]),
        (AgentGraph.ring(1), 1, []),
        (AgentGraph.ring(2), 2, [(0, 1)]),
        (AgentGraph.ring(3), 3, [(0, 1), (0, 2), (1, 2)]),
        (AgentGraph.ring(4), 4, [(0, 1), (0, 3), (1, 2), (2, 3)]),
        (AgentGraph.star(1), 1, []),
        (AgentGraph.star(4), 4, [(0, 1), (0, 2), (0, 3)]),
        (AgentGraph.grid(1, 1), 1, []),
        (AgentGraph.grid(2, 3), 6, [(0, 1), (0, 3), (1, 2), (1, 4), (2, 5), (3, 4), (4, 5)]),
        (AgentGraph.grid(3, 1), 3, [(0, 1), (1, 2)]),
        (AgentGraph.complete(1), 1, []),
        (AgentGraph.complete(4), 4, [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]),
        (AgentGraph.empty(3), 3, []),
    ],
)
def test_builder_makes_exactly_these_edges(edges_of, graph, n_agents, expected):
    assert graph.n_agents == n_agents
    assert edges_of(graph) == expected
    assert graph.n_edges == len(expected)
    assert graph.edge_index.dtype == torch.int64
    assert graph.degree.tolist() == [sum(i in edge for edge in expected) for i in range(n_agents)]
    assert graph.validate()


@pytest.mark.parametrize("graph", [AgentGraph.line(5), AgentGraph.ring(5), AgentGraph.grid(2, 3)])
def test_drawing_puts_joined_agents_equally_far_apart_and_no_two_on_one_spot(graph):
    assert graph.pos.dtype == torch.float32
    assert graph.pos.shape == (graph.n_agents, 2)
    source, target = graph.edge_index
    lengths = (graph.pos[source] - graph.pos[target]).norm(dim=1)
    assert torch.allclose(lengths, lengths[:1])
    assert torch.pdist(graph.pos).min() > 0.5


def test_star_is_drawn_with_its_hub_in_the_middle():
    pos = AgentGraph.star(5).pos
    assert pos[0].tolist() == [0.0, 0.0]
    assert torch.allclose(pos[1:].norm(dim=1), torch.ones(4))


@pytest.mark.parametrize(
    "build",
    [
        AgentGraph.line,
        AgentGraph.ring,
        AgentGraph.star,
        AgentGraph.complete,
        AgentGraph.empty,
        lambda n: AgentGraph.from_edges(n, []),
        lambda n: AgentGraph.grid(n, 2),
        lambda n: AgentGraph.grid(2, n),
    ],
)
@pytest.mark.parametrize("n_agents", [0, -1, 2.0, "3", None])
def test_builder_refuses_an_impossible_number_of_agents(build, n_agents):
    with pytest.raises(InputError, match=r"whole number (of at least 1|from 1 to 1000000)"):
        build(n_agents)


@pytest.mark.parametrize(
    "build", [AgentGraph.line, AgentGraph.empty, AgentGraph.complete, lambda n: AgentGraph.grid(n, 1)]
)
def test_builder_refuses_more_agents_than_memory_is_meant_for(build):
    with pytest.raises(InputError, match="n_agents: expected a whole number from 1 to 1000000, got 100000000"):
        build(100_000_000)


# ------------------------------------------------------------------- positions


def test_radius_joins_agents_at_most_that_far_apart(edges_of):
    pos = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.5], [5.0, 5.0]]
    graph = AgentGraph.radius(pos, 1.5)
    assert edges_of(graph) == [(0, 1), (1, 2)]
    assert graph.pos.tolist() == pos
    assert edges_of(AgentGraph.radius(torch.tensor(pos), 1.9)) == [(0, 1), (0, 2), (1, 2)]


@pytest.mark.parametrize("radius", [0, -1.0, math.nan, "far"])
def test_radius_must_be_above_zero(radius):
    with pytest.raises(InputError, match="radius"):
        AgentGraph.radius([[0, 0], [1, 1]], radius)


@pytest.mark.parametrize("pos", [[0.0, 1.0], [[0.0, 1.0, 2.0]], [[0.0, math.nan]], [[math.inf, 0.0]]])
def test_positions_must_be_finite_pairs(pos):
    for build in (AgentGraph.radius, AgentGraph.regions):
        with pytest.raises(InputError, match="pos"):
            build(pos, 1.0)


def test_square_regions_overlap_at_the_corner_where_circles_do_not(edges_of):
    centres = [[0.0, 0.0], [1.5, 1.5], [3.4, 1.5]]
    assert edges_of(AgentGraph.regions(centres, 1.0, "square")) == [(0, 1), (1, 2)]
    assert edges_of(AgentGraph.regions(centres, 1.0, "circle")) == [(1, 2)]


@pytest.mark.parametrize("shape", ["square", "circle"])
def test_regions_that_only_touch_do_not_overlap(edges_of, shape):
    assert edges_of(AgentGraph.regions([[0, 0], [2, 0], [3.99, 0]], 1.0, shape)) == [(1, 2)]


def test_regions_on_the_line_of_the_navigation_figures_reach_two_to_either_side(edges_of):
    graph = AgentGraph.regions([[0.75 * i, 0.0] for i in range(5)], 1.0)
    assert edges_of(graph) == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4)]


def test_single_region_stands_alone():
    graph = AgentGraph.regions([[3.0, 4.0]], 1.0)
    assert (graph.n_agents, graph.n_edges) == (1, 0)


def test_unknown_region_shape_is_refused():
    with pytest.raises(InputError, match="shape"):
        AgentGraph.regions([[0, 0], [1, 1]], 1.0, "triangle")


def test_no_positions_make_no_graph():
    with pytest.raises(InputError, match="pos"):
        AgentGraph.radius(np.zeros((0, 2)), 1.0)


# ----------------------------------------------------------------------- edges


@pytest.mark.parametrize(
    "edges", [[(0, 1), (2, 1)], [(0, 1), (1, 0), (1, 2), (2, 1)], [[1, 0], [1, 0], [2, 1]], iter([(1, 2), (0, 1)])]
)
def test_edges_may_come_in_one_or_both_directions_and_twice(edges_of, edges):
    graph = AgentGraph.from_edges(3, edges, agent_type=[0, 1, 0], pos=[[0, 0], [1, 0], [2, 0]])
    assert edges_of(graph) == [(0, 1), (1, 2)]
    assert graph.agent_type.tolist() == [0, 1, 0]
    assert graph.agent_type.dtype == torch.int64
    assert graph.pos.dtype == torch.float32


def test_agents_without_edges_count():
    graph = AgentGraph.from_edges(4, [(0, 1)])
    assert graph.n_agents == 4
    assert graph.degree.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([(0, 0)], r"edges: expected no self loops, got \[0, 0\]"),
        ([(0, 1), (1, 3)], r"edges: expected agent numbers 0 … 2, got \[1, 3\]"),
        ([(0, 1), (-1, 2)], r"edges: expected agent numbers 0 … 2, got \[-1, 2\]"),
        ([(0, 1, 2)], "edges: expected pairs"),
        ([(0,)], "edges: expected pairs"),
        ([0, 1], "edges: expected pairs"),
        ([("a", "b")], "edges: expected pairs"),
        (5, "edges: expected pairs"),
    ],
)
def test_impossible_edges_are_refused(edges, message):
    with pytest.raises(InputError, match=message):
        AgentGraph.from_edges(3, edges)


def test_fractions_are_no_agent_numbers():
    with pytest.raises(InputError, match="edges"):
        AgentGraph.from_edges(3, [(0.5, 1.7)])


@pytest.mark.parametrize("agent", [math.inf, 10**30])
def test_numbers_beyond_int64_are_no_agents(agent):
    with pytest.raises(InputError, match="edges"):
        AgentGraph.from_edges(3, [(0, agent)])


@pytest.mark.parametrize(
    ("agent_type", "allowed"), [([0, 2, 0], False), ([0, 1], False), ([1, 1, 1], False), ([0, 1, 2], True)]
)
def test_agent_types_number_every_agent_from_zero_without_gaps(agent_type, allowed):
    if allowed:
        assert AgentGraph.from_edges(3, [(0, 1)], agent_type=agent_type).agent_type.tolist() == agent_type
    else:
        with pytest.raises(InputError, match="agent_type"):
            AgentGraph.from_edges(3, [(0, 1)], agent_type=agent_type)


@pytest.mark.parametrize(
    "build",
    [
        partial(AgentGraph.line, 4),
        partial(AgentGraph.ring, 4),
        partial(AgentGraph.star, 4),
        partial(AgentGraph.grid, 2, 2),
        partial(AgentGraph.complete, 4),
        partial(AgentGraph.empty, 4),
        partial(AgentGraph.radius, [[0, 0], [1, 0], [2, 0], [3, 0]], 1.0),
        partial(AgentGraph.regions, [[0, 0], [1, 0], [2, 0], [3, 0]], 1.0),
        partial(AgentGraph.from_edges, 4, [(0, 1)]),
    ],
    ids=lambda build: build.func.__name__,
)
def test_every_builder_takes_agent_types(build):
    assert build(agent_type=[0, 1, 0, 1]).types.tolist() == [0, 1, 0, 1]
    assert "agent_type" not in build()
    with pytest.raises(InputError, match="agent_type"):
        build(agent_type=[0, 1])


def test_negative_agent_types_are_refused():
    with pytest.raises(InputError, match="agent_type"):
        AgentGraph.from_edges(3, [(0, 1)], agent_type=[-5, -5, -5])


@pytest.mark.parametrize("pos", [[[0, 0], [1, 0]], [0, 1, 2]])
def test_positions_must_fit_the_agents(pos):
    with pytest.raises(InputError, match=r"pos: expected finite positions of shape"):
        AgentGraph.from_edges(3, [(0, 1)], pos=pos)


def test_positions_in_three_dimensions_are_refused():
    with pytest.raises(InputError, match=r"pos: expected finite positions of shape"):
        AgentGraph.from_edges(2, [(0, 1)], pos=[[0, 0, 0], [1, 1, 1]])


def test_pairs_are_each_edge_once_in_order():
    graph = AgentGraph.from_edges(4, [[3, 1], [0, 3], [1, 0]])
    assert graph.pairs.tolist() == [[0, 1], [0, 3], [1, 3]]
    assert AgentGraph.empty(2).pairs.shape == (0, 2)
