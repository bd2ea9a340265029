"""PPO of a partition: its targets, its loss, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import SumMixer
from lomaq.nn import Utilities
from lomaq.objectives import PPO, Returns, ValueNetworks
from lomaq.objectives.base import Batch
from lomaq.objectives.ppo import LocalCritic, PolicyTargets, log_probabilities

T, B, N, A = 3, 2, 2, 3
OBS = 2
ONE_STEP, LONG = Returns(0.9, 0.0), Returns(0.9, 0.6)
LINE, EACH = AgentGraph.line(N), Partition.singletons(N)


class Observed(LocalCritic):
    """V_J is the first number that the first agent of J observes, but for a factor."""

    def __init__(self, graph=LINE, partition=EACH, kappa=0, factor=1.0):
        super().__init__(Utilities(graph, OBS, A), SumMixer(graph, partition, kappa), kappa, 2, "ego")
        self.first, self.factor = torch.tensor([block[0] for block in partition.blocks]), factor

    def forward(self, seen):
        return seen[..., self.first, :1] * self.factor


def stub(logits, critic=None):
    """Agents without parameters, whose logits are ``[T + 1, B, N, A]``, and a critic."""
    agents = SimpleNamespace(
        with_memories=lambda observations, *_: (logits[: len(observations)], observations[..., :0]), scaled=lambda x: x
    )
    return SimpleNamespace(utilities=agents, critic=critic or Observed())


def real_networks(network="mlp", graph=LINE, partition=EACH, objective=None, **options) -> ValueNetworks:
    torch.manual_seed(0)
    utilities = Utilities(graph, OBS, A, network, hidden=[8], last_action=True, **options)
    mixer = SumMixer(graph, partition, 1)
    return ValueNetworks(utilities, mixer, (objective or PPO(LONG)).make_critic(utilities, mixer))


@pytest.fixture
def rollout_of(make_rollout):
    return partial(make_rollout, n_actions=A, obs_size=OBS, epsilon=0.0)


def batch_of(networks, rollout, partition=EACH, **known):
    return Batch(networks, networks, rollout, partition.block_sum(rollout.rewards), **known)


def masked(rollout):
    """The same, with about half of the actions that were not taken forbidden."""
    mask = torch.rand(T + 1, B, N, A, generator=torch.Generator().manual_seed(2)) < 0.5
    mask[:-1].scatter_(-1, rollout.actions[..., None], True)
    mask[-1, ..., 0] = True
    assert not mask.all()
    return replace(rollout, action_mask=mask)


# ---------------------------------------------------------------- probabilities


def slow_policy(logits, epsilon, allowed):
    odds = np.where(allowed, np.exp(logits - logits.max()), 0.0)
    return (1 - epsilon) * odds / odds.sum() + epsilon * allowed / allowed.sum()


@pytest.mark.parametrize("forbid", [False, True])
def test_log_probabilities_and_entropies_are_those_of_the_policy_that_acted(rollout_of, forbid):
    rollout = rollout_of()
    rollout.epsilon[:] = torch.tensor([0.1, 0.6])  # as each sequence was collected
    rollout = masked(rollout) if forbid else rollout
    logits = 2 * torch.randn(T, B, N, A)
    found, spread = log_probabilities(logits, rollout)
    for t, b, n in np.ndindex(T, B, N):
        allowed = np.ones(A, dtype=bool) if rollout.action_mask is None else rollout.action_mask[t, b, n].numpy()
        policy = slow_policy(logits[t, b, n].double().numpy(), float(rollout.epsilon[b]), allowed)
        assert found[t, b, n].item() == pytest.approx(np.log(policy[rollout.actions[t, b, n]]), rel=1e-4)
        assert spread[t, b, n].item() == pytest.approx(-sum(p * np.log(p) for p in policy if p > 0), abs=1e-5)


@pytest.mark.parametrize("network", ["mlp", "gru"])
def test_before_the_first_update_every_ratio_is_1_and_nothing_is_clipped(rollout_of, network):
    rollout = masked(rollout_of(valid=("110", "111")))
    rollout = replace(rollout, hidden=torch.zeros(B, N, 8 if network == "gru" else 0))
    rollout.epsilon[:] = torch.tensor([0.0, 0.3])
    objective, networks = PPO(LONG, entropy=0.1, entropy_end=0.1), real_networks(network)
    targets = objective.targets(batch_of(networks, rollout))
    loss, metrics = objective.loss(networks, rollout, targets)
    assert (metrics["kl"].item(), metrics["ratio_clip_share"].item()) == (0, 0)
    # with ratios of 1 the policies gain the mean advantage, which is 0
    assert loss.item() == pytest.approx((metrics["critic_loss"] - 0.1 * metrics["entropy"]).item(), abs=1e-5)


def test_known_outputs_give_the_same_targets(rollout_of):
    rollout, networks, objective = rollout_of(), real_networks(), PPO(LONG)
    found = [
        objective.targets(batch_of(networks, rollout, unrolled=unrolled))
        for unrolled in (None, objective.unroll(networks, rollout))
    ]
    for name in ("returns", "log_probs", "advantages"):
        assert torch.equal(getattr(found[0], name), getattr(found[1], name))
        assert not getattr(found[0], name).requires_grad


@pytest.mark.parametrize(("progress", "beta"), [(0.0, 0.1), (0.25, 0.08), (1.0, 0.02)])
def test_the_weight_of_the_entropy_moves_along_a_line_to_the_end_of_the_budget(rollout_of, progress, beta):
    objective = PPO(ONE_STEP, entropy=0.1, entropy_end=0.02)
    found = objective.targets(batch_of(real_networks(), rollout_of(), progress=progress))
    assert found.entropy == pytest.approx(beta)
    assert found.in_units_of(3.0).select(torch.tensor([1])).entropy == pytest.approx(beta)


# ------------------------------------------------------------------- advantages


def slow_gae(rewards, values, rollout, gamma, lam, time_limit="bootstrap"):
    """A_t = δ_t + γ λ A_{t+1}, δ_t = r_t + γ V_{t+1} - V_t, number by number; values ``[T + 1, B, P]``."""
    found = np.zeros(rewards.shape)
    for t, b, p in reversed(list(np.ndindex(*rewards.shape))):
        truncated = bool(rollout.truncated[t, b])
        over = bool(rollout.terminated[t, b]) or (truncated and time_limit == "terminal")
        delta = rewards[t, b, p] + (0 if over else gamma * values[t + 1, b, p]) - values[t, b, p]
        last = over or truncated or t == len(rewards) - 1 or not rollout.mask[t + 1, b]
        found[t, b, p] = delta + (0 if last else gamma * lam * found[t + 1, b, p])
    return found


PAIR = Partition([[0, 2], [1]], 3)


@pytest.mark.parametrize("time_limit", ["bootstrap", "terminal"])
@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(
    "ends",
    [
        {},  # only the rollout ends
        {"terminated": ("010", "000"), "truncated": ("000", "100"), "valid": ("110", "101")},  # and a reset follows
        {"terminated": ("001", "000"), "truncated": ("000", "001")},
    ],
)
@pytest.mark.parametrize("partition", [Partition.singletons(3), Partition.full(3), PAIR], ids=["each", "all", "pair"])
def test_advantages_of_blocks_equal_those_of_a_loop(rollout_of, ends, lam, time_limit, partition):
    rollout, graph = rollout_of(**ends, n_agents=3), AgentGraph.line(3)
    networks = stub(torch.randn(T + 1, B, 3, A), Observed(graph, partition, factor=0.5))
    batch, objective = batch_of(networks, rollout, partition, scale=3.0), PPO(Returns(0.9, lam, time_limit))
    first = [block[0] for block in partition.blocks]
    values = rollout.observations[:, :, first, 0].double().numpy() * 0.5 * 3.0  # in units of rewards
    rewards = np.stack([sum(rollout.rewards[..., i].double().numpy() for i in j) for j in partition.blocks], axis=-1)
    expected = slow_gae(rewards, values, rollout, 0.9, lam, time_limit)
    real = rollout.mask.numpy()
    np.testing.assert_allclose(objective.ascent(batch).advantages[real], expected[real], rtol=1e-4, atol=1e-5)
    returns = objective.targets(batch).returns
    np.testing.assert_allclose(returns[real], (expected + values[:-1])[real], rtol=1e-4, atol=1e-5)


def test_agents_ascend_advantages_of_mean_0_and_deviation_1_over_transitions_alone(rollout_of):
    rollout = rollout_of(terminated=("010", "000"), valid=("110", "111"))
    rollout.rewards[2, 0] = 1e6  # no transition
    networks = stub(torch.zeros(T + 1, B, N, A))
    found = PPO(LONG).targets(batch_of(networks, rollout)).advantages
    raw = slow_gae(rollout.rewards.numpy(), rollout.observations[..., 0].numpy(), rollout, 0.9, 0.6)
    real = rollout.mask.numpy()
    expected = (raw[real] - raw[real].mean()) / raw[real].std()
    np.testing.assert_allclose(found[rollout.mask], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("valid", [("111", "111"), ("000", "000")])
def test_advantages_that_are_all_alike_are_finite(rollout_of, valid):
    rollout, networks = rollout_of(valid=valid), stub(torch.zeros(T + 1, B, N, A))
    rollout.rewards[:], rollout.observations[:] = 1.0, 0.0
    targets = PPO(ONE_STEP).targets(batch_of(networks, rollout))
    assert targets.advantages.isfinite().all()
    assert PPO(ONE_STEP).loss(networks, rollout, targets)[0].isfinite()


# A triangle 0-1-2 with a tail 2-3-4 and a leaf 5 on 1, and an agent 6 whom nobody knows.
KITE = AgentGraph.from_edges(7, [(0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (1, 5)])


@pytest.mark.parametrize("kappa", [0, 1, 2])
@pytest.mark.parametrize("blocks", [[[i] for i in range(7)], [[0, 4], [1], [2, 3, 5], [6]], [list(range(7))]])
def test_an_agent_ascends_the_advantages_of_all_blocks_within_kappa_hops_of_it(edges_of, blocks, kappa):
    partition = Partition(blocks, 7)
    objective, utilities, mixer = PPO(ONE_STEP), Utilities(KITE, OBS, A), SumMixer(KITE, partition, kappa)
    advantages = torch.randn(4, 2, len(blocks))
    found = objective.make_critic(utilities, mixer).credit(advantages)
    graph = nx.Graph(edges_of(KITE))
    graph.add_node(6)
    hops = dict(nx.all_pairs_shortest_path_length(graph))
    for agent in range(7):
        near = [j for j, block in enumerate(blocks) if min(hops[agent].get(i, 99) for i in block) <= kappa]
        torch.testing.assert_close(found[..., agent], sum(advantages[..., j] for j in near))


@pytest.mark.parametrize("blocks", [[[i] for i in range(7)], [[0, 4], [1], [2, 3, 5], [6]], [list(range(7))]])
def test_an_independent_agent_ascends_the_advantage_of_its_own_block_whatever_kappa_is(blocks):
    partition = Partition(blocks, 7)
    critic = PPO(ONE_STEP, independent=True).make_critic(Utilities(KITE, OBS, A), SumMixer(KITE, partition, 2))
    assert critic.kappa == 0
    advantages = torch.randn(4, 2, len(blocks))
    torch.testing.assert_close(critic.credit(advantages), advantages[..., partition.block_of])


# ------------------------------------------------------------------------- loss


def test_loss_and_gradient_equal_a_loop_where_ratios_are_inside_above_and_below_the_clip(one_step):
    chosen = [(ratio, advantage) for ratio in (0.5, 0.9, 1.1, 1.5) for advantage in (2.0, -3.0)]  # clip: 0.8 … 1.2
    n, beta = len(chosen), 0.1
    rollout = replace(one_step([k % A for k in range(n)]), epsilon=torch.zeros(1))
    logits = torch.randn(2, 1, n, A, requires_grad=True)
    critic = Observed(AgentGraph.line(n), Partition.singletons(n))
    returns, expected, gradient, gained = torch.randn(1, 1, n), 0.0, np.zeros((n, A)), []
    old = torch.zeros(1, 1, n)
    for i, (ratio, advantage) in enumerate(chosen):
        policy = slow_policy(logits[0, 0, i].detach().double().numpy(), 0.0, np.ones(A))
        action = i % A
        old[0, 0, i] = np.log(policy[action] / ratio)
        spread = -(policy * np.log(policy)).sum()
        gain = min(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage)
        expected += (float(returns[0, 0, i]) ** 2 - gain - beta * spread) / n
        held = (ratio > 1.2 and advantage > 0) or (ratio < 0.8 and advantage < 0)
        gained.append(gain)
        slope = 0.0 if held else ratio * advantage
        gradient[i] = -(slope * (np.eye(A)[action] - policy) - beta * policy * (np.log(policy) + spread)) / n
    assert gained == pytest.approx([1.0, -2.4, 1.8, -2.7, 2.2, -3.3, 2.4, -4.5])
    targets = PolicyTargets(
        returns, 10.0, log_probs=old, advantages=torch.tensor([[[x for _, x in chosen]]]), entropy=beta
    )
    loss, metrics = PPO(ONE_STEP, clip=0.2).loss(stub(logits, critic), rollout, targets)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    loss.backward()
    np.testing.assert_allclose(logits.grad[0, 0], gradient, rtol=1e-3, atol=1e-5)
    assert metrics["ratio_clip_share"].item() == 0.5
    kl = np.mean([ratio - 1 - np.log(ratio) for ratio, _ in chosen])
    assert metrics["kl"].item() == pytest.approx(kl, rel=1e-4)
    assert metrics["td_error"].item() == pytest.approx(10 * returns.abs().mean().item(), rel=1e-5)


def test_steps_that_are_no_transitions_do_not_count(rollout_of):
    rollout, networks, objective = rollout_of(valid=("100", "101")), real_networks(), PPO(ONE_STEP, entropy=0.3)
    targets = objective.targets(batch_of(networks, rollout))
    shifted = replace(targets, log_probs=targets.log_probs - 0.1)
    loss, metrics = objective.loss(networks, rollout, shifted)
    off = ~rollout.mask
    wild = replace(shifted, **{name: getattr(shifted, name).clone() for name in ("returns", "log_probs", "advantages")})
    wild.returns[off], wild.log_probs[off], wild.advantages[off] = 1e3, -0.5, 1e3
    again, of_wild = objective.loss(networks, rollout, wild)
    assert again.item() == pytest.approx(loss.item(), rel=1e-5)
    assert {k: v.item() for k, v in of_wild.items()} == pytest.approx({k: v.item() for k, v in metrics.items()})


@pytest.mark.parametrize("network", ["mlp", "gru"])
def test_agents_learn_from_their_advantages_alone_and_critics_from_returns_alone(rollout_of, network):
    objective, networks = PPO(LONG, entropy=0.0), real_networks(network)
    rollout = replace(rollout_of(), hidden=torch.zeros(B, N, networks.utilities.memory_size))
    targets = objective.targets(batch_of(networks, rollout))

    def gradients(**changed):
        networks.zero_grad()
        objective.loss(networks, rollout, replace(targets, **changed))[0].backward()
        agents, critic = ([p.grad.clone() for p in x.parameters()] for x in (networks.utilities, networks.critic))
        return torch.cat([x.flatten() for x in agents]), torch.cat([x.flatten() for x in critic])

    agents, critic = gradients()
    same_agents, other_critic = gradients(returns=targets.returns + 1)
    other_agents, same_critic = gradients(advantages=targets.advantages.flip(0))
    assert torch.equal(same_agents, agents)
    assert torch.equal(same_critic, critic)
    assert not torch.allclose(other_critic, critic)
    assert not torch.allclose(other_agents, agents)


@pytest.mark.parametrize(
    ("values", "share"),
    [
        ([1.0, 2.0, 3.0, 6.0], 1.0),  # the returns themselves
        ([0.0, 0.0, 0.0, 0.0], 0.0),
        ([5.0, 5.0, 5.0, 5.0], 0.0),  # a constant explains nothing, whatever it is
        ([11.0, 12.0, 13.0, 16.0], 1.0),  # and costs nothing
        ([6.0, 3.0, 2.0, 1.0], 1 - (25 + 1 + 1 + 25) / (4 + 1 + 0 + 9)),  # errors 5, 1, -1, -5 about 0; returns about 3
    ],
)
def test_the_explained_variance_of_known_values(make_rollout, values, share):
    # the last step is no transition, and its return would explain less
    rollout = make_rollout(valid=("11110",), n_actions=A, obs_size=OBS, n_agents=1, epsilon=0.0)
    rollout.observations[:4, 0, 0, 0] = torch.tensor(values)
    returns = torch.tensor([1.0, 2.0, 3.0, 6.0, 500.0]).view(5, 1, 1)
    critic = Observed(AgentGraph.line(1), Partition.singletons(1))
    targets = PolicyTargets(returns, log_probs=torch.zeros(5, 1, 1), advantages=torch.zeros(5, 1, 1), entropy=0.0)
    _, metrics = PPO(ONE_STEP).loss(stub(torch.zeros(6, 1, 1, A), critic), rollout, targets)
    assert metrics["explained_variance"].item() == pytest.approx(share, abs=1e-5)


def test_rescaling_moves_the_critics_and_leaves_the_policies(rollout_of):
    networks, rollout, objective = real_networks(), rollout_of(), PPO(LONG)
    logits, seen = objective.unroll(networks, rollout)[0], rollout.observations
    values, before = networks.critic(seen), objective.ascent(batch_of(networks, rollout, scale=2.0)).advantages
    objective.rescale_(networks, 0.25)
    assert torch.equal(objective.unroll(networks, rollout)[0], logits)
    torch.testing.assert_close(networks.critic(seen), values / 4)
    # in rewards it is the same where the scale moved the other way
    torch.testing.assert_close(objective.ascent(batch_of(networks, rollout, scale=8.0)).advantages, before)


# ----------------------------------------------------------------------- passes


@pytest.mark.parametrize(("max_kl", "kl", "more"), [(None, 1e9, True), (0.01, 0.009, True), (0.01, 0.011, False)])
def test_another_pass_is_made_until_the_policies_have_moved_too_far(max_kl, kl, more):
    assert PPO(ONE_STEP, max_kl=max_kl).another_pass({"kl": torch.tensor(kl)}) is more


@pytest.mark.parametrize(("theirs", "more"), [(0.014, True), (0.016, False)])
def test_all_processes_make_as_many_passes_by_the_mean_over_them(monkeypatch, theirs, more):
    another = torch.tensor([theirs, 1.0])
    monkeypatch.setattr("lomaq.objectives.ppo.sum_over_processes", lambda mine: mine + another)
    assert PPO(ONE_STEP, max_kl=0.01).another_pass({"kl": torch.tensor(0.005)}) is more


# --------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"independent": 1}, ["learner.objective.independent", "true or false", "1"]),
        ({"hidden": 0}, ["learner.objective.hidden", "at least 1", "0"]),
        ({"share": "some"}, ["learner.objective.share", "ego", "some"]),
        ({"clip": 0.0}, ["learner.objective.clip", "0.0"]),
        ({"entropy": -0.1}, ["learner.objective.entropy", "[0, inf)", "-0.1"]),
        ({"entropy_end": float("nan")}, ["learner.objective.entropy_end", "[0, inf)", "nan"]),
        ({"max_kl": 0}, ["learner.objective.max_kl", "0"]),
    ],
)
def test_impossible_settings_are_named_in_one_line(arguments, names):
    with pytest.raises(InputError) as error:
        PPO(ONE_STEP, **arguments)
    assert all(name in str(error.value) for name in names)
    assert "\n" not in str(error.value)
