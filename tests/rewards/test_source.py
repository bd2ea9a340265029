"""The environment's own rewards, block by block."""

from __future__ import annotations

import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.rewards import RewardSource

REWARDS = torch.tensor([[1.0, 10.0, 100.0, 1000.0], [0.0, 0.0, 0.0, 2.0]])


@pytest.mark.parametrize(
    ("source", "kappa", "expected"),
    [
        ("local", 1, [[1, 10, 100, 1000], [0, 0, 0, 2]]),
        ("team", 1, [[1111] * 4, [2] * 4]),
        ("neighbourhood", 0, [[1, 10, 100, 1000], [0, 0, 0, 2]]),
        ("neighbourhood", 1, [[11, 111, 1110, 1100], [0, 0, 2, 2]]),
        ("neighbourhood", 3, [[1111] * 4, [2] * 4]),
    ],
)
def test_agents_on_a_line_are_paid_by_hand(source, kappa, expected):
    reward = RewardSource(Partition.singletons(4), AgentGraph.line(4), kappa, source)
    assert reward.aggregate(REWARDS).tolist() == expected


def test_a_block_gets_the_neighbourhood_of_all_its_agents_once():
    reward = RewardSource(Partition([[0, 1], [2], [3]], 4), AgentGraph.line(4), 1, "neighbourhood")
    assert reward.aggregate(REWARDS[None]).tolist() == [[[111, 1110, 1100], [0, 2, 2]]]


def test_rewards_are_shared_out_before_they_are_added_up():
    parent = Partition([[0, 1], [2, 3]], 4)
    reward = RewardSource(Partition.singletons(4), AgentGraph.line(4), 1, "neighbourhood", parent)
    assert reward.aggregate(REWARDS[:1]).tolist() == [[11, 11 + 550, 5.5 + 1100, 1100]]


def test_an_unknown_source_is_named():
    with pytest.raises(InputError, match=r"reward\.source"):
        RewardSource(Partition.singletons(2), AgentGraph.line(2), 1, "global")  # type: ignore[arg-type]
