import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.graphs import AgentGraph, ego_classes, few_ego_classes


def singletons(graph):
    return [[i] for i in range(graph.n_agents)]


def hops(graph, block, kappa):
    """Distance to the nearest agent of the block, for the agents within kappa."""
    whole = graph.to_networkx()
    lengths = nx.multi_source_dijkstra_path_length(whole, set(block), cutoff=kappa, weight=lambda *_: 1)
    return {agent: int(length) for agent, length in lengths.items()}


def types_of(graph):
    return graph.agent_type.tolist() if "agent_type" in graph else [0] * graph.n_agents


def check_layout(graph, blocks, kappa, result):
    """Slots hold the neighbourhood, and those of one class agree in distance, type and every edge among them."""
    edges = set(graph.to_networkx().edges)
    joined = edges | {(b, a) for a, b in edges}
    types = types_of(graph)
    assert result.start.tolist() == np.cumsum([0, *result.widths]).tolist()
    assert len(result.start) == len(result.class_of) + 1 == len(blocks) + 1
    first_of = {}
    for block, number in enumerate(result.class_of.tolist()):
        inside = slice(result.start[block], result.start[block + 1])
        agents, distance = result.agents[inside].tolist(), result.distance[inside].tolist()
        assert len(set(agents)) == len(agents)
        assert dict(zip(agents, distance, strict=True)) == hops(graph, blocks[block], kappa)
        roles = (distance, [types[i] for i in agents], [[(a, b) in joined for b in agents] for a in agents])
        if number not in first_of:
            assert number == len(first_of), "classes are numbered in order of first appearance"
            first_of[number] = roles
        assert roles == first_of[number]
    assert result.n_classes == len(first_of)


def classes(graph, kappa, blocks=None):
    blocks = singletons(graph) if blocks is None else blocks
    result = ego_classes(graph, blocks, kappa)
    check_layout(graph, blocks, kappa, result)
    return result.class_of.tolist()


def brute_force_classes(graph, blocks, kappa):
    """Compare every block with every class found so far, by networkx's isomorphism search with roots and types."""
    whole, types = graph.to_networkx(), types_of(graph)
    representatives, result = [], []
    for block in blocks:
        near = hops(graph, block, kappa)
        ego = whole.subgraph(near).copy()
        nx.set_node_attributes(ego, {i: (near[i], types[i]) for i in near}, "role")
        for number, other in enumerate(representatives):
            if nx.is_isomorphic(ego, other, node_match=lambda a, b: a["role"] == b["role"]):
                result.append(number)
                break
        else:
            result.append(len(representatives))
            representatives.append(ego)
    return result


@st.composite
def graphs_with_blocks(draw, most=8):
    n = draw(st.integers(1, most))
    possible = [(a, b) for a in range(n) for b in range(a + 1, n)]
    edges = draw(st.lists(st.sampled_from(possible), unique=True)) if possible else []
    agent_type = None
    if draw(st.booleans()):
        agent_type = np.unique(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), return_inverse=True)[1]
    block_of = draw(st.lists(st.integers(0, n - 1), min_size=n, max_size=n))
    blocks = [[i for i in range(n) if block_of[i] == b] for b in dict.fromkeys(block_of)]
    return AgentGraph.from_edges(n, edges, agent_type=agent_type), blocks


@pytest.mark.parametrize(("kappa", "n_classes"), [(0, 1), (1, 2), (2, 3), (3, 4)])
def test_line_of_fifteen_has_one_class_more_for_each_hop(kappa, n_classes):
    found = classes(AgentGraph.line(15), kappa)
    ends = list(range(kappa))
    assert found == ends + [kappa] * (15 - 2 * kappa) + ends[::-1]
    assert max(found) + 1 == n_classes


def test_line_seen_whole_by_everyone_pairs_mirror_images():
    assert classes(AgentGraph.line(5), kappa=9) == [0, 1, 2, 1, 0]


def test_mirrored_ends_of_a_line_put_themselves_in_the_same_slot():
    result = ego_classes(AgentGraph.line(4), [[0], [1], [2], [3]], kappa=1)
    assert result.agents[result.start[0] : result.start[1]].tolist() == [0, 1]
    assert result.agents[result.start[3] :].tolist() == [3, 2]


@pytest.mark.parametrize("kappa", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("n_agents", [3, 4, 6, 9])
def test_ring_has_one_class_and_its_seam_is_laid_out_like_the_rest(n_agents, kappa):
    graph = AgentGraph.ring(n_agents)
    assert classes(graph, kappa) == [0] * n_agents
    result = ego_classes(graph, singletons(graph), kappa)
    assert result.agents[result.start[:-1]].tolist() == list(range(n_agents))


def test_grid_of_three_by_three_has_corners_sides_and_a_middle():
    assert classes(AgentGraph.grid(3, 3), kappa=1) == [0, 1, 0, 1, 2, 1, 0, 1, 0]


def test_grid_of_four_by_five_seen_two_hops_deep_keeps_its_symmetries():
    found = classes(AgentGraph.grid(4, 5), kappa=2)
    outer, inner = [0, 1, 2, 1, 0], [1, 3, 4, 3, 1]  # one step down from a corner is one step right, transposed
    assert found == outer + inner + inner + outer


@pytest.mark.parametrize("kappa", [1, 2])
def test_star_has_a_hub_and_leaves(kappa):
    assert classes(AgentGraph.star(6), kappa) == [0, 1, 1, 1, 1, 1]


def test_complete_and_empty_graphs_have_one_class():
    assert classes(AgentGraph.complete(5), kappa=1) == [0] * 5
    assert classes(AgentGraph.empty(5), kappa=2) == [0] * 5
    assert classes(AgentGraph.empty(1), kappa=1) == [0]


def test_agent_types_split_classes_by_who_is_seen():
    graph = AgentGraph.from_edges(6, [(i, (i + 1) % 6) for i in range(6)], agent_type=[1, 0, 0, 0, 0, 0])
    assert classes(graph, kappa=0) == [0, 1, 1, 1, 1, 1]
    assert classes(graph, kappa=1) == [0, 1, 2, 2, 2, 1]
    assert classes(graph, kappa=2) == [0, 1, 2, 3, 2, 1]


def test_blocks_are_told_apart_by_their_inner_edges_and_their_surroundings():
    line = AgentGraph.line(6)
    assert classes(line, 0, [[0, 1], [2, 4], [3, 5]]) == [0, 1, 1]
    assert classes(line, 1, [[0, 1], [2, 3], [4, 5]]) == [0, 1, 0]
    assert classes(line, 1, [[0, 1, 2], [3], [4], [5]]) == [0, 1, 1, 2]


def test_the_same_surroundings_with_another_root_are_another_class():
    lollipop = AgentGraph.from_edges(4, [(0, 1), (0, 2), (1, 2), (2, 3)])
    assert classes(lollipop, kappa=3) == [0, 0, 1, 2]


TRIANGLES = [(1, 2), (2, 3), (1, 3), (4, 5), (5, 6), (4, 6)]
MIXED_TRIANGLES = [(1, 4), (4, 5), (1, 5), (2, 3), (3, 6), (2, 6)]
HEXAGON = [(1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (1, 6)]
MIXED_HEXAGON = [(1, 4), (4, 2), (2, 6), (6, 3), (3, 5), (5, 1)]
SPOKES = [(0, rim) for rim in range(1, 7)]


def wheels(*rims):
    edges = [(7 * i + a, 7 * i + b) for i, rim in enumerate(rims) for a, b in SPOKES + rim]
    return AgentGraph.from_edges(7 * len(rims), edges)


def test_colour_refinement_alone_cannot_tell_two_triangles_from_a_hexagon():
    histograms = []
    for rim in (TRIANGLES, HEXAGON):
        graph = nx.Graph(SPOKES + rim)
        colour = {agent: (agent == 0,) for agent in graph}
        for _ in range(4):
            colour = {i: (colour[i], tuple(sorted(colour[j] for j in graph[i]))) for i in graph}
        histograms.append(sorted(colour.values()))
    assert histograms[0] == histograms[1]


@pytest.mark.parametrize(
    ("rims", "expected"),
    [
        ((TRIANGLES, HEXAGON), [0, 1]),
        ((HEXAGON, TRIANGLES), [0, 1]),
        ((MIXED_HEXAGON, HEXAGON, MIXED_TRIANGLES, TRIANGLES), [0, 0, 1, 1]),
        ((HEXAGON, TRIANGLES, MIXED_HEXAGON, MIXED_TRIANGLES, HEXAGON), [0, 1, 0, 1, 0]),
    ],
)
def test_hub_of_two_triangles_and_hub_of_a_hexagon_are_two_classes(rims, expected):
    graph = wheels(*rims)
    hubs = [[7 * i] for i in range(len(rims))]
    result = ego_classes(graph, hubs, kappa=1)
    check_layout(graph, hubs, 1, result)
    assert result.class_of.tolist() == expected
    everyone = classes(graph, kappa=1)
    assert [everyone[hub] == everyone[0] for (hub,) in hubs] == [number == 0 for number in expected]


def test_six_ring_and_two_three_rings_seen_as_whole_blocks_are_two_classes():
    apart = [(a - 1 + offset, b - 1 + offset) for offset, rim in ((0, HEXAGON), (6, TRIANGLES)) for a, b in rim]
    graph = AgentGraph.from_edges(12, apart)
    assert classes(graph, 1, [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]) == [0, 1]


@settings(max_examples=150, deadline=None)
@given(graphs_with_blocks(), st.integers(0, 3))
def test_classes_equal_brute_force_isomorphism_of_rooted_surroundings(drawn, kappa):
    graph, blocks = drawn
    assert classes(graph, kappa, blocks) == brute_force_classes(graph, blocks, kappa)
    assert classes(graph, kappa) == brute_force_classes(graph, singletons(graph), kappa)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 4), st.integers(0, 10**6), st.integers(1, 2))
def test_randomly_numbered_copies_of_a_regular_graph_match_agent_for_agent(copies, seed, kappa):
    cubic = nx.random_regular_graph(3, 8, seed=seed)
    shuffle = np.random.default_rng(seed)
    edges = []
    for copy in range(copies):
        new = shuffle.permutation(8) + 8 * copy
        edges += [(int(new[a]), int(new[b])) for a, b in cubic.edges]
    graph = AgentGraph.from_edges(8 * copies, edges)
    found = classes(graph, kappa)
    for copy in range(1, copies):
        assert sorted(found[8 * copy : 8 * copy + 8]) == sorted(found[:8])


@settings(max_examples=30, deadline=None)
@given(graphs_with_blocks(), st.integers(0, 2), st.randoms(use_true_random=False))
def test_classes_follow_a_renumbering_of_the_agents(drawn, kappa, random):
    graph, blocks = drawn
    new = random.sample(range(graph.n_agents), graph.n_agents)
    moved = nx.relabel_nodes(graph.to_networkx(), dict(enumerate(new)))
    renumbered = [sorted(new[i] for i in block) for block in blocks]
    assert classes(AgentGraph.from_networkx(moved), kappa, renumbered) == classes(graph, kappa, blocks)


@pytest.mark.parametrize("graph", [AgentGraph.star(7), AgentGraph.grid(3, 4), AgentGraph.complete(5)])
def test_edges_of_one_block_at_a_time_give_the_same_classes(monkeypatch, graph):
    whole = ego_classes(graph, singletons(graph), 2)
    monkeypatch.setattr("lomaq.graphs.ego._EDGES", 1)
    parts = ego_classes(graph, singletons(graph), 2)
    for name in ("class_of", "start", "agents", "distance"):
        assert getattr(parts, name).tolist() == getattr(whole, name).tolist()


def test_more_classes_than_asked_for_are_not_looked_for():
    line = AgentGraph.line(5)  # ends and interior
    assert few_ego_classes(line, singletons(line), 1, most=1) is None
    assert few_ego_classes(line, singletons(line), 1, most=2).n_classes == 2
