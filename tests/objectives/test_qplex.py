"""QPLEX: its value, the greedy actions that it promises, and its gradients."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.analysis.certificate.checkpoint import certify_checkpoint
from lomaq.analysis.stored import open_checkpoint
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import SumMixer
from lomaq.nn import Utilities
from lomaq.objectives import QPLEX, Returns, Targets, ValueNetworks
from lomaq.objectives.base import Batch
from lomaq.objectives.qplex import LARGEST, DuplexDuelling

N, A, OBS, H = 3, 3, 2, 8
SCALE = [2.0, 0.5]
ONE_STEP = Returns(0.9, 0.0)
FOUR = Targets(torch.tensor([[[4.0]]]), scale=10.0)
REWARDS = torch.tensor([[[3.0]]])


def make_critic(seed=0) -> DuplexDuelling:
    """With weights that make λ far from 1."""
    torch.manual_seed(seed)
    critic = DuplexDuelling(Utilities(AgentGraph.complete(N), OBS, A, observation_scale=SCALE), H)
    for parameter in critic.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return critic


def layer(module, x):
    return module.weight.detach().numpy() @ x + module.bias.detach().numpy()


def hidden(module, x):
    """Linear – LayerNorm – ReLU."""
    y = layer(module[0], x)
    y = (y - y.mean()) / np.sqrt(y.var() + module[1].eps)
    return np.maximum(y * module[1].weight.detach().numpy() + module[1].bias.detach().numpy(), 0)


def by_numpy(critic, observations, actions):
    """w, b and λ of every agent, for one joint action: observations ``[N, O]``, actions ``[N]``."""
    state = (observations * np.array(SCALE)).reshape(-1)
    features = hidden(critic.state, state)
    done = np.eye(A)[actions].reshape(-1)
    power = 3 * layer(critic.importance, hidden(critic.taken, np.concatenate([state, done])))
    return np.abs(layer(critic.weight, features)), layer(critic.bias, features), np.exp(np.minimum(power, 12))


UTILITIES = [[1.0, 2.0, 0.0], [0.5, 3.0, -1.0], [0.7, 0.2, 0.9]]


def random_observations(seed=1):
    return torch.randn(2, 1, N, OBS, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("actions", [[1, 1, 2], [0, 1, 2], [2, 0, 1]])
def test_the_value_equals_plain_numpy(actions):
    critic, observations = make_critic(), random_observations()
    table = np.array(UTILITIES)
    chosen, best = table[range(N), actions], table.max(axis=1)
    w, b, importance = by_numpy(critic, observations[0, 0].numpy(), actions)
    assert np.abs(np.log(importance)).max() > 0.5
    found = critic(
        torch.tensor(chosen, dtype=torch.float32),
        torch.tensor(best, dtype=torch.float32),
        observations[0, 0],
        torch.tensor(actions),
    )
    np.testing.assert_allclose(found.detach(), w * best + b + importance * w * (chosen - best), rtol=1e-4, atol=1e-5)


def test_greedy_actions_lose_no_advantage():
    critic, observations = make_critic(), random_observations()[0]
    best = torch.tensor(UTILITIES).amax(dim=-1)[None]
    greedy = torch.tensor(UTILITIES).argmax(dim=-1)[None]
    w, b, _ = by_numpy(critic, observations[0].numpy(), greedy[0].numpy())
    found = critic(best, best, observations, greedy)[0].detach()
    np.testing.assert_allclose(found, w * best[0].numpy() + b, rtol=1e-4, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_best_joint_action_is_made_of_every_agents_best_action(seed):
    critic = make_critic(seed).double()  # in single precision small λ would round away
    utilities, observations = torch.randn(N, A).double(), torch.randn(N, OBS).double()
    joint = torch.tensor(list(itertools.product(range(A), repeat=N)))  # [A^N, N]
    chosen = utilities.expand(len(joint), N, A).gather(-1, joint[..., None])[..., 0]
    best = utilities.amax(dim=-1).expand_as(chosen)
    total = critic(chosen, best, observations.expand(len(joint), N, OBS), joint).sum(dim=-1)
    assert torch.equal(joint[total.argmax()], utilities.argmax(dim=-1))


def total_of(critic, observations, actions, best, lost):
    """Q_tot of one joint action."""
    w, b, importance = by_numpy(critic, observations.numpy(), actions)
    return (w * best + b + importance * w * lost).sum()


@pytest.mark.parametrize(
    ("forbidden", "best", "lost"),
    [
        ([], [2.0, 3.0, 0.9], [-1.0, 0.0, -0.7]),
        ([(0, 1), (2, 2)], [1.0, 3.0, 0.7], [0.0, 0.0, -0.5]),  # agents 0 and 2 have action 0 for their best
    ],
)
def test_the_loss_is_the_squared_error_of_the_sum_over_agents(
    one_step, table_networks, forbidding, forbidden, best, lost
):
    critic, observations, actions = make_critic(), random_observations(), [0, 1, 1]
    rollout = one_step(actions, observations, forbidding(*forbidden, shape=(2, 1, N, A)))
    loss, metrics = QPLEX(ONE_STEP).loss(table_networks(UTILITIES, critic), rollout, FOUR)
    error = total_of(critic, observations[0, 0], actions, np.array(best), np.array(lost)) - 4
    assert loss.item() == pytest.approx(error**2, rel=1e-4)
    assert set(metrics) == {"td_error"}
    assert metrics["td_error"].item() == pytest.approx(10 * abs(error), rel=1e-4)


@pytest.mark.parametrize(
    ("forbidden", "greedy", "best"),
    [([], [1, 1, 2], [2.0, 3.0, 0.9]), ([(i, 1) for i in range(N)], [0, 0, 2], [1.0, 0.5, 0.9])],
)
def test_the_target_follows_the_transformed_largest_utilities(
    one_step, table_networks, forbidding, forbidden, greedy, best
):
    critic, observations = make_critic(), random_observations()
    target, mask = table_networks(UTILITIES, critic), forbidding(*forbidden, shape=(2, 1, N, A))
    batch = Batch(target, target, one_step([0, 2, 2], observations, mask), REWARDS, 10.0)
    value = total_of(critic, observations[1, 0], greedy, np.array(best), np.zeros(N))
    assert QPLEX(ONE_STEP).targets(batch).returns.item() == pytest.approx(3 + 0.9 * 10 * value, rel=1e-4)


def test_double_q_values_the_actions_that_the_online_networks_choose_with_what_they_lose(one_step, table_networks):
    critic, observations = make_critic(), random_observations()
    online = table_networks(-torch.tensor(UTILITIES), make_critic(7))  # which likes 2, 2 and 1 best
    best, lost = np.array([2.0, 3.0, 0.9]), np.array([-2.0, -4.0, -0.7])
    batch = Batch(online, table_networks(UTILITIES, critic), one_step([0, 1, 1], observations), REWARDS, 10.0)
    value = total_of(critic, observations[1, 0], [2, 2, 1], best, lost)
    found = QPLEX(ONE_STEP, double_q=True).targets(batch).returns
    assert found.item() == pytest.approx(3 + 0.9 * 10 * value, rel=1e-4)


def test_utilities_learn_as_if_importances_were_one_and_importances_from_what_is_lost(one_step, table_networks):
    critic, observations, actions = make_critic(), random_observations(), [0, 1, 1]
    table, lost = torch.tensor(UTILITIES, requires_grad=True), np.array([-1.0, 0.0, -0.7])
    total = total_of(critic, observations[0, 0], actions, np.array([2.0, 3.0, 0.9]), lost)
    w, _, importance = by_numpy(critic, observations[0, 0].numpy(), actions)
    QPLEX(ONE_STEP).loss(table_networks(table, critic), one_step(actions, observations), FOUR)[0].backward()
    expected = np.zeros((N, A))
    expected[range(N), actions] = 2 * (total - 4) * w  # only actions taken, and nothing of λ
    np.testing.assert_allclose(table.grad, expected, rtol=1e-4, atol=1e-6)
    expected = 2 * (total - 4) * w * lost * importance * 3  # d exp(3 ψ) / dψ
    np.testing.assert_allclose(critic.importance.bias.grad, expected, rtol=1e-4, atol=1e-6)


def test_importances_are_bounded():
    critic, observations = make_critic(), random_observations()[0]
    chosen, best, actions = torch.zeros(1, N), torch.ones(1, N), torch.zeros(1, N, dtype=torch.int64)
    torch.nn.init.zeros_(critic.importance.weight)
    values = []
    for power in (LARGEST, 1000.0):
        torch.nn.init.constant_(critic.importance.bias, power / 3)
        values.append(critic(chosen, best, observations, actions))
    assert torch.equal(*values)
    w, b, importance = by_numpy(critic, observations[0].numpy(), [0, 0, 0])
    assert importance.tolist() == pytest.approx([np.exp(12)] * N)
    np.testing.assert_allclose(values[0][0].detach(), w + b - importance * w, rtol=1e-4)


def real_networks() -> ValueNetworks:
    torch.manual_seed(0)
    graph = AgentGraph.complete(N)
    utilities = Utilities(graph, OBS, A, hidden=[8], observation_scale=SCALE)
    mixer = SumMixer(graph, Partition.full(N), 1)
    return ValueNetworks(utilities, mixer, QPLEX(ONE_STEP).make_critic(utilities, mixer))


def test_along_a_rollout_targets_value_what_a_step_leads_to(make_rollout):
    online, rollout = real_networks(), make_rollout(valid=("111",) * 8, n_actions=A, n_agents=N)
    best, greedy = online.unroll(rollout).max(dim=-1)
    assert (greedy[1:] != greedy[:-1]).any()
    found = QPLEX(ONE_STEP).targets(Batch(online, online, rollout, torch.zeros(3, 8, 1))).returns
    expected = online.mixer(online.critic(best, best, rollout.observations, greedy))[1:].detach()
    torch.testing.assert_close(found, 0.9 * expected)


def test_rescaling_multiplies_values_by_utilities_and_biases(one_step):
    online, rollout = real_networks(), one_step([0, 1, 1], random_observations())

    def values():
        utilities = online.unroll(rollout, 1)
        best = utilities.amax(dim=-1)
        chosen = utilities.gather(-1, rollout.actions[..., None])[..., 0]
        return utilities, online.mixer(online.critic(chosen, best, rollout.observations[:-1], rollout.actions))

    before = values()
    online.rescale_(0.5)
    for found, old in zip(values(), before, strict=True):
        torch.testing.assert_close(found, old / 2)


def test_a_bounded_importance_can_still_fall():
    critic = make_critic()
    torch.nn.init.zeros_(critic.importance.weight)
    torch.nn.init.constant_(critic.importance.bias, LARGEST)  # a power of three times as much
    chosen, best = torch.tensor([[0.0, 1.0, 1.0]]), torch.tensor([[1.0, 1.0, 1.0]])
    total = critic(chosen, best, random_observations()[0], torch.tensor([[0, 1, 2]])).sum()
    total.backward()
    assert torch.isfinite(total)
    assert critic.importance.bias.grad[0] < 0  # a smaller λ_0 makes the lost advantage count less
    assert critic.importance.bias.grad[1:].tolist() == [0.0, 0.0]


def test_an_impossible_width_is_named():
    with pytest.raises(InputError, match=r"learner\.objective\.hidden: expected a whole number of at least 1, got 0"):
        QPLEX(ONE_STEP, hidden=0)


def test_a_checkpoint_is_not_certified_since_its_values_are_no_plain_sum(run_small):
    folder, _ = run_small("run", "algo=qplex", "total_env_steps=80")
    with pytest.raises(InputError, match=r"^checkpoint: expected values that a mixer makes .*, got QPLEX"):
        certify_checkpoint(open_checkpoint(folder, resume=False))


def test_a_sampled_target_is_the_value_that_the_loss_gives_the_drawn_action(make_rollout):
    networks, rollout = real_networks(), make_rollout(epsilon=1.0, n_actions=A, obs_size=OBS, n_agents=N)
    objective, zeros = QPLEX(ONE_STEP, target="sampled"), torch.zeros(3, 2, 1)
    batch = Batch(networks, networks, rollout, zeros, generator=torch.Generator().manual_seed(0))
    found = objective.targets(batch).returns / ONE_STEP.gamma
    same = torch.Generator().manual_seed(0)
    torch.rand(3, 2, N, generator=same)  # whether an action is random: with ε = 1, all are
    drawn = torch.rand(3, 2, N, A, generator=same).argmax(dim=-1)
    later = replace(rollout, observations=rollout.observations[[1, 2, 3, 3]], actions=drawn)
    loss, _ = objective.transition_loss(networks, later, Targets(zeros), networks.unroll(rollout)[1:])
    torch.testing.assert_close(found[..., 0].square(), loss)
