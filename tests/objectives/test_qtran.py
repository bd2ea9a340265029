"""QTRAN's three losses, term by term."""

from __future__ import annotations

import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import QMIXMixer, SumMixer
from lomaq.nn import Utilities
from lomaq.objectives import QTRAN, Returns, Targets, ValueNetworks
from lomaq.objectives.base import Batch
from lomaq.objectives.qtran import JointCritic

N, A, OBS = 2, 3, 2
ONE_STEP = Returns(0.9, 0.0)


class TableCritic(JointCritic):
    """Q = payoff of the joint action, V = a constant."""

    def __init__(self, payoffs, value):
        torch.nn.Module.__init__(self)
        self.payoffs, self.constant = torch.tensor(payoffs), torch.tensor(value, requires_grad=True)

    def forward(self, observations, actions):
        joint = self.payoffs[actions[..., 0], actions[..., 1]][..., None]
        return joint, self.constant.expand_as(joint)


PAYOFFS = [[8.0, -12.0, -12.0], [-12.0, 0.0, 0.0], [-12.0, 0.0, 0.0]]
UTILITIES = [[1.0, 2.0, 0.0], [0.5, 3.0, 0.0]]  # both agents like action 1: Σ U = 5 there


@pytest.mark.parametrize(
    ("actions", "td", "optimal", "taken"),
    [
        # greedy joint action (1, 1): Σ U = 5, Q = 0, V = 2
        ([1, 1], 0 - 4, 5 - 0 + 2, 0.0),
        # (0, 0): Σ U = 1.5, Q = 8: 1.5 - 8 + 2 = -4.5 < 0 is punished
        ([0, 0], 8 - 4, 5 - 0 + 2, -4.5),
        # (0, 1): Σ U = 4, Q = -12: 4 + 12 + 2 > 0 is not
        ([0, 1], -12 - 4, 5 - 0 + 2, 0.0),
    ],
)
def test_the_loss_is_the_sum_of_its_three_terms(one_step, table_networks, actions, td, optimal, taken):
    objective = QTRAN(ONE_STEP, optimal=0.5, taken=0.25)
    online = table_networks(UTILITIES, TableCritic(PAYOFFS, 2.0))
    loss, metrics = objective.loss(online, one_step(actions), Targets(torch.tensor([[[4.0]]]), scale=10.0))
    assert loss.item() == pytest.approx(td**2 + 0.5 * optimal**2 + 0.25 * taken**2)
    expected = {"td_error": 10 * abs(td), "critic_loss": td**2, "optimal_loss": optimal**2, "taken_loss": taken**2}
    assert {name: value.item() for name, value in metrics.items()} == pytest.approx(expected)  # without their weights


def test_the_greedy_joint_action_of_the_loss_is_an_allowed_one(one_step, table_networks, forbidding):
    rollout = one_step([0, 2], mask=forbidding((0, 1), (1, 1)))  # (0, 0) is left: Σ U = 1.5, Q = 8
    online = table_networks(UTILITIES, TableCritic(PAYOFFS, 2.0))
    _, metrics = QTRAN(ONE_STEP).loss(online, rollout, Targets(torch.tensor([[[4.0]]])))
    assert metrics["optimal_loss"].item() == pytest.approx((1.5 - 8 + 2) ** 2)


def test_the_target_follows_the_joint_value_of_the_greedy_actions(one_step, table_networks, forbidding):
    target, rewards = table_networks(UTILITIES, TableCritic(PAYOFFS, 2.0)), torch.tensor([[[3.0]]])
    found = QTRAN(ONE_STEP).targets(Batch(target, target, one_step([0, 2]), rewards, 10.0)).returns
    assert found.item() == pytest.approx(3.0 + 0.9 * 10.0 * 0.0)
    rollout = one_step([0, 2], mask=forbidding((0, 1), (1, 1)))  # without action 1 both take action 0, which pays 8
    found = QTRAN(ONE_STEP).targets(Batch(target, target, rollout, rewards, 10.0)).returns
    assert found.item() == pytest.approx(3.0 + 0.9 * 10.0 * 8.0)


@pytest.mark.parametrize(("double_q", "value"), [(False, 0.0), (True, 8.0)])
def test_double_q_lets_the_online_utilities_choose_and_the_target_value(one_step, table_networks, double_q, value):
    online = table_networks([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]], TableCritic([[1.0] * A] * A, 2.0))  # chooses (0, 0)
    target, rewards = table_networks(UTILITIES, TableCritic(PAYOFFS, 2.0)), torch.tensor([[[3.0]]])
    found = QTRAN(ONE_STEP, double_q).targets(Batch(online, target, one_step([0, 2]), rewards)).returns
    assert found.item() == pytest.approx(3.0 + 0.9 * value)


@pytest.mark.parametrize(
    ("actions", "slopes", "of_value"),
    [
        ([0, 1], [[0, 0.5 * 14, 0], [0, 0.5 * 14, 0]], 0.5 * 14),  # of the greedy actions alone
        ([0, 0], [[0.25 * -9, 7, 0], [0.25 * -9, 7, 0]], 7 + 0.25 * -9),  # and of those taken, whose sum is too small
    ],
)
def test_utilities_and_state_value_learn_from_both_bonds_and_the_joint_value_from_neither(
    one_step, table_networks, actions, slopes, of_value
):
    critic = TableCritic(PAYOFFS, 2.0)
    critic.payoffs.requires_grad_()
    table = torch.tensor(UTILITIES, requires_grad=True)
    objective = QTRAN(ONE_STEP, optimal=0.5, taken=0.25)
    y = PAYOFFS[actions[0]][actions[1]] - 3.0
    objective.loss(table_networks(table, critic), one_step(actions), Targets(torch.tensor([[[y]]])))[0].backward()
    assert table.grad.tolist() == slopes  # twice the weight times the error
    assert critic.constant.grad.item() == of_value
    expected = torch.zeros(A, A)
    expected[tuple(actions)] = 2 * 3.0  # Q itself learns from the return alone
    assert torch.equal(critic.payoffs.grad, expected)


def real_networks(mixer=None) -> ValueNetworks:
    torch.manual_seed(0)
    graph = AgentGraph.complete(N)
    utilities = Utilities(graph, OBS, A, hidden=[8], observation_scale=[2.0, 1.0])
    mixer = mixer or SumMixer(graph, Partition.full(N), 1)
    return ValueNetworks(utilities, mixer, QTRAN(ONE_STEP).make_critic(utilities, mixer))


def test_along_a_rollout_targets_value_what_a_step_leads_to_and_losses_where_it_started(make_rollout):
    online = real_networks(QMIXMixer(AgentGraph.complete(N), Partition.full(N), OBS))
    rollout, y = make_rollout(valid=("111",) * 8, n_actions=A), torch.randn(3, 8, 1)
    utilities = online.unroll(rollout)
    greedy = utilities.argmax(dim=-1)
    assert (greedy[1:] != greedy[:-1]).any()
    found = QTRAN(ONE_STEP).targets(Batch(online, online, rollout, torch.zeros(3, 8, 1))).returns
    torch.testing.assert_close(found, 0.9 * online.critic(rollout.observations, greedy)[0][1:].detach())
    _, metrics = QTRAN(ONE_STEP).loss(online, rollout, Targets(y))
    here = rollout.observations[:-1]
    joint, value = online.critic(here, rollout.actions)
    best = online.mixer(utilities.amax(dim=-1)[:-1], here)
    assert metrics["critic_loss"].item() == pytest.approx((joint - y).square().mean().item(), rel=1e-4)
    bond = best - online.critic(here, greedy[:-1])[0] + value
    assert metrics["optimal_loss"].item() == pytest.approx(bond.square().mean().item(), rel=1e-4)


def test_only_the_free_value_is_pulled_to_the_return(one_step):
    online = real_networks()
    QTRAN(ONE_STEP, optimal=0.0, taken=0.0).loss(online, one_step([0, 1]), Targets(torch.ones(1, 1, 1)))[0].backward()
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


def test_the_critic_sees_scaled_observations():
    critic = real_networks().critic
    plain = JointCritic(Utilities(AgentGraph.complete(N), OBS, A), critic.observe.out_features)
    plain.load_state_dict(critic.state_dict())
    observations, actions = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([[0, 1]])
    scaled = observations * torch.tensor([2.0, 1.0])
    torch.testing.assert_close(critic(observations, actions), plain(scaled, actions))


def test_a_mixer_that_looks_at_the_state_is_shown_it(one_step):
    online = real_networks(QMIXMixer(AgentGraph.complete(N), Partition.full(N), OBS))
    QTRAN(ONE_STEP).loss(online, one_step([0, 1]), Targets(torch.zeros(1, 1, 1)))[0].backward()
    assert all(parameter.grad is not None for parameter in online.mixer.parameters())


@pytest.mark.parametrize(
    ("arguments", "key"),
    [({"hidden": 0}, "hidden"), ({"optimal": -1.0}, "optimal"), ({"taken": -0.5}, "taken")],
)
def test_impossible_settings_are_named(arguments, key):
    with pytest.raises(InputError, match=rf"^learner\.objective\.{key}: "):
        QTRAN(ONE_STEP, **arguments)
