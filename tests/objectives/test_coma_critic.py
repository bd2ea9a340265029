"""COMA's critic: values of an agent's actions beside what the others did."""

from __future__ import annotations

import numpy as np
import torch

from lomaq.graphs import AgentGraph
from lomaq.nn import Utilities
from lomaq.objectives.coma import CounterfactualCritic

A, H = 3, 8
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
