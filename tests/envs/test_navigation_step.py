"""One step of navigation by hand: how agents move and push, and what they are paid."""

import math

import numpy as np
import pytest
import torch

from lomaq.envs.navigation import Navigation


def still(env):
    return torch.zeros(env.n_envs, env.n_agents, dtype=torch.int64)


# -------------------------------------------------------------- dynamics by hand


@pytest.mark.parametrize(
    ("action", "push"), [(0, (0, 0)), (1, (-0.5, 0)), (2, (0.5, 0)), (3, (0, -0.5)), (4, (0, 0.5))]
)
def test_action_adds_half_a_unit_of_speed_after_damping(put_agents, action, push):
    env = Navigation(1)
    env.reset()
    put_agents(env, position=[[[0.1, 0.2]]], velocity=[[[0.4, -0.8]]])
    observations = env.step(torch.tensor([[action]]))[0]
    velocity = [0.3 + push[0], -0.6 + push[1]]
    expected = [*velocity, 0.1 + 0.1 * velocity[0], 0.2 + 0.1 * velocity[1]]
    assert observations[0, 0, :4].tolist() == pytest.approx(expected, abs=1e-6)


def test_two_agents_that_touch_are_pushed_apart_equally(put_agents):
    env = Navigation(2)
    env.reset()
    put_agents(env, position=[[[0.3, 0.0], [0.5, 0.0]]], velocity=np.zeros((1, 2, 2)))
    env.step(still(env))
    # overlap 0.1, force 10, for 0.1 s
    assert env.velocity[:, 0, 0].tolist() == pytest.approx([-1.0, 1.0], rel=1e-4)
    assert env.velocity[:, 1, 0].tolist() == [0.0, 0.0]


def test_agents_at_contact_distance_feel_the_soft_margin(put_agents):
    env = Navigation(2)
    env.reset()
    put_agents(env, position=[[[0.2, 0.0], [0.5, 0.0]]], velocity=np.zeros((1, 2, 2)))
    env.step(still(env))
    assert float(env.velocity[1, 0, 0]) == pytest.approx(100 * 1e-3 * math.log(2) * 0.1, rel=1e-3)


def test_agents_that_are_apart_or_in_one_spot_do_not_push(put_agents):
    env = Navigation(2, n_envs=2)
    env.reset()
    put_agents(env, position=[[[0.0, 0.0], [0.35, 0.0]], [[0.4, 0.1], [0.4, 0.1]]], velocity=np.zeros((2, 2, 2)))
    env.step(still(env))
    assert env.velocity.abs().max() < 1e-6


def test_contact_reaches_bases_slightly_beyond_the_graphs_edges(put_agents):
    env = Navigation(4)
    assert [0, 3] not in env.graph.edge_index.T.tolist()
    env.reset()
    put_agents(env, position=[[[1.0, 0.0], [0.75, 1.0], [1.5, 1.0], [1.25, 0.0]]], velocity=np.zeros((1, 4, 2)))
    env.step(still(env))
    assert env.velocity[[0, 3], 0, 0].tolist() == pytest.approx([-0.5, 0.5], rel=1e-4)


def test_square_region_clips_each_axis_on_its_own(put_agents, agents_of):
    env = Navigation(2)
    env.reset()
    put_agents(env, position=[[[-0.9, 0.5], [1.7, -0.9]]], velocity=[[[-3.0, 1.0], [2.0, -2.0]]])
    env.step(still(env))
    expected = np.array([[-1.0, 0.5 + 0.075], [1.75, -1.0]])
    np.testing.assert_allclose(agents_of(env)[0][0], expected, atol=1e-6)
    np.testing.assert_allclose(agents_of(env)[1][0], [[-2.25, 0.75], [1.5, -1.5]], atol=1e-6)


def test_circular_region_clips_towards_its_base(put_agents, agents_of):
    env = Navigation(4, "grid", "circle")
    env.reset()
    corner = np.array([[1.5 + 0.6, 0.8 - 1e-4]])
    position = np.array([[[0.0, 0.0], corner[0], [0.0, 1.5], [1.5, 1.5]]])
    velocity = np.zeros((1, 4, 2))
    velocity[0, 1] = (4.0, 0.0)
    put_agents(env, position=position, velocity=velocity)
    env.step(still(env))
    beyond = np.array([0.6 + 0.3, 0.8 - 1e-4])
    expected = np.array([1.5, 0.0]) + beyond / np.linalg.norm(beyond)
    np.testing.assert_allclose(agents_of(env)[0][0, 1], expected, atol=1e-6)


# ---------------------------------------------------------------- reward by hand


@pytest.fixture
def scene(put_agents):
    """Agents and landmarks of one copy, put by hand: ``scene(env, position, landmark)``; at rest unless told."""

    def place(env, position, landmark, velocity=None):
        position, landmark = np.array([position]), np.array([landmark])
        velocity = np.zeros_like(position) if velocity is None else velocity
        put_agents(env, position=position, landmark=landmark, velocity=velocity)

    return place


def test_landmark_is_shared_equally_and_bonus_grows_towards_a_tenth(scene):
    env = Navigation(2)
    env.reset()
    scene(env, [[0.0, 0.0], [0.2, 0.0]], [[0.0, 0.0], [1.2, 0.0]])
    _, rewards, _, _ = env.step(still(env))
    expected = [1 / 2 + 0.001 / 0.1 + 0.001 / 1.2, 1 / 2 + 0.001 / 0.2 + 0.001 / 1.0]
    assert rewards[0].tolist() == pytest.approx(expected, rel=1e-5)


def test_agent_on_two_landmarks_is_paid_for_both(scene):
    env = Navigation(2)
    env.reset()
    scene(env, [[0.5, 0.0], [-0.25, 1.0]], [[0.3, 0.0], [0.7, 0.0]])
    observations, rewards, _, _ = env.step(still(env))
    assert float(rewards[0, 0]) == pytest.approx(2 + 2 * 0.001 / 0.2, rel=1e-5)
    assert float(rewards[0, 1]) == pytest.approx(0.001 / math.hypot(0.55, 1) + 0.001 / math.hypot(0.95, 1), rel=1e-5)
    assert observations[0, :, -1].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("distance", "on"), [(0.2499, 1.0), (0.2501, 0.0)])
def test_agent_is_on_a_landmark_when_closer_than_a_quarter(scene, distance, on):
    env = Navigation(1)
    env.reset()
    scene(env, [[distance, 0.0]], [[0.0, 0.0]])
    observations, rewards, _, _ = env.step(still(env))
    assert float(rewards) == pytest.approx(on + 0.001 / distance, rel=1e-5)
    assert float(observations[0, 0, -1]) == on


def test_reward_is_of_the_state_before_the_step(scene):
    env = Navigation(1)
    env.reset()
    scene(env, [[0.2, 0.0]], [[0.0, 0.0]], velocity=[[[3.0, 0.0]]])
    observation, reward, _, _ = env.step(still(env))
    assert float(observation[0, 0, -2]) == pytest.approx(0.425, abs=1e-6)
    assert float(reward) == pytest.approx(1.005, rel=1e-5)
    assert float(env.step(still(env))[1]) == pytest.approx(0.001 / 0.425, rel=1e-4)


def test_bonus_stops_at_a_base_difference_of_two_and_a_quarter(scene):
    env = Navigation(5)
    env.reset()
    far = [[0.75 * i, 1.0] for i in range(5)]
    landmarks = [[0.75 * i, -1.0] for i in range(5)]
    scene(env, far, landmarks)
    _, rewards, _, _ = env.step(still(env))
    for i in range(5):
        known = [abs(i - j) for j in range(5) if abs(i - j) <= 3]
        expected = sum(0.001 / math.hypot(0.75 * steps, 2) for steps in known)
        assert float(rewards[0, i]) == pytest.approx(expected, rel=1e-5)


def test_team_is_paid_at_most_one_a_landmark_besides_the_bonus(agents_of, random_moves):
    env = Navigation(5, n_envs=50, seed=3)
    env.reset()
    rng = np.random.default_rng(0)
    for _ in range(20):
        position, _, landmark = agents_of(env)
        _, rewards, _, _ = env.step(random_moves(rng, env))
        apart = np.linalg.norm(position[:, :, None] - landmark[:, None], axis=-1)
        covered = (apart < 0.25).any(axis=1).sum(axis=1)
        bonus = rewards.sum(dim=1).numpy() - covered
        assert (bonus > 0).all()
        assert (bonus <= 25 * 0.01).all()


def test_count_is_one_plus_the_others_on_my_landmark(scene):
    env = Navigation(5)
    env.reset()
    position = [[0.75, 0.0], [0.75, 0.2], [0.75, -0.2], [2.25, 0.9], [3.0, 0.0]]
    landmark = [[-1.0, -1.0], [0.75, 0.0], [0.5, -1.0], [2.25, 1.0], [4.0, 1.0]]
    scene(env, position, landmark)
    assert env.observe()[0, :, -1].tolist() == [3.0, 3.0, 3.0, 1.0, 0.0]
