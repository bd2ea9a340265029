import itertools
import math
import time

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph
from lomaq.rewards.groups import RewardGroups


def all_groups(graph, max_size):
    """Every subset of the agents, tried one by one: connected, and inside N(i) ∪ {i} of some agent i."""
    network = graph.to_networkx()
    closed = [{i, *network[i]} for i in range(graph.n_agents)]
    return [
        [list(some) for some in itertools.combinations(range(graph.n_agents), size) if fits(network, closed, some)]
        for size in range(1, max_size + 1)
    ]


def fits(network, closed, some):
    return nx.is_connected(network.subgraph(some)) and any(set(some) <= around for around in closed)


def listed(graph, max_size):
    members = RewardGroups.of(graph, max_size).members
    return [members[size].tolist() if size in members else [] for size in range(1, max_size + 1)]


# ---------------------------------------------------------------- which groups


def test_groups_of_a_line_of_four_by_hand():
    groups = RewardGroups.of(AgentGraph.line(4), max_size=4)
    assert {size: rows.tolist() for size, rows in groups.members.items()} == {
        1: [[0], [1], [2], [3]],
        2: [[0, 1], [1, 2], [2, 3]],
        3: [[0, 1, 2], [1, 2, 3]],
    }
    assert groups.n_groups == 9
    assert all(rows.dtype == torch.int64 for rows in groups.members.values())


def test_a_triangle_with_a_tail_by_hand():
    graph = AgentGraph.from_edges(4, [[0, 1], [1, 2], [0, 2], [2, 3]])
    assert listed(graph, 4) == [
        [[0], [1], [2], [3]],
        [[0, 1], [0, 2], [1, 2], [2, 3]],
        [[0, 1, 2], [0, 2, 3], [1, 2, 3]],
        [[0, 1, 2, 3]],
    ]


def test_the_agent_that_sees_a_group_need_not_be_a_member():
    hub_and_rim = AgentGraph.from_edges(7, [[0, i] for i in range(1, 7)] + [[i, i + 1] for i in range(1, 6)])
    assert [1, 2, 3, 4] in listed(hub_and_rim, 4)[3]


def test_agents_without_edges_are_groups_of_their_own_only():
    assert list(RewardGroups.of(AgentGraph.empty(3), max_size=5).members) == [1]


@st.composite
def graphs(draw):
    n = draw(st.integers(1, 7))
    pairs = list(itertools.combinations(range(n), 2))
    return AgentGraph.from_edges(n, draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else [])


@given(graphs(), st.integers(1, 6))
@settings(max_examples=150, deadline=None)
def test_groups_are_those_that_trying_all_subsets_finds(graph, max_size):
    assert listed(graph, max_size) == all_groups(graph, max_size)


# --------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("graph", "counts"),
    [
        (AgentGraph.line(10), [10, 9, 8, 0]),
        (AgentGraph.ring(10), [10, 10, 10, 0]),
        (AgentGraph.ring(4), [4, 4, 4, 0]),
        (AgentGraph.ring(3), [3, 3, 1, 0]),
        (AgentGraph.star(9), [9, 8, math.comb(8, 2), math.comb(8, 3)]),
        (AgentGraph.complete(7), [math.comb(7, k) for k in (1, 2, 3, 4)]),
    ],
    ids=["line", "ring", "ring of four", "triangle", "star", "complete"],
)
def test_numbers_of_groups_in_closed_form(graph, counts):
    assert [len(rows) for rows in listed(graph, 4)] == counts


@pytest.mark.parametrize(("rows", "columns"), [(3, 4), (5, 5), (1, 6)])
def test_groups_of_a_grid_are_stars_around_an_agent(rows, columns):
    graph = AgentGraph.grid(rows, columns)
    degrees = graph.degree.tolist()
    stars = [sum(math.comb(d, leaves) for d in degrees) for leaves in (2, 3, 4)]
    assert [len(rows) for rows in listed(graph, 6)] == [rows * columns, sum(degrees) // 2, *stars, 0]


def test_a_thousand_agents_on_a_grid_take_well_below_a_second():
    graph = AgentGraph.grid(25, 40)
    begin = time.perf_counter()
    groups = RewardGroups.of(graph, max_size=3)
    assert time.perf_counter() - begin < 0.5
    assert [len(rows) for rows in groups.members.values()] == [1000, 1935, 5614]


# --------------------------------------------------------------------- classes


def test_classes_tell_the_ends_of_a_line_from_its_inside():
    groups = RewardGroups.of(AgentGraph.line(5), max_size=2)
    assert groups.by_class(1)[0].tolist() == [0, 1, 1, 1, 0]
    assert groups.by_class(2)[0].tolist() == [0, 1, 1, 0]


def test_members_of_a_class_are_in_matching_order():
    groups = RewardGroups.of(AgentGraph.line(4), max_size=2)
    kind, members = groups.by_class(2)
    assert kind.tolist() == [0, 1, 0]
    first, _, last = members.tolist()
    assert (first, last) in [([0, 1], [3, 2]), ([1, 0], [2, 3])]


@given(graphs(), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_every_group_keeps_its_members_in_its_class(graph, max_size):
    groups = RewardGroups.of(graph, max_size)
    for size, rows in groups.members.items():
        kind, members = groups.by_class(size)
        assert members.sort(dim=1).values.tolist() == rows.tolist()
        assert kind.shape == (len(rows),)


def test_agents_of_other_types_are_of_other_classes():
    graph = AgentGraph.from_edges(3, [], agent_type=[0, 1, 0])
    assert RewardGroups.of(graph, max_size=1).by_class(1)[0].tolist() == [0, 1, 0]


# ------------------------------------------------------------------- bad input


@pytest.mark.parametrize("max_size", [0, -1, 1.5, True, "2"])
def test_impossible_sizes_are_refused_by_name(max_size):
    with pytest.raises(InputError, match=r"^reward\.max_size: expected a whole number of at least 1, got"):
        RewardGroups.of(AgentGraph.line(3), max_size)


def test_sizes_with_too_many_groups_are_refused_before_memory_runs_out():
    with pytest.raises(InputError, match=r"^reward\.max_size: expected .* take a smaller size"):
        RewardGroups.of(AgentGraph.complete(300), max_size=4)
