"""COMA's critic, the advantage that its values give, and the entropy of a policy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import SumMixer
from lomaq.nn import Utilities
from lomaq.objectives import COMA, Returns, ValueNetworks
from lomaq.objectives.coma import CounterfactualCritic, counterfactual_advantage, entropy

T, B, N, A, H = 3, 2, 2, 3, 8
OBS = 3


def make_critic(n_agents=3, scale=None) -> CounterfactualCritic:
    torch.manual_seed(0)
    return CounterfactualCritic(Utilities(AgentGraph.complete(n_agents), OBS, A, observation_scale=scale), H)


def layer(module, x):
    return x @ module.weight.detach().numpy().T + module.bias.detach().numpy()


def test_the_values_are_those_of_a_network_on_observation_number_state_and_actions_of_the_others():
    scale = [2.0, 1.0, 0.5]
    n, critic = 3, make_critic(scale=scale)
    observations, actions = torch.randn(n, OBS), torch.tensor([2, 0, 1])
    own = observations.numpy() * np.array(scale)
    state = np.tile(own.reshape(-1), (n, 1))
    done = np.zeros((n, n, A))  # of the others, as each agent sees them
    for i in range(n):
        for j in range(n):
            done[i, j, actions[j]] = i != j
    inputs = np.concatenate([own, np.eye(n), state, done.reshape(n, -1)], axis=1)
    weights = [critic.own.weight, critic.identity.T, critic.state.weight, critic.act.T]
    first = np.concatenate([w.detach().numpy() for w in weights], axis=1)
    x = inputs @ first.T + (critic.own.bias + critic.state.bias).detach().numpy()
    x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + critic.head[0].eps)
    x = np.maximum(layer(critic.head[2], np.maximum(x, 0)), 0)
    np.testing.assert_allclose(critic(observations, actions).detach(), layer(critic.head[4], x), rtol=1e-4, atol=1e-5)


def test_the_values_of_an_agent_depend_on_the_actions_of_the_others_and_not_on_its_own():
    n, critic = 3, make_critic()
    with torch.no_grad():
        critic.act.copy_((critic.act * 64).round() / 64)  # sums of such numbers have no rounding error
    observations, actions = torch.randn(n, OBS), torch.tensor([2, 0, 1])
    before = critic(observations, actions)
    for i in range(n):
        other = actions.clone()
        other[i] = (other[i] + 1) % A
        after = critic(observations, other)
        for j in range(n):
            assert torch.equal(after[j], before[j]) == (i == j)


def test_the_values_of_an_agent_depend_on_everything_observed():
    n, critic, actions = 3, make_critic(), torch.tensor([2, 0, 1])
    observations = torch.randn(n, OBS)
    before = critic(observations, actions)
    for i in range(n):
        changed = observations.clone()
        changed[i, 0] += 1
        assert (critic(changed, actions) != before).any(dim=-1).all()


def test_rescaling_multiplies_the_critics_values_and_leaves_the_logits(make_rollout):
    graph, rollout = AgentGraph.complete(N), make_rollout(n_actions=A, obs_size=OBS)
    mixer = SumMixer(graph, Partition.singletons(N), 1, independent=True)
    online = ValueNetworks(Utilities(graph, OBS, A), mixer, make_critic(N))
    logits, values = online.unroll(rollout), online.critic(rollout.observations[:-1], rollout.actions)
    COMA(Returns(0.9, 0.0)).rescale_(online, 0.5)
    assert torch.equal(online.unroll(rollout), logits)
    torch.testing.assert_close(online.critic(rollout.observations[:-1], rollout.actions), values / 2)


# ------------------------------------------------------------ advantage, entropy


def random_policy(*shape):
    return torch.randn(*shape, A, generator=torch.Generator().manual_seed(5)).softmax(dim=-1)


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
