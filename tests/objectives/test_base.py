"""The contract: targets as a record, means over transitions, what each objective trains and refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import GraphMIXMixer, MaskedMLPMixer, QMIXMixer, SumMixer
from lomaq.nn import CoordinationGraph, Utilities, epsilon_greedy, epsilon_softmax, gather_actions, softmax_policy
from lomaq.objectives import (
    COMA,
    DCG,
    PPO,
    QPLEX,
    QTRAN,
    GraphMIX,
    Objective,
    PartitionTD,
    Returns,
    Targets,
    ValueNetworks,
    WeightedQMIX,
)
from lomaq.objectives.base import Batch, greedy_actions, mean_over_transitions, td_error
from lomaq.objectives.block_critic import BlockCritic
from lomaq.objectives.coma import CounterfactualCritic
from lomaq.objectives.loc_facmac import LocFACMAC
from lomaq.objectives.ppo import LocalCritic
from lomaq.objectives.qplex import DuplexDuelling
from lomaq.objectives.qtran import JointCritic
from lomaq.objectives.wqmix import CentralValue

T, B, N, A = 3, 2, 2, 2
RETURNS = Returns(0.9, 0.5)
LINE, FULL, EACH = AgentGraph.line(N), Partition.full(N), Partition.singletons(N)
ZEROS = Targets(torch.zeros(T, B, N))


@dataclass(frozen=True)
class OldTargets(Targets):
    """With what the policy gave the actions when they were collected."""

    log_probabilities: Tensor = field(kw_only=True)


class PolicyGradient(Objective):
    """-G π(u) / π_old(u), summed over agents: small, and with a field in its targets that is no return."""

    on_policy = True
    policy = staticmethod(epsilon_softmax)

    @torch.no_grad()
    def targets(self, batch: Batch) -> OldTargets:
        returns = self.returns(batch.rewards, torch.zeros_like(batch.rewards), batch.rollout)
        logits = self.unroll(batch.online, batch.rollout, batch.rollout.n_steps)
        return OldTargets(returns, log_probabilities=self.log_probabilities(logits, batch.rollout.actions))

    def transition_loss(self, online, rollout, targets, outputs):
        ratio = (self.log_probabilities(outputs, rollout.actions) - targets.log_probabilities).exp()  # [T, B, N]
        return -(targets.returns * ratio).sum(dim=-1), {"ratio": ratio.mean(dim=-1), "largest": ratio.amax(dim=-1)}

    def log_probabilities(self, logits: Tensor, actions: Tensor) -> Tensor:
        return gather_actions(softmax_policy(logits, 0.0), actions).log()


class Given(Objective):
    """A loss and a metric that are handed over, and a look at what it was given."""

    def __init__(self, value: Tensor) -> None:
        super().__init__(RETURNS)
        self.value, self.outputs = value, None

    def targets(self, batch: Batch) -> Targets:
        return Targets(self.returns(batch.rewards, batch.rewards, batch.rollout))

    def transition_loss(self, online, rollout, targets, outputs):
        self.outputs = outputs
        return self.value, {"double": 2 * self.value}


def real_networks(network: Any = "mlp", mixer: Any = None) -> ValueNetworks:
    torch.manual_seed(0)
    utilities = Utilities(LINE, A, A, network, hidden=[4], last_action=True)
    return ValueNetworks(utilities, mixer or MaskedMLPMixer(LINE, EACH, 1, 4))


# ---------------------------------------------------------------------- targets


def test_in_units_of_sigma_divides_the_returns_alone():
    raw = OldTargets(torch.tensor([[[6.0, -3.0]]]), log_probabilities=torch.tensor([[[-1.0, -2.0]]]))
    found = raw.in_units_of(1.5)
    assert isinstance(found, OldTargets)
    assert found.returns.tolist() == [[[4.0, -2.0]]]
    assert torch.equal(found.log_probabilities, raw.log_probabilities)
    assert (raw.scale, found.scale) == (1.0, 1.5)
    assert raw.returns.tolist() == [[[6.0, -3.0]]]


def test_select_picks_sequences_of_every_field():
    one, two = torch.randn(4, 3, 2), torch.randn(4, 3, 5)
    found = OldTargets(one, 2.0, log_probabilities=two).select(torch.tensor([2, 0]))
    assert isinstance(found, OldTargets)
    assert torch.equal(found.returns, one[:, [2, 0]])
    assert torch.equal(found.log_probabilities, two[:, [2, 0]])
    assert found.scale == 2


def test_old_probabilities_of_an_objective_of_a_user_are_untouched_by_sigma(make_rollout):
    objective, online, rollout = PolicyGradient(RETURNS), real_networks(), make_rollout(valid=("110", "111"))
    targets = objective.targets(Batch(online, online, rollout, rollout.rewards)).in_units_of(0.3)
    for columns in (torch.tensor([0, 1]), torch.tensor([1])):
        part, of_part = rollout.select(columns), targets.select(columns)
        loss, metrics = objective.loss(online, part, of_part)
        assert (metrics["ratio"].item(), metrics["largest"].item()) == (1, 1)  # nothing was learned yet
        expected = -mean_over_transitions(of_part.returns.sum(dim=-1), part)
        torch.testing.assert_close(loss, expected)


# ------------------------------------------------------------------------- loss


def test_loss_and_metrics_are_means_over_transitions_and_metrics_carry_no_gradient(make_rollout):
    value = torch.tensor([[1.0, 2.0], [3.0, 1000.0], [1000.0, 6.0]], requires_grad=True)
    loss, metrics = Given(value).loss(real_networks(), make_rollout(valid=("110", "101")), ZEROS)
    assert loss.item() == (1 + 3 + 2 + 6) / 4
    assert metrics["double"].item() == 2 * (1 + 3 + 2 + 6) / 4
    assert loss.requires_grad
    assert not metrics["double"].requires_grad


def test_a_part_without_a_transition_has_loss_0(make_rollout):
    loss, metrics = Given(torch.ones(T, B)).loss(real_networks(), make_rollout(valid=("000", "000")), ZEROS)
    assert (loss.item(), metrics["double"].item()) == (0, 0)


def test_the_loss_is_given_the_outputs_of_the_first_observations(make_rollout):
    online, rollout, objective = real_networks(), make_rollout(), Given(torch.ones(T, B))
    unrolled = objective.unroll(online, rollout)
    for known in (None, unrolled):
        objective.loss(online, rollout, ZEROS, known)
        torch.testing.assert_close(objective.outputs, unrolled[:T])
    objective.loss(online, rollout, ZEROS, (unrolled, 2 * unrolled))
    torch.testing.assert_close(objective.outputs, (unrolled[:T], 2 * unrolled[:T]))


def test_the_td_error_is_the_mean_size_over_blocks_in_the_unit_of_the_rewards():
    errors = torch.tensor([[[3.0, -1.0]], [[-4.0, 0.0]]], requires_grad=True)
    found = td_error(errors, Targets(torch.zeros(2, 1, 2), scale=2.5))
    assert found.tolist() == [[5.0], [5.0]]
    assert not found.requires_grad


def test_greedy_actions_are_the_best_allowed_ones_of_as_many_steps_as_there_are_utilities(make_rollout):
    utilities = torch.tensor([[1.0, 3.0, 2.0], [5.0, 4.0, 4.0]]).expand(T, B, N, 3)
    assert torch.equal(greedy_actions(utilities, make_rollout()), torch.tensor([1, 0]).expand(T, B, N))
    mask = torch.ones(T + 1, B, N, 3, dtype=torch.bool)
    mask[1, 0, 0, 1] = mask[1, 0, 1, 0] = False
    found = greedy_actions(utilities, make_rollout(mask=mask))
    assert found[1, 0].tolist() == [2, 1]
    found[1, 0] = torch.tensor([1, 0])
    assert torch.equal(found, torch.tensor([1, 0]).expand(T, B, N))


# --------------------------------------------------------------------- networks


@pytest.mark.parametrize("network", ["mlp", "gru"])
def test_unrolling_gives_the_utilities_along_the_rollout_with_its_memory_and_previous_actions(make_rollout, network):
    networks, rollout = real_networks(network), make_rollout()
    rollout.is_first[0] = False
    rollout.is_first[2, 1] = True
    rollout.last_actions[:] = 1
    rollout = replace(rollout, hidden=torch.randn(B, N, networks.utilities.memory_size))
    unrolled = networks.unroll(rollout)
    assert unrolled.shape == (T + 1, B, N, A)
    hidden = rollout.hidden
    for t in range(T + 1):
        previous = rollout.last_actions.clone() if t == 0 else rollout.actions[t - 1].clone()
        previous[rollout.is_first[t]] = -1
        values, hidden = networks.utilities(
            rollout.observations[t : t + 1], previous[None], rollout.is_first[t : t + 1], hidden
        )
        torch.testing.assert_close(unrolled[t], values[0])
    for steps in (1, T, T + 1):
        torch.testing.assert_close(networks.unroll(rollout, steps), unrolled[:steps])


def test_unrolling_shows_the_agents_which_actions_are_allowed(make_rollout):
    class Masked(Utilities):
        def forward(self, observations, previous_actions, is_first, hidden, action_mask=None):
            return action_mask, hidden

    mask = torch.rand(T + 1, B, N, A) < 0.5
    networks = ValueNetworks(Masked(LINE, A, A), SUM)
    assert torch.equal(networks.unroll(make_rollout(mask=mask), T), mask[:T])
    assert networks.unroll(make_rollout()) is None


@pytest.mark.parametrize("mixer", [MaskedMLPMixer(LINE, EACH, 1, 4), SumMixer(LINE, FULL, 1)])
def test_rescaling_multiplies_block_values_and_utilities_only_where_the_mixer_has_no_weights(make_rollout, mixer):
    networks, rollout = real_networks(mixer=mixer), make_rollout()
    utilities = networks.unroll(rollout)
    values = networks.mixer(utilities[..., 0])
    PartitionTD(RETURNS).rescale_(networks, 4.0)
    found = networks.unroll(rollout)
    torch.testing.assert_close(found, utilities if mixer.head() else 4 * utilities)
    torch.testing.assert_close(networks.mixer(found[..., 0]), values * 4)


# ------------------------------------------------------------------------ check

Q_LEARNING = [PartitionTD, QTRAN, WeightedQMIX, QPLEX]
PLAIN, GRAPH = Utilities(LINE, A, A), CoordinationGraph(LINE, A, A)
SUM, SUMS, NONE = SumMixer(LINE, FULL, 1), SumMixer(LINE, EACH, 1), SumMixer(LINE, EACH, 1, independent=True)
QMIX, SOFT = QMIXMixer(LINE, FULL, A), MaskedMLPMixer(LINE, FULL, 1, monotonicity="soft")
LEARNED, FROZEN = (GraphMIXMixer(LINE, FULL, A, learn_fractions=x) for x in (True, False))
JOINT = [(QTRAN, PLAIN), (WeightedQMIX, PLAIN), (QPLEX, PLAIN), (DCG, GRAPH)]


@pytest.mark.parametrize(
    ("make", "utilities", "mixer", "key", "names"),
    [
        *(
            (make, GRAPH, SUM, "agent._target_", ["CoordinationGraph", "algo=dcg"])
            for make in (*Q_LEARNING, COMA, PPO, LocFACMAC)
        ),
        (PolicyGradient, GRAPH, SUM, "agent._target_", ["agents that act alone for PolicyGradient", "algo=dcg"]),
        (GraphMIX, GRAPH, LEARNED, "agent._target_", ["CoordinationGraph", "algo=dcg"]),
        (DCG, PLAIN, SUM, "agent._target_", ["lomaq.nn.CoordinationGraph", "Utilities", "algo=dcg"]),
        *((make, agents, SUMS, "partition", ["full", "2 blocks", "partition=full"]) for make, agents in JOINT),
        *((make, agents, SOFT, "mixer.monotonicity", ["reparametrisation", "soft"]) for make, agents in JOINT),
        *((make, agents, QMIX, "mixer", ["sum", "QMIXMixer", "mixer=sum"]) for make, agents in JOINT[2:]),
        (COMA, PLAIN, SUM, "partition", ["a block for each agent", "1 blocks", "partition=singletons"]),
        (COMA, PLAIN, SUMS, "mixer", ["none", "SumMixer", "mixer=none"]),
        (COMA, PLAIN, MaskedMLPMixer(LINE, EACH, 1), "mixer", ["none", "MaskedMLPMixer", "mixer=none"]),
        (PPO, PLAIN, MaskedMLPMixer(LINE, EACH, 1), "mixer", ["none", "MaskedMLPMixer", "mixer=none"]),
        (PPO, PLAIN, QMIX, "mixer", ["none", "QMIXMixer", "mixer=none"]),
        (GraphMIX, PLAIN, QMIX, "mixer", ["graphmix", "QMIXMixer", "algo=graphmix"]),
        (GraphMIX, PLAIN, FROZEN, "mixer.learn_fractions", ["true", "false", "algo=graphmix"]),
    ],
)
def test_what_cannot_be_trained_is_refused_with_a_remedy(make, utilities, mixer, key, names):
    objective = make(RETURNS)
    with pytest.raises(InputError) as error:
        objective.check(ValueNetworks(utilities, mixer))
    line = str(error.value)
    assert line.startswith(f"{key}: ")
    assert make.__name__ in line
    assert all(name in line for name in names)


@dataclass(frozen=True)
class Promise:
    """What an objective says of itself, with networks that it trains."""

    make: Callable[[Returns], Objective]
    utilities: Utilities
    mixer: Any
    critic: type | None = None
    mixes: bool = True
    on_policy: bool = False
    stochastic: bool = False


PROMISES = [
    Promise(PartitionTD, PLAIN, SUMS),
    Promise(PartitionTD, PLAIN, SOFT),
    Promise(GraphMIX, PLAIN, LEARNED),
    Promise(QTRAN, PLAIN, QMIX, JointCritic),
    Promise(WeightedQMIX, PLAIN, QMIX, CentralValue),
    Promise(QPLEX, PLAIN, SUM, DuplexDuelling, mixes=False),
    Promise(DCG, GRAPH, SUM, mixes=False),
    Promise(COMA, PLAIN, NONE, CounterfactualCritic, mixes=False, on_policy=True, stochastic=True),
    Promise(PPO, PLAIN, SUM, LocalCritic, mixes=False, on_policy=True, stochastic=True),
    Promise(PPO, PLAIN, NONE, LocalCritic, mixes=False, on_policy=True, stochastic=True),
    Promise(LocFACMAC, PLAIN, SUMS, BlockCritic, stochastic=True),
    Promise(LocFACMAC, PLAIN, SOFT, BlockCritic, stochastic=True),
    Promise(LocFACMAC, PLAIN, QMIX, BlockCritic, stochastic=True),
]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.make.__name__)
def test_what_an_objective_trains_and_what_it_needs_for_it(promise):
    objective = promise.make(RETURNS)
    critic = objective.make_critic(promise.utilities, promise.mixer)
    assert (None if critic is None else type(critic)) is promise.critic
    networks = ValueNetworks(promise.utilities, promise.mixer, critic)
    objective.check(networks)
    assert objective.trained_mixer(networks) is (promise.mixer if promise.mixes else None)
    assert objective.on_policy == promise.on_policy
    assert objective.stochastic == promise.stochastic
    assert objective.policy is (epsilon_softmax if promise.stochastic else epsilon_greedy)
    assert objective.another_pass({}) is True
    assert objective.selects_online is False
    if not promise.stochastic:
        assert promise.make(RETURNS, double_q=True).selects_online is True
        assert promise.make(RETURNS, target="sampled").on_policy is True


@pytest.mark.parametrize("promise", [p for p in PROMISES if not p.stochastic], ids=lambda p: p.make.__name__)
def test_every_q_learner_follows_the_sampled_action_as_if_no_other_were_allowed(make_rollout, promise):
    greedy, sampled = (promise.make(RETURNS, target=kind) for kind in ("greedy", "sampled"))
    torch.manual_seed(0)
    critic = greedy.make_critic(promise.utilities, promise.mixer)
    networks = ValueNetworks(promise.utilities, promise.mixer, critic)

    def returns_of(objective, **given):
        rollout = make_rollout(**given)
        rewards = torch.zeros(T, B, promise.mixer.n_blocks)
        generator = torch.Generator().manual_seed(1)
        return objective.targets(Batch(networks, networks, rollout, rewards, generator=generator)).returns

    assert torch.equal(returns_of(sampled, epsilon=0.0), returns_of(greedy))
    same = torch.Generator().manual_seed(1)
    torch.rand(T, B, N, generator=same)  # whether an action is random: with ε = 1, all are
    drawn = torch.rand(T, B, N, A, generator=same).argmax(dim=-1)
    only = torch.nn.functional.one_hot(torch.cat([drawn[:1], drawn]), A).bool()
    found = returns_of(sampled, epsilon=1.0)
    assert not torch.equal(found, returns_of(greedy))
    if promise.make is not QPLEX:  # whose value of an action has that of the best in it
        torch.testing.assert_close(found, returns_of(greedy, mask=only))
