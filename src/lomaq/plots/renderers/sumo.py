"""A road network: roads coloured by the vehicles on their way to a signal, signals by their phase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from lomaq.envs import Sumo
from lomaq.plots.renderers.base import DARK, DPI, EDGE, WIDTH, Frame, Renderer, text_size
from lomaq.plots.renderers.graph import renderer, snapshot

#: Drawing area, size of a signal and space around the signals in pixels.
BOX, SIGNAL, MARGIN = (WIDTH - 2 * EDGE, 560), 26.0, 50
#: From empty to crowded, and the fewest vehicles at which the colour is full.
CROWD = ListedColormap(colormaps["YlOrRd"](np.linspace(0.15, 1.0, 256)))
FULL = 10
ROAD = "#c9ced6"


@snapshot.register(Sumo)
def _snapshot(env: Sumo) -> dict[str, np.ndarray]:
    """Vehicles on the roads of each approach ``[approaches]``, signal by signal, and phases ``[N]`` int64."""
    seen = env.observe()[0].cpu().numpy()
    signals = env.network.signals
    ends = [len(s.greens) + 2 + 3 * len(s.lanes) for s in signals]
    vehicles = [row[end : end + len(s.approaches)] for row, end, s in zip(seen, ends, signals, strict=True)]
    phases = [row[: len(s.greens)].argmax() for row, s in zip(seen, signals, strict=True)]
    return {"vehicles": 20 * np.concatenate(vehicles), "phase": np.array(phases)}


@renderer.register(Sumo)
class SumoRenderer(Renderer):
    """All roads, those that drain through a signal coloured; each signal is a disc with the number of its phase."""

    def __init__(self, env: Sumo, frames: Sequence[Frame] = (), figure: Figure | None = None) -> None:
        super().__init__(env, figure, BOX, below=64)
        network = env.network
        self._frame(np.array([signal.position for signal in network.signals]))
        still = LineCollection([*network.shapes.values()], colors=ROAD, linewidths=1.2, zorder=0)
        approaches = [roads for signal in network.signals for roads in signal.roads]
        self.approach = np.repeat(np.arange(len(approaches)), [len(roads) for roads in approaches])  # of each road
        shapes = [network.shapes[road] for roads in approaches for road in roads]
        self.roads: Any = LineCollection([_beside(np.array(s)) for s in shapes], linewidths=3, zorder=1)
        for artist in (still, self.roads):
            self.axes.add_collection(artist, autolim=False)
        most = max([FULL, *(float(frame.state["vehicles"].max()) for frame in frames)])
        self.colours = self.colour_bar((0, most), CROWD, "vehicles on the way\nto a signal")
        x, y = np.array([signal.position for signal in network.signals]).T
        self.axes.scatter(x, y, s=(SIGNAL * 72 / DPI) ** 2, color="white", edgecolors=DARK, linewidths=1.2, zorder=3)
        size = text_size(env.n_actions - 1, SIGNAL) or 9.0
        self.phases = [self.number(*signal.position, "", size) for signal in network.signals]

    def _frame(self, place: np.ndarray) -> None:
        """Show the signals ``[N, 2]`` and what is near them, with equal scales."""
        room = np.array(BOX) - 2 * MARGIN
        scale = (np.maximum(np.ptp(place, axis=0), 1.0) / room).max()  # metres a pixel
        middle, half = (place.max(axis=0) + place.min(axis=0)) / 2, scale * np.array(BOX) / 2
        self.axes.set(xlim=(middle[0] - half[0], middle[0] + half[0]), ylim=(middle[1] - half[1], middle[1] + half[1]))

    def _move(self, frame: Frame) -> str:
        vehicles = frame.state["vehicles"]
        self.roads.set_color(self.colours.to_rgba(vehicles[self.approach]))
        for text, phase in zip(self.phases, frame.state["phase"], strict=True):  # artists, of at most some dozens
            text.set_text(str(phase))
        return f"{vehicles.sum():,.0f} vehicles"


def _beside(shape: np.ndarray) -> np.ndarray:
    """A road ``[P, 2]`` a little to its right, so that both directions can be seen."""
    along = shape[-1] - shape[0]
    right = np.array([along[1], -along[0]]) / max(float(np.hypot(*along)), 1e-9)
    return shape + 6 * right
