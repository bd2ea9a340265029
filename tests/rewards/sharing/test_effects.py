"""What actions do to the agents around: known effects are found again, by three networks that share no data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph
from lomaq.rewards import Returns, lambda_returns
from lomaq.rewards.sharing.effects import NETWORKS, ActionEffects

GRAPH = AgentGraph.star(4)
A, SEEN = 3, 2
#: What agent i's action a does to agent k: a · EFFECT[k, i], in the star only from the centre 0 or to it.
EFFECT = torch.tensor([[-1.0, 2.0, 2.0, 2.0], [0.5, -1.0, 0.0, 0.0], [0.5, 0.0, -1.0, 0.0], [0.5, 0.0, 0.0, -1.0]])


def play(make_rollout, seed=0, steps=6, batch=60, unit=1.0):
    """One step is a whole game, whose rewards are sums of effects; what is observed is a 1 and noise."""
    generator = torch.Generator().manual_seed(seed)
    rollout = make_rollout(valid=("1" * steps,) * batch, n_agents=4, obs_size=SEEN)
    observations = torch.randn(steps + 1, batch, 4, SEEN, generator=generator)
    observations[..., 0] = 1.0
    actions = torch.randint(A, (steps, batch, 4), generator=generator)
    rewards = unit * actions.float() @ EFFECT.T
    return replace(rollout, observations=observations, actions=actions, rewards=rewards)


def effects_of(kappa=1, share="ego", **options):
    torch.manual_seed(0)
    return ActionEffects(GRAPH, kappa, SEEN, A, hidden=8, share=share, **options)


class Student:
    """Effects, with what they are learned by."""

    def __init__(self, effects, gamma=0.0, lam=0.0, lr=0.02, updates=10):
        self.effects, self.returns, self.updates = effects, Returns(gamma, lam), updates
        self.optimizer = torch.optim.Adam(effects.parameters(), lr=lr)
        self.generator = torch.Generator().manual_seed(0)

    def learn(self, rollout):
        return self.effects.learn(rollout, self.returns, self.optimizer, self.updates, self.generator)


def table(effects, observations):
    """What action a does in place of action 0 in the mean over states, ``[3, k, i, A]``, in rewards."""
    q = effects(observations.expand(NETWORKS, *observations.shape)).detach()[..., :-1]  # [3, S, M, A]
    found = torch.zeros(NETWORKS, 4, 4, A)
    found[:, effects.of, effects.by] = (q - q[..., :1]).mean(dim=2) * effects.unit
    return found


@pytest.mark.parametrize(("share", "unit"), [("ego", 1.0), ("none", 1000.0)])
def test_known_effects_are_found_again(make_rollout, share, unit):
    student = Student(effects_of(share=share))
    losses = [student.learn(play(make_rollout, seed, unit=unit)) for seed in range(25)]
    found = table(student.effects, play(make_rollout, 99).observations[0])
    expected = EFFECT[..., None] * torch.arange(A) * unit
    for network in range(NETWORKS):
        torch.testing.assert_close(found[network], expected, rtol=0, atol=0.3 * unit)
    # V cannot know what actions change, 2/3 Σ_i EFFECT[k, i]² in the mean over k; the returns' variance has the agents'
    # means 5, -1/2, -1/2, -1/2, too
    changed = 2 / 3 * float(EFFECT.square().sum()) / 4
    assert losses[-1] == pytest.approx(changed / (changed + (4.125**2 + 3 * 1.375**2) / 4) / 2, abs=0.01)


def test_an_effect_that_depends_on_what_is_observed(make_rollout):
    student = Student(effects_of(), lr=0.05)
    for seed in range(50):
        rollout = play(make_rollout, seed)
        student.learn(replace(rollout, rewards=(rollout.actions * rollout.observations[:-1, ..., 1]) @ EFFECT.T))
    expected = EFFECT[..., None] * torch.arange(A)
    for noise in (1.0, -1.0):
        found = table(student.effects, torch.tensor([1.0, noise]).expand(1, 4, SEEN))
        torch.testing.assert_close(found[0], noise * expected, rtol=0, atol=0.7)


def test_pairs_are_those_within_kappa():
    for kappa, expected in ((0, 4), (1, 10), (2, 16)):
        effects = effects_of(kappa)
        pairs = set(zip(effects.of.tolist(), effects.by.tolist(), strict=True))
        assert len(pairs) == len(effects.of) == expected
        assert pairs == set(zip(*GRAPH.khop(kappa).nonzero(), strict=True))


def test_sums_over_pairs_by_a_loop():
    effects, values = effects_of(), torch.randn(NETWORKS, 10, 5)
    of, by = np.zeros((NETWORKS, 4, 5)), np.zeros((NETWORKS, 4, 5))
    for s, (k, i) in enumerate(zip(effects.of.tolist(), effects.by.tolist(), strict=True)):
        of[:, k] += values[:, s].numpy()
        by[:, i] += values[:, s].numpy()
    np.testing.assert_allclose(effects.by_agent(values), of, atol=1e-5)
    np.testing.assert_allclose(effects.by_agent(values, acting=True), by, atol=1e-5)


def test_an_effect_is_a_function_of_what_the_acting_agent_observes():
    effects = effects_of()
    torch.nn.init.normal_(effects.heads)
    before = torch.randn(NETWORKS, 5, 4, SEEN)
    after = before.clone()
    after[:, :, 2] += 1.0
    changed = (effects(before) != effects(after)).any(dim=3).any(dim=2)  # [3, S]
    assert changed.equal((effects.by == 2).expand(NETWORKS, -1))


def test_agents_of_one_class_have_the_same_effects():
    effects = effects_of()
    torch.nn.init.normal_(effects.heads)
    found = table(effects, torch.ones(1, 4, SEEN))
    for leaf in (2, 3):
        torch.testing.assert_close(found[:, 0, leaf], found[:, 0, 1])
        torch.testing.assert_close(found[:, leaf, leaf], found[:, 1, 1])


# --------------------------------------------------------------- three networks


def test_the_networks_learn_from_thirds_of_the_sequences(make_rollout):
    first, second = Student(effects_of()), Student(effects_of())
    rollout = play(make_rollout, batch=60)
    actions = rollout.actions.clone()
    actions[:, 40:] = 0
    first.learn(rollout)
    second.learn(replace(rollout, actions=actions))
    for a, b in zip(first.effects.parameters(), second.effects.parameters(), strict=True):
        assert a[:2].equal(b[:2])
        assert not a[2].equal(b[2])


def test_sequences_beyond_a_multiple_of_three_are_left_out(make_rollout):
    first, second = Student(effects_of()), Student(effects_of())
    rollout = play(make_rollout, batch=5)
    assert first.learn(rollout) == second.learn(rollout.select(torch.arange(3)))
    for a, b in zip(first.effects.parameters(), second.effects.parameters(), strict=True):
        assert a.equal(b)


# ---------------------------------------------------------------- what is taught


def test_padding_does_not_count(make_rollout):
    rollout = play(make_rollout, steps=4, batch=6)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 1, 1], [1, 1, 0, 1, 0, 1], [0, 1, 0, 1, 1, 1]]).bool()
    padded = replace(rollout, mask=mask)
    odd = replace(padded, rewards=rollout.rewards.masked_fill(~mask[..., None], 1e3))
    first, second = Student(effects_of(), 0.9, 0.7), Student(effects_of(), 0.9, 0.7)
    for _ in range(2):
        assert first.learn(padded) == second.learn(odd)
    assert first.effects.unit == second.effects.unit
    for a, b in zip(first.effects.parameters(), second.effects.parameters(), strict=True):
        assert a.equal(b)


@pytest.mark.parametrize(("gamma", "lam"), [(0.0, 0.0), (0.9, 0.0), (0.9, 0.6), (0.9, 1.0)])
def test_returns_go_on_with_the_baseline(make_rollout, gamma, lam):
    rollout = play(make_rollout, steps=4, batch=6)
    ended = torch.zeros(4, 6, dtype=torch.bool)
    ended[1, 0], limited = True, torch.zeros(4, 6, dtype=torch.bool)
    limited[2, 3] = True
    rollout = replace(rollout, terminated=ended, truncated=limited)
    student = Student(effects_of(), gamma, lam, updates=1)
    with torch.no_grad():
        student.effects.heads[:, :, -1, -1] = 0.25  # the baseline is 1 for the centre, 1/2 for a leaf
    value = torch.tensor([1.0, 0.5, 0.5, 0.5]).expand(4, 6, 4)
    raw = lambda_returns(rollout.rewards, value, ended, ended | limited, gamma, lam)
    unit = float(raw.std(correction=0))
    loss = student.learn(rollout)
    assert student.effects.unit == pytest.approx(unit, rel=1e-4)
    expected = ((raw / unit).square().mean() + ((value - raw) / unit).square().mean()) / 2
    assert loss == pytest.approx(float(expected), rel=1e-4)


def test_returns_that_do_not_vary_have_a_unit_all_the_same(make_rollout):
    student = Student(effects_of())
    assert student.effects.unit == 1.0
    rollout = play(make_rollout)
    assert np.isfinite(student.learn(replace(rollout, rewards=torch.zeros_like(rollout.rewards))))
    assert student.effects.unit == 1e-3


def test_observations_are_scaled_and_a_factor_too_few_is_named():
    plain, scaled = effects_of(), effects_of(observation_scale=[2.0, 0.0])
    for effects in (plain, scaled):
        torch.nn.init.ones_(effects.heads)
    observations = torch.randn(NETWORKS, 3, 4, SEEN)
    torch.testing.assert_close(scaled(observations), plain(observations * torch.tensor([2.0, 0.0])))
    with pytest.raises(InputError, match=r"reward\.observation_scale"):
        effects_of(observation_scale=[1.0])


def test_only_some_outputs_are_the_same_ones():
    effects, observations = effects_of(), torch.randn(NETWORKS, 3, 4, SEEN)
    torch.nn.init.normal_(effects.heads)
    torch.testing.assert_close(effects(observations, slice(-1, None)), effects(observations)[..., -1:])
