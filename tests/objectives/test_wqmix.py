"""Weighted QMIX: its weights, its two losses and its targets."""

from __future__ import annotations

import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import QMIXMixer
from lomaq.nn import Utilities
from lomaq.objectives import PartitionTD, Returns, Targets, ValueNetworks, WeightedQMIX
from lomaq.objectives.base import Batch, mean_over_transitions
from lomaq.objectives.wqmix import CentralValue

N, A, OBS = 2, 3, 2
ALPHA = 0.25
ONE_STEP = Returns(0.9, 0.0)


class TableCritic(CentralValue):
    """Q* = payoff of the joint action."""

    def __init__(self, payoffs):
        torch.nn.Module.__init__(self)
        self.payoffs = torch.tensor(payoffs)

    def forward(self, observations, actions):
        return self.payoffs[actions[..., 0], actions[..., 1]][..., None]


PAYOFFS = [[8.0, -12.0, -12.0], [-12.0, 0.0, 0.0], [-12.0, 0.0, 0.0]]
UTILITIES = [[1.0, 2.0, 0.0], [0.5, 3.0, 0.0]]  # both agents like action 1: Σ U = 5 there, and Q* = 0
TIED = [[2.0, 2.0, 0.0], [3.0, 3.0, 0.0]]  # the first of the best, (0, 0), counts as greedy: Q* = 8


@pytest.fixture
def check_loss(one_step, table_networks):
    """The loss and the metrics of one transition, from what is expected of it."""

    def check(weighting, utilities, actions, y, mixed, central, weight, mask=None):
        objective = WeightedQMIX(ONE_STEP, weighting=weighting, alpha=ALPHA)
        online, targets = table_networks(utilities, TableCritic(PAYOFFS)), Targets(torch.tensor([[[y]]]), scale=10.0)
        loss, metrics = objective.loss(online, one_step(actions, mask=mask), targets)
        assert loss.item() == pytest.approx((central - y) ** 2 + weight * (mixed - y) ** 2)
        expected = {
            "td_error": 10 * abs(mixed - y),
            "critic_loss": (central - y) ** 2,
            "full_weight_share": float(weight == 1),
        }
        assert {name: value.item() for name, value in metrics.items()} == pytest.approx(expected)

    return check


@pytest.mark.parametrize(
    ("actions", "y", "mixed", "central", "weight"),
    [
        ([1, 1], 6.0, 5.0, 0.0, 1.0),  # underestimated
        ([1, 1], 4.0, 5.0, 0.0, ALPHA),  # greedy, but overestimated
        ([0, 0], 2.0, 1.5, 8.0, 1.0),
        ([0, 0], 1.0, 1.5, 8.0, ALPHA),
        ([0, 1], 4.0, 4.0, -12.0, ALPHA),  # a perfect fit has nothing to weigh
    ],
)
def test_the_optimistic_weight_is_full_where_the_mixed_value_is_too_low(check_loss, actions, y, mixed, central, weight):
    check_loss("optimistic", UTILITIES, actions, y, mixed, central, weight)


@pytest.mark.parametrize(
    ("actions", "y", "mixed", "central", "weight"),
    [
        ([1, 1], -20.0, 5.0, 0.0, 1.0),  # greedy, however bad
        ([1, 1], 9.0, 5.0, 0.0, 1.0),
        ([0, 0], 4.0, 1.5, 8.0, 1.0),  # better than Q* of the greedy joint action
        ([0, 0], 0.0, 1.5, 8.0, ALPHA),  # just as good
        ([0, 0], -1.0, 1.5, 8.0, ALPHA),
        ([1, 0], -1.0, 2.5, -12.0, ALPHA),  # only one agent is greedy
        ([1, 0], 0.5, 2.5, -12.0, 1.0),
    ],
)
def test_the_central_weight_is_full_for_greedy_joint_actions_and_better_ones(
    check_loss, actions, y, mixed, central, weight
):
    check_loss("central", UTILITIES, actions, y, mixed, central, weight)


@pytest.mark.parametrize(
    ("actions", "y", "central", "weight"),
    [([0, 0], -1.0, 8.0, 1.0), ([1, 1], 7.0, 0.0, ALPHA), ([1, 1], 9.0, 0.0, 1.0), ([0, 1], 7.0, -12.0, ALPHA)],
)
def test_of_equally_good_actions_the_first_is_the_greedy_one(check_loss, actions, y, central, weight):
    check_loss("central", TIED, actions, y, 5.0, central, weight)


@pytest.mark.parametrize(
    ("actions", "y", "mixed", "central", "weight"),
    [
        ([0, 0], -1.0, 1.5, 8.0, 1.0),  # without action 1 the greedy joint action is (0, 0), Q* = 8
        ([0, 2], 7.0, 1.0, -12.0, ALPHA),
        ([0, 2], 9.0, 1.0, -12.0, 1.0),
    ],
)
def test_the_greedy_joint_action_is_an_allowed_one(check_loss, forbidding, actions, y, mixed, central, weight):
    check_loss("central", UTILITIES, actions, y, mixed, central, weight, forbidding((0, 1), (1, 1)))


VALUES = [[8.0, 1.0, 2.0], [3.0, 7.0, 4.0], [5.0, 6.0, -1.0]]


def test_the_target_follows_the_free_value_of_the_greedy_actions(one_step, table_networks, forbidding):
    target, rewards = table_networks(UTILITIES, TableCritic(VALUES)), torch.tensor([[[3.0]]])
    for mask, value in ((None, 7), (forbidding((0, 1), (1, 1)), 8)):  # of (1, 1), and of (0, 0)
        found = WeightedQMIX(ONE_STEP).targets(Batch(target, target, one_step([0, 2], mask=mask), rewards, 10.0))
        assert found.returns.item() == pytest.approx(3 + 0.9 * 10 * value)


@pytest.mark.parametrize(("double_q", "value"), [(False, 7.0), (True, 5.0)])
def test_double_q_lets_the_online_utilities_choose_and_the_target_value(one_step, table_networks, double_q, value):
    online = table_networks([[0.0, 1.0, 2.0], [3.0, 1.0, 2.0]], TableCritic(PAYOFFS))  # chooses (2, 0)
    target = table_networks(UTILITIES, TableCritic(VALUES))  # chooses (1, 1)
    objective, rollout, rewards = WeightedQMIX(ONE_STEP, double_q), one_step([0, 2]), torch.tensor([[[3.0]]])
    for unrolled in (None, online.unroll(rollout)):
        found = objective.targets(Batch(online, target, rollout, rewards, unrolled=unrolled))
        assert found.returns.item() == pytest.approx(3 + 0.9 * value)


def real_networks() -> ValueNetworks:
    torch.manual_seed(0)
    graph, partition = AgentGraph.complete(N), Partition.full(N)
    utilities = Utilities(graph, OBS, A, hidden=[8], observation_scale=[2.0, 1.0])
    mixer = QMIXMixer(graph, partition, OBS, 4, 4)
    return ValueNetworks(utilities, mixer, WeightedQMIX(ONE_STEP).make_critic(utilities, mixer))


@pytest.fixture
def rollout(make_rollout):
    return make_rollout(valid=("1101", "1111", "0111"), n_actions=A)


def test_along_a_rollout_targets_value_what_a_step_leads_to_and_weights_where_it_started(make_rollout):
    online, rollout = real_networks(), make_rollout(valid=("111",) * 8, n_actions=A)
    greedy = online.unroll(rollout).argmax(dim=-1)
    assert (greedy[1:] != greedy[:-1]).any()
    best = online.critic(rollout.observations, greedy).detach()
    found = WeightedQMIX(ONE_STEP).targets(Batch(online, online, rollout, torch.zeros(3, 8, 1))).returns
    torch.testing.assert_close(found, 0.9 * best[1:])
    for wrong in (best[1:], best[:-1]):
        y = wrong - 1e-4  # hardly worse than the greedy joint action in one of the two states
        _, metrics = WeightedQMIX(ONE_STEP).loss(online, rollout, Targets(y))
        full = (rollout.actions == greedy[:-1]).all(dim=-1) | (y > best[:-1])[..., 0]
        assert metrics["full_weight_share"].item() == pytest.approx(full.float().mean().item())


@pytest.mark.parametrize("weighting", ["optimistic", "central"])
def test_with_alpha_one_it_is_the_loss_of_qmix_and_that_of_the_free_value(rollout, weighting):
    online, targets = real_networks(), Targets(torch.randn(4, 3, 1))
    free = online.critic(rollout.observations[:-1], rollout.actions)
    expected, _ = PartitionTD(ONE_STEP).loss(online, rollout, targets)
    expected = expected + mean_over_transitions((free - targets.returns).square()[..., 0], rollout)
    found, _ = WeightedQMIX(ONE_STEP, weighting=weighting, alpha=1.0).loss(online, rollout, targets)
    torch.testing.assert_close(found, expected)
    less, _ = WeightedQMIX(ONE_STEP, weighting=weighting, alpha=0.1).loss(online, rollout, targets)
    assert less < found


def test_the_weights_are_constants_to_the_gradient(rollout):
    online, targets = real_networks(), Targets(torch.randn(4, 3, 1))
    WeightedQMIX(ONE_STEP, alpha=0.1).loss(online, rollout, targets)[0].backward()
    found = [parameter.grad.clone() for parameter in online.critic.parameters()]
    online.zero_grad()
    free = online.critic(rollout.observations[:-1], rollout.actions)
    mean_over_transitions((free - targets.returns).square()[..., 0], rollout).backward()
    torch.testing.assert_close(found, [parameter.grad for parameter in online.critic.parameters()])


def test_the_forward_pass_may_be_given(rollout):
    online, targets, objective = real_networks(), Targets(torch.randn(4, 3, 1)), WeightedQMIX(ONE_STEP)
    given = objective.loss(online, rollout, targets, objective.unroll(online, rollout))
    torch.testing.assert_close(given, objective.loss(online, rollout, targets))


def test_rescaling_multiplies_the_mixed_and_the_free_value_and_keeps_the_utilities(rollout):
    online = real_networks()

    def values():
        utilities = online.unroll(rollout)
        mixed = online.mixer(utilities[..., 0], rollout.observations)
        return utilities, mixed, online.critic(rollout.observations[:-1], rollout.actions)

    utilities, mixed, free = values()
    online.rescale_(0.5)
    for found, expected in zip(values(), (utilities, mixed / 2, free / 2), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_free_value_sees_scaled_observations_and_who_did_what():
    critic = real_networks().critic
    plain = CentralValue(Utilities(AgentGraph.complete(N), OBS, A), critic.mix[0].out_features)
    plain.load_state_dict(critic.state_dict())
    observations, actions = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([[0, 1]])
    scaled = observations * torch.tensor([2.0, 1.0])
    torch.testing.assert_close(critic(observations, actions), plain(scaled, actions))
    assert abs((critic(observations, actions) - critic(observations, actions.flip(-1))).item()) > 1e-4


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"alpha": 0.0}, ["learner.objective.alpha", "(0, 1]", "0.0"]),
        ({"alpha": 1.5}, ["learner.objective.alpha", "(0, 1]", "1.5"]),
        ({"weighting": "pessimistic"}, ["learner.objective.weighting", "optimistic, central", "'pessimistic'"]),
        ({"hidden": 0}, ["learner.objective.hidden", "at least 1", "0"]),
    ],
)
def test_impossible_settings_are_named(arguments, names):
    with pytest.raises(InputError) as error:
        WeightedQMIX(ONE_STEP, **arguments)
    assert all(name in str(error.value) for name in names)
