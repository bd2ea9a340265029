from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.envs import Rollout
from lomaq.envs.cartpole import CartPole
from lomaq.errors import InputError
from lomaq.nn import Utilities
from lomaq.training.experience import replay as replay_module
from lomaq.training.experience.collector import Collector
from lomaq.training.experience.replay import Replay, sequence_bytes

N, A, OBS, HIDDEN, MAX_STEPS = 2, 3, 2, 4, 5
CPU = torch.device("cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make_rollout(*lengths, mask=True):
    """One episode a length; everything in it is random, its first reward is the number of its kind."""
    steps, batch = max(lengths), len(lengths)
    time = torch.arange(steps)[:, None]
    valid = time < torch.tensor(lengths)
    last = time == torch.tensor(lengths) - 1
    first = torch.zeros(steps + 1, batch, dtype=torch.bool)
    first[0] = True
    return Rollout(
        observations=torch.randn(steps + 1, batch, N, OBS),
        actions=torch.randint(A, (steps, batch, N)),
        rewards=torch.randn(steps, batch, N),
        terminated=last & (torch.rand(batch) < 0.5),
        truncated=last & (torch.rand(batch) < 0.5),
        mask=valid,
        is_first=first,
        last_actions=torch.randint(-1, A, (batch, N)),
        hidden=torch.randn(batch, N, HIDDEN),
        action_mask=torch.rand(steps + 1, batch, N, A) < 0.7 if mask else None,
    )


def numbered(*numbers, steps=2):
    """Sequences that can be told apart by their rewards."""
    rollout = make_rollout(*[steps] * len(numbers), mask=False)
    rollout.rewards[:] = torch.tensor(numbers, dtype=torch.float32)[None, :, None]
    return rollout


def kept(replay):
    """Numbers of all stored sequences."""
    sample = replay.sample(replay.size, generator(), CPU)
    return sorted(int(x) for x in sample.rewards[0, :, 0])


def assert_same(one, two):
    for field in fields(Rollout):
        a, b = getattr(one, field.name), getattr(two, field.name)
        assert (a is None) == (b is None), field.name
        if a is not None:
            assert a.dtype == b.dtype, field.name
            assert torch.equal(a, b), field.name


@pytest.mark.parametrize("mask", [True, False])
def test_a_sample_holds_exactly_what_was_stored(mask):
    torch.manual_seed(0)
    rollout = make_rollout(4, 4, 4, mask=mask)
    replay = Replay(3)
    replay.add(rollout, MAX_STEPS)
    sample = replay.sample(3, generator(), CPU)
    order = [int((rollout.rewards[0, :, 0] == x).nonzero()) for x in sample.rewards[0, :, 0]]
    assert sorted(order) == [0, 1, 2]
    assert_same(sample, rollout.select(torch.tensor(order)))


def test_a_sample_is_cut_to_its_longest_sequence():
    torch.manual_seed(0)
    replay = Replay(4)
    replay.add(make_rollout(5, 2, mask=True), MAX_STEPS)
    replay.add(make_rollout(3, 1, mask=True), MAX_STEPS)
    chance, lengths = generator(), set()
    for _ in range(20):
        sample = replay.sample(2, chance, CPU)
        longest = int(sample.mask.sum(dim=0).max())
        lengths.add(longest)
        assert sample.n_steps == len(sample.rewards) == len(sample.terminated) == longest
        assert len(sample.observations) == len(sample.is_first) == len(sample.action_mask) == longest + 1
    assert lengths == {2, 3, 5}


def test_behind_a_shorter_episode_nothing_is_valid_and_nothing_ends_or_begins():
    torch.manual_seed(0)
    replay = Replay(2)
    short, long = make_rollout(2, mask=False), make_rollout(5, mask=False)
    replay.add(short, MAX_STEPS)
    replay.add(long, MAX_STEPS)
    sample = replay.sample(2, generator(), CPU)
    column = int(sample.mask.sum(dim=0).argmin())
    assert sample.mask[:, column].tolist() == [True, True, False, False, False]
    assert torch.equal(sample.observations[:3, column], short.observations[:, 0])
    assert not sample.observations[3:, column].any()
    for name in ("terminated", "truncated"):
        assert not getattr(sample, name)[2:, column].any()
    assert not sample.is_first[1:, column].any()


def test_the_oldest_sequences_are_overwritten():
    replay = Replay(5)
    replay.add(numbered(1, 2), MAX_STEPS)
    assert (replay.size, kept(replay)) == (2, [1, 2])
    replay.add(numbered(3, 4), MAX_STEPS)
    assert (replay.size, kept(replay)) == (4, [1, 2, 3, 4])
    replay.add(numbered(5, 6), MAX_STEPS)
    assert (replay.size, kept(replay)) == (5, [2, 3, 4, 5, 6])
    replay.add(numbered(7, 8, 9), MAX_STEPS)
    assert (replay.size, kept(replay)) == (5, [5, 6, 7, 8, 9])


@settings(max_examples=30, deadline=None)
@given(capacity=st.integers(3, 7), sizes=st.lists(st.integers(1, 3), min_size=1, max_size=8))
def test_the_newest_are_kept_whatever_the_sizes(capacity, sizes):
    replay, seen = Replay(capacity), []
    for size in sizes:
        new = list(range(len(seen), len(seen) + size))
        replay.add(numbered(*new), MAX_STEPS)
        seen += new
    assert kept(replay) == seen[-capacity:]
    assert replay.size == min(capacity, len(seen))


def test_a_short_sequence_leaves_nothing_of_the_long_one_that_it_overwrites():
    torch.manual_seed(0)
    replay = Replay(1)
    replay.add(make_rollout(5), MAX_STEPS)
    short = make_rollout(2)
    replay.add(short, MAX_STEPS)
    assert_same(replay.sample(1, generator(), CPU), short)
    assert not replay.store["observations"][0, 3:].any()
    assert not replay.store["mask"][0, 2:].any()
    replay.add(make_rollout(1), MAX_STEPS)
    replay.add(make_rollout(4), MAX_STEPS)
    assert replay.sample(1, generator(), CPU).n_steps == 4


def test_a_batch_holds_different_sequences_and_every_one_comes_up():
    replay = Replay(6)
    replay.add(numbered(0, 1, 2, 3, 4, 5), MAX_STEPS)
    chance, found = generator(), torch.zeros(6)
    for _ in range(300):
        batch = replay.sample(2, chance, CPU).rewards[0, :, 0].long()
        assert batch[0] != batch[1]
        found[batch] += 1
    assert (abs(found - 100) < 30).all()


def test_there_is_no_sample_while_there_are_too_few():
    replay = Replay(4)
    assert replay.sample(1, generator(), CPU) is None
    replay.add(numbered(1, 2), MAX_STEPS)
    assert replay.sample(3, generator(), CPU) is None
    assert replay.sample(2, generator(), CPU).n_sequences == 2


def test_without_capacity_the_last_rollout_is_given_as_it_is():
    replay = Replay(None)
    assert replay.sample(None, generator(), CPU) is None
    replay.add(numbered(1), MAX_STEPS)
    last = numbered(2, 3)
    replay.add(last, MAX_STEPS)
    assert replay.sample(None, generator(), CPU) is last
    assert replay.state_dict()["store"] == {}


def test_what_is_stored_does_not_follow_later_changes_of_the_rollout():
    replay, rollout = Replay(1), numbered(1)
    replay.add(rollout, MAX_STEPS)
    rollout.rewards.fill_(9)
    assert kept(replay) == [1]
    sample = replay.sample(1, generator(), CPU)
    sample.rewards.fill_(7)
    assert kept(replay) == [1]


# ------------------------------------------------------------------- memory


def test_a_capacity_that_does_not_fit_is_refused_with_the_largest_that_does(monkeypatch):
    monkeypatch.setattr(replay_module, "free_memory", lambda: 10_000)
    Replay(8).check_memory(1000)  # four fifths of what is free
    with pytest.raises(InputError, match=r"learner\.replay_capacity: expected at most 8 sequences of 1\.0 kB.*got 9"):
        Replay(9).check_memory(1000)


class Masked(CartPole):
    def action_mask(self):
        return torch.ones(self.n_envs, self.n_agents, self.n_actions, dtype=torch.bool)


@pytest.mark.parametrize("env_class", [CartPole, Masked])
@pytest.mark.parametrize("network", ["mlp", "gru"])
@pytest.mark.parametrize("steps", [4, None])
def test_the_bytes_foretold_for_a_sequence_are_the_bytes_taken(env_class, network, steps):
    env = env_class(n_agents=3, max_steps=30, n_envs=2)
    utilities = Utilities(env.graph, env.obs_size, env.n_actions, network, hidden=[5])
    replay, length = Replay(7), steps or env.max_steps
    replay.add(Collector(env, utilities, 0, steps).collect(1.0), length)
    taken = sum(memory.nbytes for memory in replay.store.values())
    assert 7 * sequence_bytes(env, utilities.memory_size, length) == taken


def test_actions_take_two_bytes_each():
    replay = Replay(2)
    replay.add(numbered(1), MAX_STEPS)
    assert replay.store["actions"].dtype == replay.store["last_actions"].dtype == torch.int16


# -------------------------------------------------------------------- state


@pytest.mark.parametrize("rounds", [1, 4])  # not full yet, and gone round
def test_a_stored_replay_samples_and_goes_on_alike(rounds):
    torch.manual_seed(0)
    replay, again = Replay(5), Replay(5)
    for k in range(rounds):
        replay.add(make_rollout(2 + k % 3, 3), MAX_STEPS)
    again.load_state_dict(replay.state_dict())
    new = make_rollout(5, 1)
    for _ in range(2):
        assert again.size == replay.size
        assert_same(again.sample(2, generator(1), CPU), replay.sample(2, generator(1), CPU))
        for one in (replay, again):
            one.add(new, MAX_STEPS)


def test_a_state_holds_what_is_stored_and_not_the_empty_rest():
    replay = Replay(1000)
    replay.add(numbered(1, 2), MAX_STEPS)
    assert all(len(value) == 2 for value in replay.state_dict()["store"].values())


def test_a_state_does_not_follow_what_is_added_later():
    replay, again = Replay(2), Replay(2)
    replay.add(numbered(1, 2), MAX_STEPS)
    state = replay.state_dict()
    replay.add(numbered(3, 4), MAX_STEPS)
    again.load_state_dict(state)
    assert kept(again) == [1, 2]
    again.add(numbered(5, 6), MAX_STEPS)
    once_more = Replay(2)
    once_more.load_state_dict(state)
    assert kept(once_more) == [1, 2]


def test_an_empty_replay_can_be_stored():
    replay = Replay(3)
    replay.load_state_dict(Replay(3).state_dict())
    assert replay.sample(1, generator(), CPU) is None
    replay.add(numbered(1), MAX_STEPS)
    assert kept(replay) == [1]
