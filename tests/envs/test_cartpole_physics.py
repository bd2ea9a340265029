"""Coupled carts and poles against the scalar equations and by hand: forces, falls, and what a standing pole earns."""

import math

import numpy as np
import pytest
import torch

from lomaq.envs.cartpole import CartPole

ANGLE_LIMIT = 0.2094


def reference_step(state, actions, stiffness=10.0):
    """One step of one copy in float64, cart by cart: ``state`` is [4, n], the result (state, rewards, terminated)."""
    offset, velocity, angle, spin = np.asarray(state, dtype=np.float64)
    n = len(offset)
    after, rewards = np.array(state, dtype=np.float64), []
    for i in range(n):
        left = offset[i - 1] if i > 0 else 0.0
        right = offset[i + 1] if i < n - 1 else 0.0
        force = 10.0 if actions[i] == 1 else -10.0
        force += stiffness * (left - offset[i]) + stiffness * (right - offset[i])
        sine, cosine = math.sin(angle[i]), math.cos(angle[i])
        push = (force + 0.1 * 0.5 * spin[i] ** 2 * sine) / 1.1
        swing = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
        acceleration = push - 0.1 * 0.5 * swing * cosine / 1.1
        place = i + offset[i]
        up = abs(angle[i]) <= ANGLE_LIMIT and -1 <= place <= n
        rewards.append(float(up))
        if up:
            after[0, i] = offset[i] + 0.02 * velocity[i]
            after[1, i] = velocity[i] + 0.02 * acceleration
            after[2, i] = angle[i] + 0.02 * spin[i]
            after[3, i] = spin[i] + 0.02 * swing
    return after, rewards, not any(rewards)


# -------------------------------------------------------- the scalar equations


@pytest.mark.parametrize("n_agents", [1, 2, 5])
def test_one_step_equals_the_scalar_equations(put_carts, carts_of, random_pushes, n_agents):
    env = CartPole(n_agents, n_envs=8, seed=n_agents)
    env.reset()
    rng = np.random.default_rng(n_agents)
    put_carts(
        env,
        offset=rng.uniform(-1.3, 1.3, (8, n_agents)),
        velocity=rng.uniform(-3, 3, (8, n_agents)),
        angle=rng.uniform(-0.25, 0.25, (8, n_agents)),
        spin=rng.uniform(-3, 3, (8, n_agents)),
    )
    before, actions = carts_of(env), random_pushes(rng, env)
    observations, rewards, terminated, truncated = env.step(actions)
    assert observations.shape == (8, n_agents, 4)
    assert (observations.dtype, rewards.dtype) == (torch.float32, torch.float32)
    assert (terminated.dtype, truncated.dtype) == (torch.bool, torch.bool)
    for copy in range(8):
        after, expected, ended = reference_step(before[copy], actions[copy].tolist())
        np.testing.assert_allclose(observations[copy].numpy(), after.T, rtol=2e-6, atol=2e-6)
        assert rewards[copy].tolist() == expected
        assert bool(terminated[copy]) == ended
    assert not truncated.any()


@pytest.mark.parametrize("n_agents", [1, 2, 5])
def test_150_random_steps_follow_the_scalar_equations_without_correction(carts_of, random_pushes, n_agents):
    # A pole falls within a second, in which an error grows by exp(4.4/s · 0.02 s) = 1.09 a step, 80 in all: rounding
    # by 2e-7 (values up to 3 in float32) in each of 50 steps sums to 2e-7 · 80 / 0.09 = 2e-4 at worst.
    env = CartPole(n_agents, n_envs=3, seed=3)
    env.reset()
    rng = np.random.default_rng(n_agents)
    expected = carts_of(env).astype(np.float64)
    earned = 0.0
    for _ in range(150):
        actions = random_pushes(rng, env)
        observations, rewards, terminated, _ = env.step(actions)
        for copy in range(3):
            expected[copy], pay, ended = reference_step(expected[copy], actions[copy].tolist())
            assert rewards[copy].tolist() == pay
            assert bool(terminated[copy]) == ended
            earned += sum(pay)
        np.testing.assert_allclose(observations.numpy(), expected.transpose(0, 2, 1), atol=2e-4)
    assert 3 * n_agents * 10 < earned < 3 * n_agents * 100


def test_150_balanced_steps_follow_the_scalar_equations_step_by_step(carts_of, balancing_pushes):
    env = CartPole(5, stiffness=4.0, n_envs=2, seed=1)
    env.reset()
    for _ in range(150):
        before, actions = carts_of(env), balancing_pushes(env)
        observations, rewards, terminated, _ = env.step(actions)
        for copy in range(2):
            after, expected, ended = reference_step(before[copy], actions[copy].tolist(), stiffness=4.0)
            np.testing.assert_allclose(observations[copy].numpy(), after.T, rtol=2e-6, atol=2e-6)
            assert rewards[copy].tolist() == expected == [1.0] * 5
            assert not ended
            assert not terminated[copy]


# --------------------------------------------------------------------- by hand


def test_one_upright_cart_pushed_right_by_hand(put_carts):
    env = CartPole(1)
    env.reset()
    put_carts(env, offset=0.0, velocity=0.0, angle=0.0, spin=0.0)
    observations, rewards, _, _ = env.step(torch.tensor([[1]]))
    push = 10 / 1.1
    swing = -push / (0.5 * (4 / 3 - 0.1 / 1.1))
    expected = [0.0, 0.02 * (push - 0.05 * swing / 1.1), 0.0, 0.02 * swing]
    assert observations[0, 0].tolist() == pytest.approx(expected, rel=1e-6)
    assert rewards.tolist() == [[1.0]]


def test_springs_pull_towards_neighbours_and_walls_with_positions_of_the_start_of_the_step(put_carts):
    env = CartPole(3, stiffness=10.0)
    env.reset()
    kick = {}
    for offset in ([0.0, 0.0, 0.0], [0.3, 0.0, -0.1]):
        put_carts(env, offset=[offset], velocity=0.0, angle=0.0, spin=0.0)
        env.step(torch.tensor([[1, 1, 1]]))
        kick[offset[0]] = env.velocity[0].tolist()
    # with everything upright the kick is proportional to the force: 10 alone, 10 + pull with springs
    pull = [10 * (-2 * 0.3), 10 * (0.3 - 0.1), 10 * (2 * 0.1)]
    assert kick[0.3] == pytest.approx([v * (10 + p) / 10 for v, p in zip(kick[0.0], pull, strict=True)], rel=1e-5)


def test_no_springs_leave_carts_alone(put_carts):
    env = CartPole(3, stiffness=0)
    env.reset()
    put_carts(env, offset=[[0.5, -0.5, 0.2]], velocity=0.0, angle=0.0, spin=0.0)
    env.step(torch.ones(1, 3, dtype=torch.int64))
    assert env.velocity[0].tolist() == pytest.approx([float(env.velocity[0, 0])] * 3)


def test_fallen_carts_freeze_and_keep_pulling_their_neighbours(put_carts, carts_of):
    env = CartPole(3, n_envs=2)
    env.reset()
    offset = [[0.0, 0.4, 0.0], [0.0, 0.0, 0.0]]
    angle = [[0.0, 0.5, 0.0]] * 2
    put_carts(env, offset=offset, velocity=[[0.0, 2.0, 0.0]] * 2, angle=angle, spin=[[0.0, -1.0, 0.0]] * 2)
    fallen = carts_of(env)[:, :, 1]
    for step in range(5):
        _, rewards, terminated, _ = env.step(torch.tensor([[1, 1, 1]] * 2))
        assert rewards.tolist() == [[1.0, 0.0, 1.0]] * 2
        assert not terminated.any()
        np.testing.assert_array_equal(carts_of(env)[:, :, 1], fallen)
        if step == 0:
            ratio = env.velocity[0] / env.velocity[1]
            assert ratio[[0, 2]].tolist() == pytest.approx([1.4, 1.4], rel=1e-5)  # (10 + 10 · 0.4) / 10


@pytest.mark.parametrize(
    ("n_agents", "place", "up"),
    [(1, -0.99, True), (1, -1.01, False), (1, 0.99, True), (1, 1.01, False), (3, -1.01, False), (3, 2.99, True)],
)
def test_first_cart_is_up_between_one_rest_distance_outside_either_end(put_carts, n_agents, place, up):
    env = CartPole(n_agents)
    env.reset()
    offset = [0.0] * n_agents
    offset[0] = place
    put_carts(env, offset=[offset], angle=0.0)
    assert bool(env.step(torch.zeros(1, n_agents, dtype=torch.int64))[1][0, 0]) is up


@pytest.mark.parametrize(("place", "up"), [(-1.01, False), (-0.99, True), (2.99, True), (3.01, False)])
def test_last_cart_may_roam_the_same_track(put_carts, place, up):
    env = CartPole(3)
    env.reset()
    put_carts(env, offset=[[0.0, 0.0, place - 2]], angle=0.0)
    assert env.step(torch.zeros(1, 3, dtype=torch.int64))[1][0].tolist() == [1.0, 1.0, float(up)]


@pytest.mark.parametrize(("angle", "up"), [(0.2093, True), (-0.2093, True), (0.2095, False), (-0.2095, False)])
def test_pole_is_up_within_twelve_degrees(put_carts, angle, up):
    env = CartPole(2)
    env.reset()
    put_carts(env, angle=[[angle, 0.0]])
    assert env.step(torch.zeros(1, 2, dtype=torch.int64))[1].tolist() == [[float(up), 1.0]]


def test_reward_is_of_the_state_before_the_step(put_carts):
    env = CartPole(1)
    env.reset()
    put_carts(env, angle=0.2, spin=3.0)
    zero = torch.zeros(1, 1, dtype=torch.int64)
    observation, reward, terminated, _ = env.step(zero)
    assert observation[0, 0, 2] > ANGLE_LIMIT
    assert reward.tolist() == [[1.0]]
    assert not terminated.any()
    _, reward, terminated, truncated = env.step(zero)
    assert reward.tolist() == [[0.0]]
    assert terminated.all()
    assert not truncated.any()
