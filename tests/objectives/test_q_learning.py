"""Q-learning: its targets, the partition TD loss (Eq. 1), and what joint values refuse."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import MaskedMLPMixer
from lomaq.nn import Utilities, gather_actions
from lomaq.objectives import PartitionTD, Returns, Targets, ValueNetworks
from lomaq.objectives.base import Batch

T, B, N, A = 3, 2, 2, 2
MIXING = torch.tensor([[1.0, 0.5], [0.25, 2.0]])  # block values of the stub: F = MIXING @ U
ONE_STEP, LONG = Returns(0.9, 0.0), Returns(0.9, 0.4)


class StubMixer:
    penalty = 0.0

    def __call__(self, utilities, observations=None):
        return utilities @ MIXING.T


def stub(factor=1.0, offset=(0.0, 0.0)):
    """Networks without parameters: what is observed are the utilities, but for a factor and an offset an action."""

    def unroll(rollout, steps=None):
        return rollout.observations[:steps] * factor + torch.tensor(offset)

    return SimpleNamespace(unroll=unroll, mixer=StubMixer())


def real_networks(network="mlp", **options):
    torch.manual_seed(0)
    graph = AgentGraph.line(N)
    utilities = Utilities(graph, A, A, network, hidden=[4], last_action=True)
    return ValueNetworks(utilities, MaskedMLPMixer(graph, Partition.singletons(N), 1, 4, **options))


def returns_of(objective, online, target, rollout, scale=1.0, **known):
    return objective.targets(Batch(online, target, rollout, rollout.rewards, scale, **known)).returns


# ---------------------------------------------------------------------- targets


@pytest.mark.parametrize("time_limit", ["bootstrap", "terminal"])
@pytest.mark.parametrize("lam", [0.0, 0.6])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_targets_are_returns_of_block_values_of_greedy_actions(make_rollout, slow_returns, time_limit, lam, scale):
    rollout = make_rollout(terminated=("010", "000"), truncated=("000", "100"))
    objective = PartitionTD(Returns(0.9, lam, time_limit))
    found = objective.targets(Batch(stub(), stub(), rollout, rollout.rewards, scale))
    values = rollout.observations[1:].amax(dim=-1) @ MIXING.T * scale
    expected = slow_returns(rollout.rewards, values, rollout, 0.9, lam, time_limit)
    np.testing.assert_allclose(found.returns, expected, rtol=1e-5, atol=1e-6)
    assert found.scale == 1  # they are raw


def test_one_transition_by_hand(make_rollout):
    rollout, networks = make_rollout(), stub()
    rollout.observations[1, 0] = torch.tensor([[1.0, 3.0], [4.0, 2.0]])
    rollout.rewards[0, 0] = torch.tensor([10.0, 20.0])
    found = returns_of(PartitionTD(Returns(0.5, 0.0)), networks, networks, rollout)
    # best utilities 3 and 4: F = (3 + 0.5·4, 0.25·3 + 2·4) = (5, 8.75)
    assert found[0, 0].tolist() == [10 + 2.5, 20 + 4.375]


@pytest.mark.parametrize("double_q", [False, True])
def test_target_copy_gives_the_value_and_double_q_lets_the_online_networks_select(make_rollout, slow_returns, double_q):
    rollout, online, target = make_rollout(), stub(offset=(0.0, 3.0)), stub(factor=-2.0)
    objective = PartitionTD(LONG, double_q)
    best = (online if double_q else target).unroll(rollout).argmax(dim=-1)
    values = gather_actions(target.unroll(rollout), best)[1:] @ MIXING.T
    expected = slow_returns(rollout.rewards, values, rollout, 0.9, 0.4)
    for known in ({}, {"unrolled": online.unroll(rollout)}):
        found = returns_of(objective, online, target, rollout, **known)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert objective.selects_online == double_q


def test_double_q_without_a_copy_changes_nothing(make_rollout):
    rollout, networks = make_rollout(), stub()
    one, two = (returns_of(PartitionTD(LONG, x), networks, networks, rollout) for x in (False, True))
    assert torch.equal(one, two)


@pytest.mark.parametrize("double_q", [False, True])
def test_forbidden_actions_are_never_the_best(make_rollout, slow_returns, double_q):
    mask = torch.rand(T + 1, B, N, generator=torch.Generator().manual_seed(3)) < 0.5
    mask = torch.stack([mask, ~mask], dim=-1)  # exactly one of the two actions
    rollout, online, target = make_rollout(mask=mask), stub(offset=(0.0, 3.0)), stub()
    only = mask.int().argmax(dim=-1)
    assert (only != rollout.observations.argmax(dim=-1)).any()
    values = gather_actions(rollout.observations, only)[1:] @ MIXING.T
    found = returns_of(PartitionTD(LONG, double_q), online, target, rollout)
    expected = slow_returns(rollout.rewards, values, rollout, 0.9, 0.4)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_padding_that_allows_no_action_leaves_the_targets_finite(make_rollout):
    mask = torch.ones(T + 1, B, N, A, dtype=torch.bool)
    mask[2:, 0] = False
    rollout, networks = make_rollout(terminated=("010", "000"), valid=("110", "111"), mask=mask), stub()
    found = returns_of(PartitionTD(LONG), networks, networks, rollout)
    assert found.isfinite().all()
    assert torch.equal(found[1, 0], rollout.rewards[1, 0])


def test_targets_carry_no_gradient(make_rollout):
    networks = real_networks()
    assert not returns_of(PartitionTD(LONG), networks, networks, make_rollout()).requires_grad


@pytest.mark.parametrize("state", ["none", "local"])
def test_real_networks_are_valued_like_stubs(make_rollout, state):
    networks, copy = (real_networks("gru", state=state, obs_size=A) for _ in range(2))
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.add_(0.3)
    rollout = replace(make_rollout(terminated=("010", "000")), hidden=torch.zeros(B, N, 4))
    found = returns_of(PartitionTD(ONE_STEP, double_q=True), networks, copy, rollout, 2.0)
    with torch.no_grad():
        online, target = networks.unroll(rollout), copy.unroll(rollout)
        for t, b in np.ndindex(T, B):
            best = torch.stack([target[t + 1, b, n, online[t + 1, b, n].argmax()] for n in range(N)])
            value = copy.mixer(best[None], rollout.observations[t + 1, b][None])[0]
            following = 0.0 if rollout.terminated[t, b] else 0.9 * 2.0 * value
            torch.testing.assert_close(found[t, b], rollout.rewards[t, b] + following)


# -------------------------------------------------------------- sampled targets


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("double_q", [False, True])
def test_a_sampled_target_without_exploration_is_the_greedy_one_bit_for_bit(make_rollout, double_q):
    mask = torch.rand(T + 1, B, N, A, generator=generator()) < 0.7
    mask[..., 0] |= ~mask.any(dim=-1)
    rollout, online, target = make_rollout(mask=mask, epsilon=0.0), stub(offset=(0.0, 3.0)), stub()
    greedy, sampled = (
        returns_of(PartitionTD(LONG, double_q, kind), online, target, rollout, generator=generator())
        for kind in ("greedy", "sampled")
    )
    assert torch.equal(greedy, sampled)


def test_a_greedy_target_draws_nothing(make_rollout):
    random = generator()
    returns_of(PartitionTD(LONG), stub(), stub(), make_rollout(epsilon=0.5), generator=random)
    assert torch.equal(random.get_state(), generator().get_state())


@pytest.mark.parametrize("lam", [0.0, 0.6])
def test_a_sampled_target_follows_the_actions_drawn_with_each_sequences_own_epsilon(make_rollout, slow_returns, lam):
    rollout = make_rollout(terminated=("010", "000"), truncated=("000", "100"), epsilon=0.0)
    rollout.epsilon[1] = 0.7
    draw, noise = torch.rand(T, B, N, generator=(same := generator())), torch.rand(T, B, N, A, generator=same)
    values = np.zeros((T, B, N))
    for t, b, n in np.ndindex(T, B, N):
        own = rollout.observations[t + 1, b, n]  # the stub's utilities
        values[t, b, n] = own[(noise if draw[t, b, n] < (0.0, 0.7)[b] else rollout.observations[1:])[t, b, n].argmax()]
    expected = slow_returns(rollout.rewards, values @ MIXING.numpy().T, rollout, 0.9, lam)
    objective = PartitionTD(Returns(0.9, lam), target="sampled")
    found = returns_of(objective, stub(), stub(), rollout, generator=generator())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    greedy = returns_of(PartitionTD(Returns(0.9, lam)), stub(), stub(), rollout)
    assert (found <= greedy).all()  # the stub's blocks are monotone
    assert (found < greedy)[:, 1].any()


@pytest.mark.parametrize(("epsilon", "forbidden"), [(1.0, False), (0.4, False), (1.0, True)])
def test_sampled_targets_are_on_average_the_value_of_the_exploring_policy(make_rollout, epsilon, forbidden):
    n = 20_000
    mask = torch.ones(2, n, N, 3, dtype=torch.bool)
    mask[..., 1, 2] = not forbidden
    rollout = make_rollout(valid=("1",) * n, mask=mask, n_actions=3, obs_size=3, epsilon=epsilon)
    rollout.observations[1] = torch.tensor([[0.0, 3.0, 6.0], [1.0, 2.0, 9.0]])
    rollout.rewards.zero_()
    networks = SimpleNamespace(unroll=lambda rollout, steps=None: rollout.observations[:steps], mixer=StubMixer())
    found = returns_of(PartitionTD(ONE_STEP, target="sampled"), networks, networks, rollout, generator=generator())
    best, mean = torch.tensor([6.0, 2.0 if forbidden else 9.0]), torch.tensor([3.0, 1.5 if forbidden else 4.0])
    expected = 0.9 * MIXING @ (epsilon * mean + (1 - epsilon) * best)  # the stub is linear
    torch.testing.assert_close(found.mean(dim=(0, 1)), expected, rtol=0, atol=0.15)  # five standard errors


def test_a_sampled_target_is_drawn_at_random_and_anew(make_rollout):
    rollout, objective, random = make_rollout(epsilon=1.0), PartitionTD(ONE_STEP, target="sampled"), generator()
    one, two = (returns_of(objective, stub(), stub(), rollout, generator=random) for _ in range(2))
    again = returns_of(objective, stub(), stub(), rollout, generator=generator())
    assert torch.equal(one, again)
    assert not torch.equal(one, two)


# ------------------------------------------------------------------------- loss


def test_loss_sums_over_blocks_and_averages_over_transitions(make_rollout):
    rollout, networks = make_rollout(), stub()
    errors = torch.zeros(T, B, N)
    errors[0, 0] = torch.tensor([3.0, -4.0])  # 9 + 16
    errors[2, 1] = torch.tensor([0.0, 1.0])
    values = networks.mixer(gather_actions(rollout.observations[:-1], rollout.actions))
    loss, metrics = PartitionTD(LONG).loss(networks, rollout, Targets(values - errors, scale=10.0))
    assert loss.item() == pytest.approx((25 + 1) / 6, rel=1e-5)
    # the mean over blocks of |error|, in the unit of the rewards
    assert {name: value.item() for name, value in metrics.items()} == {"td_error": pytest.approx(10 * (3.5 + 0.5) / 6)}


def test_loss_and_td_error_equal_a_loop_over_valid_transitions(make_rollout):
    rollout, networks = make_rollout(terminated=("010", "000"), valid=("110", "101")), stub()
    targets = torch.randn(T, B, N)
    squares, sizes = [], []
    for t, b in rollout.mask.nonzero().tolist():
        chosen = np.array([rollout.observations[t, b, n, rollout.actions[t, b, n]].item() for n in range(N)])
        error = MIXING.numpy() @ chosen - targets[t, b].numpy()
        squares.append(float((error**2).sum()))
        sizes.append(float(np.abs(error).mean()))
    assert len(squares) == 4
    loss, metrics = PartitionTD(LONG).loss(networks, rollout, Targets(targets, scale=2.0))
    assert loss.item() == pytest.approx(np.mean(squares), rel=1e-5)
    assert metrics["td_error"].item() == pytest.approx(2.0 * np.mean(sizes), rel=1e-5)


def test_what_is_not_valid_changes_neither_loss_nor_gradient(make_rollout):
    rollout = make_rollout(terminated=("010", "000"), valid=("110", "111"))
    networks, objective = real_networks(), PartitionTD(Returns(0.9, 0.5))
    results = []
    for noise in (0.0, 100.0):
        rollout.rewards[2, 0] = noise
        rollout.observations[3, 0] = noise
        returns = returns_of(objective, networks, networks, rollout)
        returns[2, 0] += noise
        networks.zero_grad()
        loss, metrics = objective.loss(networks, rollout, Targets(returns))
        loss.backward()
        results.append([loss.detach(), *metrics.values(), *(p.grad.clone() for p in networks.parameters())])
    assert results[0][0] > 0
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


@pytest.mark.parametrize("state", ["none", "local"])
@pytest.mark.parametrize("penalty", [0.0, 2.5])
def test_where_the_mixer_is_softly_monotone_its_violation_is_added(make_rollout, penalty, state):
    networks = real_networks(monotonicity="soft", penalty=penalty, state=state, obs_size=A)
    rollout = make_rollout(terminated=("010", "000"), valid=("110", "101"))
    with torch.no_grad():
        for parameter in networks.mixer.parameters():
            parameter.normal_()
    targets = torch.randn(T, B, N)
    loss, metrics = PartitionTD(LONG).loss(networks, rollout, Targets(targets, scale=10.0))
    utilities = networks.unroll(rollout).detach()
    total = fallen = size = 0.0
    for t, b in rollout.mask.nonzero().tolist():
        chosen = torch.stack([utilities[t, b, n, rollout.actions[t, b, n]] for n in range(N)])
        here = rollout.observations[t, b][None]
        error = networks.mixer(chosen[None], here)[0] - targets[t, b]
        total, size = total + error.square().sum().item(), size + error.abs().mean().item()
        slope = torch.autograd.functional.jacobian(lambda u, here=here: networks.mixer(u[None], here)[0], chosen)
        fallen += (-slope).clamp(min=0).sum().item()
    assert fallen > 0
    assert loss.item() == pytest.approx((total + penalty * fallen) / 4, rel=1e-4)
    expected = {"td_error": 10 * size / 4} | ({"violation": fallen / 4} if penalty else {})  # without its weight
    assert {name: value.item() for name, value in metrics.items()} == pytest.approx(expected, rel=1e-4)


def test_learning_lowers_the_loss(make_rollout):
    networks, rollout = real_networks(), make_rollout(terminated=("001", "001"))
    objective = PartitionTD(ONE_STEP)
    targets = Targets(returns_of(objective, networks, networks, rollout))
    optimizer = torch.optim.Adam(networks.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        loss, _ = objective.loss(networks, rollout, targets)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


def test_double_q_is_true_or_false():
    with pytest.raises(InputError) as error:
        PartitionTD(ONE_STEP, double_q="yes")
    assert all(name in str(error.value) for name in ("learner.objective.double_q", "true or false", "'yes'"))


def test_the_target_is_greedy_or_sampled():
    with pytest.raises(InputError, match=r"learner\.objective\.target: .*greedy.*sampled.*'sarsa'"):
        PartitionTD(ONE_STEP, target="sarsa")
