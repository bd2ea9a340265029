"""The κ-hop policy gradient against brute-force differentiation: three agents on a line, one step."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import SumMixer
from lomaq.nn import Utilities
from lomaq.objectives import PPO, Returns
from lomaq.objectives.base import Batch
from lomaq.objectives.ppo import LocalCritic

N, A = 3, 2
LINE = AgentGraph.line(N)
JOINT = list(itertools.product(range(A), repeat=N))
#: Probabilities in quarters, so that 64 sequences hold every joint action exactly as often as it is likely.
POLICY = np.array([[1, 3], [2, 2], [3, 1]]) / 4
#: What each agent gets for the joint action: of itself and its neighbours alone.
R0 = np.array([[4.0, -1.0], [0.5, 2.0]])  # [a_0, a_1]
R1 = np.array([[[1.0, -2.0], [0.0, 3.0]], [[-4.0, 1.0], [2.5, -0.5]]])  # [a_0, a_1, a_2]
R2 = np.array([[5.0, 7.0], [-3.5, 2.0]])  # [a_1, a_2]


def rewards_of(joint):
    a, b, c = joint
    return np.array([R0[a, b], R1[a, b, c], R2[b, c]])


def expected_rewards(logits):
    """E r_i of every agent, ``[N]``, for logits ``[N, A]``."""
    policy = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return sum(np.prod([policy[i, a] for i, a in enumerate(joint)]) * rewards_of(joint) for joint in JOINT)


def slopes(logits, step=1e-5):
    """∂ E r_j / ∂ logits_i(a), ``[N, A, N]``, by central differences."""
    found = np.zeros((N, A, N))
    for i, a in np.ndindex(N, A):
        change = np.zeros((N, A))
        change[i, a] = step
        found[i, a] = (expected_rewards(logits + change) - expected_rewards(logits - change)) / (2 * step)
    return found


SLOPES = slopes(np.log(POLICY))
TEAM, SELFISH = SLOPES.sum(axis=2), np.stack([SLOPES[i, :, i] for i in range(N)])


class Constant(LocalCritic):
    """V_J is a number of its own, whatever is seen."""

    values: torch.Tensor

    def forward(self, seen):
        return self.values.expand(*seen.shape[:-2], -1)[..., None]


def found_gradient(make_rollout, kappa, blocks, independent=False, team=False, values=0.0):
    """What the agents' logits ascend at ratios of 1, in units of the deviation of their advantages."""
    joint = [a for a in JOINT for _ in range(round(64 * np.prod([POLICY[i, a[i]] for i in range(N)])))]
    assert len(joint) == 64
    rewards = torch.tensor(np.array([rewards_of(a) for a in joint]), dtype=torch.float32)[None]  # [1, 64, N]
    rewards = rewards.sum(dim=-1, keepdim=True).expand(-1, -1, N) if team else rewards
    rollout = make_rollout(valid=("1",) * 64, terminated=("1",) * 64, n_agents=N, epsilon=0.0)
    rollout = replace(rollout, actions=torch.tensor(joint)[None])
    logits = torch.tensor(np.log(POLICY), dtype=torch.float32, requires_grad=True)
    partition = Partition(blocks, N)
    objective, agents = PPO(Returns(0.9, 0.8), independent=independent, entropy=0.0), Utilities(LINE, 2, A)
    critic = objective.make_critic(agents, SumMixer(LINE, partition, kappa))
    critic.__class__, critic.values = Constant, torch.linspace(1, 2, len(blocks)) * values
    stub = SimpleNamespace(
        with_memories=lambda x, *_: (logits.expand(*x.shape[:2], N, A), x[..., :0]), scaled=lambda x: x
    )
    networks = SimpleNamespace(utilities=stub, critic=critic)
    targets = objective.targets(Batch(networks, networks, rollout, partition.block_sum(rewards)))
    objective.loss(networks, rollout, targets)[0].backward()
    advantages = critic.credit(partition.block_sum(rewards) - critic.values)
    return -N * logits.grad.numpy() * advantages.std(correction=0).item()  # the loss is a mean over agents


EACH, ALL, TWO = [[0], [1], [2]], [[0, 1, 2]], [[0, 1], [2]]


@pytest.mark.parametrize("values", [0.0, -1.7])
@pytest.mark.parametrize("kappa", [1, 2])
@pytest.mark.parametrize("blocks", [EACH, TWO, ALL], ids=["each", "two", "all"])
def test_with_the_hops_that_rewards_reach_it_is_the_gradient_of_the_sum_of_all_rewards(
    make_rollout, kappa, blocks, values
):
    np.testing.assert_allclose(found_gradient(make_rollout, kappa, blocks, values=values), TEAM, atol=1e-4)


@pytest.mark.parametrize("values", [0.0, -1.7])
@pytest.mark.parametrize("independent", [False, True])
def test_without_hops_or_independent_it_is_the_gradient_of_each_agents_own_reward(make_rollout, independent, values):
    found = found_gradient(make_rollout, int(independent), EACH, independent, values=values)
    np.testing.assert_allclose(found, SELFISH, atol=1e-4)
    assert (np.sign(SELFISH) != np.sign(TEAM)).any()  # which here pulls some agent the other way


def test_independent_agents_that_share_the_team_reward_ascend_it(make_rollout):
    np.testing.assert_allclose(found_gradient(make_rollout, 0, EACH, independent=True, team=True), TEAM, atol=1e-4)


def test_of_blocks_that_end_at_an_edge_agents_without_hops_miss_what_is_beyond(make_rollout):
    found = found_gradient(make_rollout, 0, TWO)
    expected = np.stack([SLOPES[0, :, [0, 1]].sum(axis=0), SLOPES[1, :, [0, 1]].sum(axis=0), SLOPES[2, :, 2]])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert not np.allclose(found, TEAM, atol=1e-2)
