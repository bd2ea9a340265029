from inspect import signature

import numpy as np
import pytest
import torch
from scipy.stats import norm

from lomaq.envs import Rollout
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.rewards import DecomposedReward, FitSettings, GateSettings, NetworkSettings, RewardSource

T, B, N, A, SEEN = 4, 6, 3, 2, 2


def reward_of(partition=None, **options):
    """Settings of the parts are given by their names alone."""
    torch.manual_seed(0)
    options = {"hidden": [16, 16, 16], **options}
    kinds = {"networks": NetworkSettings, "fit": FitSettings, "gate": GateSettings}
    parts = {
        part: kind(**{key: options.pop(key) for key in list(options) if key in signature(kind).parameters})
        for part, kind in kinds.items()
    }
    return DecomposedReward(partition or Partition.singletons(N), AgentGraph.line(N), SEEN, A, **parts, **options)


def say_zero(reward):
    """All learned rewards are 0, and steps too small to change that."""
    for parameter in reward.parameters():
        torch.nn.init.zeros_(parameter)
    return reward


def make_rollout(rewards=None, valid=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    observations = torch.randn(T + 1, B, N, SEEN, generator=generator)
    return Rollout(
        observations=observations,
        actions=torch.randint(A, (T, B, N), generator=generator),
        rewards=(observations[:-1, ..., 0] > 0).float() if rewards is None else rewards,
        terminated=torch.zeros(T, B, dtype=torch.bool),
        truncated=torch.zeros(T, B, dtype=torch.bool),
        mask=torch.ones(T, B, dtype=torch.bool) if valid is None else valid,
        is_first=torch.zeros(T + 1, B, dtype=torch.bool),
        last_actions=torch.full((B, N), -1),
        hidden=torch.zeros(B, N, 0),
    )


def with_team(team):
    """A rollout whose team reward is ``team`` (``[T * B]``), shared equally."""
    return make_rollout(torch.as_tensor(team).float().view(T, B, 1).expand(T, B, N) / N)


def prepare(reward, rollout, optimizer=None):
    optimizer = optimizer or reward.make_optimizer()
    return reward.fit_and_relabel(rollout, optimizer, torch.Generator().manual_seed(0))


# --------------------------------------------------------------- what is observed


def test_every_agent_is_shown_an_equal_share_of_the_team_reward():
    rollout = make_rollout(torch.randn(T, B, N))
    shown, _ = reward_of().observe(rollout)
    team = rollout.rewards.sum(dim=-1)
    torch.testing.assert_close(shown.rewards, torch.stack([team / 3] * 3, dim=-1))
    torch.testing.assert_close(shown.rewards.sum(dim=-1), team)
    assert shown.observations is rollout.observations


def test_the_error_of_the_local_rewards_is_a_mean_over_agents_and_transitions():
    valid = torch.zeros(T, B, dtype=torch.bool)
    valid[0, :2] = True
    rewards = torch.full((T, B, N), 1000.0)
    rewards[0, 0], rewards[0, 1] = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.0, 0.0, 6.0])
    _, figures = say_zero(reward_of()).observe(make_rollout(rewards, valid))
    assert figures == {"local_reward_error": pytest.approx(12 / 6)}


@pytest.mark.parametrize("source", ["local", "neighbourhood", "team"])
def test_the_environments_own_rewards_are_passed_on_as_they_are(source):
    source, rollout = RewardSource(Partition.singletons(N), AgentGraph.line(N), 1, SEEN, A, source), make_rollout()
    assert source.make_optimizer() is None
    assert source.observe(rollout) == (rollout, {})
    assert source.fit_and_relabel(rollout, None, torch.Generator()) == (rollout, {})


# ---------------------------------------------------------------------- learning


@pytest.mark.parametrize(
    "options", [{}, {"variant": "classification", "values": [[0, 1]]}, {"max_size": 2}], ids=["one", "classes", "pairs"]
)
def test_local_rewards_are_learned_from_the_team_reward(options):
    reward = reward_of(updates=20, tolerance=0.5, batch_size=4, **options)
    optimizer = reward.make_optimizer()
    errors = []
    for seed in range(14):
        shown, figures = reward.observe(make_rollout(seed=seed))
        errors.append(figures["local_reward_error"])
        ready, figures = prepare(reward, shown, optimizer)
    assert errors[-1] < 0.15 < 0.4 < errors[0]
    assert ready is not None
    assert figures["reward_pass_rate"] > 0.9
    assert figures["reward_loss"] < 0.1


def test_as_many_steps_are_taken_on_as_many_sequences_as_told(monkeypatch):
    reward = reward_of(updates=3, batch_size=2)
    seen, loss = [], reward.model.loss

    def spy(observations, *others):
        seen.append(observations.shape)
        return loss(observations, *others)

    monkeypatch.setattr(reward.model, "loss", spy)
    prepare(reward, make_rollout())
    assert seen == [(T, 2, N, SEEN)] * 3


@pytest.mark.parametrize(
    ("team", "steps"),
    [
        ([0.07] * 24, 2),  # all off by less than a quarter of 0.1 an agent
        ([0.08] * 24, 5),  # all pass, but they are off by more in the mean
        ([0.0] * 23 + [0.31], 5),  # one of 24 does not pass
    ],
)
def test_rewards_that_are_known_before_they_are_learned_take_fewer_steps(team, steps, monkeypatch):
    reward = say_zero(reward_of(updates=5, settled_updates=2))
    optimizer, counted = reward.make_optimizer(), []
    monkeypatch.setattr(optimizer, "step", lambda: counted.append(1))
    prepare(reward, reward.observe(with_team(team))[0], optimizer)
    assert len(counted) == steps
    prepare(reward, reward.observe(with_team([1.0] * 24))[0], optimizer)  # what is new takes all of them at once
    assert len(counted) == steps + 5


def test_settled_steps_are_never_more_than_the_others(monkeypatch):
    for settled in (None, 9):
        reward = say_zero(reward_of(updates=1, settled_updates=settled))
        optimizer, counted = reward.make_optimizer(), []
        monkeypatch.setattr(optimizer, "step", lambda counted=counted: counted.append(1))
        prepare(reward, reward.observe(with_team([0.0] * 24))[0], optimizer)
        assert len(counted) == 1


def test_learning_works_where_gradients_are_switched_off():
    reward = reward_of()
    before = [p.clone() for p in reward.parameters()]
    with torch.no_grad():
        prepare(reward, make_rollout())
    assert not any(torch.equal(a, b) for a, b in zip(before, reward.parameters(), strict=True))


def test_observations_are_seen_scaled():
    plain, scaled = reward_of(), reward_of(observation_scale=[2.0, 0.0])
    rollout = make_rollout()
    doubled = make_rollout(rollout.rewards)
    doubled.observations.mul_(torch.tensor([2.0, 0.0]))
    assert scaled.observe(rollout)[1] == plain.observe(doubled)[1]


# -------------------------------------------------------------------------- gate


def test_samples_that_fail_are_left_out_and_the_rest_is_relabelled():
    reward = reward_of(tolerance=1.0, lr=1e-12, pass_rate=0.2)
    rollout = with_team(np.linspace(-2, 2, T * B))
    rollout.mask[2, 3] = False
    ready, figures = prepare(reward, rollout)
    learned = reward.model.agent_rewards(rollout.observations[:-1], rollout.actions)
    error = (learned.sum(dim=-1) - rollout.rewards.sum(dim=-1)).abs().detach()
    expected = rollout.mask & (error <= 1.0)
    assert ready is not None
    assert 5 <= expected.sum() <= 20
    assert torch.equal(ready.mask, expected)
    torch.testing.assert_close(ready.rewards, learned)
    assert rollout.mask.sum() == T * B - 1  # what came is as it was
    assert figures["reward_pass_rate"] == pytest.approx(int(expected.sum()) / (T * B - 1))
    assert figures["reward_error"] == pytest.approx(float(error[rollout.mask].mean()), rel=1e-5)


@pytest.mark.parametrize(("failing", "ready"), [(2, True), (3, False), (24, False)])
def test_values_wait_until_nine_in_ten_samples_pass(failing, ready):
    team = np.zeros(T * B)
    team[:failing] = 5.0
    reward = say_zero(reward_of(tolerance=1.0, lr=1e-12))
    assert (prepare(reward, with_team(team))[0] is not None) == ready  # 22 of 24 is more than 0.9, 21 is less


def test_a_batch_in_which_nothing_passes_is_never_learned_from():
    reward = say_zero(reward_of(tolerance=1.0, lr=1e-12, pass_rate=0.0))
    assert prepare(reward, with_team(np.full(T * B, 5.0)))[0] is None


def test_the_tolerance_follows_the_deviation_of_all_team_rewards_so_far():
    reward = reward_of(relative_tolerance=0.5, tolerance=100.0)
    teams = [np.random.default_rng(seed).normal(seed, 1 + seed, T * B) for seed in range(3)]
    for team in teams:
        reward.observe(with_team(team))
    assert reward.tolerance == pytest.approx(0.5 * np.concatenate(teams).std(), rel=1e-5)
    bounded = reward_of(relative_tolerance=1000.0)
    bounded.observe(with_team(teams[0]))
    assert bounded.tolerance == pytest.approx(0.1 * N)


def test_with_many_agents_only_the_relative_tolerance_stops_a_network_that_knows_the_mean():
    n = 100
    team = norm.ppf((np.arange(T * B) + 0.5) / (T * B), n / 2, n**0.5 / 2).reshape(T, B)  # of n fair coins
    rollout = make_rollout()
    parts = {"rewards": torch.tensor(team).float()[..., None].expand(T, B, n) / n}
    parts |= {"observations": torch.zeros(T + 1, B, n, SEEN), "actions": torch.zeros(T, B, n, dtype=torch.int64)}
    rollout = Rollout(**{**vars(rollout), **parts})
    for relative, ready in ((None, True), (1.0, False)):
        reward = DecomposedReward(
            Partition.singletons(n),
            AgentGraph.line(n),
            SEEN,
            A,
            fit=FitSettings(lr=1e-12),
            gate=GateSettings(relative_tolerance=relative),
        )
        say_zero(reward)
        reward.model.networks[0].bias[-1].data.fill_(0.5)
        reward.observe(rollout)
        assert (prepare(reward, rollout)[0] is not None) == ready


def test_blocks_get_the_sum_of_their_agents_learned_rewards():
    reward = reward_of(Partition([[0, 2], [1]], N))
    assert reward.aggregate(torch.tensor([1.0, 10.0, 100.0])).tolist() == [101.0, 10.0]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("variant", "guess"),
        ("gate.pass_rate", 1.1),
        ("gate.relative_tolerance", -1.0),
        ("gate.tolerance", -1.0),
        ("fit.lr", 0.0),
        ("fit.batch_size", 0),
        ("fit.updates", 0),
        ("fit.settled_updates", 0),
        ("fit.loss", "mse"),
        ("fit.regularisation", -1.0),
        ("fit.weights", ()),
        ("fit.weights", (1.0, -1.0)),
        ("fit.weights", "ab"),
        ("networks.inputs", "actions"),
        ("networks.share", "all"),
        ("networks.hidden", (64, 64)),
        ("networks.hidden", (64, 0, 64)),
        ("networks.hidden", "abc"),
        ("max_size", 0),
        ("observation_scale", [1.0]),
        ("observation_scale", [1.0, "a"]),
    ],
)
def test_impossible_settings_are_named(setting, value):
    with pytest.raises(InputError, match=rf"^reward\.{setting}: expected "):
        reward_of(**{setting.rpartition(".")[2]: value})


@pytest.mark.parametrize("part", ["networks", "fit", "gate"])
def test_a_part_is_no_number(part):
    with pytest.raises(InputError, match=rf"^reward\.{part}: expected a group of settings, got 3; .*reward\.{part}\."):
        DecomposedReward(Partition.singletons(N), AgentGraph.line(N), SEEN, A, **{part: 3})


def test_classification_needs_values():
    with pytest.raises(InputError, match=r"^reward\.values: expected values for each group size"):
        reward_of(variant="classification")
