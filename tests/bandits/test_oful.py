"""Multi-OFUL against plain ridge regression, and its confidence sets against the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.bandits import oful
from lomaq.bandits.bound import Constants
from lomaq.bandits.linear import LinearBandit, draw_parameters
from lomaq.bandits.oful import MultiOFUL
from lomaq.errors import InputError
from lomaq.graphs import Partition

UNEVEN = Partition([[0, 3], [1], [2, 4]], 5)


def constants_of(partition, arms=2, dim=3, noise=0.1, regularisation=1.0):
    return Constants(partition, arms, dim, noise, 1 / partition.n_agents, 1.0, 0.05, regularisation)


def scripted(partition, rounds, repetitions=2, arms=2, dim=3, seed=0):
    """Contexts, actions and rewards that nobody chose."""
    rng = np.random.default_rng(seed)
    contexts = rng.uniform(-0.5, 0.5, (rounds, repetitions, dim))
    actions = rng.integers(arms, size=(rounds, repetitions, partition.n_agents))
    return contexts, actions, rng.normal(size=(rounds, repetitions, partition.n_blocks))


def ridge(partition, script, repetition, block, wanted, regularisation):
    """V and θ̂ of one joint action, by definition."""
    contexts, actions, rewards = script
    gram, moment = regularisation * np.eye(contexts.shape[2]), np.zeros(contexts.shape[2])
    for x, a, r in zip(contexts[:, repetition], actions[:, repetition], rewards[:, repetition], strict=True):
        if tuple(a[list(partition.blocks[block])]) == wanted:
            gram += np.outer(x, x)
            moment += x * r[block]
    return gram, np.linalg.solve(gram, moment)


@settings(max_examples=15, deadline=None)
@given(
    partition=st.sampled_from([UNEVEN, Partition.singletons(5), Partition.full(5)]),
    regularisation=st.floats(1e-4, 10),
    seed=st.integers(0, 1000),
)
def test_every_estimate_is_the_ridge_regression_of_its_own_rounds(partition, regularisation, seed):
    learner = MultiOFUL(constants_of(partition, regularisation=regularisation), repetitions=2)
    script = scripted(partition, rounds=40, seed=seed)
    for step in zip(*script, strict=True):
        learner.update(*step)
    for repetition in range(2):
        for block, agents in enumerate(partition.blocks):
            for wanted in np.ndindex(*[2] * len(agents)):
                actions = np.zeros((2, 5), dtype=np.int64)
                actions[:, agents] = wanted
                where = repetition, learner.index(actions)[repetition, block]
                gram, estimate = ridge(partition, script, repetition, block, wanted, regularisation)
                np.testing.assert_allclose(learner.gram[where], gram)
                np.testing.assert_allclose(learner.estimate[where], estimate, rtol=1e-6, atol=1e-7)
                np.testing.assert_allclose(learner.inverse[where], np.linalg.inv(gram), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("partition", [UNEVEN, Partition.singletons(5), Partition.full(5)], ids=repr)
def test_choice_is_the_joint_action_of_the_highest_upper_confidence_bound(partition):
    constants = constants_of(partition)
    learner = MultiOFUL(constants, repetitions=2, alpha=0.7)
    script = scripted(partition, rounds=60)
    for step in zip(*script, strict=True):
        learner.update(*step)
    context = np.array([[0.1, 0.5, -0.3], [0.7, -0.2, 0.1]])
    chosen = learner.choose(context)
    for repetition, x in enumerate(context):
        for block, agents in enumerate(partition.blocks):
            scores = {}
            for wanted in np.ndindex(*[2] * len(agents)):
                gram, estimate = ridge(partition, script, repetition, block, wanted, 1.0)
                norm = math.sqrt(x @ np.linalg.solve(gram, x))
                scores[wanted] = x @ estimate + 0.7 * constants.width(61, len(agents)) * norm
            assert tuple(chosen[repetition, list(agents)]) == max(scores, key=scores.get)


def test_the_confidence_width_of_a_round_is_that_of_its_number(monkeypatch):
    asked = []
    width = Constants.width
    monkeypatch.setattr(Constants, "width", lambda self, t, size: asked.append((t, size)) or width(self, t, size))
    learner = MultiOFUL(constants_of(UNEVEN), repetitions=2)
    contexts, actions, rewards = scripted(UNEVEN, rounds=3)
    for t in range(3):
        learner.choose(contexts[t])
        assert asked[2 * t :] == [(t + 1, 1), (t + 1, 2)] or asked[2 * t :] == [(t + 1, 2), (t + 1, 1)]
        learner.update(contexts[t], actions[t], rewards[t])


def test_index_gives_every_joint_action_of_every_block_a_place_of_its_own():
    learner = MultiOFUL(constants_of(UNEVEN, arms=3), repetitions=1)
    actions = np.array(list(np.ndindex(*[3] * 5)))  # [243, N]
    places = learner.index(actions)  # [243, P]
    assert [len(set(column)) for column in places.T] == [9, 3, 9]
    assert set(places.flat) == set(range(21))


def test_only_the_played_joint_actions_change():
    learner = MultiOFUL(constants_of(UNEVEN), repetitions=2)
    contexts, actions, rewards = (part[0] for part in scripted(UNEVEN, rounds=1))
    learner.update(contexts, actions, rewards)
    changed = (learner.gram != np.eye(3)).any(axis=(2, 3))
    assert changed.sum(axis=1).tolist() == [3, 3]
    assert np.take_along_axis(changed, learner.index(actions), axis=1).all()


@pytest.mark.parametrize("regularisation", [1.0, 1e-4])
def test_rank_one_updates_keep_their_digits_when_contexts_hardly_differ(regularisation, monkeypatch):
    monkeypatch.setattr(oful, "REFRESH", 10**9)  # never
    partition = Partition.singletons(2)
    learner = MultiOFUL(constants_of(partition, regularisation=regularisation), repetitions=2)
    contexts, actions, rewards = scripted(partition, rounds=5000)
    contexts = np.array([1.0, 0.0, 0.0]) * 0.9 + 1e-3 * contexts
    for step in zip(contexts, actions, rewards, strict=True):
        learner.update(*step)
    exact = np.linalg.inv(learner.gram)
    assert np.array_equal(learner.inverse, learner.inverse.swapaxes(2, 3))
    assert np.abs(learner.inverse - exact).max() < 1e-9 * np.abs(exact).max()
    norm, expected = (np.einsum("trd,rkde,tre->trk", contexts[:50], v, contexts[:50]) for v in (learner.inverse, exact))
    np.testing.assert_allclose(norm, expected, rtol=1e-4)


def test_refresh_computes_inverse_and_estimate_afresh(monkeypatch):
    monkeypatch.setattr(oful, "REFRESH", 5)
    learner = MultiOFUL(constants_of(UNEVEN), repetitions=2)
    for number, step in enumerate(zip(*scripted(UNEVEN, rounds=5), strict=True), start=1):
        learner.update(*step)
        if number == 4:
            learner.inverse += 1.0
    np.testing.assert_allclose(learner.inverse, np.linalg.inv(learner.gram))
    np.testing.assert_allclose(learner.estimate, np.linalg.solve(learner.gram, learner.moment[..., None])[..., 0])


# ------------------------------------------------------------ confidence sets


def coverage(noise, shrink=1.0):
    """Share of 500 repetitions whose truth lies in every confidence set, in every one of 300 rounds."""
    repetitions, partition = 500, Partition([[0, 1], [2]], 3)
    parameters = draw_parameters(repetitions, 3, 2, 2, bound=1 / 3, smallest_gap=1.0, seed=1)
    bandit = LinearBandit(parameters, partition, noise_scale=0.5, noise=noise, seed=1)
    constants = Constants(partition, 2, 2, float(bandit.block_noise.max()), 1 / 3, 1.0, 0.05, 1.0)
    learner = MultiOFUL(constants, repetitions)
    rows = np.arange(repetitions)[:, None]
    covered = np.ones(repetitions, dtype=bool)
    for t in range(1, 301):  # sets change only where played and widen with t: so only those can be left
        context = bandit.context()
        actions = learner.choose(context)
        learner.update(context, actions, bandit.pull(actions)[0])
        place = learner.index(actions)  # [R, P]
        single = np.take_along_axis(parameters, actions[:, :, None, None], axis=2)[:, :, 0]  # [R, N, d]
        truth = np.stack([single[:, 0] + single[:, 1], single[:, 2]], axis=1)  # [R, P, d]
        error = learner.estimate[rows, place] - truth
        distance = np.sqrt(np.einsum("rpd,rpde,rpe->rp", error, learner.gram[rows, place], error))
        covered &= (distance <= shrink * np.array([constants.width(t + 1, 2), constants.width(t + 1, 1)])).all(axis=1)
    return covered.mean()


@pytest.mark.parametrize("noise", ["gaussian", "bounded"])
def test_confidence_sets_cover_the_truth_as_often_as_promised(noise):
    assert coverage(noise) >= 0.95


def test_a_third_of_the_width_would_not_keep_the_promise():
    assert coverage("gaussian", shrink=1 / 3) < 0.95


# --------------------------------------------------------------------- limits


def test_a_partition_beyond_memory_is_refused_with_its_number_before_it_starts():
    with pytest.raises(InputError, match=r"^partition: .* 3\^20 = 3,486,784,401 in the largest block; use smaller"):
        MultiOFUL(constants_of(Partition.full(20), arms=3, dim=50), repetitions=20)


@pytest.mark.parametrize(("argument", "value"), [("repetitions", 0), ("alpha", -1.0), ("alpha", math.nan)])
def test_impossible_settings_are_refused_by_name(argument, value):
    with pytest.raises(InputError, match=f"^{argument}: expected "):
        MultiOFUL(constants_of(UNEVEN), **{"repetitions": 1, argument: value})
