"""COMA: its advantage, its targets and its loss."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lomaq.objectives.td import gather_actions, mean_over_transitions

from lomaq.envs import Rollout
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import SumMixer
from lomaq.nn import Utilities
from lomaq.objectives import COMA, ValueNetworks
from lomaq.objectives.coma import CounterfactualCritic, counterfactual_advantage, entropy

T, B, N, A, H = 3, 2, 2, 3, 8
OBS = A  # what an agent observes stands for the values of its actions, where the critic is a stub


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


def bools(*columns):
    """``[T, B]`` from one string of 0 and 1 for each sequence."""
    return torch.tensor([[c == "1" for c in row] for row in zip(*columns, strict=True)])


def make_rollout(terminated=("000", "000"), truncated=("000", "000"), valid=("111", "111"), mask=None, epsilon=0.2):
    chance = torch.Generator().manual_seed(0)
    return Rollout(
        observations=torch.randn(T + 1, B, N, OBS, generator=chance),
        actions=torch.randint(A, (T, B, N), generator=chance),
        rewards=torch.randn(T, B, N, generator=chance),
        terminated=bools(*terminated),
        truncated=bools(*truncated),
        mask=bools(*valid),
        is_first=torch.zeros(T + 1, B, dtype=torch.bool),
        last_actions=torch.full((B, N), -1),
        hidden=torch.zeros(B, N, 0),
        action_mask=mask,
        epsilon=torch.full((B,), epsilon),
    )


def random_policy(*shape):
    return torch.randn(*shape, A, generator=torch.Generator().manual_seed(5)).softmax(dim=-1)


# ------------------------------------------------------------------- advantage


def test_the_advantage_equals_a_loop_over_actions():
    values, policy = torch.randn(T, B, N, A), random_policy(T, B, N)
    actions = torch.randint(A, (T, B, N))
    expected = np.zeros((T, B, N))
    for t, b, n in np.ndindex(T, B, N):
        baseline = sum(float(policy[t, b, n, a]) * float(values[t, b, n, a]) for a in range(A))
        expected[t, b, n] = float(values[t, b, n, actions[t, b, n]]) - baseline
    np.testing.assert_allclose(counterfactual_advantage(values, policy, actions), expected, rtol=1e-5, atol=1e-6)


def test_under_the_policy_no_advantage_is_expected():
    values, policy = torch.randn(T, B, N, A), random_policy(T, B, N)
    each = [counterfactual_advantage(values, policy, torch.full((T, B, N), a)) for a in range(A)]
    expected = sum(policy[..., a] * advantage for a, advantage in enumerate(each))
    torch.testing.assert_close(expected, torch.zeros(T, B, N))


def test_entropy_is_largest_for_equal_probabilities_and_zero_for_certain_actions():
    policy = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    assert entropy(policy).tolist() == pytest.approx([np.log(3), np.log(2), 0.0])


# --------------------------------------------------------------------- targets


def near_certain(actions):
    """Logits ``[T + 1, B, N, A]`` of a policy that takes ``actions`` ``[B, N]``."""
    logits = torch.nn.functional.one_hot(actions, A).float() * 1000
    return logits.expand(T + 1, B, N, A)


def slow_targets(rollout, last, lam, gamma, scale, time_limit):
    """Backwards, number by number, along the actions that were taken; ``last`` ``[B, N]`` come behind them."""
    result = np.zeros((T, B, N))
    for b, n in np.ndindex(B, N):
        for t in reversed(range(T)):
            action = int(last[b, n] if t == T - 1 else rollout.actions[t + 1, b, n])
            value = float(rollout.observations[t + 1, b, n, action]) * scale
            ended = bool(rollout.terminated[t, b]), bool(rollout.truncated[t, b])
            if ended[0] or (ended[1] and time_limit == "terminal"):
                follow = 0.0
            elif ended[1] or t == T - 1 or not rollout.mask[t + 1, b]:
                follow = value
            else:
                follow = (1 - lam) * value + lam * result[t + 1, b, n]
            result[t, b, n] = float(rollout.rewards[t, b, n]) + gamma * follow
    return result


LAST = torch.tensor([[0, 2], [1, 1]])


@pytest.mark.parametrize("time_limit", ["bootstrap", "terminal"])
@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(
    "ends",
    [
        {},
        {"terminated": ("010", "000"), "truncated": ("000", "100"), "valid": ("110", "101")},
        {"terminated": ("001", "000"), "truncated": ("000", "001")},
        {"valid": ("101", "111")},
    ],
)
def test_targets_are_returns_along_the_actions_taken(ends, lam, time_limit):
    rollout = make_rollout(**ends, epsilon=0.0)
    online = stub(near_certain(LAST))
    objective = COMA(0.9, lam, time_limit=time_limit)
    expected = slow_targets(rollout, LAST, lam, 0.9, 2.5, time_limit)
    for judge in (None, objective.unroll(online, rollout)):
        found = objective.targets(online, online, rollout, rollout.rewards, 2.5, judge=judge)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_two_steps_by_hand():
    rollout = make_rollout(terminated=("010", "000"), epsilon=0.0)
    rollout.rewards[:2, 0, 0] = torch.tensor([10.0, 20.0])
    rollout.actions[1, 0, 0] = 2
    rollout.observations[1, 0, 0] = torch.tensor([100.0, 50.0, 4.0])  # the best action is not the one taken
    online = stub(near_certain(LAST))
    found = COMA(0.5, 0.5).targets(online, online, rollout, rollout.rewards, 1.0)
    assert found[1, 0, 0] == 20
    assert found[0, 0, 0] == 10 + 0.5 * (0.5 * 4 + 0.5 * 20)


def test_the_action_behind_the_last_step_is_an_allowed_one_of_the_policy():
    mask = torch.ones(T + 1, B, N, A, dtype=torch.bool)
    mask[-1] = torch.tensor([True, False, False])
    rollout, online = make_rollout(mask=mask, epsilon=1.0), stub(near_certain(LAST))
    found = COMA(0.9, 0.0).targets(online, online, rollout, rollout.rewards, 1.0)
    torch.testing.assert_close(found[-1], rollout.rewards[-1] + 0.9 * rollout.observations[-1, ..., 0])


def test_the_action_behind_the_last_step_is_random_as_often_as_in_the_rollout():
    rollout, online = make_rollout(), stub(near_certain(LAST))
    rollout.epsilon[1] = 0.0
    torch.manual_seed(0)
    found = [COMA(0.9, 0.0).targets(online, online, rollout, rollout.rewards, 1.0) for _ in range(2000)]
    likeliest = rollout.rewards[-1] + 0.9 * gather_actions(rollout.observations[-1], LAST)
    share = torch.stack([torch.isclose(targets[-1], likeliest) for targets in found]).double().mean(dim=(0, 2))
    assert share[0].item() == pytest.approx(0.8 + 0.2 / 3, abs=0.02)  # four deviations
    assert share[1] == 1


def test_the_copy_values_what_the_online_networks_would_do():
    rollout = make_rollout(epsilon=0.0)
    online, copy = stub(near_certain(LAST)), stub(near_certain(LAST.flip(0)), 3.0)
    found = COMA(0.9, 0.6).targets(online, copy, rollout, rollout.rewards, 1.0)
    expected = slow_targets(rollout, LAST, 0.6, 0.9, 3.0, "bootstrap")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------ loss


def slow_policy(logits, epsilon, allowed):
    odds = np.where(allowed, np.exp(logits - logits.max()), 0.0)
    return (1 - epsilon) * odds / odds.sum() + epsilon * allowed / allowed.sum()


def slow_loss(rollout, logits, targets, beta):
    """Number by number over valid transitions, then divided by their number."""
    places = [(t, b, n) for t, b, n in np.ndindex(T, B, N) if rollout.mask[t, b]]
    advantage, errors, chances, entropies = {}, {}, {}, {}
    for t, b, n in places:
        allowed = np.ones(A, dtype=bool) if rollout.action_mask is None else rollout.action_mask[t, b, n].numpy()
        policy = slow_policy(logits[t, b, n].double().numpy(), float(rollout.epsilon[b]), allowed)
        values, taken = rollout.observations[t, b, n].double().numpy(), int(rollout.actions[t, b, n])
        advantage[t, b, n] = values[taken] - sum(policy * values)
        errors[t, b, n] = (values[taken] - float(targets[t, b, n])) ** 2
        chances[t, b, n] = np.log(policy[taken])
        entropies[t, b, n] = -sum(p * np.log(p) for p in policy if p > 0)
    unit = np.sqrt(np.mean(np.square(list(advantage.values()))))
    total = sum(errors[x] - advantage[x] / unit * chances[x] - beta * entropies[x] for x in places)
    return total / int(rollout.mask.sum())


def test_one_step_of_two_agents_by_hand():
    rollout = make_rollout(valid=("100", "000"), epsilon=0.5)
    logits = torch.zeros(T + 1, B, N, A)
    logits[0, 0, 0] = torch.tensor([np.log(4.0), 0.0, 0.0])  # softmax 4/6, 1/6, 1/6
    rollout.observations[0, 0] = torch.tensor([[6.0, 0.0, 0.0], [1.0, 4.0, 1.0]])
    rollout.actions[0, 0] = torch.tensor([0, 1])
    targets = torch.zeros(T, B, N)
    targets[0, 0] = torch.tensor([5.0, 2.0])
    # π = (1/2, 1/4, 1/4), and A = 6 - 3 = 3; uniform, and A = 4 - 2 = 2; their root mean square is √6.5
    actor = (3 * np.log(1 / 2) + 2 * np.log(1 / 3)) / np.sqrt(6.5)
    spread = (0.5 * np.log(2) + 0.5 * np.log(4)) + np.log(3)
    loss = COMA(0.9, 0.0, entropy=0.1).loss(stub(logits), rollout, targets)
    assert loss.item() == pytest.approx(1 + 4 - actor - 0.1 * spread, rel=1e-5)


def test_advantages_that_are_all_alike_count_as_one():
    rollout, logits = make_rollout(valid=("100", "000"), epsilon=0.0), torch.zeros(T + 1, B, N, A, requires_grad=True)
    rollout.observations[0, 0] = torch.tensor([[7.0, 4.0, 4.0], [4.0, 7.0, 4.0]])  # A = 7 - 5 = 2, for both agents
    rollout.actions[0, 0] = torch.tensor([0, 1])
    COMA(0.9, 0.0, entropy=0.0).loss(stub(logits), rollout, torch.zeros(T, B, N)).backward()
    torch.testing.assert_close(logits.grad[0, 0], torch.tensor([[-2.0, 1.0, 1.0], [1.0, -2.0, 1.0]]) / 3)  # -∇ log π


@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_equals_a_loop_over_valid_transitions(masked):
    rollout = make_rollout(valid=("110", "101"))
    rollout.epsilon[:] = torch.tensor([0.05, 0.6])  # as each sequence was collected
    if masked:
        mask = torch.rand(T + 1, B, N, A, generator=torch.Generator().manual_seed(2)) < 0.5
        mask[:-1].scatter_(-1, rollout.actions[..., None], True)
        mask[-1] = True
        assert not mask.all()
        rollout = replace(rollout, action_mask=mask)
    logits, targets = torch.randn(T + 1, B, N, A), torch.randn(T, B, N)
    objective, online = COMA(0.9, 0.0, entropy=0.3), stub(logits)
    expected = pytest.approx(slow_loss(rollout, logits, targets, 0.3), rel=1e-4)
    assert objective.loss(online, rollout, targets).item() == expected
    assert objective.loss(online, rollout, targets, objective.unroll(online, rollout)).item() == expected


@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_forbidden_actions_leave_the_gradient_finite(epsilon):
    mask = torch.ones(T + 1, B, N, A, dtype=torch.bool)
    mask[..., 2] = False
    rollout = make_rollout(mask=mask, epsilon=epsilon)
    rollout.actions.clamp_(max=1)
    logits = torch.randn(T + 1, B, N, A, requires_grad=True)
    COMA(0.9, 0.0).loss(stub(logits), rollout, torch.zeros(T, B, N)).backward()
    assert logits.grad[:-1, ..., :2].all()
    assert logits.grad.isfinite().all()
    assert not logits.grad[..., 2].any()


def test_an_action_that_has_become_impossible_leaves_the_loss_and_its_gradient_finite():
    rollout = make_rollout(epsilon=0.0)
    logits = near_certain((rollout.actions[0] + 1) % A).clone().requires_grad_()
    loss = COMA(0.9, 0.0).loss(stub(logits), rollout, torch.zeros(T, B, N))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("valid", [("000", "000"), ("010", "000")])
def test_a_part_of_a_rollout_with_hardly_a_transition_has_a_finite_loss(valid):
    rollout, online = make_rollout(valid=valid), real_networks()
    loss = COMA(0.9, 0.0).loss(online, rollout, torch.zeros(T, B, N))
    loss.backward()
    assert loss.isfinite()
    assert (loss == 0) == (valid[0] == "000")
    assert all(parameter.grad.isfinite().all() for parameter in online.parameters())


# -------------------------------------------------------------------- networks


def real_networks() -> ValueNetworks:
    torch.manual_seed(0)
    graph = AgentGraph.complete(N)
    utilities = Utilities(graph, OBS, A, hidden=[8])
    mixer = SumMixer(graph, Partition.singletons(N), 1, independent=True)
    return ValueNetworks(utilities, mixer, COMA(0.9, 0.0, hidden=H).make_critic(utilities, mixer))


def gradients(module, loss):
    module.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in module.parameters()]


def test_policies_learn_by_the_actors_term_and_the_critic_by_its_own():
    online, rollout, objective = real_networks(), make_rollout(valid=("110", "101")), COMA(0.9, 0.0)
    actor = [gradients(online.utilities, objective.loss(online, rollout, torch.full((T, B, N), y))) for y in (0.0, 7.0)]
    assert all(torch.equal(one, two) for one, two in zip(*actor, strict=True))  # no target moves the policy
    assert any(gradient.any() for gradient in actor[0])
    targets = torch.randn(T, B, N)
    found = gradients(online.critic, objective.loss(online, rollout, targets))
    values = gather_actions(online.critic(rollout.observations[:-1], rollout.actions), rollout.actions)
    error = mean_over_transitions((values - targets).square().sum(dim=-1), rollout)
    torch.testing.assert_close(found, gradients(online.critic, error))


def test_the_policy_gradient_takes_advantages_for_constants():
    rollout = make_rollout(epsilon=0.0)
    logits = torch.randn(T + 1, B, N, A, requires_grad=True)
    COMA(0.9, 0.0, entropy=0.0).loss(stub(logits), rollout, torch.zeros(T, B, N)).backward()
    policy = logits[:-1].detach().softmax(dim=-1)
    advantage = counterfactual_advantage(rollout.observations[:-1], policy, rollout.actions)
    chosen = torch.nn.functional.one_hot(rollout.actions, A)
    expected = -(advantage / advantage.square().mean().sqrt())[..., None] * (chosen - policy) / (T * B)  # ∇ log π
    torch.testing.assert_close(logits.grad[:-1], expected)


def test_targets_carry_no_gradient():
    online, rollout = real_networks(), make_rollout()
    assert not COMA(0.9, 0.5).targets(online, online, rollout, rollout.rewards, 1.0).requires_grad


def test_rescaling_multiplies_the_critics_values_and_leaves_the_logits():
    online, rollout = real_networks(), make_rollout()
    logits, values = online.unroll(rollout), online.critic(rollout.observations[:-1], rollout.actions)
    COMA(0.9, 0.0).rescale_(online, 0.5)
    assert torch.equal(online.unroll(rollout), logits)
    torch.testing.assert_close(online.critic(rollout.observations[:-1], rollout.actions), values / 2)


@pytest.mark.parametrize(
    ("partition", "own", "line"),
    [
        (Partition.full(N), False, "partition: expected a block for each agent with algo=coma, got 1 blocks"),
        (Partition.full(N), True, "partition: expected a block for each agent"),
        (Partition.singletons(N), False, "mixer: expected none for algo=coma, got SumMixer"),
    ],
)
def test_whatever_mixes_is_refused(partition, own, line):
    graph = AgentGraph.complete(N)
    with pytest.raises(InputError, match=line):
        COMA(0.9, 0.0).make_critic(Utilities(graph, OBS, A), SumMixer(graph, partition, 1, own))


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"entropy": -0.1}, ["learner.objective.entropy", "[0, inf)", "-0.1"]),
        ({"hidden": 0}, ["learner.objective.hidden", "at least 1", "0"]),
    ],
)
def test_impossible_settings_are_named(arguments, names):
    with pytest.raises(InputError) as error:
        COMA(0.9, 0.0, **arguments)
    assert all(name in str(error.value) for name in names)
