"""Any environment on its graph: nodes coloured by local reward, with the action written in them."""

from __future__ import annotations

import math
from typing import Any

import networkx as nx
import numpy as np
from matplotlib import colormaps
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from scipy.spatial import cKDTree

from lomaq.envs import BatchedEnv
from lomaq.graphs import AgentGraph
from lomaq.plots.scenes.base import DARK, DPI, EDGE, WIDTH, Moment, Scene, colours_between, text_size

#: Most agents whose actions are written, and most on a straight line before it is bent.
MOST_TEXTS, STRAIGHT = 60, 20
#: Drawing area, largest and smallest node in pixels.
BOX, LARGEST, SMALLEST = (WIDTH - 2 * EDGE, 420), 52.0, 5.0
#: Light enough for black letters at both ends.
REWARD = ListedColormap(colormaps["viridis"](np.linspace(0.42, 1.0, 256)))
UNKNOWN = "#dfe3e8"


class GraphScene(Scene):
    """The graph of the agents, coloured by the local rewards of the last step.

    Args:
        env: The environment.
        figure: Where to draw; None for a new one without a window.
        rewards: Rewards that will be shown, to span the colours; [0, 1] without any.
    """

    def __init__(self, env: BatchedEnv, figure: Figure | None = None, rewards: list[np.ndarray] | None = None) -> None:
        super().__init__(env, figure, BOX, below=64)
        low, high = (float(np.min(rewards)), float(np.max(rewards))) if rewards else (0.0, 1.0)
        self.colours = colours_between(low, high if high > low else low + 1, REWARD)
        self.colour_bar(self.colours, "colour: last local reward\nnumber: last action")
        place = _fit(positions(env.graph))  # [N, 2], pixels
        self.axes.set(xlim=(0, BOX[0]), ylim=(0, BOX[1]))
        pairs = env.graph.edge_index.cpu().numpy().T
        edges = place[pairs[pairs[:, 0] < pairs[:, 1]]]  # [E, 2, 2]
        self.axes.add_collection(LineCollection(edges, colors=[(0.13, 0.2, 0.29, 0.45)], linewidths=1.5), autolim=False)
        pixels = _node_pixels(place)
        x, y = place.T
        self.nodes: Any = self.axes.scatter(  # Any: matplotlib's annotations want lists where it takes arrays
            x, y, s=(pixels * 72 / DPI) ** 2, color=UNKNOWN, edgecolors=DARK, linewidths=1.2, zorder=2
        )
        size = text_size(env.n_actions - 1, pixels) if env.n_agents <= MOST_TEXTS else None
        style: dict[str, Any] = {
            "ha": "center",
            "va": "center_baseline",
            "fontsize": size,
            "color": "black",
            "zorder": 3,
        }
        self.actions = [] if size is None else [self.axes.text(x, y, "", **style) for x, y in place]

    def _show(self, moment: Moment) -> str:
        if moment.actions is None or moment.rewards is None:
            self.nodes.set_facecolor(UNKNOWN)
        else:
            self.nodes.set_facecolor(self.colours.to_rgba(moment.rewards))
        for i, text in enumerate(self.actions):  # artists, of at most some dozens
            text.set_text("" if moment.actions is None else str(moment.actions[i]))
        return ""


def positions(graph: AgentGraph) -> np.ndarray:
    """Where agents are drawn, ``[N, 2]`` float64: their own positions, or a layout that is the same every time.

    A long straight line is bent to an arc, on which neighbours stay neighbours.
    """
    if graph.pos is None:
        bare = nx.Graph()
        bare.add_nodes_from(range(graph.n_agents))
        bare.add_edges_from(graph.edge_index.cpu().numpy().T.tolist())
        layout = nx.spring_layout(bare, seed=0)
        return np.array([layout[i] for i in range(graph.n_agents)])
    place = graph.pos.cpu().numpy().astype(float)
    extent = np.ptp(place, axis=0)
    if len(place) > STRAIGHT and extent.min() == 0 < extent.max():
        along = (place - place.min(axis=0)).max(axis=1) / extent.max()
        angle = 0.5 * math.pi - (0.05 + 0.9 * along) * 2 * math.pi
        place = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return place


def _fit(place: np.ndarray) -> np.ndarray:
    """``place`` in the middle of the drawing area, as large as a margin for the nodes allows."""
    room = np.array(BOX) - LARGEST - 6
    extent = np.ptp(place, axis=0)
    scale = np.min(np.divide(room, extent, out=np.full(2, np.inf), where=extent > 0))
    middle = (place.max(axis=0) + place.min(axis=0)) / 2
    return np.array(BOX) / 2 + (place - middle) * (scale if np.isfinite(scale) else 1.0)


def _node_pixels(place: np.ndarray) -> float:
    """Diameter of the nodes: so much of the typical distance to the nearest that they stay apart."""
    if len(place) == 1:
        return LARGEST
    nearest = cKDTree(place).query(place, k=2)[0][:, 1]
    return float(np.clip(0.8 * np.median(nearest), SMALLEST, LARGEST))
