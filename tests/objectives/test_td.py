from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lomaq.envs import Rollout
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import MaskedMLPMixer
from lomaq.nn import Utilities
from lomaq.objectives import PartitionTD, ValueNetworks

T, B, N, A = 3, 2, 2, 2
MIXING = np.array([[1.0, 0.5], [0.25, 2.0]])  # block values of the stub: F = MIXING @ U


class StubMixer:
    penalty = 0.0

    def __call__(self, utilities, observations=None):
        return utilities @ torch.tensor(MIXING, dtype=torch.float32).T


def stub(factor=1.0, offset=(0.0, 0.0)):
    """Networks without parameters: what is observed are the utilities, but for a factor and an offset an action."""

    def unroll(rollout, steps=None):
        return rollout.observations[:steps] * factor + torch.tensor(offset)

    return SimpleNamespace(unroll=unroll, mixer=StubMixer())


def bools(*columns):
    """``[T, B]`` from one string of 0 and 1 for each sequence."""
    return torch.tensor([[c == "1" for c in row] for row in zip(*columns, strict=True)])


def make_rollout(terminated=("000", "000"), truncated=("000", "000"), valid=("111", "111"), mask=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    first = torch.zeros(T + 1, B, dtype=torch.bool)
    first[0] = True
    return Rollout(
        observations=torch.randn(T + 1, B, N, A, generator=generator),
        actions=torch.randint(A, (T, B, N), generator=generator),
        rewards=torch.randn(T, B, N, generator=generator),
        terminated=bools(*terminated),
        truncated=bools(*truncated),
        mask=bools(*valid),
        is_first=first,
        last_actions=torch.full((B, N), -1),
        hidden=torch.zeros(B, N, 0),
        action_mask=mask,
    )


def slow_targets(utilities, best, rollout, lam, gamma, scale, time_limit):
    """Backwards, number by number; ``best[t][b][n]`` is the action that is thought best."""
    result = np.zeros((T, B, N))
    for b in range(B):
        after = None
        for t in reversed(range(T)):
            greedy = [utilities[t + 1, b, n, best[t + 1, b, n]] for n in range(N)]
            value = MIXING @ np.array(greedy) * scale
            ended = bool(rollout.terminated[t, b]), bool(rollout.truncated[t, b])
            if ended[0] or (ended[1] and time_limit == "terminal"):
                follow = 0.0
            elif ended[1] or t == T - 1:
                follow = value
            else:
                follow = (1 - lam) * value + lam * after
            after = rollout.rewards[t, b].numpy() + gamma * follow
            result[t, b] = after
    return result


@pytest.mark.parametrize("time_limit", ["bootstrap", "terminal"])
@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_targets_equal_a_loop(time_limit, lam, scale):
    rollout = make_rollout(terminated=("010", "000"), truncated=("000", "100"))
    networks = stub()
    result = PartitionTD(0.9, lam, time_limit=time_limit).targets(networks, networks, rollout, rollout.rewards, scale)
    utilities = rollout.observations.numpy()
    expected = slow_targets(utilities, utilities.argmax(-1), rollout, lam, 0.9, scale, time_limit)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_one_transition_by_hand():
    rollout = make_rollout()
    rollout.observations[1, 0] = torch.tensor([[1.0, 3.0], [4.0, 2.0]])
    rollout.rewards[0, 0] = torch.tensor([10.0, 20.0])
    networks = stub()
    result = PartitionTD(0.5, 0.0).targets(networks, networks, rollout, rollout.rewards, 1.0)
    # best utilities 3 and 4: F = (3 + 0.5·4, 0.25·3 + 2·4) = (5, 8.75)
    assert result[0, 0].tolist() == [10 + 2.5, 20 + 4.375]


def test_a_time_limit_ends_the_value_only_where_it_is_told_to():
    rollout = make_rollout(truncated=("010", "000"))
    networks = stub()
    going_on, ending = (
        PartitionTD(0.9, 0.5, time_limit=x).targets(networks, networks, rollout, rollout.rewards, 1.0)
        for x in ("bootstrap", "terminal")
    )
    torch.testing.assert_close(ending[1, 0], rollout.rewards[1, 0])
    best = rollout.observations[2, 0].amax(dim=-1)
    torch.testing.assert_close(going_on[1, 0], rollout.rewards[1, 0] + 0.9 * networks.mixer(best))
    assert torch.equal(going_on[:, 1], ending[:, 1])  # the other sequence has no limit


def test_a_real_end_is_an_end_either_way():
    rollout = make_rollout(terminated=("001", "000"))
    networks = stub()
    for time_limit in ("bootstrap", "terminal"):
        result = PartitionTD(0.9, 0.5, time_limit=time_limit).targets(networks, networks, rollout, rollout.rewards, 1.0)
        assert torch.equal(result[2, 0], rollout.rewards[2, 0])
        assert not torch.equal(result[2, 1], rollout.rewards[2, 1])


@pytest.mark.parametrize("double_q", [False, True])
def test_target_copy_gives_the_value_and_double_q_lets_the_online_networks_choose(double_q):
    rollout = make_rollout()
    online, target = stub(offset=(0.0, 3.0)), stub(factor=-2.0)
    result = PartitionTD(0.9, 0.4, double_q).targets(online, target, rollout, rollout.rewards, 1.0)
    chosen_by = online if double_q else target
    best = chosen_by.unroll(rollout).numpy().argmax(-1)
    expected = slow_targets(target.unroll(rollout).numpy(), best, rollout, 0.4, 0.9, 1.0, "bootstrap")
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_double_q_without_a_copy_changes_nothing():
    rollout, networks = make_rollout(), stub()
    one, two = (
        PartitionTD(0.9, 0.4, x).targets(networks, networks, rollout, rollout.rewards, 1.0) for x in (False, True)
    )
    assert torch.equal(one, two)


@pytest.mark.parametrize("double_q", [False, True])
def test_forbidden_actions_are_never_the_best(double_q):
    mask = torch.rand(T + 1, B, N, generator=torch.Generator().manual_seed(3)) < 0.5
    mask = torch.stack([mask, ~mask], dim=-1)  # exactly one of the two actions
    rollout = make_rollout(mask=mask)
    online, target = stub(offset=(0.0, 3.0)), stub()
    result = PartitionTD(0.9, 0.4, double_q).targets(online, target, rollout, rollout.rewards, 1.0)
    utilities = rollout.observations.numpy()
    only = mask.int().argmax(-1).numpy()
    assert (only != utilities.argmax(-1)).any()
    expected = slow_targets(utilities, only, rollout, 0.4, 0.9, 1.0, "bootstrap")
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_padding_that_allows_no_action_leaves_the_targets_finite():
    mask = torch.ones(T + 1, B, N, A, dtype=torch.bool)
    mask[2:, 0] = False
    rollout = make_rollout(terminated=("010", "000"), valid=("110", "111"), mask=mask)
    networks = stub()
    targets = PartitionTD(0.9, 0.4).targets(networks, networks, rollout, rollout.rewards, 1.0)
    assert targets.isfinite().all()
    assert torch.equal(targets[1, 0], rollout.rewards[1, 0])


def test_targets_carry_no_gradient():
    networks = real_networks()
    rollout = make_rollout()
    targets = PartitionTD(0.9, 0.5).targets(networks, networks, rollout, rollout.rewards, 1.0)
    assert not targets.requires_grad


def test_loss_sums_over_blocks_and_averages_over_transitions():
    rollout = make_rollout()
    networks = stub()
    errors = torch.zeros(T, B, N)
    errors[0, 0] = torch.tensor([3.0, 4.0])  # 9 + 16
    errors[2, 1] = torch.tensor([0.0, 1.0])
    chosen = rollout.observations[:-1].gather(-1, rollout.actions[..., None])[..., 0]
    loss = PartitionTD(0.9, 0.5).loss(networks, rollout, networks.mixer(chosen) - errors)
    assert loss.item() == pytest.approx((25 + 1) / 6, rel=1e-5)


def test_loss_equals_a_loop_over_valid_transitions():
    rollout = make_rollout(terminated=("010", "000"), valid=("110", "101"))
    networks = stub()
    targets = torch.randn(T, B, N)
    total, count = 0.0, 0
    for t in range(T):
        for b in range(B):
            if rollout.mask[t, b]:
                chosen = np.array([rollout.observations[t, b, n, rollout.actions[t, b, n]].item() for n in range(N)])
                total += float(((MIXING @ chosen - targets[t, b].numpy()) ** 2).sum())
                count += 1
    assert count == 4
    assert PartitionTD(0.9, 0.5).loss(networks, rollout, targets).item() == pytest.approx(total / count, rel=1e-5)


def test_what_is_not_valid_changes_neither_loss_nor_gradient():
    rollout = make_rollout(terminated=("010", "000"), valid=("110", "111"))
    networks, objective = real_networks(), PartitionTD(0.9, 0.5)
    results = []
    for noise in (0.0, 100.0):
        rollout.rewards[2, 0] = noise
        rollout.observations[3, 0] = noise
        targets = objective.targets(networks, networks, rollout, rollout.rewards, 1.0)
        targets[2, 0] += noise
        networks.zero_grad()
        loss = objective.loss(networks, rollout, targets)
        loss.backward()
        results.append([loss.detach(), *(p.grad.clone() for p in networks.parameters())])
    assert results[0][0] > 0
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def real_networks(network="mlp", **options):
    torch.manual_seed(0)
    graph = AgentGraph.line(N)
    utilities = Utilities(graph, A, A, network, hidden=[4], last_action=True)
    return ValueNetworks(utilities, MaskedMLPMixer(graph, Partition.singletons(N), 1, 4, **options))


@pytest.mark.parametrize("network", ["mlp", "gru"])
def test_unrolling_gives_the_utilities_along_the_rollout_with_its_memory_and_previous_actions(network):
    networks = real_networks(network)
    rollout = make_rollout()
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


@pytest.mark.parametrize("network", ["mlp", "gru"])
def test_unrolling_the_first_steps_gives_the_beginning_of_all(network):
    networks, rollout = real_networks(network), make_rollout()
    rollout = replace(rollout, hidden=torch.zeros(B, N, networks.utilities.memory_size))
    for steps in (1, T, T + 1):
        torch.testing.assert_close(networks.unroll(rollout, steps), networks.unroll(rollout)[:steps])


@pytest.mark.parametrize("state", ["none", "local"])
def test_real_networks_are_valued_like_stubs(state):
    networks, copy = (real_networks("gru", state=state, obs_size=A) for _ in range(2))
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.add_(0.3)
    rollout = replace(make_rollout(terminated=("010", "000")), hidden=torch.zeros(B, N, 4))
    result = PartitionTD(0.9, 0.0, double_q=True).targets(networks, copy, rollout, rollout.rewards, 2.0)
    with torch.no_grad():
        online, target = networks.unroll(rollout), copy.unroll(rollout)
        for t in range(T):
            for b in range(B):
                best = torch.stack([target[t + 1, b, n, online[t + 1, b, n].argmax()] for n in range(N)])
                value = copy.mixer(best[None], rollout.observations[t + 1, b][None])[0]
                follow = 0.0 if rollout.terminated[t, b] else 0.9 * 2.0 * value
                torch.testing.assert_close(result[t, b], rollout.rewards[t, b] + follow)


def test_rescaling_networks_scales_block_values_and_keeps_utilities():
    networks, rollout = real_networks(), make_rollout()
    utilities = networks.unroll(rollout)
    values = networks.mixer(utilities[..., 0])
    networks.rescale_(4.0)
    assert torch.equal(networks.unroll(rollout), utilities)
    assert torch.equal(networks.mixer(utilities[..., 0]), values * 4)


@pytest.mark.parametrize("state", ["none", "local"])
@pytest.mark.parametrize("penalty", [0.0, 2.5])
def test_where_the_mixer_is_softly_monotone_its_violation_is_added(penalty, state):
    networks = real_networks(monotonicity="soft", penalty=penalty, state=state, obs_size=A)
    rollout = make_rollout(terminated=("010", "000"), valid=("110", "101"))
    with torch.no_grad():
        for parameter in networks.mixer.parameters():
            parameter.normal_()
    targets = torch.randn(T, B, N)
    loss = PartitionTD(0.9, 0.5).loss(networks, rollout, targets)
    utilities = networks.unroll(rollout).detach()
    total, fallen = 0.0, 0.0
    for t, b in rollout.mask.nonzero().tolist():
        chosen = torch.stack([utilities[t, b, n, rollout.actions[t, b, n]] for n in range(N)])
        here = rollout.observations[t, b][None]
        total += (networks.mixer(chosen[None], here)[0] - targets[t, b]).square().sum().item()
        slope = torch.autograd.functional.jacobian(lambda u, here=here: networks.mixer(u[None], here)[0], chosen)
        fallen += (-slope).clamp(min=0).sum().item()
    assert fallen > 0
    assert loss.item() == pytest.approx((total + penalty * fallen) / 4, rel=1e-4)


def test_learning_lowers_the_loss():
    networks, objective, rollout = real_networks(), PartitionTD(0.9, 0.0), make_rollout(terminated=("001", "001"))
    targets = objective.targets(networks, networks, rollout, rollout.rewards, 1.0)
    optimizer = torch.optim.Adam(networks.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        loss = objective.loss(networks, rollout, targets)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ((1.0, 0.5), ["learner.objective.returns.gamma", "[0, 1)", "1.0"]),
        ((-0.1, 0.5), ["learner.objective.returns.gamma", "-0.1"]),
        ((0.9, 1.5), ["learner.objective.returns.lam", "[0, 1]", "1.5"]),
        ((0.9, 0.5, "yes"), ["learner.objective.double_q", "true or false", "'yes'"]),
        ((0.9, 0.5, False, "never"), ["learner.objective.returns.time_limit", "bootstrap, terminal", "'never'"]),
    ],
)
def test_impossible_settings_are_named(arguments, names):
    with pytest.raises(InputError) as error:
        PartitionTD(*arguments)
    assert all(name in str(error.value) for name in names)
