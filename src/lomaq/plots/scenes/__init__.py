"""Moving pictures of environments: what one copy looks like at one moment of an episode."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lomaq.envs import BatchedEnv, CartPole, Navigation
from lomaq.plots.scenes.base import Moment, Scene
from lomaq.plots.scenes.cartpole import CartPoleScene
from lomaq.plots.scenes.graph import GraphScene
from lomaq.plots.scenes.navigation import NavigationScene

__all__ = ["CartPoleScene", "GraphScene", "Moment", "NavigationScene", "Scene", "look", "make_scene"]


def look(env: BatchedEnv) -> dict[str, np.ndarray]:
    """What the scene of ``env`` will need of the present state of copy 0, by name; nothing where it needs none."""
    if isinstance(env, CartPole):
        return CartPoleScene.look(env)
    if isinstance(env, Navigation):
        return NavigationScene.look(env)
    return {}


def make_scene(env: BatchedEnv, moments: Sequence[Moment] = (), figure: Figure | None = None) -> Scene:
    """The scene of ``env``: its own where it has one, else its graph with actions and rewards.

    Args:
        env: The environment; copy 0 is shown.
        moments: What will be shown; the colours of a graph scene span their rewards, or [0, 1] without any.
        figure: Where to draw; None for a new one without a window.

    Example:
        >>> env = CartPole(3)
        >>> scene = make_scene(env)
        >>> scene.show(Moment(0, look(env)))
        >>> scene.image().shape[2]
        3
    """
    if isinstance(env, CartPole):
        return CartPoleScene(env, figure)
    if isinstance(env, Navigation):
        return NavigationScene(env, figure)
    return GraphScene(env, figure, [moment.rewards for moment in moments if moment.rewards is not None])
