"""Weighted QMIX: its weights, its two losses and its targets."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from lomaq.objectives.td import mean_over_transitions

from lomaq.envs import Rollout
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import MaskedMLPMixer, QMIXMixer, SumMixer
from lomaq.nn import Utilities
from lomaq.objectives import PartitionTD, ValueNetworks, WeightedQMIX
from lomaq.objectives.wqmix import CentralValue

N, A, OBS = 2, 3, 2
ALPHA = 0.25


class TableCritic(CentralValue):
    """Q* = payoff of the joint action."""

    def __init__(self, payoffs):
        torch.nn.Module.__init__(self)
        self.payoffs = torch.tensor(payoffs)

    def forward(self, observations, actions):
        return self.payoffs[actions[..., 0], actions[..., 1]][..., None]


def networks(utilities, payoffs):
    """Networks without parameters: a table of utilities, their sum, and a table for Q*."""
    table = torch.tensor(utilities)  # [N, A]
    return SimpleNamespace(
        unroll=lambda rollout, steps=None: table.expand(2 if steps is None else steps, 1, N, A),
        mixer=SumMixer(AgentGraph.complete(N), Partition.full(N), 1),
        critic=TableCritic(payoffs),
    )


def forbidding(action):
    mask = torch.ones(2, 1, N, A, dtype=torch.bool)
    mask[..., action] = False
    return mask


PAYOFFS = [[8.0, -12.0, -12.0], [-12.0, 0.0, 0.0], [-12.0, 0.0, 0.0]]
UTILITIES = [[1.0, 2.0, 0.0], [0.5, 3.0, 0.0]]  # both agents like action 1: Σ U = 5 there, and Q* = 0
TIED = [[2.0, 2.0, 0.0], [3.0, 3.0, 0.0]]  # the first of the best, (0, 0), counts as greedy: Q* = 8


def loss_of(weighting, utilities, rollout, y):
    objective = WeightedQMIX(gamma=0.9, lam=0.0, weighting=weighting, alpha=ALPHA)
    return objective.loss(networks(utilities, PAYOFFS), rollout, torch.tensor([[[y]]])).item()


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
def test_the_optimistic_weight_is_full_where_the_mixed_value_is_too_low(one_step, actions, y, mixed, central, weight):
    expected = (central - y) ** 2 + weight * (mixed - y) ** 2
    assert loss_of("optimistic", UTILITIES, one_step(actions), y) == pytest.approx(expected)


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
    one_step, actions, y, mixed, central, weight
):
    expected = (central - y) ** 2 + weight * (mixed - y) ** 2
    assert loss_of("central", UTILITIES, one_step(actions), y) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("actions", "y", "central", "weight"),
    [([0, 0], -1.0, 8.0, 1.0), ([1, 1], 7.0, 0.0, ALPHA), ([1, 1], 9.0, 0.0, 1.0), ([0, 1], 7.0, -12.0, ALPHA)],
)
def test_of_equally_good_actions_the_first_is_the_greedy_one(one_step, actions, y, central, weight):
    expected = (central - y) ** 2 + weight * (5.0 - y) ** 2
    assert loss_of("central", TIED, one_step(actions), y) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("actions", "y", "mixed", "central", "weight"),
    [
        ([0, 0], -1.0, 1.5, 8.0, 1.0),  # without action 1 the greedy joint action is (0, 0), Q* = 8
        ([0, 2], 7.0, 1.0, -12.0, ALPHA),
        ([0, 2], 9.0, 1.0, -12.0, 1.0),
    ],
)
def test_the_greedy_joint_action_is_an_allowed_one(one_step, actions, y, mixed, central, weight):
    expected = (central - y) ** 2 + weight * (mixed - y) ** 2
    assert loss_of("central", UTILITIES, one_step(actions, mask=forbidding(1)), y) == pytest.approx(expected)


def test_the_target_follows_the_free_value_of_the_greedy_actions(one_step):
    objective, rewards = WeightedQMIX(gamma=0.9, lam=0.0), torch.tensor([[[3.0]]])
    target = networks(UTILITIES, [[8.0, 1.0, 2.0], [3.0, 7.0, 4.0], [5.0, 6.0, -1.0]])
    got = objective.targets(target, target, one_step([0, 2]), rewards, scale=10.0)
    assert got.item() == pytest.approx(3 + 0.9 * 10 * 7)  # of (1, 1)
    got = objective.targets(target, target, one_step([0, 2], mask=forbidding(1)), rewards, scale=10.0)
    assert got.item() == pytest.approx(3 + 0.9 * 10 * 8)  # of (0, 0)


@pytest.mark.parametrize(("double_q", "value"), [(False, 7.0), (True, 5.0)])
def test_double_q_lets_the_online_utilities_choose_and_the_target_value(one_step, double_q, value):
    online = networks([[0.0, 1.0, 2.0], [3.0, 1.0, 2.0]], PAYOFFS)  # chooses (2, 0)
    target = networks(UTILITIES, [[8.0, 1.0, 2.0], [3.0, 7.0, 4.0], [5.0, 6.0, -1.0]])  # chooses (1, 1)
    objective, rollout, rewards = WeightedQMIX(0.9, 0.0, double_q), one_step([0, 2]), torch.tensor([[[3.0]]])
    assert objective.targets(online, target, rollout, rewards, 1.0).item() == pytest.approx(3 + 0.9 * value)
    judged = objective.targets(online, target, rollout, rewards, 1.0, judge=online.unroll(rollout))
    assert judged.item() == pytest.approx(3 + 0.9 * value)


def real_networks() -> ValueNetworks:
    torch.manual_seed(0)
    graph, partition = AgentGraph.complete(N), Partition.full(N)
    utilities = Utilities(graph, OBS, A, hidden=[8], observation_scale=[2.0, 1.0])
    mixer = QMIXMixer(graph, partition, OBS, 4, 4)
    return ValueNetworks(utilities, mixer, WeightedQMIX(gamma=0.9, lam=0.0).make_critic(utilities, mixer))


def random_rollout(steps=4, batch=3, seed=0) -> Rollout:
    chance = torch.Generator().manual_seed(seed)
    no = torch.zeros(steps, batch, dtype=torch.bool)
    return Rollout(
        observations=torch.randn(steps + 1, batch, N, OBS, generator=chance),
        actions=torch.randint(A, (steps, batch, N), generator=chance),
        rewards=torch.zeros(steps, batch, N),
        terminated=no,
        truncated=no,
        mask=torch.rand(steps, batch, generator=chance) < 0.8,
        is_first=torch.zeros(steps + 1, batch, dtype=torch.bool),
        last_actions=torch.full((batch, N), -1),
        hidden=torch.zeros(batch, N, 0),
    )


@pytest.mark.parametrize("weighting", ["optimistic", "central"])
def test_with_alpha_one_it_is_the_loss_of_qmix_and_that_of_the_free_value(weighting):
    online, rollout = real_networks(), random_rollout()
    targets = torch.randn(4, 3, 1)
    free = online.critic(rollout.observations[:-1], rollout.actions)
    expected = PartitionTD(0.9, 0.0).loss(online, rollout, targets)
    expected = expected + mean_over_transitions((free - targets).square()[..., 0], rollout)
    found = WeightedQMIX(0.9, 0.0, weighting=weighting, alpha=1.0).loss(online, rollout, targets)
    torch.testing.assert_close(found, expected)
    less = WeightedQMIX(0.9, 0.0, weighting=weighting, alpha=0.1).loss(online, rollout, targets)
    assert less < found


def test_the_weights_are_constants_to_the_gradient():
    online, rollout, targets = real_networks(), random_rollout(), torch.randn(4, 3, 1)
    WeightedQMIX(0.9, 0.0, alpha=0.1).loss(online, rollout, targets).backward()
    found = [parameter.grad.clone() for parameter in online.critic.parameters()]
    online.zero_grad()
    free = online.critic(rollout.observations[:-1], rollout.actions)
    mean_over_transitions((free - targets).square()[..., 0], rollout).backward()
    torch.testing.assert_close(found, [parameter.grad for parameter in online.critic.parameters()])


def test_the_forward_pass_may_be_given():
    online, rollout, targets = real_networks(), random_rollout(), torch.randn(4, 3, 1)
    objective = WeightedQMIX(0.9, 0.0)
    given = objective.loss(online, rollout, targets, objective.unroll(online, rollout))
    torch.testing.assert_close(given, objective.loss(online, rollout, targets))


def test_rescaling_multiplies_the_mixed_and_the_free_value_and_keeps_the_utilities():
    online, rollout = real_networks(), random_rollout()

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


def test_several_blocks_are_refused():
    graph = AgentGraph.complete(N)
    mixer = SumMixer(graph, Partition.singletons(N), 1)
    with pytest.raises(InputError, match="partition: expected full for algo=ow_qmix and cw_qmix, got 2 blocks"):
        WeightedQMIX(gamma=0.9, lam=0.0).make_critic(Utilities(graph, OBS, A), mixer)


def test_soft_monotonicity_is_refused_since_no_loss_has_its_penalty():
    graph = AgentGraph.complete(N)
    mixer = MaskedMLPMixer(graph, Partition.full(N), 1, monotonicity="soft")
    expected = "mixer.monotonicity: expected projection or reparametrisation for algo=ow_qmix and cw_qmix, got soft"
    with pytest.raises(InputError, match=expected):
        WeightedQMIX(gamma=0.9, lam=0.0).make_critic(Utilities(graph, OBS, A), mixer)


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
        WeightedQMIX(0.9, 0.0, **arguments)
    assert all(name in str(error.value) for name in names)
