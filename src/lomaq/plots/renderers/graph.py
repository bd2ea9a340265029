"""Any environment on its graph: nodes coloured by local reward, with the action written in them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from lomaq.envs import BatchedEnv
from lomaq.graphs.layout import layout
from lomaq.plots.geometry import disc_radius
from lomaq.plots.graph_view import value_span
from lomaq.plots.renderers.base import DARK, DPI, EDGE, WIDTH, Frame, Renderer, text_size

#: Most agents whose actions are written.
MOST_TEXTS = 60
#: Drawing area, largest and smallest node in pixels.
BOX, LARGEST, SMALLEST = (WIDTH - 2 * EDGE, 420), 52.0, 5.0
#: Light enough for black letters at both ends.
REWARD = ListedColormap(colormaps["viridis"](np.linspace(0.42, 1.0, 256)))
UNKNOWN = "#dfe3e8"


class NodesRenderer(Renderer):
    """The graph of the agents, with room for a text in each node; a subclass colours them and explains the colours."""

    def __init__(self, env: BatchedEnv, figure: Figure | None, below: int) -> None:
        super().__init__(env, figure, BOX, below)
        place = _fit(layout(env.graph))  # [N, 2], pixels
        self.axes.set(xlim=(0, BOX[0]), ylim=(0, BOX[1]))
        edges = place[env.graph.pairs.cpu().numpy()]  # [E, 2, 2]
        self.axes.add_collection(LineCollection(edges, colors=[(0.13, 0.2, 0.29, 0.45)], linewidths=1.5), autolim=False)
        pixels = float(np.clip(2 * disc_radius(place), SMALLEST, LARGEST)) if len(place) > 1 else LARGEST
        x, y = place.T
        self.nodes: Any = self.axes.scatter(  # Any: matplotlib's annotations want lists where it takes arrays
            x, y, s=(pixels * 72 / DPI) ** 2, color=UNKNOWN, edgecolors=DARK, linewidths=1.2, zorder=2
        )
        size = text_size(env.n_actions - 1, pixels) if env.n_agents <= MOST_TEXTS else None
        self.texts = [] if size is None else [self.number(x, y, "", size) for x, y in place]


class GraphRenderer(NodesRenderer):
    """The graph of the agents, coloured by the local rewards of the last step."""

    def __init__(self, env: BatchedEnv, frames: Sequence[Frame] = (), figure: Figure | None = None) -> None:
        super().__init__(env, figure, below=64)
        rewards = [frame.rewards for frame in frames if frame.rewards is not None]
        span = value_span(np.stack(rewards)) if rewards else (0.0, 1.0)
        self.colours = self.colour_bar(span, REWARD, "colour: last local reward\nnumber: last action")

    def _move(self, frame: Frame) -> str:
        self.nodes.set_facecolor(UNKNOWN if frame.rewards is None else self.colours.to_rgba(frame.rewards))
        for i, text in enumerate(self.texts):  # artists, of at most some dozens
            text.set_text("" if frame.actions is None else str(frame.actions[i]))
        return ""


@singledispatch
def snapshot(env: BatchedEnv) -> dict[str, np.ndarray]:
    """What the renderer of ``env`` needs of the present state, by name; nothing for a plain graph."""
    return {}


@singledispatch
def renderer(env: BatchedEnv, frames: Sequence[Frame] = (), figure: Figure | None = None) -> Renderer:
    """The renderer of ``env``: that registered for its type, else its graph with actions and rewards.

    Args:
        env: The environment; the first parallel one is shown.
        frames: What will be shown; the colours of a graph span their rewards, or [0, 1] without any.
        figure: Where to draw; None for a new one without a window.

    Example:
        >>> from lomaq.envs import CartPole
        >>> env = CartPole(3)
        >>> picture = renderer(env)
        >>> picture.render(Frame(0, snapshot(env)))
        >>> picture.image().shape[2]
        3
    """
    return GraphRenderer(env, frames, figure)


def _fit(place: np.ndarray) -> np.ndarray:
    """``place`` in the middle of the drawing area, as large as a margin for the nodes allows."""
    room = np.array(BOX) - LARGEST - 6
    extent = np.ptp(place, axis=0)
    scale = (room / np.maximum(extent, 1e-9)).min()
    middle = (place.max(axis=0) + place.min(axis=0)) / 2
    return np.array(BOX) / 2 + (place - middle) * scale
