import networkx as nx
import pytest

from lomaq.envs.graphs import make_graph
from lomaq.errors import InputError


def joined(graph):
    return {(a, b) for a, b in graph.pairs.tolist()}


def test_each_new_agent_of_a_barabasi_albert_graph_brings_two_edges():
    graph = make_graph("barabasi_albert", 200)
    assert (graph.n_agents, graph.n_edges) == (200, 2 + 2 * 197)  # the first three agents make a star
    assert nx.is_connected(graph.to_networkx())
    assert int(graph.degree.max()) > 30
    assert joined(make_graph("barabasi_albert", 3)) == {(0, 1), (0, 2)}


def test_a_barabasi_albert_graph_is_the_same_each_time():
    edges = {(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (2, 3), (3, 4), (3, 5)}
    assert joined(make_graph("barabasi_albert", 6)) == edges
    assert joined(make_graph("barabasi_albert", 50)) == joined(make_graph("barabasi_albert", 50))


def test_halves_by_hand():
    graph = make_graph("halves", 41)
    ring = {*((i, i + 1) for i in range(19)), (0, 19)}
    stars = {*((20, leaf) for leaf in range(21, 29)), *((29, leaf) for leaf in range(30, 41))}  # three are left over
    assert joined(graph) == ring | stars | {(0, 20), (20, 29)}
    assert graph.agent_type.tolist() == [0] * 20 + [1] + [2] * 8 + [1] + [2] * 11


@pytest.mark.parametrize("n_agents", [20, 35, 36, 50, 200])
def test_halves_are_connected_and_every_hub_has_at_least_eight_leaves(n_agents):
    graph = make_graph("halves", n_agents)
    ring, hubs, leaves = graph.types.bincount().tolist()
    assert nx.is_connected(graph.to_networkx())
    assert (ring, hubs) == (n_agents // 2, (n_agents - n_agents // 2) // 9)
    assert graph.n_edges == ring + hubs + leaves
    assert set(graph.degree[graph.types == 2].tolist()) == {1}
    leaves_of = nx.to_numpy_array(graph.to_networkx())[graph.types == 1][:, graph.types == 2].sum(axis=1)
    assert leaves_of[:-1].tolist() == [8] * (hubs - 1)
    assert 8 <= leaves_of[-1] <= 16


@pytest.mark.parametrize(
    ("graph", "n_agents", "least"), [("barabasi_albert", 2, 3), ("halves", 19, 20), ("barabasi_albert", None, 1)]
)
def test_too_few_agents_for_a_graph_are_refused_by_name(graph, n_agents, least):
    with pytest.raises(InputError, match=rf"^env\.n_agents: expected .*at least {least}.*, got {n_agents}$"):
        make_graph(graph, n_agents)
