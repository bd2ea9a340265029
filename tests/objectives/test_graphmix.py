"""GraphMIX's loss: its targets side by side, its two terms, and where gradients go."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lomaq.envs import Rollout
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import GraphMIXMixer, QMIXMixer
from lomaq.nn import Utilities
from lomaq.objectives import GraphMIX, PartitionTD, ValueNetworks

T, B, N, A, OBS = 3, 2, 2, 3, 2
GRAPH = AgentGraph.complete(N)
OBJECTIVE = GraphMIX(0.9, 0.0)


class FixedMixer(GraphMIXMixer):
    """F = the sum of the utilities, φ = (0.25, 0.75)."""

    def __init__(self):
        super().__init__(GRAPH, Partition.full(N), 1, obs_size=OBS)

    def forward_with_fractions(self, utilities, observations):
        return utilities.sum(dim=-1, keepdim=True), torch.tensor([0.25, 0.75]).expand_as(utilities)


def make_rollout(mask=None, **flags) -> Rollout:
    generator = torch.Generator().manual_seed(0)
    none = torch.zeros(T, B, dtype=torch.bool)
    first = torch.zeros(T + 1, B, dtype=torch.bool)
    first[0] = True
    return Rollout(
        observations=torch.randn(T + 1, B, N, OBS, generator=generator),
        actions=torch.randint(A, (T, B, N), generator=generator),
        rewards=torch.randn(T, B, N, generator=generator),
        terminated=flags.get("terminated", none),
        truncated=flags.get("truncated", none),
        mask=flags.get("valid", ~none),
        is_first=first,
        last_actions=torch.full((B, N), -1),
        hidden=torch.zeros(B, N, 0),
        action_mask=mask,
    )


def real_networks(seed=0, objective=OBJECTIVE) -> ValueNetworks:
    torch.manual_seed(seed)
    utilities, mixer = Utilities(GRAPH, OBS, A, hidden=[8]), GraphMIXMixer(GRAPH, Partition.full(N), OBS, hidden=4)
    return ValueNetworks(utilities, mixer, objective.make_critic(utilities, mixer))


def at(t, b):
    flags = torch.zeros(T, B, dtype=torch.bool)
    flags[t, b] = True
    return flags


def team(rollout):
    return rollout.rewards.sum(dim=-1, keepdim=True)


# ----------------------------------------------------------------------- targets


@pytest.mark.parametrize("time_limit", ["bootstrap", "terminal"])
@pytest.mark.parametrize("lam", [0.0, 0.6])
def test_targets_are_the_returns_the_team_reward_and_what_follows_each_agent(time_limit, lam):
    rollout, networks = make_rollout(terminated=at(0, 0), truncated=at(1, 1)), real_networks()
    rewards, arguments = team(rollout), (0.9, lam, False, time_limit)
    got = GraphMIX(*arguments).targets(networks, networks, rollout, rewards, scale=2.5)
    assert got.shape == (T, B, 2 + N)
    plain = PartitionTD(*arguments).targets(networks, networks, rollout, rewards, scale=2.5)
    torch.testing.assert_close(got[..., :1], plain)
    assert torch.equal(got[..., 1:2], rewards)
    best = networks.unroll(rollout).detach().numpy().max(axis=-1)  # [T + 1, B, N]
    for t in range(T):
        for b in range(B):
            over = (t, b) == (0, 0) or ((t, b) == (1, 1) and time_limit == "terminal")
            expected = np.zeros(N) if over else 0.9 * 2.5 * best[t + 1, b]
            np.testing.assert_allclose(got[t, b, 2:], expected, rtol=1e-5)


def test_only_allowed_actions_follow():
    mask = torch.ones(T + 1, B, N, A, dtype=torch.bool)
    mask[..., 1, 2] = False  # agent 1 may never take action 2
    rollout = make_rollout(mask)
    table = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    networks = SimpleNamespace(unroll=lambda rollout, steps=None: table.expand(T + 1, B, N, A), mixer=FixedMixer())
    got = GraphMIX(0.5, 0.0).targets(networks, networks, rollout, team(rollout), scale=10.0)
    assert got[..., 2:].tolist() == [[[15.0, 25.0]] * B] * T  # 0.5 · 10 · (3, 5)


def test_with_double_q_the_online_utilities_choose_what_the_target_values():
    rollout, online, target = make_rollout(), real_networks(0), real_networks(1)
    objective = GraphMIX(0.9, 0.0, double_q=True)
    got = objective.targets(online, target, rollout, team(rollout), scale=1.0)
    choices = online.unroll(rollout).argmax(dim=-1, keepdim=True)
    chosen = target.unroll(rollout).detach().gather(-1, choices)[1:, ..., 0]
    torch.testing.assert_close(got[..., 2:], 0.9 * chosen)
    judge = online.unroll(rollout)
    assert torch.equal(objective.targets(online, target, rollout, team(rollout), 1.0, judge=judge), got)


# -------------------------------------------------------------------------- loss


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 1.0), (1.0, 3.5), (0.5, 2.25)])
def test_the_loss_by_hand(weight, expected):
    table = torch.tensor([[1.0, 2.0, 0.0], [0.5, 3.0, 0.0]])
    online = SimpleNamespace(unroll=lambda rollout, steps: table.expand(steps, B, N, A), mixer=FixedMixer())
    rollout = make_rollout()
    rollout.actions[:] = torch.tensor([1, 0])  # U = (2, 0.5), F = 2.5
    # y = 3.5, r = 4 of which agent 0 is given 1 and agent 1 is given 3, and (0.5, -1) follow: y_i = (1.5, 2)
    # (2.5 - 3.5)² = 1 and (2 - 1.5)² + (0.5 - 2)² = 0.25 + 2.25
    targets = torch.tensor([3.5, 4.0, 0.5, -1.0]).expand(T, B, 4)
    loss = GraphMIX(0.9, 0.0, local=weight).loss(online, rollout, targets)
    assert loss.item() == pytest.approx(expected)


def test_steps_that_do_not_count_are_left_out():
    online = real_networks()
    rollout = make_rollout(valid=~at(2, 1))
    targets = torch.zeros(T, B, 2 + N)
    before = GraphMIX(0.9, 0.0).loss(online, rollout, targets)
    targets[2, 1] = 1e6
    assert torch.equal(GraphMIX(0.9, 0.0).loss(online, rollout, targets), before)


def test_with_weight_0_loss_and_gradients_are_those_of_plain_td():
    rollout, (one, two) = make_rollout(), (real_networks(), real_networks())
    targets = GraphMIX(0.9, 0.5, local=0.0).targets(one, one, rollout, team(rollout), scale=2.0)
    loss = GraphMIX(0.9, 0.5, local=0.0).loss(one, rollout, targets)
    plain = PartitionTD(0.9, 0.5).loss(two, rollout, targets[..., :1])
    torch.testing.assert_close(loss, plain)
    loss.backward()
    plain.backward()
    for mine, theirs in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, torch.zeros_like(mine) if theirs.grad is None else theirs.grad)


@pytest.mark.parametrize("objective", [OBJECTIVE, PartitionTD(0.9, 0.0)])
def test_every_parameter_that_asks_for_a_gradient_gets_one(objective):
    """Several processes with trainer.strategy=ddp would wait for the others."""
    networks, rollout = real_networks(objective=objective), make_rollout()
    targets = objective.targets(networks, networks, rollout, team(rollout), scale=1.0)
    objective.loss(networks, rollout, targets).backward()
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in networks.parameters())
    assert all(
        parameter.requires_grad == (objective is OBJECTIVE) for parameter in networks.mixer.fraction.parameters()
    )


def test_the_local_term_teaches_the_fractions_and_the_utilities():
    online, rollout = real_networks(), make_rollout()
    value, _ = online.mixer.forward_with_fractions(
        online.unroll(rollout, T).gather(-1, rollout.actions[..., None])[..., 0], rollout.observations[:-1]
    )
    targets = torch.cat([value.detach(), torch.ones(T, B, 1 + N)], dim=-1)  # the first term has nothing to learn
    GraphMIX(0.9, 0.0).loss(online, rollout, targets).backward()
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


def test_another_mixer_is_refused_with_the_remedy():
    mixer = QMIXMixer(GRAPH, Partition.full(N), obs_size=OBS)
    with pytest.raises(InputError, match=r"mixer: expected graphmix .* got QMIXMixer; algo=graphmix has both"):
        GraphMIX(0.9, 0.0).make_critic(Utilities(GRAPH, OBS, A), mixer)


def test_a_negative_weight_is_refused():
    with pytest.raises(InputError, match=r"learner\.objective\.local: expected a number in \[0, inf\), got -1"):
        GraphMIX(0.9, 0.0, local=-1.0)
