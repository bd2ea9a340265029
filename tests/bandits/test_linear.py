"""The linear bandit of Section 3.2."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lomaq.bandits.linear import LinearBandit, draw_parameters
from lomaq.errors import InputError
from lomaq.graphs import Partition

PAIR_AND_ONE = Partition([[0, 2], [1]], 3)


def parameters_of(repetitions=2, n=3, arms=2, dim=2, seed=0):
    return draw_parameters(repetitions, n, arms, dim, bound=0.5, smallest_gap=0.1, seed=seed)


def test_rewards_are_block_sums_and_regret_is_what_the_best_arms_would_add():
    # one repetition, three agents, two arms, contexts (2, 1)
    parameters = np.array([[[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [-1.0, 0.0]], [[0.0, 0.0], [0.0, 3.0]]]])
    bandit = LinearBandit(
        parameters, PAIR_AND_ONE, noise_scale=0, context_bound=3, adversary=lambda t, actions: np.array([[2.0, 1.0]])
    )
    assert bandit.context().tolist() == [[2.0, 1.0]]
    rewards, regret = bandit.pull(np.array([[1, 0, 1]]))  # means: [2, 1], [3, -2], [0, 3]
    assert rewards.tolist() == [[1.0 + 3.0, 3.0]]
    assert regret.tolist() == [1.0]


def test_partitions_share_parameters_contexts_and_noise():
    parameters = parameters_of()
    fine, coarse = (LinearBandit(parameters, p, seed=3) for p in (Partition.singletons(3), PAIR_AND_ONE))
    for actions in np.random.default_rng(0).integers(2, size=(300, 2, 3)):  # more than one chunk
        assert (fine.context() == coarse.context()).all()
        single, block = fine.pull(actions)[0], coarse.pull(actions)[0]
        np.testing.assert_allclose(block, np.stack([single[:, 0] + single[:, 2], single[:, 1]], axis=1))


@pytest.mark.parametrize("noise", ["gaussian", "bounded"])
def test_noise_has_the_chosen_standard_deviation_and_blocks_add_variances(noise):
    scale = [0.1, 0.2, 0.3]
    bandit = LinearBandit(np.zeros((200, 3, 1, 1)), PAIR_AND_ONE, noise_scale=scale, noise=noise)
    np.testing.assert_allclose(bandit.block_noise, [math.sqrt(0.01 + 0.09), 0.2])
    rewards = []
    for _ in range(300):
        bandit.context()
        rewards.append(bandit.pull(np.zeros((200, 3), dtype=np.int64))[0])
    np.testing.assert_allclose(np.std(rewards, axis=(0, 1)), bandit.block_noise, rtol=0.02)
    np.testing.assert_allclose(np.mean(rewards, axis=(0, 1)), 0, atol=0.01)
    limit = np.array([0.1 + 0.3, 0.2]) * math.sqrt(3)
    assert (np.abs(rewards) <= limit).all() == (noise == "bounded")


def test_random_contexts_lie_on_the_sphere():
    bandit = LinearBandit(parameters_of(dim=4), PAIR_AND_ONE, context_bound=2.5)
    np.testing.assert_allclose(np.linalg.norm(bandit.context(), axis=1), 2.5)


def test_adversary_sees_the_round_and_the_actions_before():
    seen = []

    def adversary(t, actions):
        seen.append((t, actions.tolist()))
        return np.zeros((2, 2))

    bandit = LinearBandit(parameters_of(), PAIR_AND_ONE, adversary=adversary)
    for _ in range(2):
        bandit.context()
        bandit.pull(np.array([[0, 1, 1], [1, 0, 0]]))
    assert seen == [(1, [[-1] * 3] * 2), (2, [[0, 1, 1], [1, 0, 0]])]


@pytest.mark.parametrize(
    ("contexts", "line"),
    [
        (np.zeros((2, 3)), r"shape \[2, 2\], got \[2, 3\]"),
        (np.full((2, 2), 0.8), "norm at most 1, got 1.13"),
        (np.array([[0.0, 0.0], [math.nan, 0.0]]), "norm at most 1, got nan"),
    ],
)
def test_contexts_of_an_adversary_are_checked(contexts, line):
    bandit = LinearBandit(parameters_of(), PAIR_AND_ONE, adversary=lambda t, actions: contexts)
    with pytest.raises(InputError, match=f"^adversary: expected contexts of {line}"):
        bandit.context()


def test_drawn_parameters_spread_over_the_scales_and_keep_the_bound():
    norms = np.linalg.norm(parameters_of(repetitions=400), axis=3)
    np.testing.assert_allclose(norms[:, :, 0], norms[:, :, 1])  # arms of one agent share its scale
    assert norms.min() >= 0.05
    assert norms.max() <= 0.5 + 1e-12
    assert np.median(norms) == pytest.approx(0.5 * math.sqrt(0.1), rel=0.1)
    same = draw_parameters(2, 3, 2, 2, bound=0.5, smallest_gap=1.0, seed=0)
    np.testing.assert_allclose(np.linalg.norm(same, axis=3), 0.5)


@pytest.mark.parametrize("actions", [[[0, 0, 2], [0, 0, 0]], [[0, -1, 0], [0, 0, 0]], [[0, 0, 0]]])
def test_impossible_actions_are_refused(actions):
    bandit = LinearBandit(parameters_of(), PAIR_AND_ONE)
    bandit.context()
    with pytest.raises(InputError, match=r"^actions: expected "):
        bandit.pull(np.array(actions))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"noise": "cauchy"}, "noise: expected one of gaussian, bounded"),
        ({"noise_scale": -0.1}, "noise_scale: expected a number in"),
        ({"noise_scale": [0.1, 0.1]}, "noise_scale: expected one number, or one for each of 3 agents, got 2"),
        ({"context_bound": 0}, "context_bound: expected "),
        ({"seed": -1}, "seed: expected "),
        ({"partition": Partition.full(2)}, "partition: expected blocks of 3 agents, got 2 agents"),
        ({"parameters": np.zeros((3, 2, 2))}, "parameters: expected numbers of shape"),
        ({"parameters": np.full((1, 3, 2, 2), np.nan)}, "parameters: expected finite numbers"),
    ],
)
def test_impossible_settings_are_refused_by_name(change, line):
    with pytest.raises(InputError, match=f"^{line}"):
        LinearBandit(**{"parameters": parameters_of(), "partition": PAIR_AND_ONE, **change})
