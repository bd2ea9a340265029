"""QTRAN's three losses, term by term."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import QMIXMixer, SumMixer
from lomaq.nn import Utilities
from lomaq.objectives import QTRAN, ValueNetworks
from lomaq.objectives.qtran import JointCritic

N, A, OBS = 2, 3, 2


class TableCritic(JointCritic):
    """Q = payoff of the joint action, V = a constant."""

    def __init__(self, payoffs, value):
        torch.nn.Module.__init__(self)
        self.payoffs, self.constant = torch.tensor(payoffs), value

    def forward(self, observations, actions):
        joint = self.payoffs[actions[..., 0], actions[..., 1]][..., None]
        return joint, torch.full_like(joint, self.constant)


def networks(utilities, critic):
    table = torch.tensor(utilities)  # [N, A]
    return SimpleNamespace(
        unroll=lambda rollout, steps=None: table.expand(2 if steps is None else steps, 1, N, A),
        mixer=SumMixer(AgentGraph.complete(N), Partition.full(N), 1),
        critic=critic,
    )


PAYOFFS = [[8.0, -12.0, -12.0], [-12.0, 0.0, 0.0], [-12.0, 0.0, 0.0]]
UTILITIES = [[1.0, 2.0, 0.0], [0.5, 3.0, 0.0]]  # both agents like action 1: Σ U = 5 there


@pytest.mark.parametrize(
    ("actions", "td", "optimal", "taken"),
    [
        # greedy joint action (1, 1): Σ U = 5, Q = 0, V = 2
        ([1, 1], (0 - 4) ** 2, (5 - 0 + 2) ** 2, 0.0),
        # (0, 0): Σ U = 1.5, Q = 8: 1.5 - 8 + 2 = -4.5 < 0 is punished
        ([0, 0], (8 - 4) ** 2, (5 - 0 + 2) ** 2, 4.5**2),
        # (0, 1): Σ U = 4, Q = -12: 4 + 12 + 2 > 0 is not
        ([0, 1], (-12 - 4) ** 2, (5 - 0 + 2) ** 2, 0.0),
    ],
)
def test_the_loss_is_the_sum_of_its_three_terms(one_step, actions, td, optimal, taken):
    objective = QTRAN(gamma=0.9, lam=0.0, optimal=0.5, taken=0.25)
    online = networks(UTILITIES, TableCritic(PAYOFFS, 2.0))
    loss = objective.loss(online, one_step(actions), torch.tensor([[[4.0]]]))
    assert loss.item() == pytest.approx(td + 0.5 * optimal + 0.25 * taken)


def test_the_target_follows_the_joint_value_of_the_greedy_actions(one_step):
    objective = QTRAN(gamma=0.9, lam=0.0)
    target = networks(UTILITIES, TableCritic(PAYOFFS, 2.0))
    rollout = one_step([0, 2])
    rewards = torch.tensor([[[3.0]]])
    got = objective.targets(target, target, rollout, rewards, scale=10.0)
    assert got.item() == pytest.approx(3.0 + 0.9 * 10.0 * 0.0)
    mask = torch.ones(2, 1, N, A, dtype=torch.bool)
    mask[:, :, :, 1] = False  # without action 1 both take action 0, which pays 8
    got = objective.targets(target, target, one_step([0, 2], mask=mask), rewards, scale=10.0)
    assert got.item() == pytest.approx(3.0 + 0.9 * 10.0 * 8.0)


def real_networks() -> ValueNetworks:
    torch.manual_seed(0)
    graph = AgentGraph.complete(N)
    utilities = Utilities(graph, OBS, A, hidden=[8], observation_scale=[2.0, 1.0])
    mixer = SumMixer(graph, Partition.full(N), 1)
    return ValueNetworks(utilities, mixer, QTRAN(gamma=0.9, lam=0.0).make_critic(utilities, mixer))


def test_only_the_free_value_is_pulled_to_the_return(one_step):
    online = real_networks()
    QTRAN(gamma=0.9, lam=0.0, optimal=0.0, taken=0.0).loss(online, one_step([0, 1]), torch.ones(1, 1, 1)).backward()
    assert all(p.grad is None or not p.grad.any() for p in online.utilities.parameters())
    assert all(p.grad is not None for p in online.critic.joint.parameters())


def test_rescaling_multiplies_utilities_and_both_values(one_step):
    online, rollout = real_networks(), one_step([0, 1])
    before = online.unroll(rollout), *online.critic(rollout.observations, torch.tensor([[[0, 1]], [[2, 2]]]))
    online.rescale_(0.5)
    after = online.unroll(rollout), *online.critic(rollout.observations, torch.tensor([[[0, 1]], [[2, 2]]]))
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old / 2)


def test_the_critic_knows_who_did_what():
    critic = real_networks().critic
    torch.nn.init.normal_(critic.identity)
    same = torch.zeros(1, N, OBS)
    first, second = critic(same, torch.tensor([[0, 1]]))[0], critic(same, torch.tensor([[1, 0]]))[0]
    assert abs((first - second).item()) > 1e-4


def test_several_blocks_are_refused():
    graph = AgentGraph.complete(N)
    with pytest.raises(InputError, match="partition: expected full for algo=qtran, got 2 blocks"):
        QTRAN(gamma=0.9, lam=0.0).make_critic(Utilities(graph, OBS, A), SumMixer(graph, Partition.singletons(N), 1))


def test_a_mixer_that_looks_at_the_state_is_shown_it(one_step):
    torch.manual_seed(0)
    graph = AgentGraph.complete(N)
    utilities, mixer = Utilities(graph, OBS, A, hidden=[8]), QMIXMixer(graph, Partition.full(N), OBS)
    objective, rollout = QTRAN(0.9, 0.0), one_step([0, 1])
    online = ValueNetworks(utilities, mixer, objective.make_critic(utilities, mixer))
    objective.loss(online, rollout, torch.zeros(1, 1, 1)).backward()
    assert all(parameter.grad is not None for parameter in mixer.parameters())
