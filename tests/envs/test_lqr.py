import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import solve_discrete_are

from lomaq.envs.cartpole import FORCE_COST, STATE_COST, CartPole, linearised
from lomaq.envs.lqr import row_modes, row_regulator, stationary_gain
from lomaq.errors import InputError


def coupling(n):
    """2 on the diagonal, -1 beside it."""
    return 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)


def whole_row_gain(n, stiffness):
    """Gain ``[n, 4n]`` of the regulator of all carts at once, state component by state component."""
    alone, push = linearised()
    spring = np.outer(push, [1, 0, 0, 0])
    transition = np.kron(alone, np.eye(n)) - stiffness * np.kron(spring, coupling(n))
    inputs = np.kron(push[:, None], np.eye(n))
    cost, effort = np.kron(np.diag(STATE_COST), np.eye(n)), FORCE_COST * np.eye(n)
    value = solve_discrete_are(transition, inputs, cost, effort)
    return np.linalg.solve(effort + inputs.T @ value @ inputs, inputs.T @ value @ transition)


def play(env):
    env.reset()
    total = torch.zeros(env.n_envs)
    for _ in range(env.max_steps):
        total += env.step(env.oracle())[1].sum(dim=1)
    return total


# ---------------------------------------------------------------- mathematics


@given(st.integers(1, 30))
def test_modes_diagonalise_the_coupling_of_neighbours(n):
    springs, modes = row_modes(n)
    np.testing.assert_allclose(modes @ modes, np.eye(n), atol=1e-12)
    np.testing.assert_allclose(modes, modes.T, atol=1e-12)
    np.testing.assert_allclose(modes @ np.diag(springs) @ modes, coupling(n), atol=1e-12)


def test_one_system_has_one_mode_with_two_springs():
    springs, modes = row_modes(1)
    assert springs.tolist() == pytest.approx([2.0])
    assert modes.tolist() == [pytest.approx([1.0])]


def test_gain_of_a_scalar_system_by_hand():
    # x' = x + u at costs 1 and 1: p = 1 + p - p²/(1 + p), so p is the golden ratio and the gain p / (1 + p) = 1 / p
    golden = (1 + math.sqrt(5)) / 2
    gain = stationary_gain(np.eye(1), np.ones(1), [1.0], 1.0)
    assert gain.tolist() == pytest.approx([1 / golden])


@pytest.mark.parametrize("stiffness", [0.0, 10.0, 40.0])
def test_gains_put_together_from_the_modes_are_those_of_the_whole_row(stiffness):
    regulator = row_regulator(*linearised(), stiffness, 3, state_cost=STATE_COST, input_cost=FORCE_COST)
    modes, gains = (x.double().numpy() for x in (regulator.modes, regulator.gains))
    together = np.concatenate([modes @ np.diag(gain) @ modes for gain in gains], axis=1)  # [3, 12]
    np.testing.assert_allclose(together, whole_row_gain(3, stiffness), rtol=1e-5, atol=1e-5)


def test_the_regulator_wants_minus_gain_times_state():
    regulator = row_regulator(*linearised(), 10.0, 3, state_cost=STATE_COST, input_cost=FORCE_COST)
    state = np.random.default_rng(0).normal(size=(4, 5, 3))  # [S, B, N]
    expected = [-whole_row_gain(3, 10.0) @ state[:, copy].reshape(-1) for copy in range(5)]
    wanted = regulator.wanted(torch.from_numpy(state).float())
    np.testing.assert_allclose(wanted.numpy(), expected, rtol=1e-4, atol=1e-3)


def test_the_regulated_row_is_stable():
    alone, push = linearised()
    spring = np.outer(push, [1, 0, 0, 0])
    transition = np.kron(alone, np.eye(3)) - 10 * np.kron(spring, coupling(3))
    closed = transition - np.kron(push[:, None], np.eye(3)) @ whole_row_gain(3, 10.0)
    assert np.abs(np.linalg.eigvals(transition)).max() > 1
    assert np.abs(np.linalg.eigvals(closed)).max() < 1


# ------------------------------------------------------------------- cart-pole


def test_linearisation_is_the_slope_of_the_environments_own_step():
    env, small = CartPole(1, stiffness=0, n_envs=10), 1e-3
    state = torch.zeros(10, 4)
    state[:4] = state[4:8] = small * torch.eye(4)
    for number, name in enumerate(env.state_names):
        getattr(env, name).copy_(state[:, number, None])
    pushes = torch.tensor([0] * 4 + [1] * 4 + [0, 1])[:, None]  # both ways: the mean is that of no force
    after = env.step(pushes)[0][:, 0].double().numpy()
    transition, push = linearised()
    np.testing.assert_allclose((after[:4] + after[4:8]).T / (2 * small), transition, atol=2e-4)
    np.testing.assert_allclose((after[9] - after[8]) / 20, push, atol=1e-6)


def test_a_cart_is_pushed_to_where_its_pole_leans():
    env = CartPole(3, n_envs=2)
    env.angle[:, 1] = torch.tensor([0.1, -0.1])
    actions = env.oracle()
    assert (actions.shape, actions.dtype) == ((2, 3), torch.int64)
    assert actions[:, 1].tolist() == [1, 0]


@pytest.mark.parametrize(("n_agents", "n_envs"), [(1, 200), (15, 50), (100, 10), (1000, 2)])
def test_the_oracle_keeps_every_pole_up(n_agents, n_envs):
    env = CartPole(n_agents, n_envs=n_envs, seed=n_agents)
    assert play(env).tolist() == [env.best_return] * n_envs == [200.0 * n_agents] * n_envs


def test_the_oracle_holds_without_springs():
    env = CartPole(3, stiffness=0.0, n_envs=50, seed=0)
    assert play(env).tolist() == [600.0] * 50


def test_the_oracle_neither_draws_numbers_nor_changes_the_state():
    env = CartPole(3, n_envs=2, seed=0)
    env.reset()
    before = env.state_dict()
    assert torch.equal(env.oracle(), env.oracle())
    after = env.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("stiffness", [1e30, 1e100, 1e308])
def test_springs_beyond_floating_point_are_refused_in_one_line(stiffness):
    with pytest.raises(InputError, match=r"^env\.stiffness: expected springs soft enough .*, got 1e\+\d+$"):
        CartPole(3, stiffness=stiffness).oracle()
