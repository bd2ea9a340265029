"""The environment's own rewards, block by block."""

from __future__ import annotations

import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.rewards import RewardSource, SharingSettings

REWARDS = torch.tensor([[1.0, 10.0, 100.0, 1000.0], [0.0, 0.0, 0.0, 2.0]])


def source_of(partition, kappa=1, **options):
    """Of agents on a line, who observe two numbers and have three actions."""
    return RewardSource(partition, AgentGraph.line(partition.n_agents), kappa, 2, 3, **options)


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
    reward = source_of(Partition.singletons(4), kappa, source=source)
    assert reward.aggregate(REWARDS).tolist() == expected


def test_a_block_gets_the_neighbourhood_of_all_its_agents_once():
    reward = source_of(Partition([[0, 1], [2], [3]], 4), source="neighbourhood")
    assert reward.aggregate(REWARDS[None]).tolist() == [[[111, 1110, 1100], [0, 2, 2]]]


def test_rewards_are_shared_out_before_they_are_added_up():
    parent = Partition([[0, 1], [2, 3]], 4)
    reward = source_of(Partition.singletons(4), source="neighbourhood", redistribute=parent)
    assert reward.aggregate(REWARDS[:1]).tolist() == [[11, 11 + 550, 5.5 + 1100, 1100]]


def test_an_unknown_source_is_named():
    with pytest.raises(InputError, match=r"reward\.source"):
        source_of(Partition.singletons(4), source="global")


# ------------------------------------------------------------------------ sharing


def test_a_block_gets_what_its_agents_get_of_shared_rewards():
    reward = source_of(Partition([[0, 1], [2, 3]], 4), share="equal", hops=1)
    # an end of the line shares with one, the others with two: 0 gets 1/2 + 10/3, 1 gets 1/2 + 10/3 + 100/3, …
    first, second = 1 + 20 / 3 + 100 / 3, 10 / 3 + 200 / 3 + 1000
    found = reward.aggregate(REWARDS[None])
    assert found.shape == (1, 2, 2)
    torch.testing.assert_close(found[0], torch.tensor([[first, second], [0.0, 2.0]]))


@pytest.mark.parametrize(("hops", "each"), [(0, [1, 10, 100, 1000]), (3, [1111 / 4] * 4), (9, [1111 / 4] * 4)])
def test_equal_shares_within_no_hop_and_within_all(hops, each):
    reward = source_of(Partition.singletons(4), share="equal", hops=hops)
    assert reward.aggregate(REWARDS)[0].tolist() == pytest.approx(each)


def test_learned_shares_begin_as_if_there_were_none():
    reward = source_of(Partition.singletons(4), share="learned")
    assert reward.aggregate(REWARDS).equal(REWARDS)
    assert reward.matrix.matrix().to_dense().equal(torch.eye(4))


def test_only_learned_shares_are_stored_and_have_an_optimiser():
    for share, stored in (("none", False), ("equal", False), ("learned", True)):
        reward = source_of(Partition.singletons(4), share=share)
        assert bool(reward.state_dict()) == bool(list(reward.parameters())) == stored
        assert (reward.make_optimizer() is not None) == stored
        assert (reward.matrix is None) == (share == "none")
    assert reward.make_optimizer().defaults["lr"] == SharingSettings().lr
    assert "sharing.matrix.shares" in reward.state_dict()


def test_without_learning_a_batch_is_left_as_it_is(make_rollout):
    for share in ("none", "equal"):
        reward, batch = source_of(Partition.singletons(4), share=share), make_rollout(n_agents=4)
        assert reward.observe(batch) == (batch, {})
        assert reward.fit_and_relabel(batch, None, torch.Generator()) == (batch, {})


def test_what_is_drawn_to_learn_shares_leaves_the_batch_as_it_is(make_rollout):
    reward = source_of(Partition.singletons(4), share="learned", sharing=SharingSettings(every=1))
    batch = make_rollout(valid=("111",) * 4, n_agents=4, n_actions=3)
    ready, metrics = reward.fit_and_relabel(batch, reward.make_optimizer(), torch.Generator().manual_seed(0))
    assert ready is batch
    assert metrics.keys() == {"effect_loss", "conflict", "opposed", "passed_on"}
    torch.testing.assert_close(reward.aggregate(REWARDS).sum(dim=-1), REWARDS.sum(dim=-1))


@pytest.mark.parametrize("share", ["equal", "learned"])
def test_only_local_rewards_are_shared(share):
    singletons = Partition.singletons(4)
    with pytest.raises(InputError, match=rf"reward\.source: expected local with reward\.share={share}, got team"):
        source_of(singletons, source="team", share=share)
    with pytest.raises(InputError, match=rf"reward\.redistribute: expected null with reward\.share={share}"):
        source_of(singletons, redistribute=Partition.full(4), share=share)


@pytest.mark.parametrize(
    ("options", "name"),
    [({"share": "mine"}, "share"), ({"hops": -1}, "hops"), ({"hops": 0.5, "share": "equal"}, "hops")],
)
def test_an_impossible_sharing_is_named(options, name):
    with pytest.raises(InputError, match=rf"reward\.{name}: "):
        source_of(Partition.singletons(4), **options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("share", "size"),
        ("every", 0),
        ("rate", 0),
        ("price", -1),
        ("margin", 1.5),
        ("hidden", 0),
        ("updates", 0),
        ("lr", 0),
        ("gamma", 1),
        ("lam", 2),
    ],
)
def test_a_setting_of_sharing_out_of_its_range_is_named(name, value):
    with pytest.raises(InputError, match=rf"reward\.sharing\.{name}: "):
        SharingSettings(**{name: value})


def test_two_sequences_are_too_few_for_three_networks():
    singletons = Partition.singletons(4)
    source_of(singletons, share="equal").check(1)
    source_of(singletons, share="learned").check(3)
    with pytest.raises(InputError, match=r"learner\.n_envs or learner\.batch_size: expected at least 3 .*, got 2$"):
        source_of(singletons, share="learned").check(2)
