import json

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.graphs.partition import NAMES


@st.composite
def partitions(draw, most=7):
    n = draw(st.integers(1, most))
    block_of = draw(st.lists(st.integers(0, n - 1), min_size=n, max_size=n))
    return Partition([[i for i in range(n) if block_of[i] == b] for b in set(block_of)], n)


@st.composite
def graphs(draw, most=9):
    n = draw(st.integers(1, most))
    possible = [(a, b) for a in range(n) for b in range(a + 1, n)]
    edges = draw(st.lists(st.sampled_from(possible), unique=True)) if possible else []
    return AgentGraph.from_edges(n, edges)


# ----------------------------------------------------------------- what it is


def test_blocks_and_their_agents_are_put_in_rising_order():
    partition = Partition([[3], [4, 1], (2, 0)], n_agents=5)
    assert partition.blocks == ((0, 2), (1, 4), (3,))
    assert partition.n_blocks == 3
    assert partition.n_agents == 5
    assert partition.sizes.tolist() == [2, 2, 1]
    assert partition.block_of.tolist() == [0, 1, 0, 2, 1]
    assert partition.block_of.dtype == partition.sizes.dtype == torch.int64


def test_the_same_blocks_in_another_order_are_the_same_partition():
    first, second = Partition([[0, 2], [1]], 3), Partition([[1], [2, 0]], 3)
    assert first == second
    assert hash(first) == hash(second)
    assert first != Partition([[0], [1, 2]], 3)
    assert first != ((0, 2), (1,))


def test_shown_form_names_the_sizes_and_the_first_blocks():
    assert repr(Partition([[0, 2], [1]], 3)) == "Partition(2 blocks of 3 agents: [0, 2], [1])"
    assert repr(Partition.singletons(6)) == "Partition(6 blocks of 6 agents: [0], [1], [2], [3], …)"


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([[0, 1]], "partition: expected every agent in a block, got no block with agent 2;"),
        ([], "no block with agent 0, 1, 2;"),
        ([[0, 1], [1, 2]], "partition: expected each agent once, got agent 1 twice;"),
        ([[0, 0], [1, 2]], "agent 0 twice;"),
        ([[0, 1], [2, 3]], "partition: expected agent numbers 0 … 2, got 3;"),
        ([[0, 1], [2, -1]], "agent numbers 0 … 2, got -1;"),
        ([[0, 1], [2.0]], r"got 2\.0;"),
        ([[0, 1], ["2"]], "got '2';"),
        ([[0, 2], [True]], "got True;"),
        ([[0, 1, 2], []], r"partition: expected blocks that are non-empty lists of agents, got \[\];"),
        ([0, 1, 2], "non-empty lists of agents, got 0;"),
        (["012"], "non-empty lists of agents, got '012';"),
        ([{0, 1, 2}], "non-empty lists of agents, got {0, 1, 2};"),
    ],
)
def test_what_is_no_partition_is_refused_with_a_remedy(blocks, message):
    with pytest.raises(InputError, match=message + r" list each of the agents 0 … 2 in exactly one block$"):
        Partition(blocks, n_agents=3)


def test_only_the_first_of_many_missing_agents_are_named():
    with pytest.raises(InputError, match="no block with agent 1, 2, 3, 4, 5, …;"):
        Partition([[0]], n_agents=9)


@pytest.mark.parametrize("n_agents", [0, -1, 1.0])
def test_partition_of_an_impossible_number_of_agents_is_refused(n_agents):
    with pytest.raises(InputError, match="n_agents"):
        Partition([[0]], n_agents)


# ------------------------------------------------------------------- builders


def test_singletons_and_full():
    assert Partition.singletons(3).blocks == ((0,), (1,), (2,))
    assert Partition.full(3).blocks == ((0, 1, 2),)
    assert Partition.singletons(1) == Partition.full(1)


def test_pairs_take_neighbours_in_index_order():
    assert Partition.pairs(AgentGraph.line(5)).blocks == ((0, 1), (2, 3), (4,))
    assert Partition.pairs(AgentGraph.star(4)).blocks == ((0, 1), (2,), (3,))
    assert Partition.pairs(AgentGraph.from_edges(4, [(0, 3), (1, 3), (1, 2)])).blocks == ((0, 3), (1, 2))
    assert Partition.pairs(AgentGraph.empty(2)) == Partition.singletons(2)


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_pairs_are_a_maximal_matching(graph):
    whole = graph.to_networkx()
    blocks = Partition.pairs(graph).blocks
    matching = {block for block in blocks if len(block) == 2}
    assert all(len(block) <= 2 for block in blocks)
    assert nx.is_maximal_matching(whole, matching)


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_communities_are_connected(graph):
    whole = graph.to_networkx()
    assert all(nx.is_connected(whole.subgraph(block)) for block in Partition.communities(graph).blocks)


def test_communities_of_two_cliques_joined_by_a_bridge_are_the_cliques():
    cliques = [(a + o, b + o) for o in (0, 4) for a in range(4) for b in range(a)]
    graph = AgentGraph.from_edges(8, [*cliques, (3, 4)])
    assert Partition.communities(graph).blocks == ((0, 1, 2, 3), (4, 5, 6, 7))
    assert Partition.communities(graph) == Partition.communities(graph)


# ------------------------------------------------------------------ from_spec


def test_every_name_builds_its_partition():
    graph = AgentGraph.line(4)
    expected = {
        "singletons": Partition.singletons(4),
        "pairs": Partition.pairs(graph),
        "full": Partition.full(4),
        "communities": Partition.communities(graph),
    }
    assert set(NAMES) == set(expected)
    assert {name: Partition.from_spec(name, graph) for name in NAMES} == expected


def test_list_and_file_of_blocks_build_the_same_partition(tmp_path):
    blocks = [[2], [0, 1]]
    path = tmp_path / "blocks.json"
    path.write_text(json.dumps(blocks))
    expected = Partition(blocks, 3)
    assert Partition.from_spec(blocks, AgentGraph.line(3)) == expected
    assert Partition.from_spec(((2,), (0, 1)), AgentGraph.line(3)) == expected
    assert Partition.from_spec(str(path), AgentGraph.line(3)) == expected


@pytest.mark.parametrize("spec", ["singleton", "", "nowhere.json", 3, None, {"blocks": [[0, 1, 2]]}])
def test_unknown_spec_is_answered_with_what_is_allowed(spec):
    with pytest.raises(InputError, match="partition: expected one of singletons, pairs, full, communities, a list"):
        Partition.from_spec(spec, AgentGraph.line(3))


def test_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "blocks.txt"
    path.write_text("[[0, 1, 2]]")
    with pytest.raises(InputError, match=r"existing \.json file"):
        Partition.from_spec(str(path), AgentGraph.line(3))


@pytest.mark.parametrize("content", [b"[[0, 1", b"\xff\xfe", b'{"blocks": [[0, 1, 2]]}', b"3", b""])
def test_damaged_file_is_named_in_one_line(tmp_path, content):
    path = tmp_path / "blocks.json"
    path.write_bytes(content)
    with pytest.raises(
        InputError,
        match=r"partition file .*blocks\.json: expected a (JSON list of blocks|whole JSON file|text file), got ",
    ) as caught:
        Partition.from_spec(str(path), AgentGraph.line(3))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("blocks", [[[0, 1]], [[0, 1], [1, 2]], [[0, 1], [2, 3]], [[0, 1, 2], {}]])
def test_list_that_does_not_fit_the_graph_is_refused_from_config_and_from_file(tmp_path, blocks):
    path = tmp_path / "blocks.json"
    path.write_text(json.dumps(blocks))
    for spec in (blocks, str(path)):
        with pytest.raises(InputError, match=r"^partition: "):
            Partition.from_spec(spec, AgentGraph.line(3))


# ------------------------------------------------------------------ relations


def test_finer_partition_refines_and_the_first_breaking_block_is_named():
    coarse = Partition([[0, 1], [2, 3, 4]], 5)
    fine = Partition([[0], [1], [2, 4], [3]], 5)
    across = Partition([[0], [1, 2], [3, 4]], 5)
    assert fine.refinement_breaker(coarse) is None
    assert coarse.refinement_breaker(fine) == (0, 1)
    assert across.refinement_breaker(coarse) == (1, 2)


@settings(max_examples=60, deadline=None)
@given(partitions(), st.data())
def test_refinement_agrees_with_set_inclusion(partition, data):
    n = partition.n_agents
    block_of = data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    other = Partition([[i for i in range(n) if block_of[i] == b] for b in set(block_of)], n)
    broken = [block for block in partition.blocks if not any(set(block) <= set(big) for big in other.blocks)]
    assert partition.refinement_breaker(other) == (broken[0] if broken else None)
    assert partition.refinement_breaker(partition) is None
    assert partition.refinement_breaker(Partition.full(n)) is None
    assert Partition.singletons(n).refinement_breaker(partition) is None


# ------------------------------------------------------------------ block_sum


@pytest.mark.parametrize(
    "partition",
    [
        Partition.singletons(4),
        Partition.full(4),
        Partition([[0, 3], [1], [2]], 4),
        Partition([[0, 2], [1, 3]], 4),
        Partition.singletons(1),
    ],
)
@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_block_sum_equals_a_loop_over_blocks(partition, leading):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((*leading, partition.n_agents)).astype(np.float32)
    expected = np.zeros((*leading, partition.n_blocks), dtype=np.float32)
    for number, block in enumerate(partition.blocks):
        for agent in block:
            expected[..., number] += values[..., agent]
    result = partition.block_sum(torch.from_numpy(values))
    assert result.shape == expected.shape
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_block_sum_passes_gradients_to_every_agent():
    values = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    total = Partition([[0, 2], [1]], 3).block_sum(values)
    (total * torch.tensor([1.0, 10.0])).sum().backward()
    assert values.grad.tolist() == [[1.0, 10.0, 1.0]] * 2


@settings(max_examples=60, deadline=None)
@given(partitions(), st.data())
def test_block_sums_keep_the_team_total_and_do_not_touch_their_input(partition, data):
    n = partition.n_agents
    values = torch.tensor([data.draw(st.lists(st.integers(-9, 9), min_size=n, max_size=n)) for _ in range(2)])
    before = values.clone()
    result = partition.block_sum(values)
    assert result.sum(dim=-1).tolist() == values.sum(dim=-1).tolist()
    assert result.tolist() == [[sum(int(row[i]) for i in block) for block in partition.blocks] for row in values]
    assert torch.equal(values, before)
