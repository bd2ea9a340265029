"""Louvain's method: ends on every graph, finds what is there, and is quick enough."""

import networkx as nx
import numpy as np
import pytest
from networkx.generators.atlas import graph_atlas_g

from lomaq.graphs import AgentGraph, Partition
from lomaq.graphs.communities import communities


def modularity(graph: nx.Graph, found: np.ndarray) -> float:
    return nx.community.modularity(graph, [set(np.flatnonzero(found == i)) for i in range(found.max() + 1)])


def found_in(graph: nx.Graph) -> np.ndarray:
    return communities(nx.to_scipy_sparse_array(graph, range(len(graph)), dtype=np.int32, format="csr"))


def test_communities_end_on_a_graph_whose_ties_rounding_takes_for_gains():
    edges = [(0, 3), (0, 6), (1, 5), (1, 6), (2, 3), (2, 5), (3, 5), (4, 5), (4, 6), (5, 6)]
    assert Partition.communities(AgentGraph.from_edges(7, edges)).n_blocks == 2


@pytest.mark.parametrize("n_graphs", [209, pytest.param(1253, marks=pytest.mark.slow)])  # of up to 6 and 7 agents
def test_communities_end_on_every_small_graph_and_are_connected(n_graphs):
    for graph in graph_atlas_g()[1:n_graphs]:
        found = found_in(graph)
        assert set(found) == set(range(found.max() + 1))
        assert all(nx.is_connected(graph.subgraph(np.flatnonzero(found == i))) for i in set(found))


def test_communities_are_as_modular_as_those_of_networkx_in_the_mean():
    graphs = [nx.gnm_random_graph(40, 90, seed=seed) for seed in range(20)]
    theirs = [nx.community.modularity(graph, nx.community.louvain_communities(graph, seed=0)) for graph in graphs]
    mine = [modularity(graph, found_in(graph)) for graph in graphs]
    assert np.mean(mine) > np.mean(theirs) - 0.01


def test_communities_of_the_karate_club_are_as_modular_as_known():
    graph = nx.Graph(nx.karate_club_graph().edges)
    assert modularity(graph, found_in(graph)) > 0.41  # the best possible is 0.4198


def test_communities_of_a_graph_without_edges_are_single_agents():
    assert Partition.communities(AgentGraph.empty(3)) == Partition.singletons(3)
    assert Partition.communities(AgentGraph.empty(1)) == Partition.singletons(1)


def test_communities_of_ten_thousand_agents_take_little_time():
    assert 10 < Partition.communities(AgentGraph.grid(100, 100)).n_blocks < 200
    assert Partition.communities(AgentGraph.star(10_000)).n_blocks == 1
