"""Pictures of environments: what is where, in which colour."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex, to_rgba

from lomaq.envs import CartPole, MatrixGame, Navigation, PolymatrixGame, SysAdmin, Voltage
from lomaq.plots.renderers import (
    CartPoleRenderer,
    Frame,
    GraphRenderer,
    NavigationRenderer,
    Renderer,
    SysAdminRenderer,
    renderer,
    snapshot,
)
from lomaq.plots.renderers.base import DARK, GREEN, RED, agents_in_a_row, text_size
from lomaq.plots.renderers.cartpole import MOST_STRETCH, STRETCH
from lomaq.plots.renderers.sysadmin import FAILED, REBOOTED, WORKS


def shown(env, **more):
    """The picture of the present state of ``env``."""
    picture = renderer(env)
    picture.render(Frame(0, snapshot(env), **more))
    return picture


def colours(words):
    return np.array([to_rgba(word) for word in words])


# ------------------------------------------------------------------- cart-pole


def carts(offset, angle, **more):
    env = CartPole(len(offset), **more)
    env.offset[0], env.angle[0] = torch.tensor(offset), torch.tensor(angle)
    return env


def test_fallen_carts_and_their_poles_are_red_and_the_others_are_not():
    picture = shown(carts([0.0, 0.0, 0.0], [0.0, 0.3, 0.2]))  # 0.2094 is the limit
    expected = colours([DARK, RED, DARK])
    np.testing.assert_allclose(picture.carts.get_facecolor(), expected)
    np.testing.assert_allclose(picture.poles.get_color(), expected)
    assert picture.title.get_text().endswith("2 of 3 up")


def test_a_cart_that_left_the_track_is_red_though_its_pole_is_up():
    picture = shown(carts([-1.1, 0.0], [0.0, 0.0]))  # its rest place is 1 right of the left wall
    np.testing.assert_allclose(picture.carts.get_facecolor(), colours([RED, DARK]))


def test_a_pole_stands_on_its_cart_and_leans_by_its_angle():
    picture = shown(carts([0.25, -0.5], [0.1, 0.0]))
    (first, second) = picture.poles.get_segments()
    assert first[0, 0] == pytest.approx(0.25)
    np.testing.assert_allclose(first[1] - first[0], [np.sin(0.1), np.cos(0.1)], rtol=1e-6)
    assert second[:, 0] == pytest.approx([0.5, 0.5])  # rest place 1, offset -0.5
    middle = [path.vertices[:4, 0].mean() for path in picture.carts.get_paths()]
    assert middle == pytest.approx([0.25, 0.5])


def test_a_spring_is_coloured_by_the_difference_of_the_offsets_at_its_ends():
    picture = shown(carts([0.1, 0.4], [0.0, 0.0]))
    stretch = np.array([0.1, 0.3, -0.4])  # wall to cart 0, cart 0 to 1, cart 1 to wall
    expected = STRETCH((stretch + MOST_STRETCH) / (2 * MOST_STRETCH))
    order = np.argsort([segment[0, 0] for segment in picture.springs.get_segments()])
    np.testing.assert_allclose(picture.springs.get_color()[order], expected, atol=0.01)


def test_springs_reach_from_wall_to_wall_between_the_boxes_of_the_carts():
    picture = shown(carts([0.1, 0.4], [0.0, 0.0]))
    ends = sorted((segment[0, 0], segment[-1, 0]) for segment in picture.springs.get_segments())
    expected = [(-1, 0.1 - 0.23), (0.1 + 0.23, 1.4 - 0.23), (1.4 + 0.23, 2)]
    np.testing.assert_allclose(ends, expected, atol=1e-6)


def test_a_long_line_of_carts_is_broken_into_rows_with_the_next_cart_pale():
    env = CartPole(30)
    picture = shown(env)
    heights = {round(float(path.vertices[0, 1]), 6) for path in picture.carts.get_paths()}
    alpha = picture.carts.get_facecolor()[:, 3]
    assert len(heights) == 2
    assert len(alpha) == 32
    assert (alpha[:30] == 1).all()
    assert (alpha[30:] < 1).all()
    assert len(picture.springs.get_segments()) == 32  # 31, and the one between the rows in both
    assert picture.springs.get_color()[15] == pytest.approx(picture.springs.get_color()[30])


# ------------------------------------------------------------------ navigation


def particles(position, landmark, **more):
    env = Navigation(len(position), **more)
    env.position[..., 0], env.landmark[..., 0] = torch.tensor(position), torch.tensor(landmark)
    return env


def test_covered_landmarks_are_green_and_the_others_red():
    # distances to the nearest agent: 0.24 (of agent 0), 0.26 (of agent 1)
    picture = shown(particles([[0.0, 0.0], [1.0, 0.0]], [[0.24, 0.0], [1.26, 0.0]]))
    np.testing.assert_allclose(picture.rings.get_edgecolor(), colours([GREEN, RED]))
    assert picture.title.get_text().endswith("1 of 2 covered")


def test_landmarks_are_green_exactly_where_the_environment_pays_a_whole_landmark():
    env = Navigation(6, n_envs=1, seed=3)
    env.reset()
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        env.step(torch.randint(5, (1, 6), generator=draw))
        picture = shown(env)
        _, paid, _, _ = env.step(torch.zeros(1, 6, dtype=torch.int64))  # judged on the state before the step
        green = (picture.rings.get_edgecolor()[:6, :3] == to_rgba(GREEN)[:3]).all(axis=1).sum()
        assert green == int(paid.sum())  # bonuses stay below 0.01 a pair


def test_agents_and_landmarks_are_drawn_where_they_are():
    picture = shown(particles([[0.1, 0.2], [0.7, -0.3]], [[0.5, 0.5], [0.6, 0.0]]))
    np.testing.assert_allclose(picture.agents.get_offsets(), [[0.1, 0.2], [0.7, -0.3]])
    np.testing.assert_allclose(picture.rings.get_offsets(), [[0.5, 0.5], [0.6, 0.0]])
    assert [text.get_text() for text in picture.numbers] == ["0", "1"]
    np.testing.assert_allclose([text.get_position() for text in picture.numbers], picture.agents.get_offsets())


def test_a_long_line_of_regions_is_broken_into_rows_and_shows_who_comes_over_from_the_next():
    base = [[0.75 * i, 0.0] for i in range(15)]
    position = [list(place) for place in base]
    position[8] = [5.5, 0.0]  # of the second row, and in sight of the first, which ends at 5.25 + 1
    picture = shown(particles(position, base))
    at = np.asarray(picture.agents.get_offsets())
    assert (at[:8, 1] == 0).all()
    assert len(set(at[:15, 1].round(6))) == 2
    assert at[8, 0] == pytest.approx(-0.5)  # six units left of where it is: the second row begins there
    visitor = (picture.who == 8) & picture.passing
    assert visitor.sum() == 1
    np.testing.assert_allclose(at[visitor], [[5.5, 0.0]], atol=1e-6)
    assert np.isnan(at[(picture.who == 9) & picture.passing]).all()  # at home, out of sight


@settings(max_examples=20, deadline=None)
@given(n=st.integers(10, 80), seed=st.integers(0, 99))
def test_in_every_row_all_are_drawn_that_are_within_its_width(n, seed):
    env = Navigation(n, seed=seed)
    env.reset()
    picture = shown(env)
    x, at = env.position[:, 0, 0].numpy(), np.asarray(picture.agents.get_offsets())
    for height in np.unique(picture.shift[:n, 1]):
        members = np.flatnonzero(picture.shift[:n, 1] == height)
        left, right = env.base[members[[0, -1]], 0, 0].tolist()
        expected = np.flatnonzero((x >= left - 1.2) & (x <= right + 1.2))
        drawn = picture.who[(picture.shift[:, 1] == height) & ~np.isnan(at[:, 0])]
        assert set(expected) <= set(drawn)


@pytest.mark.parametrize("layout", ["line", "grid"])
@pytest.mark.parametrize("regions", ["square", "circle"])
@pytest.mark.parametrize("n_agents", [1, 2, 7, 40])
def test_every_agent_is_inside_the_picture(n_agents, regions, layout):
    env = Navigation(n_agents, layout=layout, regions=regions)
    env.reset()
    picture = shown(env)
    at = np.asarray(picture.agents.get_offsets())[:n_agents]
    (left, right), (low, high) = picture.axes.get_xlim(), picture.axes.get_ylim()
    assert ((at >= [left, low]) & (at <= [right, high])).all()


# ----------------------------------------------------------------------- graphs


def test_nodes_are_coloured_by_the_last_rewards_and_named_by_the_last_actions():
    rewards = np.array([-3.0, 1.0, 0.0], dtype=np.float32)
    frame = Frame(1, {}, np.array([1, 0, 0]), rewards, -2.0)
    picture = renderer(PolymatrixGame(3), [Frame(0), frame])
    picture.render(frame)
    assert picture.colours.get_clim() == (-3.0, 1.0)
    np.testing.assert_allclose(picture.nodes.get_facecolor(), picture.colours.to_rgba(rewards))
    assert [text.get_text() for text in picture.texts] == ["1", "0", "0"]


def test_before_the_first_step_there_are_neither_actions_nor_rewards():
    picture = shown(PolymatrixGame(3))
    assert [text.get_text() for text in picture.texts] == ["", "", ""]
    assert len({tuple(colour) for colour in picture.nodes.get_facecolor()}) == 1


def test_machines_show_whether_they_work_and_who_was_rebooted():
    env = SysAdmin(3)
    env.reset()
    env.up[0] = torch.tensor([True, False, True])
    picture = renderer(env)
    picture.render(Frame(1, snapshot(env), np.array([1, 0, 0]), np.zeros(3)))
    colours = [to_hex(colour) for colour in picture.nodes.get_facecolor()]
    assert colours == [WORKS, FAILED, WORKS]
    assert [to_hex(colour) for colour in picture.nodes.get_edgecolor()] == [REBOOTED, DARK, DARK]
    assert [text.get_text() for text in picture.texts] == ["R", "", ""]
    assert "2 of 3 work" in picture.title.get_text()


def test_equal_rewards_have_a_colour_too():
    frame = Frame(1, {}, np.array([0, 0]), np.array([2.0, 2.0]), 4.0)
    picture = renderer(MatrixGame([[[2]], [[2]]]), [frame])
    picture.render(frame)
    assert picture.colours.get_clim() == (1.5, 2.5)


def test_the_nodes_of_a_long_line_lie_in_rows_and_neighbours_stay_nearest():
    picture = renderer(SysAdmin(31, graph="line"))
    place = np.asarray(picture.nodes.get_offsets())
    gap = np.linalg.norm(np.diff(place, axis=0), axis=1)
    assert gap == pytest.approx(np.full(30, gap[0]))
    assert len(np.unique(place[:, 1].round(6))) == 4  # of ⌈√(3 · 31)⌉ = 10 agents


def test_many_agents_have_no_texts():
    assert renderer(SysAdmin(61)).texts == []
    assert renderer(SysAdmin(1000, graph="grid")).texts == []


# ------------------------------------------------------------------- all renderers

ENVIRONMENTS = {
    "one cart": (CartPole(1), CartPoleRenderer),
    "carts in rows": (CartPole(45), CartPoleRenderer),
    "one particle": (Navigation(1), NavigationRenderer),
    "a grid of circles": (Navigation(7, layout="grid", regions="circle"), NavigationRenderer),
    "one agent": (PolymatrixGame(1, "line"), GraphRenderer),
    "one machine": (SysAdmin(1), SysAdminRenderer),
    "a game": (MatrixGame([[[0, 1], [1, 2]], [[2, 1], [1, 1]]]), GraphRenderer),
}


@pytest.mark.parametrize(("env", "kind"), ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())
def test_a_picture_has_even_sizes_and_follows_the_episode(env, kind):
    env.reset()
    picture = shown(env)
    assert isinstance(picture, kind)
    first = picture.image()
    assert first.dtype == np.uint8
    assert first.shape[0] % 2 == first.shape[1] % 2 == 0
    np.testing.assert_array_equal(first, picture.image())
    actions = torch.zeros(1, env.n_agents, dtype=torch.int64)
    rewards = env.step(actions)[1][0].numpy()
    picture.render(Frame(1, snapshot(env), actions[0].numpy(), rewards, float(rewards.sum())))
    assert (picture.image() != first).any()


def test_the_title_says_step_and_return():
    picture = renderer(MatrixGame([[[0, 1], [1, 2]], [[2, 1], [1, 1]]]))
    picture.render(Frame(1, {}, np.array([1, 0]), np.array([1.0, 1.0]), 1234.56))
    assert picture.title.get_text() == "step 1 of 1     return 1,234.6"
    machines = SysAdmin(3)
    discounted = renderer(machines)
    discounted.render(Frame(7, snapshot(machines)))
    assert discounted.title.get_text() == "step 7 of 200     discounted return 0.0     3 of 3 work"


def test_an_environment_registers_its_picture_from_outside():
    class Coin(MatrixGame):
        """A game with a picture of its own."""

    @snapshot.register(Coin)
    def _coin(env):
        return {"payoffs": env.payoffs.numpy()}

    @renderer.register(Coin)
    class CoinRenderer(Renderer):
        def __init__(self, env, frames=(), figure=None):
            super().__init__(env, figure, (200, 100))

        def _move(self, frame):
            return f"worth {frame.state['payoffs'].sum():g}"

    env = Coin([[1, 2]])
    picture = shown(env)
    assert isinstance(picture, CoinRenderer)
    assert picture.title.get_text().endswith("worth 3")
    assert isinstance(shown(MatrixGame([[1, 2]])), GraphRenderer)


def test_a_picture_shows_the_first_parallel_environment():
    env = CartPole(2, n_envs=3)
    env.angle[1:] = 1.0
    assert snapshot(env)["up"].tolist() == [True, True]


def test_what_was_looked_at_does_not_change_with_the_environment():
    env = Navigation(2)
    env.reset()
    seen = snapshot(env)
    before = {name: value.copy() for name, value in seen.items()}
    env.step(torch.ones(1, 2, dtype=torch.int64))
    for name, value in seen.items():
        np.testing.assert_array_equal(value, before[name])


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 3000), at_most=st.integers(1, 20))
def test_rows_are_as_even_as_they_can_be(n, at_most):
    row = agents_in_a_row(n, at_most, 1.85, 1.0)
    rows = -(-n // row)
    assert 1 <= row <= n
    assert n <= at_most or rows * row - n < rows


def test_numbers_that_do_not_fit_are_left_out():
    assert text_size(9, 12.0) is None
    assert text_size(9, 30.0) >= text_size(99, 30.0)


# --------------------------------------------------------------------- voltage


def test_buses_out_of_the_band_have_a_red_ring_and_another_colour_than_the_others():
    env = Voltage()
    env.reset()
    env.voltage[0] = 1.0
    env.voltage[0, :3] = torch.tensor([1.049, 1.051, 0.949])
    picture = shown(env)
    np.testing.assert_allclose(picture.buses.get_edgecolor()[:4], colours([DARK, RED, RED, DARK]))
    just_in, over, under, middle = picture.buses.get_facecolor()[:4]
    assert np.abs(just_in - over).max() > 0.4
    assert np.abs(just_in - middle).max() < 0.45
    assert over[0] > over[2]
    assert under[2] > under[0]
    assert picture.title.get_text().endswith("00:00     2 of 32 out of the band")


def test_a_bar_is_as_long_as_its_reactive_power():
    env = Voltage()
    env.reset()
    env.reactive[0, :3] = torch.tensor([1.0, -0.5, 0.0])
    bars = [path.vertices[:, 1] for path in shown(env).bars.get_paths()[:3]]
    up, down, none = (float(y[2] - y[0]) for y in bars)
    assert up == pytest.approx(-2 * down)
    assert up > 0
    assert none == 0


def test_the_day_has_the_sun_and_load_of_its_frames_and_the_profile_follows_the_lines():
    env = Voltage(feeder="generated", n_buses=5)
    env.reset()
    frames = [Frame(step, {**snapshot(env), "time": np.array([step])}) for step in range(3)]
    picture = renderer(env, frames)
    picture.render(frames[2])
    assert picture.now.get_xdata()[0] == 0.5  # half an hour
    ends = np.array(picture.profile.get_segments())[:, 1]  # [buses, 2]
    far = np.abs(env.feeder.impedance) @ env.feeder.paths.T
    np.testing.assert_allclose(ends, np.stack([far, env.voltage[0]], axis=1))
    assert picture.image().std() > 10
