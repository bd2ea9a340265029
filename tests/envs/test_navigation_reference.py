"""Navigation against one copy in float64 that looks at every pair of agents: steps, rewards, slots, graph."""

import math

import numpy as np
import pytest
import torch

from lomaq.envs.navigation import Navigation

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


@pytest.fixture
def make(bases_on_a_line, bases_on_a_grid):
    """An environment and its reference: ``make(5, "line")`` or ``make(9, "grid-circle")``."""

    def both(n, kind, **arguments):
        if kind == "line":
            return Navigation(n, **arguments), Reference(bases_on_a_line(n))
        side = math.isqrt(n)
        return Navigation(n, "grid", "circle", **arguments), Reference(bases_on_a_grid(side), "circle")

    return both


SCENES = [(1, "line"), (2, "line"), (5, "line"), (9, "grid-circle")]


# ----------------------------------------------------------------------- steps


@pytest.mark.parametrize("observation", ["paper", "indexed"])
@pytest.mark.parametrize(("n", "kind"), SCENES)
def test_first_observation_equals_the_reference(make, agents_of, n, kind, observation):
    env, reference = make(n, kind, observation=observation, n_envs=20, seed=n)
    observations = env.reset()
    k = max(len(reference.neighbours(i)) for i in range(n)) + 1
    assert env.obs_size == 2 + 2 + 2 * k + k + 1
    assert observations.shape == (20, n, env.obs_size)
    assert observations.dtype == torch.float32
    position, velocity, landmark = agents_of(env)
    for copy in range(20):
        slots = reference.slots(landmark[copy], observation)
        expected = reference.observe(position[copy], velocity[copy], landmark[copy], slots)
        np.testing.assert_allclose(observations[copy].numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("observation", ["paper", "indexed"])
@pytest.mark.parametrize(("n", "kind"), SCENES)
def test_each_of_fifty_steps_equals_the_reference(make, agents_of, random_moves, n, kind, observation):
    env, reference = make(n, kind, observation=observation, n_envs=3, seed=30 + n)
    env.reset()
    rng = np.random.default_rng(n)
    slots = [reference.slots(landmark, observation) for landmark in agents_of(env)[2]]
    covered = 0
    for _ in range(50):
        position, velocity, landmark = agents_of(env)
        actions = random_moves(rng, env)
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
def test_fifty_steps_follow_the_reference_without_correction(make, agents_of, random_moves, n, kind):
    env, reference = make(n, kind, n_envs=2, seed=20 + n)
    env.reset()
    rng = np.random.default_rng(n)
    position, velocity, landmark = (list(x.astype(np.float64)) for x in agents_of(env))
    for _ in range(50):
        actions = random_moves(rng, env)
        _, rewards, _, _ = env.step(actions)
        for copy in range(2):
            expected = reference.rewards(position[copy], landmark[copy])
            np.testing.assert_allclose(rewards[copy].numpy(), expected, atol=1e-4)
            position[copy], velocity[copy] = reference.step(position[copy], velocity[copy], actions[copy].tolist())
        # a contact can stretch an error: 6e-5 was the worst of 48 such runs
        np.testing.assert_allclose(agents_of(env)[0], position, atol=1e-3)
        np.testing.assert_allclose(agents_of(env)[1], velocity, atol=1e-3)


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
def test_crowded_agents_push_each_other_as_in_the_reference(make, put_agents, agents_of, random_moves, n, kind):
    env, reference = make(n, kind, n_envs=30, seed=1)
    env.reset()
    rng = np.random.default_rng(n)
    position = np.array(MEETING[kind]) + rng.uniform(-0.15, 0.15, (30, n, 2))
    velocity = rng.uniform(-0.5, 0.5, (30, n, 2))
    put_agents(env, position=position, velocity=velocity)
    position, velocity, _ = agents_of(env)
    touching = sum(
        math.dist(position[c][i], position[c][j]) < 0.3 for c in range(30) for i in range(n) for j in range(i)
    )
    assert touching > 30
    actions = random_moves(rng, env)
    env.step(actions)
    after_position, after_velocity, _ = agents_of(env)
    for copy in range(30):
        expected = reference.step(position[copy], velocity[copy], actions[copy].tolist())
        np.testing.assert_allclose(after_position[copy], expected[0], atol=5e-6)
        np.testing.assert_allclose(after_velocity[copy], expected[1], atol=5e-5)


def test_agents_stay_inside_their_regions(make, agents_of):
    for env, reference in (make(5, "line", n_envs=20), make(9, "grid-circle", n_envs=20)):
        env.reset()
        for action in (2, 4, 1, 3):
            for _ in range(12):
                env.step(torch.full((20, env.n_agents), action))
            offset = agents_of(env)[0] - np.array(reference.bases)
            size = np.abs(offset).max() if reference.regions == "square" else np.linalg.norm(offset, axis=-1).max()
            assert size == pytest.approx(1, abs=1e-5)


# ------------------------------------------------------------- slots and graph


@pytest.mark.parametrize("observation", ["paper", "indexed"])
def test_slots_of_many_agents_equal_the_reference(agents_of, slots_seen, bases_on_a_line, observation):
    env = Navigation(80, observation=observation, n_envs=2, seed=4)
    env.reset()
    reference = Reference(bases_on_a_line(80))
    seen, landmark = slots_seen(env), agents_of(env)[2]
    for copy in range(2):
        assert seen[copy].tolist() == reference.slots(landmark[copy], observation)


@pytest.mark.parametrize("observation", ["paper", "indexed"])
@pytest.mark.parametrize("regions", ["square", "circle"])
def test_slots_of_a_large_grid_equal_the_reference(agents_of, slots_seen, bases_on_a_grid, regions, observation):
    env = Navigation(81, "grid", regions, observation, seed=4)
    env.reset()
    reference = Reference(bases_on_a_grid(9), regions)
    assert slots_seen(env)[0].tolist() == reference.slots(agents_of(env)[2][0], observation)


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
