"""GraphMIX: its targets, its two losses, and where gradients go."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import GraphMIXMixer
from lomaq.nn import Utilities, gather_actions
from lomaq.objectives import GraphMIX, PartitionTD, Returns, Targets, ValueNetworks
from lomaq.objectives.base import Batch
from lomaq.objectives.graphmix import LocalTargets

T, B, N, A, OBS = 3, 2, 2, 3, 2
GRAPH = AgentGraph.complete(N)
ONE_STEP = Returns(0.9, 0.0)


class FixedMixer(GraphMIXMixer):
    """F = the sum of the utilities, φ = (0.25, 0.75)."""

    def __init__(self):
        super().__init__(GRAPH, Partition.full(N), obs_size=OBS)

    def _mix(self, utilities, observations):
        return utilities.sum(dim=0, keepdim=True)

    def forward_with_fractions(self, utilities, observations):
        return utilities.sum(dim=-1, keepdim=True), torch.tensor([0.25, 0.75]).expand_as(utilities)


def real_networks(seed=0, learn_fractions=True) -> ValueNetworks:
    torch.manual_seed(seed)
    mixer = GraphMIXMixer(GRAPH, Partition.full(N), OBS, hidden=4, learn_fractions=learn_fractions)
    return ValueNetworks(Utilities(GRAPH, OBS, A, hidden=[8]), mixer)


@pytest.fixture
def rollout_of(make_rollout):
    return partial(make_rollout, n_actions=A, obs_size=OBS)


def team(rollout):
    return rollout.rewards.sum(dim=-1, keepdim=True)


def batch(online, target, rollout, scale=1.0, **known):
    return Batch(online, target, rollout, team(rollout), scale, **known)


def local_targets(returns, team_reward, following, scale=1.0):
    """The same for all steps, or tensors."""
    fields = (torch.as_tensor(x).expand(T, B, -1) for x in (returns, team_reward, following))
    returns, team_reward, following = fields
    return LocalTargets(returns, scale, team_reward=team_reward, following=following)


# ----------------------------------------------------------------------- targets


@pytest.mark.parametrize("time_limit", ["bootstrap", "terminal"])
@pytest.mark.parametrize("lam", [0.0, 0.6])
def test_targets_are_the_returns_the_team_reward_and_what_follows_each_agent(rollout_of, time_limit, lam):
    rollout, networks = rollout_of(terminated=("100", "000"), truncated=("000", "010")), real_networks()
    returns = Returns(0.9, lam, time_limit)
    found = GraphMIX(returns).targets(batch(networks, networks, rollout, 2.5))
    plain = PartitionTD(returns).targets(batch(networks, networks, rollout, 2.5))
    torch.testing.assert_close(found.returns, plain.returns)
    assert torch.equal(found.team_reward, team(rollout))
    best = networks.unroll(rollout).detach().numpy().max(axis=-1)  # [T + 1, B, N]
    for t, b in np.ndindex(T, B):
        over = (t, b) == (0, 0) or ((t, b) == (1, 1) and time_limit == "terminal")
        expected = np.zeros(N) if over else 0.9 * 2.5 * best[t + 1, b]
        np.testing.assert_allclose(found.following[t, b], expected, rtol=1e-5)
    assert not any(x.requires_grad for x in (found.returns, found.following))


def test_only_allowed_actions_follow(rollout_of, table_networks, forbidding):
    rollout = rollout_of(mask=forbidding((1, 2), shape=(T + 1, B, N, A)))
    networks = table_networks([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], mixer=FixedMixer())
    found = GraphMIX(Returns(0.5, 0.0)).targets(batch(networks, networks, rollout, 10.0))
    assert found.following.tolist() == [[[15.0, 25.0]] * B] * T  # 0.5 · 10 · (3, 5)
    torch.testing.assert_close(found.returns, team(rollout) + 0.5 * 10 * (3 + 5))


def test_with_double_q_the_online_utilities_choose_what_the_target_values(rollout_of):
    rollout, online, target = rollout_of(), real_networks(0), real_networks(1)
    objective = GraphMIX(ONE_STEP, double_q=True)
    found = objective.targets(batch(online, target, rollout))
    chosen = gather_actions(target.unroll(rollout), online.unroll(rollout).argmax(dim=-1))[1:].detach()
    torch.testing.assert_close(found.following, 0.9 * chosen)
    known = objective.targets(batch(online, target, rollout, unrolled=online.unroll(rollout)))
    assert torch.equal(known.following, found.following)
    assert torch.equal(known.returns, found.returns)


# -------------------------------------------------------------------------- loss


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 1.0), (1.0, 3.5), (0.5, 2.25)])
def test_the_loss_by_hand(rollout_of, table_networks, weight, expected):
    online, rollout = table_networks([[1.0, 2.0, 0.0], [0.5, 3.0, 0.0]], mixer=FixedMixer()), rollout_of()
    rollout.actions[:] = torch.tensor([1, 0])  # U = (2, 0.5), F = 2.5
    # y = 3.5, r = 4 of which agent 0 is given 1 and agent 1 is given 3, and (0.5, -1) follow: y_i = (1.5, 2)
    # (2.5 - 3.5)² = 1 and (2 - 1.5)² + (0.5 - 2)² = 0.25 + 2.25
    raw = local_targets([10 * 3.5], [10 * 4.0], [10 * 0.5, 10 * -1.0])
    loss, metrics = GraphMIX(ONE_STEP, local=weight).loss(online, rollout, raw.in_units_of(10.0))
    assert loss.item() == pytest.approx(expected)
    expected_metrics = {"td_error": 10 * 1.0, "local_loss": 2.5}  # without its weight
    assert {name: value.item() for name, value in metrics.items()} == pytest.approx(expected_metrics)


def test_each_utility_learns_from_its_own_error(rollout_of, table_networks):
    table = torch.tensor([[1.0, 2.0, 0.0], [0.5, 3.0, 0.0]], requires_grad=True)
    online, rollout = table_networks(table, mixer=FixedMixer()), rollout_of()
    rollout.actions[:] = torch.tensor([1, 0])  # as above, but y = F: the first term has nothing to learn
    targets = local_targets([2.5], [4.0], [0.5, -1.0])
    GraphMIX(ONE_STEP).loss(online, rollout, targets)[0].backward()
    expected = torch.tensor([[0.0, 2 * (2 - 1.5), 0.0], [2 * (0.5 - 2), 0.0, 0.0]])
    torch.testing.assert_close(table.grad, expected)


def test_steps_that_do_not_count_are_left_out(rollout_of):
    online, rollout = real_networks(), rollout_of(valid=("111", "110"))
    results = []
    for noise in (0.0, 1e6):
        fields = [torch.zeros(T, B, size) for size in (1, 1, N)]
        for x in fields:
            x[2, 1] = noise
        loss, metrics = GraphMIX(ONE_STEP).loss(online, rollout, local_targets(*fields))
        results.append([loss, *metrics.values()])
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def test_with_weight_0_loss_and_gradients_are_those_of_plain_td(rollout_of):
    rollout, (one, two), returns = rollout_of(), (real_networks(), real_networks()), Returns(0.9, 0.5)
    targets = GraphMIX(returns, local=0.0).targets(batch(one, one, rollout, 2.0))
    loss, _ = GraphMIX(returns, local=0.0).loss(one, rollout, targets)
    plain, _ = PartitionTD(returns).loss(two, rollout, Targets(targets.returns))
    torch.testing.assert_close(loss, plain)
    loss.backward()
    plain.backward()
    for mine, theirs in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, torch.zeros_like(mine) if theirs.grad is None else theirs.grad)


@pytest.mark.parametrize("objective", [GraphMIX(ONE_STEP), PartitionTD(ONE_STEP)])
def test_every_parameter_that_asks_for_a_gradient_gets_one(rollout_of, objective):
    """Several processes with trainer.strategy=ddp would wait for the others."""
    learned = isinstance(objective, GraphMIX)
    networks, rollout = real_networks(learn_fractions=learned), rollout_of()
    targets = objective.targets(batch(networks, networks, rollout))
    objective.loss(networks, rollout, targets)[0].backward()
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in networks.parameters())
    assert all(parameter.requires_grad == learned for parameter in networks.mixer.fraction.parameters())


def test_the_local_term_teaches_the_fractions_and_the_utilities(rollout_of):
    online, rollout = real_networks(), rollout_of()
    chosen = gather_actions(online.unroll(rollout, T), rollout.actions)
    value, _ = online.mixer.forward_with_fractions(chosen, rollout.observations[:-1])
    targets = local_targets(value.detach(), [1.0], [1.0, 1.0])  # the first term has nothing to learn
    GraphMIX(ONE_STEP).loss(online, rollout, targets)[0].backward()
    for network in (online.mixer.fraction, online.utilities):
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())
    assert all(not parameter.grad.any() for parameter in online.mixer.head())


# -------------------------------------------------------------------------- runs


def test_with_weight_0_a_run_is_that_of_plain_td(run_small):
    short = ["total_env_steps=120", "evaluation.references=false"]
    runs = {
        "graphmix": ["algo=graphmix", "learner.objective.local=0.0"],
        "plain": ["algo=qmix", "mixer=graphmix"],
    }
    weights = []
    for name, words in runs.items():
        folder, summary = run_small(name, *words, *short)
        assert summary["algorithm"] == ("graphmix" if name == "graphmix" else "custom")
        weights.append(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    torch.testing.assert_close(weights[0], weights[1])


def test_it_trains_on_episodes_with_replay_and_double_q(run_small):
    paper = ["learner=paper", "learner.batch_size=2", "learner.replay_capacity=8", "env.max_steps=10"]
    paper += ["learner.n_envs=1", "learner.rollout_steps=null", "learner.minibatches=1", "total_env_steps=60"]
    _, summary = run_small("run", "algo=graphmix", *paper)
    assert (summary["algorithm"], summary["learner"]) == ("graphmix", "paper")


def test_a_negative_weight_is_refused():
    with pytest.raises(InputError, match=r"learner\.objective\.local: expected a number in \[0, inf\), got -1"):
        GraphMIX(ONE_STEP, local=-1.0)
