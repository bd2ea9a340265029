import math

import numpy as np
import pytest
import torch

from lomaq.envs.navigation import Navigation
from lomaq.errors import InputError

MOVES = ((0.0, 0.0), (-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0))


class Reference:
    """One copy in float64, agent by agent and pair by pair; every pair is looked at."""

    def __init__(self, bases, regions="square"):
        self.bases = [tuple(map(float, base)) for base in bases]
        self.n, self.regions = len(self.bases), regions

    def gap(self, i, j):
        """How far the regions of two bases are apart."""
        dx, dy = (abs(a - b) for a, b in zip(self.bases[i], self.bases[j], strict=True))
        if self.regions == "circle":
            return math.hypot(dx, dy) - 2
        return math.hypot(max(dx - 2, 0), max(dy - 2, 0))

    def overlap(self, i, j):
        dx, dy = (abs(a - b) for a, b in zip(self.bases[i], self.bases[j], strict=True))
        return (math.hypot(dx, dy) if self.regions == "circle" else max(dx, dy)) < 2

    def neighbours(self, i):
        return [j for j in range(self.n) if j != i and self.overlap(i, j)]

    def inside(self, i, place):
        dx, dy = (abs(a - b) for a, b in zip(place, self.bases[i], strict=True))
        return (math.hypot(dx, dy) if self.regions == "circle" else max(dx, dy)) <= 1

    def step(self, position, velocity, actions):
        after_position, after_velocity = [], []
        for i in range(self.n):
            force = [5 * MOVES[actions[i]][axis] for axis in (0, 1)]
            for j in range(self.n):
                if j != i:
                    delta = [position[i][axis] - position[j][axis] for axis in (0, 1)]
                    distance = math.hypot(*delta)
                    overlap = 1e-3 * np.logaddexp(0, (0.3 - distance) / 1e-3)
                    force = [force[axis] + 100 * overlap * delta[axis] / distance for axis in (0, 1)]
            moved = [0.75 * velocity[i][axis] + 0.1 * force[axis] for axis in (0, 1)]
            offset = [position[i][axis] + 0.1 * moved[axis] - self.bases[i][axis] for axis in (0, 1)]
            if self.regions == "square":
                offset = [min(max(x, -1.0), 1.0) for x in offset]
            else:
                norm = math.hypot(*offset)
                offset = [x / max(norm, 1.0) for x in offset]
            after_position.append([self.bases[i][axis] + offset[axis] for axis in (0, 1)])
            after_velocity.append(moved)
        return np.array(after_position), np.array(after_velocity)

    def visitors(self, position, landmark):
        """The agents on each landmark."""
        return [[i for i in range(self.n) if math.dist(position[i], place) < 0.25] for place in landmark]

    def rewards(self, position, landmark):
        visitors, result = self.visitors(position, landmark), []
        for i in range(self.n):
            reward = 0.0
            for j in range(self.n):
                if i in visitors[j]:
                    reward += 1 / len(visitors[j])
                if self.gap(i, j) <= 0.25 + 1e-9:
                    reward += 0.01 * 0.1 / max(0.1, math.dist(position[i], landmark[j]))
            result.append(reward)
        return result

    def slots(self, landmark, observation):
        k = max(len(self.neighbours(i)) for i in range(self.n)) + 1
        result = []
        for i in range(self.n):
            if observation == "indexed":
                near = sorted(range(self.n), key=lambda j: (round(math.dist(self.bases[i], self.bases[j]), 9), j))[:k]
                result.append([i, *sorted(set(near) - {i})])
            else:
                own = [j for j in range(self.n) if self.inside(i, landmark[j])]
                others = [j for j in range(self.n) if j not in own]
                others.sort(key=lambda j: math.dist(landmark[j], self.bases[i]))
                result.append((own + others)[:k])
        return result

    def observe(self, position, velocity, landmark, slots):
        visitors, result = self.visitors(position, landmark), []
        for i in range(self.n):
            mine = [there for there in visitors if i in there]
            count = 1 + sum(len(there) - 1 for there in mine) if mine else 0
            relative = [landmark[j] - position[i] for j in slots[i]]
            result.append(
                [
                    *velocity[i],
                    *(position[i] - self.bases[i]),
                    *np.concatenate(relative),
                    *(math.hypot(*x) for x in relative),
                    count,
                ]
            )
        return np.array(result)


def line(n):
    return [(0.75 * i, 0.0) for i in range(n)]


def square_grid(side, spacing=1.5):
    return [(spacing * (i % side), spacing * (i // side)) for i in range(side * side)]


def make(n, kind, **arguments):
    """An environment and its reference."""
    if kind == "line":
        return Navigation(n, **arguments), Reference(line(n))
    side = math.isqrt(n)
    return Navigation(n, "grid", "circle", **arguments), Reference(square_grid(side), "circle")


def put(env, time=None, **values):
    """Set parts of the state by hand: ``position``, ``velocity`` and ``landmark`` as [B, n, 2]."""
    state = env.state_dict()
    for name, value in values.items():
        state[name] = torch.as_tensor(np.asarray(value), dtype=torch.float32).permute(1, 2, 0).clone()
    if time is not None:
        state["time"] = torch.full_like(state["time"], time)
    env.load_state_dict(state)


def state_of(env):
    """Position, velocity and landmark, each [B, n, 2]."""
    return [getattr(env, name).permute(2, 0, 1).numpy().copy() for name in ("position", "velocity", "landmark")]


def random_actions(rng, env):
    return torch.from_numpy(rng.integers(0, 5, size=(env.n_envs, env.n_agents)))


def still(env):
    return torch.zeros(env.n_envs, env.n_agents, dtype=torch.int64)


SCENES = [(1, "line"), (2, "line"), (5, "line"), (9, "grid-circle")]


# ------------------------------------------------------- against the reference


@pytest.mark.parametrize("observation", ["paper", "indexed"])
@pytest.mark.parametrize(("n", "kind"), SCENES)
def test_first_observation_equals_the_reference(n, kind, observation):
    env, reference = make(n, kind, observation=observation, n_envs=20, seed=n)
    observations = env.reset()
    k = max(len(reference.neighbours(i)) for i in range(n)) + 1
    assert env.obs_size == 2 + 2 + 2 * k + k + 1
    assert observations.shape == (20, n, env.obs_size)
    assert observations.dtype == torch.float32
    position, velocity, landmark = state_of(env)
    for copy in range(20):
        slots = reference.slots(landmark[copy], observation)
        expected = reference.observe(position[copy], velocity[copy], landmark[copy], slots)
        np.testing.assert_allclose(observations[copy].numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("observation", ["paper", "indexed"])
@pytest.mark.parametrize(("n", "kind"), SCENES)
def test_each_of_fifty_steps_equals_the_reference(n, kind, observation):
    env, reference = make(n, kind, observation=observation, n_envs=3, seed=30 + n)
    env.reset()
    rng = np.random.default_rng(n)
    slots = [reference.slots(landmark, observation) for landmark in state_of(env)[2]]
    covered = 0
    for _ in range(50):
        position, velocity, landmark = state_of(env)
        actions = random_actions(rng, env)
        observations, rewards, terminated, _ = env.step(actions)
        assert not terminated.any()
        for copy in range(3):
            expected = reference.rewards(position[copy], landmark[copy])
            np.testing.assert_allclose(rewards[copy].numpy(), expected, atol=2e-6)
            covered += max(expected) > 0.4
            after = reference.step(position[copy], velocity[copy], actions[copy].tolist())
            expected = reference.observe(*after, landmark[copy], slots[copy])
            # contact multiplies a rounding error of the distance by 100 on its way to the velocity, by 10 in all
            np.testing.assert_allclose(observations[copy].numpy(), expected, atol=2e-5)
    assert covered > 0


@pytest.mark.parametrize(("n", "kind"), SCENES)
def test_fifty_steps_follow_the_reference_without_correction(n, kind):
    env, reference = make(n, kind, n_envs=2, seed=20 + n)
    env.reset()
    rng = np.random.default_rng(n)
    position, velocity, landmark = (list(x.astype(np.float64)) for x in state_of(env))
    for _ in range(50):
        actions = random_actions(rng, env)
        _, rewards, _, _ = env.step(actions)
        for copy in range(2):
            expected = reference.rewards(position[copy], landmark[copy])
            np.testing.assert_allclose(rewards[copy].numpy(), expected, atol=1e-4)
            position[copy], velocity[copy] = reference.step(position[copy], velocity[copy], actions[copy].tolist())
        # a contact can stretch an error: 6e-5 was the worst of 48 such runs
        np.testing.assert_allclose(state_of(env)[0], position, atol=1e-3)
        np.testing.assert_allclose(state_of(env)[1], velocity, atol=1e-3)


#: Where agents gather, four of the grid's at one corner and two pairs on the sides.
MEETING = {
    "line": [(0.9, 0.0), (1.1, 0.1), (1.5, -0.1), (1.8, 0.1), (2.1, 0.0)],
    "grid-circle": [
        *((0.65, 0.65), (0.85, 0.65), (3.0, 0.65)),
        *((0.65, 0.85), (0.85, 0.85), (3.0, 0.85)),
        *((0.0, 3.0), (2.15, 3.0), (2.35, 3.0)),
    ],
}


@pytest.mark.parametrize(("n", "kind"), [(5, "line"), (9, "grid-circle")])
def test_crowded_agents_push_each_other_as_in_the_reference(n, kind):
    env, reference = make(n, kind, n_envs=30, seed=1)
    env.reset()
    rng = np.random.default_rng(n)
    position = np.array(MEETING[kind]) + rng.uniform(-0.15, 0.15, (30, n, 2))
    velocity = rng.uniform(-0.5, 0.5, (30, n, 2))
    put(env, position=position, velocity=velocity)
    position, velocity, _ = state_of(env)
    touching = sum(
        math.dist(position[c][i], position[c][j]) < 0.3 for c in range(30) for i in range(n) for j in range(i)
    )
    assert touching > 30
    actions = random_actions(rng, env)
    env.step(actions)
    after_position, after_velocity, _ = state_of(env)
    for copy in range(30):
        expected = reference.step(position[copy], velocity[copy], actions[copy].tolist())
        np.testing.assert_allclose(after_position[copy], expected[0], atol=5e-6)
        np.testing.assert_allclose(after_velocity[copy], expected[1], atol=5e-5)


# -------------------------------------------------------------- dynamics by hand


@pytest.mark.parametrize(
    ("action", "push"), [(0, (0, 0)), (1, (-0.5, 0)), (2, (0.5, 0)), (3, (0, -0.5)), (4, (0, 0.5))]
)
def test_action_adds_half_a_unit_of_speed_after_damping(action, push):
    env = Navigation(1)
    env.reset()
    put(env, position=[[[0.1, 0.2]]], velocity=[[[0.4, -0.8]]])
    observations = env.step(torch.tensor([[action]]))[0]
    velocity = [0.3 + push[0], -0.6 + push[1]]
    expected = [*velocity, 0.1 + 0.1 * velocity[0], 0.2 + 0.1 * velocity[1]]
    assert observations[0, 0, :4].tolist() == pytest.approx(expected, abs=1e-6)


def test_two_agents_that_touch_are_pushed_apart_equally():
    env = Navigation(2)
    env.reset()
    put(env, position=[[[0.3, 0.0], [0.5, 0.0]]], velocity=np.zeros((1, 2, 2)))
    env.step(still(env))
    # overlap 0.1, force 10, for 0.1 s
    assert env.velocity[:, 0, 0].tolist() == pytest.approx([-1.0, 1.0], rel=1e-4)
    assert env.velocity[:, 1, 0].tolist() == [0.0, 0.0]


def test_agents_at_contact_distance_feel_the_soft_margin():
    env = Navigation(2)
    env.reset()
    put(env, position=[[[0.2, 0.0], [0.5, 0.0]]], velocity=np.zeros((1, 2, 2)))
    env.step(still(env))
    assert float(env.velocity[1, 0, 0]) == pytest.approx(100 * 1e-3 * math.log(2) * 0.1, rel=1e-3)


def test_agents_that_are_apart_or_in_one_spot_do_not_push():
    env = Navigation(2, n_envs=2)
    env.reset()
    put(env, position=[[[0.0, 0.0], [0.35, 0.0]], [[0.4, 0.1], [0.4, 0.1]]], velocity=np.zeros((2, 2, 2)))
    env.step(still(env))
    assert env.velocity.abs().max() < 1e-6


def test_contact_reaches_bases_slightly_beyond_the_graphs_edges():
    env = Navigation(4)
    assert [0, 3] not in env.graph.edge_index.T.tolist()
    env.reset()
    put(env, position=[[[1.0, 0.0], [0.75, 1.0], [1.5, 1.0], [1.25, 0.0]]], velocity=np.zeros((1, 4, 2)))
    env.step(still(env))
    assert env.velocity[[0, 3], 0, 0].tolist() == pytest.approx([-0.5, 0.5], rel=1e-4)


def test_square_region_clips_each_axis_on_its_own():
    env = Navigation(2)
    env.reset()
    put(env, position=[[[-0.9, 0.5], [1.7, -0.9]]], velocity=[[[-3.0, 1.0], [2.0, -2.0]]])
    env.step(still(env))
    expected = np.array([[-1.0, 0.5 + 0.075], [1.75, -1.0]])
    np.testing.assert_allclose(state_of(env)[0][0], expected, atol=1e-6)
    np.testing.assert_allclose(state_of(env)[1][0], [[-2.25, 0.75], [1.5, -1.5]], atol=1e-6)


def test_circular_region_clips_towards_its_base():
    env = Navigation(4, "grid", "circle")
    env.reset()
    corner = np.array([[1.5 + 0.6, 0.8 - 1e-4]])
    position = np.array([[[0.0, 0.0], corner[0], [0.0, 1.5], [1.5, 1.5]]])
    velocity = np.zeros((1, 4, 2))
    velocity[0, 1] = (4.0, 0.0)
    put(env, position=position, velocity=velocity)
    env.step(still(env))
    beyond = np.array([0.6 + 0.3, 0.8 - 1e-4])
    expected = np.array([1.5, 0.0]) + beyond / np.linalg.norm(beyond)
    np.testing.assert_allclose(state_of(env)[0][0, 1], expected, atol=1e-6)


# ---------------------------------------------------------------- reward by hand


def scene(env, position, landmark, velocity=None):
    position, landmark = np.array([position]), np.array([landmark])
    put(env, position=position, landmark=landmark, velocity=np.zeros_like(position) if velocity is None else velocity)


def test_landmark_is_shared_equally_and_bonus_grows_towards_a_tenth():
    env = Navigation(2)
    env.reset()
    scene(env, [[0.0, 0.0], [0.2, 0.0]], [[0.0, 0.0], [1.2, 0.0]])
    _, rewards, _, _ = env.step(still(env))
    expected = [1 / 2 + 0.001 / 0.1 + 0.001 / 1.2, 1 / 2 + 0.001 / 0.2 + 0.001 / 1.0]
    assert rewards[0].tolist() == pytest.approx(expected, rel=1e-5)


def test_agent_on_two_landmarks_is_paid_for_both():
    env = Navigation(2)
    env.reset()
    scene(env, [[0.5, 0.0], [-0.25, 1.0]], [[0.3, 0.0], [0.7, 0.0]])
    observations, rewards, _, _ = env.step(still(env))
    assert float(rewards[0, 0]) == pytest.approx(2 + 2 * 0.001 / 0.2, rel=1e-5)
    assert float(rewards[0, 1]) == pytest.approx(0.001 / math.hypot(0.55, 1) + 0.001 / math.hypot(0.95, 1), rel=1e-5)
    assert observations[0, :, -1].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("distance", "on"), [(0.2499, 1.0), (0.2501, 0.0)])
def test_agent_is_on_a_landmark_when_closer_than_a_quarter(distance, on):
    env = Navigation(1)
    env.reset()
    scene(env, [[distance, 0.0]], [[0.0, 0.0]])
    observations, rewards, _, _ = env.step(still(env))
    assert float(rewards) == pytest.approx(on + 0.001 / distance, rel=1e-5)
    assert float(observations[0, 0, -1]) == on


def test_reward_is_of_the_state_before_the_step():
    env = Navigation(1)
    env.reset()
    scene(env, [[0.2, 0.0]], [[0.0, 0.0]], velocity=[[[3.0, 0.0]]])
    observation, reward, _, _ = env.step(still(env))
    assert float(observation[0, 0, -2]) == pytest.approx(0.425, abs=1e-6)
    assert float(reward) == pytest.approx(1.005, rel=1e-5)
    assert float(env.step(still(env))[1]) == pytest.approx(0.001 / 0.425, rel=1e-4)


def test_bonus_stops_at_a_base_difference_of_two_and_a_quarter():
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


def test_team_is_paid_at_most_one_a_landmark_besides_the_bonus():
    env = Navigation(5, n_envs=50, seed=3)
    env.reset()
    rng = np.random.default_rng(0)
    for _ in range(20):
        position, _, landmark = state_of(env)
        _, rewards, _, _ = env.step(random_actions(rng, env))
        apart = np.linalg.norm(position[:, :, None] - landmark[:, None], axis=-1)
        covered = (apart < 0.25).any(axis=1).sum(axis=1)
        bonus = rewards.sum(dim=1).numpy() - covered
        assert (bonus > 0).all()
        assert (bonus <= 25 * 0.01).all()


def test_count_is_one_plus_the_others_on_my_landmark():
    env = Navigation(5)
    env.reset()
    position = [[0.75, 0.0], [0.75, 0.2], [0.75, -0.2], [2.25, 0.9], [3.0, 0.0]]
    landmark = [[-1.0, -1.0], [0.75, 0.0], [0.5, -1.0], [2.25, 1.0], [4.0, 1.0]]
    scene(env, position, landmark)
    assert env.observe()[0, :, -1].tolist() == [3.0, 3.0, 3.0, 1.0, 0.0]


# --------------------------------------------------------------- observed slots


def slots_seen(env):
    """The landmark in each slot, found by its place in the observation."""
    position, _, landmark = state_of(env)
    k = env.n_slots
    seen = env.observe()[..., 4 : 4 + 2 * k].numpy().reshape(env.n_envs, env.n_agents, k, 2) + position[:, :, None]
    apart = np.linalg.norm(seen[:, :, :, None] - landmark[:, None, None], axis=-1)
    assert (apart.min(axis=-1) < 1e-5).all()
    return apart.argmin(axis=-1)


def test_paper_slots_hold_the_own_region_by_index_and_then_the_nearest():
    env = Navigation(4, n_envs=100, seed=5)
    env.reset()
    seen, landmark = slots_seen(env), state_of(env)[2]
    full_regions = 0
    for copy in range(100):
        for agent in range(4):
            apart = np.abs(landmark[copy] - [0.75 * agent, 0.0])
            inside = [j for j in range(4) if apart[j].max() <= 1]
            outside = sorted(set(range(4)) - set(inside), key=lambda j: np.hypot(*apart[j]))
            assert seen[copy, agent].tolist() == (inside + outside)[: env.n_slots]
            full_regions += len(inside) > 1
    assert full_regions > 100


def test_slots_keep_their_landmarks_through_an_episode():
    env = Navigation(5, n_envs=3, seed=2)
    env.reset()
    before = slots_seen(env)
    rng = np.random.default_rng(0)
    for _ in range(20):
        env.step(random_actions(rng, env))
    assert np.array_equal(slots_seen(env), before)


def test_indexed_slots_hold_the_own_landmark_and_then_the_nearest_bases():
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


@pytest.mark.parametrize("observation", ["paper", "indexed"])
def test_slots_of_many_agents_equal_the_reference(observation):
    env = Navigation(80, observation=observation, n_envs=2, seed=4)
    env.reset()
    reference = Reference(line(80))
    seen, landmark = slots_seen(env), state_of(env)[2]
    for copy in range(2):
        assert seen[copy].tolist() == reference.slots(landmark[copy], observation)


@pytest.mark.parametrize("observation", ["paper", "indexed"])
@pytest.mark.parametrize("regions", ["square", "circle"])
def test_slots_of_a_large_grid_equal_the_reference(regions, observation):
    env = Navigation(81, "grid", regions, observation, seed=4)
    env.reset()
    reference = Reference(square_grid(9), regions)
    assert slots_seen(env)[0].tolist() == reference.slots(state_of(env)[2][0], observation)


# --------------------------------------------------------------- graph and pairs


@pytest.mark.parametrize("layout", ["line", "grid"])
@pytest.mark.parametrize("regions", ["square", "circle"])
@pytest.mark.parametrize("spacing", [None, 0.9, 1.45, 2.5])
def test_graph_joins_agents_whose_regions_overlap(layout, regions, spacing):
    env = Navigation(7, layout, regions, spacing=spacing)
    gap = {"line": 0.75, "grid": 1.5}[layout] if spacing is None else spacing
    columns = 7 if layout == "line" else 3
    reference = Reference([(gap * (i % columns), gap * (i // columns)) for i in range(7)], regions)
    assert [env.graph.neighbourhood(i, 1) for i in range(7)] == [
        sorted([i, *reference.neighbours(i)]) for i in range(7)
    ]
    np.testing.assert_allclose(env.graph.pos.numpy(), reference.bases, atol=1e-6)


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


# ------------------------------------------------------------ starts and the end


def test_starts_are_uniform_in_the_squares_at_rest():
    env = Navigation(3, n_envs=3000, seed=0)
    env.reset()
    position, velocity, landmark = state_of(env)
    assert not velocity.any()
    for place in (position, landmark):
        offset = place - np.array(line(3))
        assert np.abs(offset).max() <= 1
        assert (offset.max(axis=(0, 1)) > 0.99).all()
        assert (offset.min(axis=(0, 1)) < -0.99).all()
        np.testing.assert_allclose(offset.mean(axis=0), 0, atol=0.06)
        np.testing.assert_allclose(offset.std(axis=0), 1 / math.sqrt(3), rtol=0.05)
    assert abs(np.corrcoef(position[:, 0, 0], landmark[:, 0, 0])[0, 1]) < 0.1


def test_starts_are_uniform_in_the_circles():
    env = Navigation(4, "grid", "circle", n_envs=3000, seed=0)
    env.reset()
    for place in (state_of(env)[0], state_of(env)[2]):
        offset = place - np.array(square_grid(2))
        radius = np.linalg.norm(offset, axis=-1).ravel()
        assert radius.max() <= 1 + 1e-6
        for r in (0.25, 0.5, 0.75):  # a uniform disc holds r² of its points within r
            assert (radius < r).mean() == pytest.approx(r**2, abs=0.02)
        np.testing.assert_allclose(offset.mean(axis=(0, 1)), 0, atol=0.03)


def test_agents_stay_inside_their_regions():
    for env, reference in (make(5, "line", n_envs=20), make(9, "grid-circle", n_envs=20)):
        env.reset()
        for action in (2, 4, 1, 3):
            for _ in range(12):
                env.step(torch.full((20, env.n_agents), action))
            offset = state_of(env)[0] - np.array(reference.bases)
            size = np.abs(offset).max() if reference.regions == "square" else np.linalg.norm(offset, axis=-1).max()
            assert size == pytest.approx(1, abs=1e-5)


def test_episode_is_never_terminated_and_truncated_after_fifty_steps():
    env = Navigation(3, n_envs=2, seed=0)
    env.reset()
    assert env.max_steps == 50
    assert env.best_return is None
    rng = np.random.default_rng(0)
    for step in range(1, 51):
        _, rewards, terminated, truncated = env.step(random_actions(rng, env))
        assert rewards.shape == (2, 3)
        assert (rewards.dtype, terminated.dtype, truncated.dtype) == (torch.float32, torch.bool, torch.bool)
        assert not terminated.any()
        assert truncated.tolist() == [step == 50] * 2


def test_masked_reset_touches_only_the_masked_copies():
    env = Navigation(4, n_envs=4, seed=0)
    first = env.reset()
    rng = np.random.default_rng(0)
    for _ in range(5):
        first = env.step(random_actions(rng, env))[0]
    before, slots = state_of(env), env.slot.clone()
    observations = env.reset(torch.tensor([False, True, False, True]))
    for old, new in zip(before, state_of(env), strict=True):
        np.testing.assert_array_equal(new[[0, 2]], old[[0, 2]])
        assert (new[[1, 3]] != old[[1, 3]]).any(axis=-1).all()
    assert torch.equal(env.slot[..., [0, 2]], slots[..., [0, 2]])
    assert torch.equal(observations[[0, 2]], first[[0, 2]])
    assert (observations[[1, 3], :, :2] == 0).all()
    assert env.time.tolist() == [5, 0, 5, 0]


def test_masked_reset_leaves_the_others_reward_and_future_as_they_were():
    env, twin = Navigation(4, n_envs=3, seed=0), Navigation(4, n_envs=3, seed=0)
    env.reset()
    twin.reset()
    env.reset(torch.tensor([True, False, False]))
    rng = np.random.default_rng(0)
    for _ in range(10):
        actions = random_actions(rng, env)
        for mine, other in zip(env.step(actions), twin.step(actions), strict=True):
            assert torch.equal(mine[1:], other[1:])


def test_reset_of_no_copy_changes_nothing():
    env = Navigation(3, n_envs=2)
    observations = env.reset()
    assert torch.equal(env.reset(torch.zeros(2, dtype=torch.bool)), observations)


# ------------------------------------------------------------ seeds, checkpoints


def trajectory(env, steps, seed=0):
    rng = np.random.default_rng(seed)
    results = [env.step(random_actions(rng, env)) for _ in range(steps)]
    return torch.cat(
        [torch.cat([observations.flatten(), rewards.flatten()]) for observations, rewards, _, _ in results]
    )


@pytest.mark.parametrize("regions", ["square", "circle"])
def test_equal_seeds_give_equal_trajectories_and_other_seeds_others(regions):
    first, second, other = (Navigation(4, "grid", regions, n_envs=2, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(first.reset(), second.reset())
    assert not torch.equal(first.observe(), other.reset())
    assert torch.equal(trajectory(first, 10), trajectory(second, 10))
    assert torch.equal(first.reset(), second.reset())


@pytest.mark.parametrize("observation", ["paper", "indexed"])
def test_state_dict_lets_another_environment_go_on_identically(observation):
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


def test_state_dict_is_a_copy_that_later_steps_do_not_change():
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


def test_a_copy_moves_alike_alone_and_in_a_batch():
    batch, alone = Navigation(5, n_envs=6, seed=0), Navigation(5, n_envs=1, seed=1)
    batch.reset()
    alone.reset()
    state, mine = batch.state_dict(), alone.state_dict()
    for name in Navigation.state_names:
        mine[name] = state[name][..., 3:4].clone()
    alone.load_state_dict(mine)
    rng = np.random.default_rng(0)
    for _ in range(20):
        actions = random_actions(rng, batch)
        many, one = batch.step(actions), alone.step(actions[3:4])
        torch.testing.assert_close(many[0][3:4], one[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(many[1][3:4], one[1], rtol=1e-4, atol=1e-4)


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
