"""Graphs taken over from networkx and handed back, and neighbourhoods, which its shortest paths check."""

import math

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph


@st.composite
def small_graphs(draw, most=9):
    n = draw(st.integers(1, most))
    possible = [(a, b) for a in range(n) for b in range(a + 1, n)]
    edges = draw(st.lists(st.sampled_from(possible), unique=True)) if possible else []
    return n, edges


# -------------------------------------------------------------------- networkx


def test_networkx_nodes_with_names_are_numbered_in_order_and_keep_their_names(edges_of):
    source = nx.Graph()
    source.add_node("west", pos=(0.0, 0.0), agent_type=1)
    source.add_node("mid", pos=(1.0, 0.0), agent_type=0)
    source.add_node("east", pos=(2.0, 1.0), agent_type=1)
    source.add_edges_from([("east", "mid"), ("mid", "west")])
    graph = AgentGraph.from_networkx(source)
    assert edges_of(graph) == [(0, 1), (1, 2)]
    assert graph.names == ["west", "mid", "east"]
    assert graph.pos.tolist() == [[0.0, 0.0], [1.0, 0.0], [2.0, 1.0]]
    assert graph.agent_type.tolist() == [1, 0, 1]
    assert dict(graph.to_networkx().nodes(data="name")) == {0: "west", 1: "mid", 2: "east"}


def test_networkx_nodes_zero_to_n_keep_their_numbers_in_whatever_order_they_were_added(edges_of):
    source = nx.Graph([(2, 0), (0, 1)])
    assert list(source.nodes) == [2, 0, 1]
    nx.set_node_attributes(source, {i: float(i) for i in range(3)}, "x")
    nx.set_node_attributes(source, 0.5, "y")
    graph = AgentGraph.from_networkx(source)
    assert edges_of(graph) == [(0, 1), (0, 2)]
    assert graph.pos.tolist() == [[0.0, 0.5], [1.0, 0.5], [2.0, 0.5]]
    assert "names" not in graph


def test_networkx_attributes_that_some_nodes_lack_are_left_out():
    source = nx.path_graph(3)
    source.nodes[0].update(pos=(0.0, 0.0), agent_type=0)
    graph = AgentGraph.from_networkx(source)
    assert graph.pos is None
    assert "agent_type" not in graph


def test_directed_networkx_graph_loses_its_directions(edges_of):
    assert edges_of(AgentGraph.from_networkx(nx.DiGraph([(1, 0), (1, 2), (2, 1)]))) == [(0, 1), (1, 2)]


def test_parallel_networkx_edges_count_once(edges_of):
    assert edges_of(AgentGraph.from_networkx(nx.MultiGraph([(0, 1), (0, 1), (1, 2)]))) == [(0, 1), (1, 2)]


def test_networkx_graph_without_nodes_is_refused():
    with pytest.raises(InputError, match="at least one agent"):
        AgentGraph.from_networkx(nx.Graph())


@pytest.mark.parametrize(
    ("source", "note"),
    [
        (nx.Graph([(0, 1), (1, 1)]), "graph: 2 agents, 1 edge; 1 loop dropped"),
        (nx.MultiGraph([(0, 1), (1, 0)]), "graph: 2 agents, 1 edge; 1 doubled edge dropped"),
        (nx.DiGraph([(0, 1)]), "graph: 2 agents, 1 edge; directed edges taken as undirected"),
        (
            nx.MultiDiGraph([(0, 1, {"weight": 2.0}), (1, 0), (0, 1)]),
            "graph: 2 agents, 1 weighted edge; 1 doubled edge dropped; different weights of an edge averaged",
        ),
    ],
)
def test_note_says_what_of_a_networkx_graph_is_left_out(edges_of, source, note):
    graph = AgentGraph.from_networkx(source)
    assert edges_of(graph) == [(0, 1)]
    assert graph.note == note


def test_labels_are_the_names_of_agents_where_all_have_different_ones():
    source = nx.Graph([("n0", "n1")])
    source.nodes["n0"]["label"], source.nodes["n1"]["label"] = "Wien", "Genève"
    assert AgentGraph.from_networkx(source).names == ["Wien", "Genève"]
    source.nodes["n1"]["label"] = "Wien"
    assert AgentGraph.from_networkx(source).names == ["n0", "n1"]


@settings(max_examples=30, deadline=None)
@given(small_graphs())
def test_networkx_round_trip_keeps_agents_and_edges(edges_of, drawn):
    n, edges = drawn
    graph = AgentGraph.from_edges(n, edges, pos=[[i / 2, -i] for i in range(n)], agent_type=[0] * n)
    back = AgentGraph.from_networkx(graph.to_networkx())
    assert back.n_agents == n
    assert edges_of(back) == sorted(edges)
    assert torch.equal(back.pos, graph.pos)
    assert torch.equal(back.agent_type, graph.agent_type)


# --------------------------------------------------------------- neighbours


def test_khop_of_a_line_by_hand():
    distance = AgentGraph.line(5).khop(2)
    assert distance.dtype == np.int32
    assert distance.toarray().tolist() == [
        [1, 2, 3, 0, 0],
        [2, 1, 2, 3, 0],
        [3, 2, 1, 2, 3],
        [0, 3, 2, 1, 2],
        [0, 0, 3, 2, 1],
    ]


def test_khop_of_blocks_takes_the_distance_to_the_nearest_member():
    distance = AgentGraph.line(6).khop(1, [[0, 3], [1], [4, 5, 2]])
    assert distance.toarray().tolist() == [[1, 2, 2, 1, 2, 0], [2, 1, 2, 0, 0, 0], [0, 2, 1, 2, 1, 1]]


def test_khop_zero_is_the_block_itself():
    assert AgentGraph.complete(3).khop(0).toarray().tolist() == np.eye(3).tolist()


def test_neighbourhood_lists_agents_within_kappa_around_a_rings_seam():
    assert AgentGraph.ring(6).neighbourhood(0, 2) == [0, 1, 2, 4, 5]


@settings(max_examples=60, deadline=None)
@given(small_graphs(), st.integers(0, 4), st.data())
def test_khop_equals_networkx_shortest_paths(drawn, kappa, data):
    n, edges = drawn
    graph = AgentGraph.from_edges(n, edges)
    blocks = None
    if data.draw(st.booleans(), "with blocks"):
        block_of = data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
        blocks = [[i for i in range(n) if block_of[i] == b] for b in sorted(set(block_of))]
    lengths = dict(nx.all_pairs_shortest_path_length(graph.to_networkx()))
    expected = []
    for block in [[i] for i in range(n)] if blocks is None else blocks:
        hops = [min(lengths[j].get(i, math.inf) for j in block) for i in range(n)]
        expected.append([1 + hop if hop <= kappa else 0 for hop in hops])
    result = graph.khop(kappa, blocks)
    assert result.toarray().tolist() == expected
    assert result.nnz == np.count_nonzero(expected)
    assert result.has_sorted_indices


@settings(max_examples=30, deadline=None)
@given(small_graphs(), st.integers(0, 3), st.randoms(use_true_random=False))
def test_khop_follows_a_renumbering_of_the_agents(drawn, kappa, random):
    n, edges = drawn
    new = random.sample(range(n), n)
    before = AgentGraph.from_edges(n, edges).khop(kappa).toarray()
    after = AgentGraph.from_edges(n, [(new[a], new[b]) for a, b in edges]).khop(kappa).toarray()
    assert np.array_equal(after[np.ix_(new, new)], before)


def test_khop_of_a_long_line_stays_sparse():
    n = 20_000
    result = AgentGraph.line(n).khop(3)
    assert result.shape == (n, n)
    assert result.nnz == 7 * n - 2 * (3 + 2 + 1)
    middle = result[[n // 2]]
    assert middle.indices.tolist() == list(range(n // 2 - 3, n // 2 + 4))
    assert middle.data.tolist() == [4, 3, 2, 1, 2, 3, 4]


@pytest.mark.parametrize("kappa", [-1, 1.0, "1"])
def test_khop_refuses_an_impossible_kappa(kappa):
    with pytest.raises(InputError, match="kappa"):
        AgentGraph.line(3).khop(kappa)


@pytest.mark.parametrize("agent", [-1, 3])
def test_neighbourhood_of_an_unknown_agent_is_refused(agent):
    with pytest.raises(InputError, match="agent: expected a whole number from 0 to 2"):
        AgentGraph.line(3).neighbourhood(agent, 1)
