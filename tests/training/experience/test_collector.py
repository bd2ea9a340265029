"""A small environment whose episodes have known lengths, and what the collector makes of it."""

import io
import sys
from dataclasses import fields

import pytest
import torch

from lomaq.envs import BatchedEnv, Rollout, contract
from lomaq.errors import EnvError, NonFiniteLossError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import SumMixer
from lomaq.nn import Utilities
from lomaq.objectives import ValueNetworks
from lomaq.training.experience.collector import Collector

N, A = 2, 3
LENGTHS = ((3, 1, 4), (2, 5, 2), (6, 6, 1))  # of the episodes of each copy, over and over


class Clock(BatchedEnv):
    """Copy b terminates after its known number of steps; shows episode, step and a number drawn at each reset.

    Reward: action + 10 · agent + 100 · step.
    """

    state_names = ("episode", "age", "drawn")

    def __init__(self, lengths=LENGTHS, max_steps=50, masked=False, seed=0):
        graph = AgentGraph.line(N)
        super().__init__(
            graph, n_envs=len(lengths), n_actions=A, obs_size=3, max_steps=max_steps, seed=seed, device="cpu"
        )
        self.lengths, self.masked = torch.tensor(lengths), masked
        self.episode = torch.full((self.n_envs,), -1)
        self.age = torch.zeros(self.n_envs, dtype=torch.int64)
        self.drawn = torch.zeros(self.n_envs)

    def _reset_state(self, rows):
        self.episode[rows] += 1
        self.age[rows] = 0
        self.drawn[rows] = self.uniform(len(rows), low=0, high=1)

    def _advance(self, actions):
        rewards = actions + 10.0 * torch.arange(N) + 100.0 * self.age[:, None]
        self.age += 1
        length = self.lengths.gather(1, (self.episode % self.lengths.size(1))[:, None])[:, 0]
        return rewards, self.age >= length

    def observe(self):
        shown = torch.stack([self.episode.float(), self.age.float(), self.drawn], dim=-1)
        return shown[:, None].repeat(1, N, 1)

    def action_mask(self):
        if not self.masked:
            return None
        mask = torch.ones(self.n_envs, N, A, dtype=torch.bool)
        mask[torch.arange(self.n_envs), :, self.age % A] = False  # another one is forbidden at each step
        return mask


def make(steps, network="mlp", seed=0, spread=False, **options):
    """A collector over clocks; unless told so, its copies begin at time 0 instead of spread over the episode."""
    env = Clock(**options)
    torch.manual_seed(0)
    utilities = Utilities(env.graph, 3, A, network, hidden=[5], last_action=True)
    collector = Collector(env, utilities, seed, steps)
    if not spread:
        env.time.zero_()
    return collector


def assert_same(one, two):
    for field in fields(Rollout):
        a, b = getattr(one, field.name), getattr(two, field.name)
        assert (a is None) == (b is None), field.name
        assert a is None or torch.equal(a, b), field.name


def story(lengths, steps, max_steps=50):
    """What one copy does, step by step: (episode, age, valid, terminated, truncated) and whether each is a first."""
    episode, age, waiting = 0, 0, False
    frames, firsts = [], [True]
    for _ in range(steps):
        if waiting:
            frames.append((None, None, False, False, False))
            episode, age, waiting = episode + 1, 0, False
            firsts.append(True)
            continue
        terminated = age + 1 >= lengths[episode % len(lengths)]
        truncated = age + 1 >= max_steps and not terminated
        frames.append((episode, age, True, terminated, truncated))
        age += 1
        waiting = terminated or truncated
        firsts.append(False)
    return frames, firsts


@pytest.mark.parametrize("max_steps", [50, 4])
def test_rollouts_of_fixed_length_tell_where_episodes_begin_and_end(max_steps):
    rollout = make(12, max_steps=max_steps).collect(1.0)
    assert (rollout.n_steps, rollout.n_sequences) == (12, 3)
    for b, lengths in enumerate(LENGTHS):
        frames, firsts = story(lengths, 12, max_steps)
        assert rollout.is_first[:, b].tolist() == firsts
        for t, (episode, age, valid, terminated, truncated) in enumerate(frames):
            assert bool(rollout.mask[t, b]) == valid
            assert bool(rollout.terminated[t, b]) == terminated
            assert bool(rollout.truncated[t, b]) == truncated
            if valid:
                assert rollout.observations[t, b, 0, :2].tolist() == [episode, age]
                assert rollout.observations[t + 1, b, 0, :2].tolist() == [episode, age + 1]  # what it led to
                expected = rollout.actions[t, b] + torch.tensor([0.0, 10.0]) + 100 * age
                assert torch.equal(rollout.rewards[t, b], expected)
    assert rollout.terminated.any()
    assert rollout.truncated.any() == (max_steps == 4)
    assert not (rollout.terminated & rollout.truncated).any()


def test_a_copy_that_ended_takes_one_step_to_begin_anew():
    rollout = make(5, lengths=((2, 9),)).collect(0.0)
    assert rollout.mask[:, 0].tolist() == [True, True, False, True, True]
    assert rollout.is_first[:, 0].tolist() == [True, False, False, True, False, False]
    assert rollout.observations[:, 0, 0, :2].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


def test_only_the_copies_that_ended_are_reset():
    rollout = make(12).collect(1.0)
    for b in range(3):
        drawn = rollout.observations[:, b, 0, 2]
        for t in range(12):
            assert (drawn[t] == drawn[t + 1]) != bool(rollout.is_first[t + 1, b])


def test_previous_actions_are_those_taken_but_for_the_first_of_an_episode():
    rollout = make(12).collect(1.0)
    previous = rollout.previous_actions()
    for b in range(3):
        for t in range(13):
            expected = [-1] * N if rollout.is_first[t, b] else rollout.actions[t - 1, b].tolist()
            assert previous[t, b].tolist() == expected


@pytest.mark.parametrize("network", ["mlp", "gru"])
@pytest.mark.parametrize("steps", [12, None])
def test_greedy_actions_are_the_best_of_the_utilities_along_the_rollout(network, steps):
    collector = make(steps, network)
    for _ in range(2):  # in the second one memories and previous actions are carried over
        rollout = collector.collect(0.0)
        values, _ = collector.utilities(
            rollout.observations, rollout.previous_actions(), rollout.is_first, rollout.hidden
        )
        best = values[:-1].argmax(dim=-1)
        assert torch.equal(rollout.actions[rollout.mask], best[rollout.mask])


@pytest.mark.parametrize("network", ["mlp", "gru"])
def test_two_rollouts_join_up(network):
    collector = make(5, network)
    one, two = collector.collect(0.5), collector.collect(0.5)
    assert torch.equal(two.observations[0], one.observations[-1])
    assert torch.equal(two.is_first[0], one.is_first[-1])
    assert torch.equal(two.previous_actions()[0], one.previous_actions()[-1])
    _, memory = collector.utilities(one.observations[:-1], one.previous_actions()[:-1], one.is_first[:-1], one.hidden)
    torch.testing.assert_close(two.hidden, memory)


@pytest.mark.parametrize("masked", [False, True])
def test_two_rollouts_are_one_of_twice_the_length(masked):
    halves, whole = make(6, "gru", masked=masked), make(12, "gru", masked=masked)
    one, two, both = halves.collect(0.5), halves.collect(0.5), whole.collect(0.5)
    for name in ("actions", "rewards", "terminated", "truncated", "mask"):
        assert torch.equal(torch.cat([getattr(one, name), getattr(two, name)]), getattr(both, name))
    for name in ("observations", "is_first") + ("action_mask",) * masked:
        assert torch.equal(torch.cat([getattr(one, name)[:-1], getattr(two, name)]), getattr(both, name))


def test_a_rollout_is_not_changed_by_the_next_one():
    collector = make(6, "gru", masked=True)
    rollout = collector.collect(0.5)
    copies = {f.name: getattr(rollout, f.name).clone() for f in fields(Rollout)}
    collector.collect(0.5)
    assert all(torch.equal(getattr(rollout, name), copy) for name, copy in copies.items())


def test_rollouts_carry_no_gradient():
    rollout = make(6, "gru").collect(0.5)
    assert not any(getattr(rollout, f.name).requires_grad for f in fields(Rollout) if f.name != "action_mask")


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [12, None])
def test_masks_are_recorded_and_respected(steps, epsilon):
    rollout = make(steps, masked=True).collect(epsilon)
    assert rollout.action_mask.shape == (rollout.n_steps + 1, 3, N, A)
    assert rollout.action_mask[:-1].gather(-1, rollout.actions[..., None]).all()
    age = rollout.observations[..., 0, 1].long()
    forbidden = rollout.action_mask.logical_not().int().argmax(dim=-1)  # [T + 1, B, N]
    assert torch.equal(forbidden, (age % A)[..., None].expand(-1, -1, N))


def test_each_environment_explores_with_its_own_share():
    shares = torch.tensor([0.0, 1.0, 0.0])
    rollout, greedy = make(40).collect(shares), make(40).collect(0.0)
    assert torch.equal(rollout.epsilon, shares)
    same = (rollout.actions == greedy.actions).all(dim=0).all(dim=-1)
    assert same.tolist() == [True, False, True]


def test_without_masks_none_is_recorded():
    assert make(4).collect(0.5).action_mask is None


# ---------------------------------------------------------- spread over the episode


def test_copies_begin_spread_over_the_episode():
    env = Clock(lengths=((99,),) * 40, max_steps=10)
    Collector(env, Utilities(env.graph, 3, A), seed=0, steps=5)
    assert ((env.time >= 0) & (env.time < 10)).all()
    assert len(env.time.unique()) == 10
    assert not env.age.any()  # the state itself is a fresh one


def test_the_first_episode_of_a_spread_copy_is_truncated_early():
    env = Clock(lengths=((99,),) * 8, max_steps=10)
    collector = Collector(env, Utilities(env.graph, 3, A), seed=0, steps=10)
    left = 10 - env.time.clone()
    rollout = collector.collect(0.5)
    assert not rollout.terminated.any()
    for b in range(8):
        assert rollout.truncated[:, b].nonzero().flatten()[0] == left[b] - 1


def test_whole_episodes_begin_at_the_beginning():
    env = Clock(lengths=((99,),) * 8, max_steps=10)
    Collector(env, Utilities(env.graph, 3, A), seed=0, steps=None)
    assert not env.time.any()


# ------------------------------------------------------------------ whole episodes


def test_whole_episodes_are_padded_to_the_longest():
    collector = make(None)  # its constructor resets once, so the first ones are played from the second episode on
    for played in (1, 2, 3):
        rollout = collector.collect(1.0)
        lengths = [copy[played % 3] for copy in LENGTHS]
        assert rollout.n_steps == max(lengths)
        assert rollout.observations.shape == (max(lengths) + 1, 3, N, 3)
        for b, length in enumerate(lengths):
            steps = torch.arange(max(lengths))
            assert torch.equal(rollout.mask[:, b], steps < length)
            assert torch.equal(rollout.terminated[:, b], steps == length - 1)
            assert not rollout.truncated[:, b].any()
            assert rollout.observations[: length + 1, b, 0, 1].tolist() == list(range(length + 1))
            assert (rollout.observations[: length + 1, b, 0, 0] == played).all()
        assert rollout.is_first[0].all()
        assert not rollout.is_first[1:].any()
        assert (rollout.previous_actions()[0] == -1).all()


def test_whole_episodes_end_at_the_time_limit():
    rollout = make(None, max_steps=4).collect(1.0)  # lengths 1, 5, 6
    assert rollout.n_steps == 4
    assert rollout.mask.sum(dim=0).tolist() == [1, 4, 4]
    assert rollout.terminated.sum(dim=0).tolist() == [1, 0, 0]
    assert rollout.truncated[3].tolist() == [False, True, True]
    assert rollout.truncated.sum() == 2


def test_whole_episodes_begin_with_an_empty_memory():
    collector = make(None, "gru")
    collector.collect(0.5)
    rollout = collector.collect(0.0)
    fresh, _ = collector.utilities(
        rollout.observations,
        rollout.previous_actions(),
        rollout.is_first,
        collector.utilities.initial_hidden(3, torch.device("cpu")),
    )
    carried, _ = collector.utilities(rollout.observations, rollout.previous_actions(), rollout.is_first, rollout.hidden)
    assert rollout.hidden.any()
    assert torch.equal(fresh, carried)


# -------------------------------------------------------------------------- seeds


def test_equal_seeds_collect_alike_and_others_do_not():
    one, two, other = (make(8, "gru", seed=seed).collect(0.5) for seed in (1, 1, 2))
    assert_same(one, two)
    assert not torch.equal(one.actions, other.actions)


@pytest.mark.parametrize("network", ["mlp", "gru"])
@pytest.mark.parametrize("steps", [5, None])
def test_a_collector_goes_on_from_its_state_as_if_it_had_never_stopped(steps, network):
    collector = make(steps, network, spread=True, max_steps=7)
    collector.collect(0.5)
    file = io.BytesIO()
    torch.save(collector.state_dict(), file)
    expected = [collector.collect(0.5) for _ in range(2)]
    file.seek(0)
    again = make(steps, network, seed=99)  # another stream, another start, until it is restored
    again.env.max_steps = 7
    again.load_state_dict(torch.load(file, weights_only=True))
    for rollout in expected:
        assert_same(again.collect(0.5), rollout)


def test_a_state_can_be_taken_at_any_step_of_an_episode():
    collector, again = make(1, "gru"), make(1, "gru", seed=99)
    seen = set()
    for _ in range(12):
        seen |= {(bool(a), bool(b)) for a, b in zip(collector.state.is_first, collector.ended, strict=True)}
        state = collector.state_dict()
        expected = [collector.collect(0.5) for _ in range(3)]
        again.load_state_dict(state)
        for rollout in expected:
            assert_same(again.collect(0.5), rollout)
        collector.load_state_dict(state)
        collector.collect(0.5)
    assert seen == {(False, False), (True, False), (False, True)}  # in an episode, at its first step, waiting


def test_a_state_does_not_follow_what_is_collected_later():
    collector = make(5, "gru")
    collector.collect(0.5)
    state = collector.state_dict()
    expected = collector.collect(0.5)
    collector.load_state_dict(state)
    assert_same(collector.collect(0.5), expected)
    collector.load_state_dict(state)  # nor is it changed by what was collected from it
    assert_same(collector.collect(0.5), expected)


# ------------------------------------------------- environments that reuse their tensors


class Reuses(Clock):
    """A clock that shows, pays and masks by one tensor each, which every step overwrites, and changes its actions."""

    def __init__(self, **options):
        super().__init__(**options)
        self.buffers = {}

    def _reused(self, name, value):
        return value if value is None else self.buffers.setdefault(name, value.clone()).copy_(value)

    def _advance(self, actions):
        rewards, terminated = super()._advance(actions)
        actions.fill_(0)
        return self._reused("rewards", rewards), self._reused("terminated", terminated)

    def observe(self):
        return self._reused("observation", super().observe())

    def action_mask(self):
        return self._reused("mask", super().action_mask())


@pytest.mark.parametrize("steps", [12, None])
@pytest.mark.parametrize("masked", [False, True])
def test_an_environment_that_reuses_its_tensors_collects_what_another_one_does(monkeypatch, steps, masked):
    plain = make(steps, "gru", masked=masked)
    monkeypatch.setattr(sys.modules[__name__], "Clock", Reuses)
    reuses = make(steps, "gru", masked=masked)
    assert isinstance(reuses.env, Reuses)
    for _ in range(2):
        one, two = plain.collect(0.5), reuses.collect(0.5)
        assert_same(one, two)
    assert one.actions.any()


# ------------------------------------------------------------- numbers that are not finite


def test_a_reward_that_is_no_number_is_named_by_environment_agent_and_step():
    collector = make(12)
    advance = collector.env._advance

    def broken(actions):
        rewards, terminated = advance(actions)
        return rewards.masked_fill(collector.env.time[:, None] == 4, torch.nan), terminated

    collector.env._advance = broken
    with pytest.raises(
        EnvError, match=r"^reward of \S+Clock: expected finite numbers, got nan \(environment 2, agent 0, step 5"
    ):
        collector.collect(0.5)


def test_numbers_whose_sum_alone_is_too_large_are_finite():
    large = torch.full((3, N, 3), 1e38)
    assert large.sum() == torch.inf
    contract.check_numbers(Clock(), "observation", large, 1)


def test_utilities_without_bounds_are_named_where_the_environment_is_sound():
    collector = make(12)
    for parameter in collector.utilities.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(NonFiniteLossError, match=r"utilities became nan \(environment 0, agent 0, action 0\); lower"):
        collector.collect(0.0)


@pytest.mark.parametrize("agent", ["mlp", "gru"])
def test_what_the_networks_gave_while_acting_is_their_unroll(agent) -> None:
    env = Clock()
    utilities = Utilities(env.graph, env.obs_size, A, network=agent, hidden=(8, 8), last_action=True)
    networks = ValueNetworks(utilities, SumMixer(env.graph, Partition.singletons(N), 0))
    collector = Collector(env, utilities, 1, 12)
    for _ in range(2):
        rollout = collector.collect(0.5)
        hidden = collector.state.hidden.clone()
        torch.testing.assert_close(collector.unrolled(), networks.unroll(rollout))
        assert torch.equal(collector.state.hidden, hidden)  # it looks, and changes nothing
