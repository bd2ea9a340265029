"""Where networks of blocks find their inputs and weights."""

from __future__ import annotations

import pytest
import torch

from lomaq.graphs import AgentGraph, Partition
from lomaq.nn.slots import SHARES, Slots

# Agent 5 knows 0 … 8, and 9, 10 and 11 hang on agent 8: neighbourhoods of 2, 3 and 9 agents.
HUB = AgentGraph.from_edges(12, [(5, i) for i in range(9) if i != 5] + [(8, 9), (9, 10), (10, 11)])
LEAF_HUB = AgentGraph.from_edges(4, [(0, 2), (1, 2), (2, 3)])


def slots_of(graph, share, kappa=1):
    return Slots(graph, Partition.singletons(graph.n_agents).blocks, kappa, share)


def index(slots, number, name):
    (found,) = slots.bucket(number, name)
    return found.tolist()


def test_a_hub_of_three_leaves_by_hand():
    slots = slots_of(LEAF_HUB, "ego")
    assert (slots.n_networks, slots.n_buckets) == (2, 2)
    hub, leaves = 0, 1  # the widest first
    assert index(slots, hub, "blocks") == [2]
    assert sorted(index(slots, hub, "agent")[0]) == [0, 1, 2, 3]
    assert index(slots, leaves, "blocks") == [0, 1, 3]
    assert [sorted(agents) for agents in index(slots, leaves, "agent")] == [[0, 2], [1, 2], [2, 3]]
    of_leaf, of_hub = index(slots, leaves, "network"), index(slots, hub, "network")
    assert (of_leaf, of_hub) == ([0, 0, 0], [1])
    # the leaves' network has the first two rows, one for the agent itself and one for the hub; the hub's four follow
    assert slots.fan_in.tolist() == [2, 2, 4, 4, 4, 4]
    assert sorted(slots.hops[:2].tolist()) == [0, 1]
    assert sorted(slots.hops[2:].tolist()) == [0, 1, 1, 1]
    for agents, rows, block in zip(
        index(slots, leaves, "agent"), index(slots, leaves, "row"), index(slots, leaves, "blocks"), strict=True
    ):
        assert {slots.hops[row].item(): agent for row, agent in zip(rows, agents, strict=True)} == {0: block, 1: 2}


def test_one_network_for_all_has_a_row_a_hop_for_the_mean_there():
    slots = slots_of(LEAF_HUB, "all")
    assert slots.n_networks == 1
    assert (slots.fan_in.tolist(), slots.hops.tolist()) == ([2, 2], [0, 1])
    for bucket in range(slots.n_buckets):
        for row, factor in zip(index(slots, bucket, "row"), index(slots, bucket, "factor"), strict=True):
            for hop in (0, 1):
                assert sum(f for r, f in zip(row, factor, strict=True) if r == hop) == pytest.approx(1)


def test_without_sharing_every_block_has_rows_of_its_own():
    slots = slots_of(LEAF_HUB, "none")
    assert slots.n_networks == 4
    rows = [row for b in range(slots.n_buckets) for rows in index(slots, b, "row") for row in rows]
    assert sorted(rows) == list(range(3 * 2 + 4))


@pytest.mark.parametrize("share", SHARES)
def test_sums_over_neighbourhoods_of_many_widths_come_out_in_the_order_of_the_blocks(share):
    slots, near = slots_of(HUB, share), torch.from_numpy(HUB.khop(1).toarray() > 0).float()
    assert slots.n_buckets > 1
    inputs, parts = torch.randn(12, 3), []
    for bucket in range(slots.n_buckets):
        (factor,) = slots.bucket(bucket, "factor")
        parts.append((slots.gather(inputs, bucket) * (factor != 0)[..., None]).sum(dim=1))
    torch.testing.assert_close(slots.in_order(parts), near @ inputs)


@pytest.mark.parametrize("share", SHARES)
def test_a_bucket_is_at_most_twice_as_wide_as_its_narrowest_block(share):
    slots = slots_of(HUB, share)
    blocks = []
    for bucket in range(slots.n_buckets):
        factor, own = slots.bucket(bucket, "factor", "blocks")
        width = (factor != 0).sum(dim=1)
        assert width.max() == factor.size(1)
        assert factor.size(1) < 2 * width.min()
        blocks += own.tolist()
    assert sorted(blocks) == list(range(12))


def test_auto_gives_each_kind_of_surroundings_a_network_up_to_a_number_and_else_one_to_all(monkeypatch):
    slots = slots_of(HUB, "auto")
    assert (slots.share, slots.n_networks) == ("ego", slots_of(HUB, "ego").n_networks)
    assert slots.note("mixer.share") is None
    monkeypatch.setattr("lomaq.nn.slots.MOST_NETWORKS", 2)
    slots = slots_of(HUB, "auto")
    assert (slots.share, slots.n_networks) == ("all", 1)
    assert "mixer.share=ego gives each kind its own" in slots.note("mixer.share")
