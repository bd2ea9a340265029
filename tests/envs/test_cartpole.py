"""Coupled carts and poles around their steps: ends, best return, starts, seeds, checkpoints and arguments."""

import math

import numpy as np
import pytest
import torch

from lomaq.envs.cartpole import CartPole
from lomaq.errors import InputError


@pytest.fixture
def trajectory(random_pushes):
    """The observations that random pushes lead to: ``trajectory(env, steps)``."""

    def play(env, steps, seed=0):
        rng = np.random.default_rng(seed)
        return torch.stack([env.step(random_pushes(rng, env))[0] for _ in range(steps)])

    return play


# -------------------------------------------------------- episodes and returns


def test_episode_ends_by_the_step_after_the_last_cart_has_fallen(put_carts):
    env = CartPole(2)
    env.reset()
    put_carts(env, angle=[[0.3, 0.2]], spin=[[0.0, 3.0]], offset=0.0)
    actions = torch.zeros(1, 2, dtype=torch.int64)
    results = [env.step(actions) for _ in range(3)]
    assert [rewards[0].tolist() for _, rewards, _, _ in results] == [[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    assert [bool(terminated) for _, _, terminated, _ in results] == [False, True, True]


def test_time_limit_truncates_and_does_not_terminate(put_carts):
    env = CartPole(2, n_envs=2)
    env.reset()
    put_carts(env, time=198, offset=0.0, velocity=0.0, angle=0.0, spin=0.0)
    actions = torch.tensor([[0, 1], [1, 0]])
    for expected in ([False, False], [True, True]):
        _, _, terminated, truncated = env.step(actions)
        assert truncated.tolist() == expected
        assert not terminated.any()


def test_real_end_at_the_time_limit_is_terminated_and_not_truncated(put_carts):
    env = CartPole(1, max_steps=1, n_envs=2)
    env.reset()
    put_carts(env, offset=0.0, angle=[[0.5], [0.0]])
    _, _, terminated, truncated = env.step(torch.zeros(2, 1, dtype=torch.int64))
    assert terminated.tolist() == [True, False]
    assert truncated.tolist() == [False, True]


def test_balancing_for_the_whole_episode_earns_the_best_return(balancing_pushes):
    env = CartPole(3, n_envs=2, seed=5)
    env.reset()
    total = torch.zeros(2)
    for step in range(1, 201):
        _, rewards, terminated, truncated = env.step(balancing_pushes(env))
        total += rewards.sum(dim=1)
        assert not terminated.any()
        assert truncated.tolist() == [step == 200] * 2
    assert env.best_return == 600.0
    assert total.tolist() == [env.best_return] * 2


@pytest.mark.parametrize(("n_agents", "max_steps", "best"), [(1, 200, 200.0), (15, 200, 3000.0), (4, 7, 28.0)])
def test_best_return_is_one_per_agent_and_step(n_agents, max_steps, best):
    assert CartPole(n_agents, max_steps=max_steps).best_return == best


# ------------------------------------------------------------- starts and seeds


def test_sizes_are_those_of_the_problem():
    env = CartPole(4, n_envs=3)
    assert (env.n_agents, env.n_envs, env.n_actions, env.obs_size, env.max_steps) == (4, 3, 2, 4, 200)
    assert env.action_mask() is None
    assert env.graph.edge_index.tolist() == [[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]


def test_starts_fill_their_ranges_evenly():
    observations = CartPole(4, n_envs=2000, seed=0).reset()
    for feature, reach in enumerate((0.1, 0.05, 0.05, 0.05)):
        values = observations[..., feature]
        assert values.abs().max() <= reach
        assert values.max() > 0.99 * reach
        assert values.min() < -0.99 * reach
        assert abs(float(values.mean())) < 0.03 * reach
        assert float(values.std()) == pytest.approx(reach / math.sqrt(3), rel=0.03)
    assert len(observations[:, :, 2].unique()) > 7900


def test_observation_is_offset_velocity_angle_and_spin(put_carts):
    env = CartPole(2)
    env.reset()
    put_carts(env, offset=[[0.1, 0.2]], velocity=[[0.3, 0.4]], angle=[[0.5, 0.6]], spin=[[0.7, 0.8]])
    expected = torch.tensor([[[0.1, 0.3, 0.5, 0.7], [0.2, 0.4, 0.6, 0.8]]])
    assert torch.equal(env.observe(), expected)


def test_masked_reset_touches_only_the_masked_environments(carts_of):
    env = CartPole(3, n_envs=4, seed=0)
    env.reset()
    actions = torch.ones(4, 3, dtype=torch.int64)
    for _ in range(5):
        env.step(actions)
    before = carts_of(env)
    observations = env.reset(torch.tensor([False, True, False, True]))
    after = carts_of(env)
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert (after[[1, 3]] != before[[1, 3]]).all()
    assert (np.abs(after[[1, 3]]) <= 0.1).all()
    assert env.time.tolist() == [5, 0, 5, 0]
    np.testing.assert_array_equal(observations.numpy(), after.transpose(0, 2, 1))


def test_reset_of_no_copy_changes_nothing():
    env = CartPole(3, n_envs=2)
    observations = env.reset()
    assert torch.equal(env.reset(torch.zeros(2, dtype=torch.bool)), observations)


def test_equal_seeds_give_equal_trajectories_and_other_seeds_others(trajectory):
    first, second, other = (CartPole(3, n_envs=2, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(first.reset(), second.reset())
    assert not torch.equal(first.observe(), other.reset())
    assert torch.equal(trajectory(first, 20), trajectory(second, 20))
    assert torch.equal(first.reset(), second.reset())


def test_starts_do_not_depend_on_the_global_generator():
    torch.manual_seed(1)
    first = CartPole(3, seed=7).reset()
    torch.manual_seed(2)
    assert torch.equal(CartPole(3, seed=7).reset(), first)


def test_state_dict_lets_another_environment_continue_identically(trajectory):
    env = CartPole(3, n_envs=2, seed=7)
    env.reset()
    trajectory(env, 10)
    state = env.state_dict()
    other = CartPole(3, n_envs=2, seed=99)
    other.reset()
    other.load_state_dict(state)
    assert torch.equal(other.observe(), env.observe())
    assert other.time.tolist() == [10, 10]
    assert torch.equal(trajectory(other, 20), trajectory(env, 20))
    mask = torch.tensor([True, False])
    assert torch.equal(other.reset(mask), env.reset(mask))
    assert other.time.tolist() == [0, 30]


def test_state_dict_is_a_copy_that_later_steps_do_not_change(trajectory):
    env = CartPole(2, n_envs=2)
    env.reset()
    state = env.state_dict()
    kept = {name: value.clone() for name, value in state.items()}
    trajectory(env, 5)
    env.reset()
    assert all(torch.equal(state[name], kept[name]) for name in kept)


def test_state_of_another_size_is_refused():
    env = CartPole(3, n_envs=2)
    with pytest.raises(InputError, match=r"state of the environment \(offset\): expected shape \[1, 3\], got \[2, 3\]"):
        CartPole(3, n_envs=1).load_state_dict(env.state_dict())


def test_parallel_environments_do_not_feel_each_other(cart_features, random_pushes):
    first, second = CartPole(3, n_envs=3, seed=0), CartPole(3, n_envs=3, seed=0)
    first.reset()
    second.reset()
    for name in cart_features:
        getattr(second, name)[[0, 2]] = 0.123
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions = random_pushes(rng, first)
        others = actions.clone()
        others[[0, 2]] = 1 - others[[0, 2]]
        one, two = first.step(actions), second.step(others)
        assert all(torch.equal(a[1], b[1]) for a, b in zip(one, two, strict=True))


def test_a_copy_moves_alike_alone_and_in_a_batch(put_carts, cart_features, random_pushes):
    batch, alone = CartPole(5, n_envs=7, seed=0), CartPole(5, n_envs=1, seed=1)
    batch.reset()
    alone.reset()
    put_carts(alone, **{name: getattr(batch, name)[4:5] for name in cart_features})
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions = random_pushes(rng, batch)
        many, one = batch.step(actions), alone.step(actions[4:5])
        torch.testing.assert_close(many[0][4:5], one[0], rtol=1e-5, atol=1e-5)
        assert torch.equal(many[1][4:5], one[1])


# ------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"n_agents": 0}, "n_agents"),
        ({"n_agents": 2.5}, "n_agents"),
        ({"stiffness": -1.0}, "stiffness"),
        ({"stiffness": math.nan}, "stiffness"),
        ({"stiffness": "hard"}, "stiffness"),
        ({"max_steps": 0}, "max_steps"),
        ({"max_steps": 1.5}, "max_steps"),
        ({"n_envs": 0}, "n_envs"),
    ],
)
def test_impossible_arguments_are_refused_by_name(arguments, name):
    with pytest.raises(InputError, match=rf"{name}: expected "):
        CartPole(**arguments)


@pytest.mark.parametrize("max_steps", ["long", None])
def test_time_limit_that_is_no_number_is_refused_by_name(max_steps):
    with pytest.raises(InputError, match="max_steps: expected "):
        CartPole(max_steps=max_steps)
