"""Navigation around its steps: starts, observed slots, ends, seeds, checkpoints, pairs and arguments."""

import math

import numpy as np
import pytest
import torch

from lomaq.envs.navigation import Navigation
from lomaq.errors import InputError


@pytest.fixture
def trajectory(random_moves):
    """Observations and rewards of random moves, concatenated: ``trajectory(env, steps)``."""

    def play(env, steps, seed=0):
        rng = np.random.default_rng(seed)
        results = [env.step(random_moves(rng, env)) for _ in range(steps)]
        return torch.cat(
            [torch.cat([observations.flatten(), rewards.flatten()]) for observations, rewards, _, _ in results]
        )

    return play


# ------------------------------------------------------------ starts and the end


def test_starts_are_uniform_in_the_squares_at_rest(agents_of, bases_on_a_line):
    env = Navigation(3, n_envs=3000, seed=0)
    env.reset()
    position, velocity, landmark = agents_of(env)
    assert not velocity.any()
    for place in (position, landmark):
        offset = place - np.array(bases_on_a_line(3))
        assert np.abs(offset).max() <= 1
        assert (offset.max(axis=(0, 1)) > 0.99).all()
        assert (offset.min(axis=(0, 1)) < -0.99).all()
        np.testing.assert_allclose(offset.mean(axis=0), 0, atol=0.06)
        np.testing.assert_allclose(offset.std(axis=0), 1 / math.sqrt(3), rtol=0.05)
    assert abs(np.corrcoef(position[:, 0, 0], landmark[:, 0, 0])[0, 1]) < 0.1


def test_starts_are_uniform_in_the_circles(agents_of, bases_on_a_grid):
    env = Navigation(4, "grid", "circle", n_envs=3000, seed=0)
    env.reset()
    for place in (agents_of(env)[0], agents_of(env)[2]):
        offset = place - np.array(bases_on_a_grid(2))
        radius = np.linalg.norm(offset, axis=-1).ravel()
        assert radius.max() <= 1 + 1e-6
        for r in (0.25, 0.5, 0.75):  # a uniform disc holds r² of its points within r
            assert (radius < r).mean() == pytest.approx(r**2, abs=0.02)
        np.testing.assert_allclose(offset.mean(axis=(0, 1)), 0, atol=0.03)


def test_episode_is_never_terminated_and_truncated_after_fifty_steps(random_moves):
    env = Navigation(3, n_envs=2, seed=0)
    env.reset()
    assert env.max_steps == 50
    assert env.best_return is None
    rng = np.random.default_rng(0)
    for step in range(1, 51):
        _, rewards, terminated, truncated = env.step(random_moves(rng, env))
        assert rewards.shape == (2, 3)
        assert (rewards.dtype, terminated.dtype, truncated.dtype) == (torch.float32, torch.bool, torch.bool)
        assert not terminated.any()
        assert truncated.tolist() == [step == 50] * 2


def test_masked_reset_touches_only_the_masked_environments(agents_of, random_moves):
    env = Navigation(4, n_envs=4, seed=0)
    first = env.reset()
    rng = np.random.default_rng(0)
    for _ in range(5):
        first = env.step(random_moves(rng, env))[0]
    before, slots = agents_of(env), env.slot.clone()
    observations = env.reset(torch.tensor([False, True, False, True]))
    for old, new in zip(before, agents_of(env), strict=True):
        np.testing.assert_array_equal(new[[0, 2]], old[[0, 2]])
        assert (new[[1, 3]] != old[[1, 3]]).any(axis=-1).all()
    assert torch.equal(env.slot[..., [0, 2]], slots[..., [0, 2]])
    assert torch.equal(observations[[0, 2]], first[[0, 2]])
    assert (observations[[1, 3], :, :2] == 0).all()
    assert env.time.tolist() == [5, 0, 5, 0]


def test_masked_reset_leaves_the_others_reward_and_future_as_they_were(random_moves):
    env, twin = Navigation(4, n_envs=3, seed=0), Navigation(4, n_envs=3, seed=0)
    env.reset()
    twin.reset()
    env.reset(torch.tensor([True, False, False]))
    rng = np.random.default_rng(0)
    for _ in range(10):
        actions = random_moves(rng, env)
        for mine, other in zip(env.step(actions), twin.step(actions), strict=True):
            assert torch.equal(mine[1:], other[1:])


def test_reset_of_no_copy_changes_nothing():
    env = Navigation(3, n_envs=2)
    observations = env.reset()
    assert torch.equal(env.reset(torch.zeros(2, dtype=torch.bool)), observations)


# --------------------------------------------------------------- observed slots


def test_paper_slots_hold_the_own_region_by_index_and_then_the_nearest(agents_of, slots_seen):
    env = Navigation(4, n_envs=100, seed=5)
    env.reset()
    seen, landmark = slots_seen(env), agents_of(env)[2]
    full_regions = 0
    for copy in range(100):
        for agent in range(4):
            apart = np.abs(landmark[copy] - [0.75 * agent, 0.0])
            inside = [j for j in range(4) if apart[j].max() <= 1]
            outside = sorted(set(range(4)) - set(inside), key=lambda j: np.hypot(*apart[j]))
            assert seen[copy, agent].tolist() == (inside + outside)[: env.n_slots]
            full_regions += len(inside) > 1
    assert full_regions > 100


def test_slots_keep_their_landmarks_through_an_episode(slots_seen, random_moves):
    env = Navigation(5, n_envs=3, seed=2)
    env.reset()
    before = slots_seen(env)
    rng = np.random.default_rng(0)
    for _ in range(20):
        env.step(random_moves(rng, env))
    assert np.array_equal(slots_seen(env), before)


def test_indexed_slots_hold_the_own_landmark_and_then_the_nearest_bases(slots_seen):
    env = Navigation(6, observation="indexed", n_envs=2)
    env.reset()
    assert env.n_slots == 5
    expected = [
        [0, 1, 2, 3, 4],
        [1, 0, 2, 3, 4],
        [2, 0, 1, 3, 4],
        [3, 1, 2, 4, 5],
        [4, 1, 2, 3, 5],
        [5, 1, 2, 3, 4],
    ]
    assert slots_seen(env).tolist() == [expected] * 2


# ------------------------------------------------------------ seeds, checkpoints


@pytest.mark.parametrize("regions", ["square", "circle"])
def test_equal_seeds_give_equal_trajectories_and_other_seeds_others(trajectory, regions):
    first, second, other = (Navigation(4, "grid", regions, n_envs=2, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(first.reset(), second.reset())
    assert not torch.equal(first.observe(), other.reset())
    assert torch.equal(trajectory(first, 10), trajectory(second, 10))
    assert torch.equal(first.reset(), second.reset())


@pytest.mark.parametrize("observation", ["paper", "indexed"])
def test_state_dict_lets_another_environment_continue_identically(trajectory, observation):
    env = Navigation(4, observation=observation, n_envs=2, seed=7)
    env.reset()
    trajectory(env, 10)
    state = env.state_dict()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    other = Navigation(4, observation=observation, n_envs=2, seed=99)
    other.load_state_dict(state)
    assert torch.equal(other.observe(), env.observe())
    assert torch.equal(trajectory(other, 10), trajectory(env, 10))
    mask = torch.tensor([True, False])
    assert torch.equal(other.reset(mask), env.reset(mask))
    assert other.time.tolist() == [0, 20]


def test_state_dict_is_a_copy_that_later_steps_do_not_change(trajectory):
    env = Navigation(3, n_envs=2)
    env.reset()
    state = env.state_dict()
    kept = {name: value.clone() for name, value in state.items()}
    trajectory(env, 3)
    env.reset()
    assert all(torch.equal(state[name], kept[name]) for name in kept)


def test_state_of_another_size_is_refused():
    env = Navigation(3, n_envs=2)
    with pytest.raises(InputError, match=r"state of the environment \(position\): expected shape"):
        Navigation(4, n_envs=2).load_state_dict(env.state_dict())


def test_a_copy_moves_alike_alone_and_in_a_batch(random_moves):
    batch, alone = Navigation(5, n_envs=6, seed=0), Navigation(5, n_envs=1, seed=1)
    batch.reset()
    alone.reset()
    state, mine = batch.state_dict(), alone.state_dict()
    for name in Navigation.state_names:
        mine[name] = state[name][..., 3:4].clone()
    alone.load_state_dict(mine)
    rng = np.random.default_rng(0)
    for _ in range(20):
        actions = random_moves(rng, batch)
        many, one = batch.step(actions), alone.step(actions[3:4])
        torch.testing.assert_close(many[0][3:4], one[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(many[1][3:4], one[1], rtol=1e-4, atol=1e-4)


# --------------------------------------------------------------- graph and pairs


def test_line_of_the_figures_reaches_two_to_either_side():
    assert Navigation(7).graph.neighbourhood(3, 1) == [1, 2, 3, 4, 5]
    assert Navigation(7).n_slots == 5


@pytest.mark.parametrize("regions", ["square", "circle"])
def test_pairs_looked_at_grow_linearly_with_the_agents_on_the_line(regions):
    contacts, covers = zip(
        *[(len(env._first), len(env._agent)) for env in (Navigation(n, "line", regions) for n in (50, 100, 150))],
        strict=True,
    )
    assert contacts[2] - contacts[1] == contacts[1] - contacts[0] == 3 * 50
    assert covers[2] - covers[1] == covers[1] - covers[0] == (1 + 2 * 3) * 50


@pytest.mark.parametrize("side", [5, 10])
def test_pairs_looked_at_on_the_grid_are_those_of_next_and_diagonal_bases(side):
    env = Navigation(side * side, "grid")
    near = 2 * side * (side - 1) + 2 * (side - 1) ** 2
    assert len(env._first) == near
    assert len(env._agent) == side * side + 2 * near


# ------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"n_agents": 0}, "n_agents"),
        ({"n_agents": 2.0}, "n_agents"),
        ({"layout": "ring"}, "layout"),
        ({"regions": "triangle"}, "regions"),
        ({"observation": "full"}, "observation"),
        ({"spacing": 0}, "spacing"),
        ({"spacing": math.inf}, "spacing"),
        ({"spacing": "wide"}, "spacing"),
        ({"max_steps": 0}, "max_steps"),
        ({"max_steps": "long"}, "max_steps"),
        ({"n_envs": 0}, "n_envs"),
        ({"n_envs": None}, "n_envs"),
    ],
)
def test_impossible_arguments_are_refused_by_name(arguments, name):
    with pytest.raises(InputError, match=rf"{name}: expected "):
        Navigation(**{"n_agents": 3, **arguments})


def test_sizes_are_those_of_the_problem():
    env = Navigation(4, "grid", "square", n_envs=3)
    assert (env.n_agents, env.n_envs, env.n_actions, env.n_slots, env.obs_size) == (4, 3, 5, 4, 17)
    assert env.action_mask() is None
