"""Loc-FACMAC: what actors ascend, what critics and mixers are trained on, and the draws of its targets."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import MaskedMLPMixer, SumMixer
from lomaq.nn import Utilities, gather_actions
from lomaq.objectives import Returns, ValueNetworks
from lomaq.objectives.base import Batch, mean_over_transitions
from lomaq.objectives.block_critic import seen_by_agents
from lomaq.objectives.loc_facmac import ActorTargets, LocFACMAC, tangent

T, B, N, A = 3, 2, 3, 3
OBS = A  # what an agent observes stands for its critic's values, where the critic is a stub
ONE_STEP, LONG = Returns(0.9, 0.0), Returns(0.9, 0.6)
LINE, EACH, FULL = AgentGraph.line(N), Partition.singletons(N), Partition.full(N)
ALONE = SumMixer(LINE, EACH, 0)


def stub(logits, mixer=ALONE, factor=1.0):
    """Networks whose logits are ``[T + 1, B, N, A]`` and whose critics say what is observed, but for a factor."""
    agents = SimpleNamespace(with_memories=lambda x, *_: (logits[: len(x)], x[..., :0]), scaled=lambda x: x)
    return SimpleNamespace(utilities=agents, mixer=mixer, critic=lambda seen: seen * factor)


def random_mixer(seed=0, **options) -> MaskedMLPMixer:
    torch.manual_seed(seed)
    mixer = MaskedMLPMixer(LINE, Partition([[0], [1, 2]], N), 1, 4, **options)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return mixer


def real_networks(mixer=None, network="mlp") -> ValueNetworks:
    mixer = mixer or random_mixer()
    torch.manual_seed(0)
    utilities = Utilities(LINE, OBS, A, network, hidden=[8], last_action=True)
    return ValueNetworks(utilities, mixer, LocFACMAC(LONG).make_critic(utilities, mixer))


@pytest.fixture
def rollout_of(make_rollout):
    return partial(make_rollout, n_actions=A, obs_size=OBS, n_agents=N)


def batch_of(online, rollout, target=None, **known):
    rewards = online.mixer.partition.block_sum(rollout.rewards)
    return Batch(online, target or online, rollout, rewards, **known)


# ---------------------------------------------------------------------- tangent


@pytest.mark.parametrize(("partition", "kappa"), [(EACH, 0), (EACH, 1), (FULL, 1), (Partition([[0], [1, 2]], N), 1)])
def test_with_a_sum_actors_ascend_the_exact_expectation_over_all_joint_actions(partition, kappa):
    mixer = SumMixer(LINE, partition, kappa)
    logits = torch.randn(N, A, dtype=torch.float64, requires_grad=True)
    critics = torch.randn(N, A)
    policy = logits.softmax(dim=-1)
    joint = list(itertools.product(range(A), repeat=N))
    total = sum(
        torch.stack([policy[i, a] for i, a in enumerate(u)]).prod()
        * mixer(torch.stack([critics[i, a] for i, a in enumerate(u)])).sum()
        for u in joint
    )
    (expected,) = torch.autograd.grad(total, logits)
    for drawn in joint[::5]:
        along = tangent(mixer, critics, torch.tensor(drawn), torch.zeros(N, OBS))
        (found,) = torch.autograd.grad((logits.softmax(dim=-1) * along).sum(), logits)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_with_a_monotone_mixer_it_ranks_an_agents_actions_as_the_mixer_does(seed):
    mixer, critics = random_mixer(seed), torch.randn(N, A)
    for drawn in itertools.product(range(A), repeat=N):
        u = torch.tensor(drawn)
        along = tangent(mixer, critics, u, torch.zeros(N, OBS))
        for i in range(N):
            values = []
            for a in range(A):
                other = u.clone()
                other[i] = a
                values.append(mixer(gather_actions(critics, other)).sum().item())
            for a, b in itertools.combinations(range(A), 2):
                assert np.sign((along[i, a] - along[i, b]).item()) == np.sign(values[a] - values[b])


def test_it_is_the_slope_of_the_mixer_at_the_drawn_actions_times_the_critics():
    mixer, critics = random_mixer(), torch.randn(4, N, A)
    drawn = torch.randint(A, (4, N))
    found = tangent(mixer, critics, drawn, torch.zeros(4, N, OBS))
    at, step = gather_actions(critics, drawn), 1e-2
    for i in range(N):
        change = step * torch.eye(N)[i]
        slope = (mixer(at + change).sum(dim=-1) - mixer(at - change).sum(dim=-1)) / (2 * step)
        torch.testing.assert_close(found[:, i], slope[:, None] * critics[:, i], rtol=2e-2, atol=2e-2)


# ------------------------------------------------------------------------- loss


def slow_loss(rollout, logits, targets, beta, factor):
    """Number by number over transitions, each agent a block of its own; and the metrics of rewards in twos."""
    places = [(t, b, n) for t, b, n in np.ndindex(T, B, N) if rollout.mask[t, b]]
    gains, errors, spreads, policies = {}, {}, {}, {}
    for t, b, n in places:
        allowed = np.ones(A, dtype=bool) if rollout.action_mask is None else rollout.action_mask[t, b, n].numpy()
        odds = np.where(allowed, np.exp(logits[t, b, n].detach().double().numpy()), 0)
        policy, critics = odds / odds.sum(), rollout.observations[t, b, n].double().numpy() * factor
        gains[t, b, n] = np.where(allowed, critics - critics[allowed].mean(), 0)[allowed]
        policies[t, b, n] = policy[allowed]
        spreads[t, b, n] = -sum(p * np.log(p) for p in policy if p > 0)
        errors[t, b, n] = critics[rollout.actions[t, b, n]] - float(targets.returns[t, b, n])
    size = np.sqrt(np.mean(np.concatenate([*gains.values()]) ** 2))
    total = sum(errors[x] ** 2 - policies[x] @ gains[x] / size - beta * spreads[x] for x in places)
    error = np.array([*errors.values()])
    metrics = {
        "td_error": 2 * np.abs(error).mean(),
        "critic_loss": N * (error**2).mean(),
        "entropy": np.mean([*spreads.values()]),
    }
    return total / int(rollout.mask.sum()), metrics


@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_equals_a_loop_over_transitions(rollout_of, masked):
    rollout = rollout_of(valid=("110", "101"))
    if masked:
        mask = torch.rand(T + 1, B, N, A, generator=torch.Generator().manual_seed(2)) < 0.5
        mask[:-1].scatter_(-1, rollout.actions[..., None], True)
        mask[-1, ..., 0] = True
        rollout = replace(rollout, action_mask=mask)
    rollout.observations[1, 1] = 1e4  # no transition
    logits = torch.randn(T + 1, B, N, A, requires_grad=True)
    targets = ActorTargets(torch.randn(T, B, N), 2.0, drawn=torch.randint(A, (T, B, N)))
    loss, metrics = LocFACMAC(ONE_STEP, entropy=0.3).loss(stub(logits, factor=1.5), rollout, targets)
    expected, expected_metrics = slow_loss(rollout, logits, targets, 0.3, 1.5)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert {name: value.item() for name, value in metrics.items()} == pytest.approx(expected_metrics, rel=1e-4)
    loss.backward()
    assert logits.grad.isfinite().all()
    assert not logits.grad[:-1][~rollout.mask].any()


def test_actors_weigh_entropy_alike_in_every_unit_of_the_critics(rollout_of):
    rollout, slopes = rollout_of(), []
    for factor in (1.0, 1000.0):
        logits = torch.linspace(-1, 1, (T + 1) * B * N * A).view(T + 1, B, N, A).requires_grad_()
        targets = ActorTargets(torch.zeros(T, B, N), drawn=torch.zeros(T, B, N, dtype=torch.int64))
        LocFACMAC(ONE_STEP, entropy=0.3).loss(stub(logits, factor=factor), rollout, targets)[0].backward()
        slopes.append(logits.grad)
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("network", ["mlp", "gru"])
def test_actors_learn_from_the_tangent_alone_and_critics_and_mixer_from_the_blocks_errors_alone(rollout_of, network):
    objective, online = LocFACMAC(LONG, entropy=0.1), real_networks(network=network)
    rollout = replace(rollout_of(valid=("110", "111")), hidden=torch.zeros(B, N, online.utilities.memory_size))
    targets = objective.targets(batch_of(online, rollout))
    objective.loss(online, rollout, targets)[0].backward()
    logits, memories = objective.unroll(online, rollout, T)
    critics = online.critic(seen_by_agents(online, rollout.observations[:-1], memories))
    error = online.mixer(gather_actions(critics, rollout.actions), rollout.observations[:-1]) - targets.returns
    valued = [*online.critic.parameters(), *online.mixer.parameters()]
    expected = torch.autograd.grad(mean_over_transitions(error.square().sum(dim=-1), rollout), valued)
    torch.testing.assert_close([p.grad for p in valued], list(expected))
    gain = tangent(online.mixer, critics.detach(), targets.drawn, rollout.observations[:-1])
    gain = gain - gain.mean(dim=-1, keepdim=True)
    policy = logits.softmax(dim=-1)
    ascended = (policy * gain).sum(dim=-1) / gain[rollout.mask].square().mean().sqrt()
    ascended = (ascended - 0.1 * (policy * policy.log()).sum(dim=-1)).sum(dim=-1)
    acting = [*online.utilities.parameters()]
    expected = torch.autograd.grad(-mean_over_transitions(ascended, rollout), acting)
    torch.testing.assert_close([p.grad for p in acting], list(expected), rtol=1e-4, atol=1e-6)


def test_a_soft_mixer_is_trained_with_its_violation_and_its_weight(rollout_of):
    mixer = random_mixer(monotonicity="soft", penalty=0.7)
    objective, online, rollout = LocFACMAC(LONG), real_networks(mixer), rollout_of()
    targets = objective.targets(batch_of(online, rollout))
    loss, metrics = objective.loss(online, rollout, targets)
    chosen = gather_actions(objective.mixed_values(online, rollout, T), rollout.actions)
    _, violation = mixer.forward_with_violation(chosen, rollout.observations[:-1])
    mixer.penalty = 0.0
    without, same = objective.loss(online, rollout, targets)
    assert violation.mean() > 0.1
    assert metrics["violation"].item() == pytest.approx(violation.mean().item(), rel=1e-3)
    assert (loss - without).item() == pytest.approx(0.7 * violation.mean().item(), rel=1e-3)
    assert metrics["critic_loss"].item() == pytest.approx(same["critic_loss"].item(), rel=1e-4)


# --------------------------------------------------------------------- targets

LAST = torch.tensor([[0, 2, 1], [1, 1, 0]])


def certain(actions):
    """Logits ``[T + 1, B, N, A]`` of a policy that takes ``actions`` ``[B, N]``."""
    return (1000.0 * torch.nn.functional.one_hot(actions, A)).expand(T + 1, B, N, A)


@pytest.mark.parametrize("time_limit", ["bootstrap", "terminal"])
@pytest.mark.parametrize("lam", [0.0, 0.6])
@pytest.mark.parametrize(
    "ends", [{}, {"terminated": ("010", "000"), "truncated": ("000", "100"), "valid": ("110", "101")}]
)
def test_targets_are_returns_of_the_blocks_values_of_what_the_policies_do_next(
    rollout_of, slow_returns, ends, lam, time_limit
):
    mixer = random_mixer()
    rollout, online = rollout_of(**ends), stub(certain(LAST.flip(0)), mixer)
    target = stub(certain(LAST), mixer, factor=2.0)
    found = LocFACMAC(Returns(0.9, lam, time_limit)).targets(batch_of(online, rollout, target, scale=2.5))
    chosen = gather_actions(rollout.observations[1:], LAST.expand(T, B, N)) * 2.0
    rewards = mixer.partition.block_sum(rollout.rewards)
    expected = slow_returns(rewards, mixer(chosen).detach() * 2.5, rollout, 0.9, lam, time_limit)
    np.testing.assert_allclose(found.returns, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(found.drawn, LAST.flip(0).expand(T, B, N))  # of the networks that are trained
    assert not found.returns.requires_grad


def test_actions_are_drawn_from_the_policies_without_exploration_among_the_allowed_ones(rollout_of):
    logits = torch.tensor([2.0, 0.0, 1.0]).expand(T + 1, B, N, A)
    mask = torch.ones(T + 1, B, N, A, dtype=torch.bool)
    mask[:, 1, :, 0] = False
    rollout, chance = rollout_of(mask=mask, epsilon=1.0), torch.Generator().manual_seed(0)
    draws = [LocFACMAC(LONG).targets(batch_of(stub(logits), rollout, generator=chance)).drawn for _ in range(500)]
    count = torch.stack([torch.nn.functional.one_hot(drawn, A) for drawn in draws]).sum(dim=(0, 1, 3))  # [B, A]
    share = count / (500 * T * N)
    odds = np.exp([2.0, 0.0, 1.0])
    np.testing.assert_allclose(share[0], odds / odds.sum(), atol=0.03)  # four deviations
    np.testing.assert_allclose(share[1], [0, *odds[1:] / odds[1:].sum()], atol=0.03)
    assert count[1, 0] == 0


def test_actions_are_drawn_from_the_generator_of_the_batch(rollout_of):
    rollout, online = rollout_of(), stub(torch.zeros(T + 1, B, N, A))
    before = torch.get_rng_state()
    one, two, other = (
        LocFACMAC(LONG).targets(batch_of(online, rollout, generator=torch.Generator().manual_seed(seed))).drawn
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


# --------------------------------------------------------------------- networks


def test_every_agent_has_a_critic_of_what_it_sees_alone():
    online = real_networks()
    seen = torch.randn(5, N, OBS)
    values = online.critic(seen)
    assert values.shape == (5, N, A)
    for agent in range(N):
        changed = seen.clone()
        changed[:, agent] += 1
        assert (online.critic(changed) != values).any(dim=-1).any(dim=0).tolist() == [
            other == agent for other in range(N)
        ]


@pytest.mark.parametrize("mixer", [SumMixer(LINE, EACH, 1), random_mixer()], ids=["sum", "mlp"])
def test_rescaling_multiplies_the_blocks_values_once_and_leaves_the_policies(rollout_of, mixer):
    online, rollout, objective = real_networks(mixer), rollout_of(), LocFACMAC(LONG)
    logits = objective.unroll(online, rollout)[0]
    critics = objective.mixed_values(online, rollout)
    values = mixer(critics[..., 0])
    objective.rescale_(online, 0.25)
    assert torch.equal(objective.unroll(online, rollout)[0], logits)
    found = objective.mixed_values(online, rollout)
    torch.testing.assert_close(found, critics if mixer.head() else critics / 4)
    torch.testing.assert_close(mixer(found[..., 0]), values / 4)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"hidden": 0}, ["learner.objective.hidden", "at least 1", "0"]),
        ({"entropy": -0.1}, ["learner.objective.entropy", "[0, inf)", "-0.1"]),
    ],
)
def test_impossible_settings_are_named_in_one_line(arguments, names):
    with pytest.raises(InputError) as error:
        LocFACMAC(ONE_STEP, **arguments)
    assert all(name in str(error.value) for name in names)
    assert "\n" not in str(error.value)
