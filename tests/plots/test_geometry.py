"""Discs, edges and outlines around places."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from lomaq.graphs import AgentGraph
from lomaq.graphs.layout import layout
from lomaq.plots.geometry import disc_radius, edge_lines, hull


def test_agents_in_one_place_still_have_a_size():
    assert disc_radius(np.zeros((3, 2))) > 0


# ----------------------------------------------------------------------- edges


def test_edges_are_straight_where_nobody_is_in_the_way():
    pos, pairs = layout(AgentGraph.grid(2, 2)), AgentGraph.grid(2, 2).pairs.numpy()
    lines = edge_lines(pos, pairs, 0.3)
    assert lines.shape == (4, 2, 2)
    assert np.array_equal(lines, pos[pairs])


def test_an_edge_bends_around_the_agents_between_its_ends():
    pos, pairs, radius = np.array([[0.0, 0], [1, 0], [2, 0]]), np.array([[0, 1], [0, 2], [1, 2]]), 0.3
    lines = edge_lines(pos, pairs, radius)
    assert lines[:, 0] == pytest.approx(pos[pairs[:, 0]])
    assert lines[:, -1] == pytest.approx(pos[pairs[:, 1]])
    assert lines[[0, 2], :, 1] == pytest.approx(0)
    assert np.linalg.norm(lines[1] - pos[1], axis=1).min() > radius


def test_an_edge_that_passes_more_agents_bends_more():
    pos = np.stack([np.arange(5.0), np.zeros(5)], axis=1)
    lines = edge_lines(pos, np.array([[0, 2], [0, 3], [0, 4]]), 0.3)
    height = np.abs(lines[:, :, 1]).max(axis=1)
    assert (np.diff(height) > 0.1).all()


# ----------------------------------------------------------------------- hulls


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=1, max_size=8), st.floats(0.1, 2))
def test_hull_is_convex_and_keeps_its_margin_around_every_point(points, margin):
    cloud = np.array(points, dtype=float)
    outline = hull(cloud, margin)
    edge = np.roll(outline, -1, axis=0) - outline
    following = np.roll(edge, -1, axis=0)
    assert (edge[:, 0] * following[:, 1] - edge[:, 1] * following[:, 0] > -1e-9).all()  # always to the left
    offset = cloud[None] - outline[:, None]
    inwards = (edge[:, :1] * offset[..., 1] - edge[:, 1:] * offset[..., 0]) / np.linalg.norm(edge, axis=1)[:, None]
    assert inwards.min() > 0.99 * margin
    assert np.linalg.norm(outline[:, None] - cloud[None], axis=-1).min() == pytest.approx(margin)


@pytest.mark.parametrize("points", [[[1, 2]], [[0, 0], [3, 4]], [[0, 0], [1, 1], [2, 2]], [[5, 5], [5, 5]]])
def test_one_point_and_points_in_a_row_have_a_hull(points):
    points = np.array(points, dtype=float)
    assert Outline(hull(points, 0.5)).contains_points(points).all()


@pytest.mark.parametrize(
    ("graph", "agent", "kappa"),
    [
        (AgentGraph.line(15), 7, 2),
        (AgentGraph.line(15), 0, 0),
        (AgentGraph.grid(10, 10), 44, 1),
        (AgentGraph.grid(10, 10), 44, 3),
        (AgentGraph.grid(10, 10), 0, 2),
        (AgentGraph.ring(50), 0, 2),
        (AgentGraph.star(9), 3, 1),
        (AgentGraph.line(60), 30, 1),
    ],
)
def test_on_regular_graphs_the_hull_holds_exactly_the_neighbourhood(graph, agent, kappa):
    pos = layout(graph)
    members = graph.neighbourhood(agent, kappa)
    outline = hull(pos[members], 1.6 * disc_radius(pos))
    assert np.flatnonzero(Outline(outline).contains_points(pos)).tolist() == members
