import math

import numpy as np
import pytest
import torch

from lomaq.envs.cartpole import CartPole
from lomaq.errors import InputError

ANGLE_LIMIT = 0.2094
NAMES = ("offset", "velocity", "angle", "spin")


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


def put(env, time=None, **values):
    """Set parts of the state by hand."""
    state = env.state_dict()
    for name, value in values.items():
        state[name] = torch.as_tensor(value, dtype=torch.float32).expand(state[name].shape).clone()
    if time is not None:
        state["time"] = torch.full_like(state["time"], time)
    env.load_state_dict(state)


def state_of(env):
    return np.stack([getattr(env, name).numpy() for name in NAMES], axis=1)  # [B, 4, n]


def balancing_actions(env):
    """Push towards where the pole leans; keeps every pole up."""
    return (env.angle + 0.3 * env.spin + 0.3 * env.offset + 0.1 * env.velocity > 0).long()


def random_actions(rng, env):
    return torch.from_numpy(rng.integers(0, 2, size=(env.n_envs, env.n_agents)))


# ------------------------------------------------------------------ dynamics


@pytest.mark.parametrize("n_agents", [1, 2, 5])
def test_one_step_equals_the_scalar_equations(n_agents):
    env = CartPole(n_agents, n_envs=8, seed=n_agents)
    env.reset()
    rng = np.random.default_rng(n_agents)
    put(
        env,
        offset=rng.uniform(-1.3, 1.3, (8, n_agents)),
        velocity=rng.uniform(-3, 3, (8, n_agents)),
        angle=rng.uniform(-0.25, 0.25, (8, n_agents)),
        spin=rng.uniform(-3, 3, (8, n_agents)),
    )
    before, actions = state_of(env), random_actions(rng, env)
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
def test_150_random_steps_follow_the_scalar_equations_without_correction(n_agents):
    # A pole falls within a second, in which an error grows by exp(4.4/s · 0.02 s) = 1.09 a step, 80 in all: rounding
    # by 2e-7 (values up to 3 in float32) in each of 50 steps sums to 2e-7 · 80 / 0.09 = 2e-4 at worst.
    env = CartPole(n_agents, n_envs=3, seed=3)
    env.reset()
    rng = np.random.default_rng(n_agents)
    expected = state_of(env).astype(np.float64)
    earned = 0.0
    for _ in range(150):
        actions = random_actions(rng, env)
        observations, rewards, terminated, _ = env.step(actions)
        for copy in range(3):
            expected[copy], pay, ended = reference_step(expected[copy], actions[copy].tolist())
            assert rewards[copy].tolist() == pay
            assert bool(terminated[copy]) == ended
            earned += sum(pay)
        np.testing.assert_allclose(observations.numpy(), expected.transpose(0, 2, 1), atol=2e-4)
    assert 3 * n_agents * 10 < earned < 3 * n_agents * 100


def test_150_balanced_steps_follow_the_scalar_equations_step_by_step():
    env = CartPole(5, stiffness=4.0, n_envs=2, seed=1)
    env.reset()
    for _ in range(150):
        before, actions = state_of(env), balancing_actions(env)
        observations, rewards, terminated, _ = env.step(actions)
        for copy in range(2):
            after, expected, ended = reference_step(before[copy], actions[copy].tolist(), stiffness=4.0)
            np.testing.assert_allclose(observations[copy].numpy(), after.T, rtol=2e-6, atol=2e-6)
            assert rewards[copy].tolist() == expected == [1.0] * 5
            assert not ended
            assert not terminated[copy]


def test_one_upright_cart_pushed_right_by_hand():
    env = CartPole(1)
    env.reset()
    put(env, offset=0.0, velocity=0.0, angle=0.0, spin=0.0)
    observations, rewards, _, _ = env.step(torch.tensor([[1]]))
    push = 10 / 1.1
    swing = -push / (0.5 * (4 / 3 - 0.1 / 1.1))
    expected = [0.0, 0.02 * (push - 0.05 * swing / 1.1), 0.0, 0.02 * swing]
    assert observations[0, 0].tolist() == pytest.approx(expected, rel=1e-6)
    assert rewards.tolist() == [[1.0]]


def test_springs_pull_towards_neighbours_and_walls_with_positions_of_the_start_of_the_step():
    env = CartPole(3, stiffness=10.0)
    env.reset()
    kick = {}
    for offset in ([0.0, 0.0, 0.0], [0.3, 0.0, -0.1]):
        put(env, offset=[offset], velocity=0.0, angle=0.0, spin=0.0)
        env.step(torch.tensor([[1, 1, 1]]))
        kick[offset[0]] = env.velocity[0].tolist()
    # with everything upright the kick is proportional to the force: 10 alone, 10 + pull with springs
    pull = [10 * (-2 * 0.3), 10 * (0.3 - 0.1), 10 * (2 * 0.1)]
    assert kick[0.3] == pytest.approx([v * (10 + p) / 10 for v, p in zip(kick[0.0], pull, strict=True)], rel=1e-5)


def test_fallen_carts_freeze_and_go_on_pulling_their_neighbours():
    env = CartPole(3, n_envs=2)
    env.reset()
    offset = [[0.0, 0.4, 0.0], [0.0, 0.0, 0.0]]
    angle = [[0.0, 0.5, 0.0]] * 2
    put(env, offset=offset, velocity=[[0.0, 2.0, 0.0]] * 2, angle=angle, spin=[[0.0, -1.0, 0.0]] * 2)
    fallen = state_of(env)[:, :, 1]
    for step in range(5):
        _, rewards, terminated, _ = env.step(torch.tensor([[1, 1, 1]] * 2))
        assert rewards.tolist() == [[1.0, 0.0, 1.0]] * 2
        assert not terminated.any()
        np.testing.assert_array_equal(state_of(env)[:, :, 1], fallen)
        if step == 0:
            ratio = env.velocity[0] / env.velocity[1]
            assert ratio[[0, 2]].tolist() == pytest.approx([1.4, 1.4], rel=1e-5)  # (10 + 10 · 0.4) / 10


@pytest.mark.parametrize(
    ("n_agents", "place", "up"),
    [(1, -0.99, True), (1, -1.01, False), (1, 0.99, True), (1, 1.01, False), (3, -1.01, False), (3, 2.99, True)],
)
def test_first_cart_is_up_between_one_rest_distance_outside_either_end(n_agents, place, up):
    env = CartPole(n_agents)
    env.reset()
    offset = [0.0] * n_agents
    offset[0] = place
    put(env, offset=[offset], angle=0.0)
    assert bool(env.step(torch.zeros(1, n_agents, dtype=torch.int64))[1][0, 0]) is up


@pytest.mark.parametrize(("place", "up"), [(-1.01, False), (-0.99, True), (2.99, True), (3.01, False)])
def test_last_cart_may_roam_the_same_track(place, up):
    env = CartPole(3)
    env.reset()
    put(env, offset=[[0.0, 0.0, place - 2]], angle=0.0)
    assert env.step(torch.zeros(1, 3, dtype=torch.int64))[1][0].tolist() == [1.0, 1.0, float(up)]


@pytest.mark.parametrize(("angle", "up"), [(0.2093, True), (-0.2093, True), (0.2095, False), (-0.2095, False)])
def test_pole_is_up_within_twelve_degrees(angle, up):
    env = CartPole(2)
    env.reset()
    put(env, angle=[[angle, 0.0]])
    assert env.step(torch.zeros(1, 2, dtype=torch.int64))[1].tolist() == [[float(up), 1.0]]


# --------------------------------------------------------- episodes and rewards


def test_reward_is_of_the_state_before_the_step():
    env = CartPole(1)
    env.reset()
    put(env, angle=0.2, spin=3.0)
    zero = torch.zeros(1, 1, dtype=torch.int64)
    observation, reward, terminated, _ = env.step(zero)
    assert observation[0, 0, 2] > ANGLE_LIMIT
    assert reward.tolist() == [[1.0]]
    assert not terminated.any()
    _, reward, terminated, truncated = env.step(zero)
    assert reward.tolist() == [[0.0]]
    assert terminated.all()
    assert not truncated.any()


def test_episode_ends_by_the_step_after_the_last_cart_has_fallen():
    env = CartPole(2)
    env.reset()
    put(env, angle=[[0.3, 0.2]], spin=[[0.0, 3.0]], offset=0.0)
    actions = torch.zeros(1, 2, dtype=torch.int64)
    results = [env.step(actions) for _ in range(3)]
    assert [rewards[0].tolist() for _, rewards, _, _ in results] == [[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    assert [bool(terminated) for _, _, terminated, _ in results] == [False, True, True]


def test_time_limit_truncates_and_does_not_terminate():
    env = CartPole(2, n_envs=2)
    env.reset()
    put(env, time=198, offset=0.0, velocity=0.0, angle=0.0, spin=0.0)
    actions = torch.tensor([[0, 1], [1, 0]])
    for expected in ([False, False], [True, True]):
        _, _, terminated, truncated = env.step(actions)
        assert truncated.tolist() == expected
        assert not terminated.any()


def test_real_end_at_the_time_limit_is_terminated_and_not_truncated():
    env = CartPole(1, max_steps=1, n_envs=2)
    env.reset()
    put(env, offset=0.0, angle=[[0.5], [0.0]])
    _, _, terminated, truncated = env.step(torch.zeros(2, 1, dtype=torch.int64))
    assert terminated.tolist() == [True, False]
    assert truncated.tolist() == [False, True]


def test_balancing_for_the_whole_episode_earns_the_best_return():
    env = CartPole(3, n_envs=2, seed=5)
    env.reset()
    total = torch.zeros(2)
    for step in range(1, 201):
        _, rewards, terminated, truncated = env.step(balancing_actions(env))
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


def test_observation_is_offset_velocity_angle_and_spin():
    env = CartPole(2)
    env.reset()
    put(env, offset=[[0.1, 0.2]], velocity=[[0.3, 0.4]], angle=[[0.5, 0.6]], spin=[[0.7, 0.8]])
    expected = torch.tensor([[[0.1, 0.3, 0.5, 0.7], [0.2, 0.4, 0.6, 0.8]]])
    assert torch.equal(env.observe(), expected)


def test_masked_reset_touches_only_the_masked_copies():
    env = CartPole(3, n_envs=4, seed=0)
    env.reset()
    actions = torch.ones(4, 3, dtype=torch.int64)
    for _ in range(5):
        env.step(actions)
    before = state_of(env)
    observations = env.reset(torch.tensor([False, True, False, True]))
    after = state_of(env)
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert (after[[1, 3]] != before[[1, 3]]).all()
    assert (np.abs(after[[1, 3]]) <= 0.1).all()
    assert env.time.tolist() == [5, 0, 5, 0]
    np.testing.assert_array_equal(observations.numpy(), after.transpose(0, 2, 1))


def test_reset_of_no_copy_changes_nothing():
    env = CartPole(3, n_envs=2)
    observations = env.reset()
    assert torch.equal(env.reset(torch.zeros(2, dtype=torch.bool)), observations)


def trajectory(env, steps, seed=0):
    rng = np.random.default_rng(seed)
    return torch.stack([env.step(random_actions(rng, env))[0] for _ in range(steps)])


def test_equal_seeds_give_equal_trajectories_and_other_seeds_others():
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


def test_state_dict_lets_another_environment_go_on_identically():
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


def test_state_dict_is_a_copy_that_later_steps_do_not_change():
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


def test_copies_do_not_feel_each_other():
    first, second = CartPole(3, n_envs=3, seed=0), CartPole(3, n_envs=3, seed=0)
    first.reset()
    second.reset()
    for name in NAMES:
        getattr(second, name)[[0, 2]] = 0.123
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions = random_actions(rng, first)
        others = actions.clone()
        others[[0, 2]] = 1 - others[[0, 2]]
        one, two = first.step(actions), second.step(others)
        assert all(torch.equal(a[1], b[1]) for a, b in zip(one, two, strict=True))


def test_a_copy_moves_alike_alone_and_in_a_batch():
    batch, alone = CartPole(5, n_envs=7, seed=0), CartPole(5, n_envs=1, seed=1)
    batch.reset()
    alone.reset()
    put(alone, **{name: getattr(batch, name)[4:5] for name in NAMES})
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions = random_actions(rng, batch)
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


def test_no_springs_leave_carts_alone():
    env = CartPole(3, stiffness=0)
    env.reset()
    put(env, offset=[[0.5, -0.5, 0.2]], velocity=0.0, angle=0.0, spin=0.0)
    env.step(torch.ones(1, 3, dtype=torch.int64))
    assert env.velocity[0].tolist() == pytest.approx([float(env.velocity[0, 0])] * 3)
