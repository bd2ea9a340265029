"""COMA: its targets and its loss."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import SumMixer
from lomaq.nn import Utilities, gather_actions
from lomaq.objectives import COMA, Returns, Targets, ValueNetworks
from lomaq.objectives.base import Batch, mean_over_transitions
from lomaq.objectives.coma import CounterfactualCritic, counterfactual_advantage

T, B, N, A, H = 3, 2, 2, 3, 8
OBS = A  # what an agent observes stands for the values of its actions, where the critic is a stub
ONE_STEP, LONG = Returns(0.9, 0.0), Returns(0.9, 0.6)
ZEROS = Targets(torch.zeros(T, B, N))


class ObservedValues(CounterfactualCritic):
    """Q_i(a) is what agent i observes at a, but for a factor, whatever the others do."""

    def __init__(self, factor):
        torch.nn.Module.__init__(self)
        self.factor = factor

    def forward(self, observations, actions):
        return observations * self.factor


def stub(logits, factor=1.0):
    """Networks without parameters: logits ``[T + 1, B, N, A]`` and observed values."""
    return SimpleNamespace(unroll=lambda rollout, steps=None: logits[:steps], critic=ObservedValues(factor))


@pytest.fixture
def rollout_of(make_rollout):
    return partial(make_rollout, n_actions=A, obs_size=OBS)


# --------------------------------------------------------------------- targets

LAST = torch.tensor([[0, 2], [1, 1]])


def near_certain(actions):
    """Logits ``[T + 1, B, N, A]`` of a policy that takes ``actions`` ``[B, N]``."""
    logits = torch.nn.functional.one_hot(actions, A).float() * 1000
    return logits.expand(T + 1, B, N, A)


def returns_of(returns, online, rollout, target=None, scale=1.0, **known):
    return COMA(returns).targets(Batch(online, target or online, rollout, rollout.rewards, scale, **known)).returns


def values_along(rollout, last):
    """Observed values ``[T, B, N]`` of the actions taken next; ``last`` ``[B, N]`` come after them."""
    return gather_actions(rollout.observations[1:], torch.cat([rollout.actions[1:], last[None]]))


@pytest.mark.parametrize("time_limit", ["bootstrap", "terminal"])
@pytest.mark.parametrize("lam", [0.0, 0.6])
@pytest.mark.parametrize(
    "ends",
    [
        {},
        {"terminated": ("010", "000"), "truncated": ("000", "100"), "valid": ("110", "101")},
        {"terminated": ("001", "000"), "truncated": ("000", "001")},
    ],
)
def test_targets_are_returns_along_the_actions_taken(rollout_of, slow_returns, ends, lam, time_limit):
    rollout, returns = rollout_of(**ends, epsilon=0.0), Returns(0.9, lam, time_limit)
    online = stub(near_certain(LAST))
    expected = slow_returns(rollout.rewards, values_along(rollout, LAST) * 2.5, rollout, 0.9, lam, time_limit)
    for known in ({}, {"unrolled": COMA(returns).unroll(online, rollout)}):
        found = returns_of(returns, online, rollout, scale=2.5, **known)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_two_steps_by_hand(rollout_of):
    rollout = rollout_of(terminated=("010", "000"), epsilon=0.0)
    rollout.rewards[:2, 0, 0] = torch.tensor([10.0, 20.0])
    rollout.actions[1, 0, 0] = 2
    rollout.observations[1, 0, 0] = torch.tensor([100.0, 50.0, 4.0])  # the best action is not the one taken
    found = returns_of(Returns(0.5, 0.5), stub(near_certain(LAST)), rollout)
    assert found[1, 0, 0] == 20
    assert found[0, 0, 0] == 10 + 0.5 * (0.5 * 4 + 0.5 * 20)


def test_the_action_after_the_last_step_is_an_allowed_one_of_the_policy(rollout_of):
    mask = torch.ones(T + 1, B, N, A, dtype=torch.bool)
    mask[-1] = torch.tensor([True, False, False])
    rollout, online = rollout_of(mask=mask, epsilon=1.0), stub(near_certain(LAST))
    found = returns_of(ONE_STEP, online, rollout)
    torch.testing.assert_close(found[-1], rollout.rewards[-1] + 0.9 * rollout.observations[-1, ..., 0])


def test_the_action_after_the_last_step_is_random_as_often_as_in_the_rollout(rollout_of):
    rollout, online = rollout_of(epsilon=0.2), stub(near_certain(LAST))
    rollout.epsilon[1] = 0.0
    chance = torch.Generator().manual_seed(0)
    found = [returns_of(ONE_STEP, online, rollout, generator=chance) for _ in range(2000)]
    likeliest = rollout.rewards[-1] + 0.9 * gather_actions(rollout.observations[-1], LAST)
    share = torch.stack([torch.isclose(targets[-1], likeliest) for targets in found]).double().mean(dim=(0, 2))
    assert share[0].item() == pytest.approx(0.8 + 0.2 / 3, abs=0.02)  # four deviations
    assert share[1] == 1


def test_the_action_after_the_last_step_is_drawn_from_the_generator_of_the_batch(rollout_of):
    rollout, online = rollout_of(epsilon=1.0), stub(torch.zeros(T + 1, B, N, A))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    draws = [
        returns_of(ONE_STEP, online, rollout, generator=torch.Generator().manual_seed(seed))
        for seed in [*range(10), *range(10)]
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one, two) for one, two in zip(draws[:10], draws[10:], strict=True))
    assert any(not torch.equal(draws[0], other) for other in draws[1:10])


def test_the_copy_values_what_the_online_networks_would_do(rollout_of, slow_returns):
    rollout = rollout_of(epsilon=0.0)
    found = returns_of(LONG, stub(near_certain(LAST)), rollout, stub(near_certain(LAST.flip(0)), 3.0))
    expected = slow_returns(rollout.rewards, values_along(rollout, LAST) * 3.0, rollout, 0.9, 0.6)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------ loss


def slow_policy(logits, epsilon, allowed):
    odds = np.where(allowed, np.exp(logits - logits.max()), 0.0)
    return (1 - epsilon) * odds / odds.sum() + epsilon * allowed / allowed.sum()


def slow_loss(rollout, logits, targets, beta):
    """Number by number over valid transitions, then divided by their number; and the metrics of rewards in twos."""
    places = [(t, b, n) for t, b, n in np.ndindex(T, B, N) if rollout.mask[t, b]]
    advantage, errors, chances, entropies = {}, {}, {}, {}
    for t, b, n in places:
        allowed = np.ones(A, dtype=bool) if rollout.action_mask is None else rollout.action_mask[t, b, n].numpy()
        policy = slow_policy(logits[t, b, n].double().numpy(), float(rollout.epsilon[b]), allowed)
        values, taken = rollout.observations[t, b, n].double().numpy(), int(rollout.actions[t, b, n])
        advantage[t, b, n] = values[taken] - sum(policy * values)
        errors[t, b, n] = values[taken] - float(targets[t, b, n])
        chances[t, b, n] = np.log(policy[taken])
        entropies[t, b, n] = -sum(p * np.log(p) for p in policy if p > 0)
    unit = np.sqrt(np.mean(np.square(list(advantage.values()))))
    total = sum(errors[x] ** 2 - advantage[x] / unit * chances[x] - beta * entropies[x] for x in places)
    error, spread = np.array(list(errors.values())), np.array(list(entropies.values()))
    metrics = {"td_error": 2 * np.abs(error).mean(), "critic_loss": N * (error**2).mean(), "entropy": spread.mean()}
    return total / int(rollout.mask.sum()), metrics


def test_one_step_of_two_agents_by_hand(rollout_of):
    rollout = rollout_of(valid=("100", "000"), epsilon=0.5)
    logits = torch.zeros(T + 1, B, N, A)
    logits[0, 0, 0] = torch.tensor([np.log(4.0), 0.0, 0.0])  # softmax 4/6, 1/6, 1/6
    rollout.observations[0, 0] = torch.tensor([[6.0, 0.0, 0.0], [1.0, 4.0, 1.0]])
    rollout.actions[0, 0] = torch.tensor([0, 1])
    returns = torch.zeros(T, B, N)
    returns[0, 0] = torch.tensor([5.0, 2.0])
    # π = (1/2, 1/4, 1/4), and A = 6 - 3 = 3; uniform, and A = 4 - 2 = 2; their root mean square is √6.5
    actor = (3 * np.log(1 / 2) + 2 * np.log(1 / 3)) / np.sqrt(6.5)
    spread = (0.5 * np.log(2) + 0.5 * np.log(4)) + np.log(3)
    loss, metrics = COMA(ONE_STEP, entropy=0.1).loss(stub(logits), rollout, Targets(returns, scale=10.0))
    assert loss.item() == pytest.approx(1 + 4 - actor - 0.1 * spread, rel=1e-5)
    # summed over agents, but for the TD error and the entropy, which are means
    expected = {"td_error": 10 * (1 + 2) / 2, "critic_loss": 1 + 4, "entropy": spread / 2}
    assert {name: value.item() for name, value in metrics.items()} == pytest.approx(expected, rel=1e-5)


def test_advantages_that_are_all_alike_count_as_one(rollout_of):
    rollout, logits = rollout_of(valid=("100", "000"), epsilon=0.0), torch.zeros(T + 1, B, N, A, requires_grad=True)
    rollout.observations[0, 0] = torch.tensor([[7.0, 4.0, 4.0], [4.0, 7.0, 4.0]])  # A = 7 - 5 = 2, for both agents
    rollout.actions[0, 0] = torch.tensor([0, 1])
    COMA(ONE_STEP, entropy=0.0).loss(stub(logits), rollout, ZEROS)[0].backward()
    torch.testing.assert_close(logits.grad[0, 0], torch.tensor([[-2.0, 1.0, 1.0], [1.0, -2.0, 1.0]]) / 3)  # -∇ log π


@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_equals_a_loop_over_valid_transitions(rollout_of, masked):
    rollout = rollout_of(valid=("110", "101"), epsilon=0.0)
    rollout.epsilon[:] = torch.tensor([0.05, 0.6])  # as each sequence was collected
    if masked:
        mask = torch.rand(T + 1, B, N, A, generator=torch.Generator().manual_seed(2)) < 0.5
        mask[:-1].scatter_(-1, rollout.actions[..., None], True)
        mask[-1] = True
        assert not mask.all()
        rollout = replace(rollout, action_mask=mask)
    logits, returns = torch.randn(T + 1, B, N, A), torch.randn(T, B, N)
    objective, online = COMA(ONE_STEP, entropy=0.3), stub(logits)
    expected, expected_metrics = slow_loss(rollout, logits, returns, 0.3)
    for unrolled in (None, objective.unroll(online, rollout)):
        loss, metrics = objective.loss(online, rollout, Targets(returns, scale=2.0), unrolled)
        assert loss.item() == pytest.approx(expected, rel=1e-4)
        assert {name: value.item() for name, value in metrics.items()} == pytest.approx(expected_metrics, rel=1e-4)


@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_forbidden_actions_leave_the_gradient_finite(rollout_of, epsilon):
    mask = torch.ones(T + 1, B, N, A, dtype=torch.bool)
    mask[..., 2] = False
    rollout = rollout_of(mask=mask, epsilon=epsilon)
    rollout.actions.clamp_(max=1)
    logits = torch.randn(T + 1, B, N, A, requires_grad=True)
    COMA(ONE_STEP).loss(stub(logits), rollout, ZEROS)[0].backward()
    assert logits.grad[:-1, ..., :2].all()
    assert logits.grad.isfinite().all()
    assert not logits.grad[..., 2].any()


def test_an_action_that_has_become_impossible_leaves_the_loss_and_its_gradient_finite(rollout_of):
    rollout = rollout_of(epsilon=0.0)
    logits = near_certain((rollout.actions[0] + 1) % A).clone().requires_grad_()
    loss, _ = COMA(ONE_STEP).loss(stub(logits), rollout, ZEROS)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("valid", [("000", "000"), ("010", "000")])
def test_a_part_of_a_rollout_with_hardly_a_transition_has_a_finite_loss(rollout_of, valid):
    rollout, online = rollout_of(valid=valid, epsilon=0.2), real_networks()
    loss, metrics = COMA(ONE_STEP).loss(online, rollout, ZEROS)
    loss.backward()
    assert loss.isfinite()
    assert all(value.isfinite() for value in metrics.values())
    assert (loss == 0) == (valid[0] == "000")
    assert all(parameter.grad.isfinite().all() for parameter in online.parameters())


# -------------------------------------------------------------------- networks


def real_networks() -> ValueNetworks:
    torch.manual_seed(0)
    graph = AgentGraph.complete(N)
    utilities = Utilities(graph, OBS, A, hidden=[8])
    mixer = SumMixer(graph, Partition.singletons(N), 1, independent=True)
    return ValueNetworks(utilities, mixer, COMA(ONE_STEP, hidden=H).make_critic(utilities, mixer))


def gradients(module, loss):
    module.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in module.parameters()]


def test_policies_learn_by_the_actors_term_and_the_critic_by_its_own(rollout_of):
    online, rollout, objective = real_networks(), rollout_of(valid=("110", "101"), epsilon=0.2), COMA(ONE_STEP)
    actor = [
        gradients(online.utilities, objective.loss(online, rollout, Targets(torch.full((T, B, N), y)))[0])
        for y in (0.0, 7.0)
    ]
    assert all(torch.equal(one, two) for one, two in zip(*actor, strict=True))  # no target moves the policy
    assert any(gradient.any() for gradient in actor[0])
    returns = torch.randn(T, B, N)
    found = gradients(online.critic, objective.loss(online, rollout, Targets(returns))[0])
    values = gather_actions(online.critic(rollout.observations[:-1], rollout.actions), rollout.actions)
    error = mean_over_transitions((values - returns).square().sum(dim=-1), rollout)
    torch.testing.assert_close(found, gradients(online.critic, error))


def test_the_policy_gradient_takes_advantages_for_constants(rollout_of):
    rollout = rollout_of(epsilon=0.0)
    logits = torch.randn(T + 1, B, N, A, requires_grad=True)
    COMA(ONE_STEP, entropy=0.0).loss(stub(logits), rollout, ZEROS)[0].backward()
    policy = logits[:-1].detach().softmax(dim=-1)
    advantage = counterfactual_advantage(rollout.observations[:-1], policy, rollout.actions)
    chosen = torch.nn.functional.one_hot(rollout.actions, A)
    expected = -(advantage / advantage.square().mean().sqrt())[..., None] * (chosen - policy) / (T * B)  # ∇ log π
    torch.testing.assert_close(logits.grad[:-1], expected)


def test_targets_carry_no_gradient(rollout_of):
    online, rollout = real_networks(), rollout_of(epsilon=0.2)
    assert not returns_of(LONG, online, rollout).requires_grad


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"entropy": -0.1}, ["learner.objective.entropy", "[0, inf)", "-0.1"]),
        ({"hidden": 0}, ["learner.objective.hidden", "at least 1", "0"]),
    ],
)
def test_impossible_settings_are_named(arguments, names):
    with pytest.raises(InputError) as error:
        COMA(ONE_STEP, **arguments)
    assert all(name in str(error.value) for name in names)
