"""A distribution feeder: buses coloured by voltage, bars of reactive power, and the sun and load of the day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from lomaq.envs.voltage import Feeder, Voltage
from lomaq.envs.voltage.env import BAND
from lomaq.plots.renderers.base import DARK, DPI, EDGE, GREY, RED, WIDTH, Frame, Renderer
from lomaq.plots.renderers.graph import renderer, snapshot

#: Pixels of the drawing area at most, of the strip below it, and of a row of the feeder.
TREE_HEIGHT, BELOW, ROW_HEIGHT = 420, 190, 92
#: Largest and smallest bus in pixels.
LARGEST, SMALLEST = 22.0, 4.0
FED, DRAWN, SUN = "#1a8f3c", "#7b3fb5", "#e8a200"
#: Voltages from 0.9 to 1.1, so that the band is the middle half: pale, and out of it another colour at once.
VOLTAGE = LinearSegmentedColormap.from_list(
    "voltage",
    [
        *((0.0, "#08207a"), (0.25, "#2457d6"), (0.25, "#b9d2f1"), (0.5, "#f7f7f4")),
        *((0.75, "#f9d0a8"), (0.75, "#e0401a"), (1.0, "#7a0c08")),
    ],
)


@snapshot.register(Voltage)
def _snapshot(env: Voltage) -> dict[str, np.ndarray]:
    """Voltages ``[buses]``, reactive powers ``[N]``, time step, and mean load and sun of the coming step, ``[1]``."""
    load, sun = (x[:1].mean(dim=1) for x in env.forecast())
    state = {"voltage": env.voltage[0], "reactive": env.reactive[0], "time": env.time[:1], "load": load, "sun": sun}
    return {name: value.cpu().numpy().copy() for name, value in state.items()}


@renderer.register(Voltage)
class VoltageRenderer(Renderer):
    """The feeder from its substation (a square) to the right; a red ring is a bus out of the band.

    A green bar above a bus is reactive power that its inverter feeds in, a purple one below it what it draws. Below are
    the voltages along the feeder, and the day's sun and load.
    """

    def __init__(self, env: Voltage, frames: Sequence[Frame] = (), figure: Figure | None = None) -> None:
        place = env.feeder.place()  # [N, 2]: lines from the substation, rows
        columns, rows = place[:, 0].max() + 2, place[:, 1].max() - place[:, 1].min() + 1
        width, height = WIDTH - 2 * EDGE, int(min(TREE_HEIGHT, rows * ROW_HEIGHT))
        super().__init__(env, figure, (width, height), below=BELOW + 72)
        self.axes.set(xlim=(-1.6, columns - 1.6), ylim=(place[:, 1].min() - 0.55, 0.55))
        self.across, self.up = width / columns, height / (rows + 0.1)  # pixels of a line and of a row
        self.bus = env.bus.cpu().numpy()
        self._draw_tree(place, env.feeder.parent)
        bottom, half = 104, (WIDTH - 5 * EDGE) / 2
        self._make_profile(env.feeder, self.place(4.5 * EDGE, bottom, half - 3 * EDGE, BELOW - 50))
        self._make_day(env.max_steps, frames, self.place(half + 5.5 * EDGE, bottom, half - 2 * EDGE, BELOW - 50))

    def _draw_tree(self, place: np.ndarray, parent: np.ndarray) -> None:
        above = np.where(parent[:, None] >= 0, place[parent], np.stack([-np.ones(len(place)), place[:, 1]], axis=1))
        bend = np.stack([above[:, 0] + 0.5, above[:, 1]], axis=1)
        corner = np.stack([above[:, 0] + 0.5, place[:, 1]], axis=1)
        lines: Any = np.stack([above, bend, corner, place], axis=1)
        self.axes.add_collection(LineCollection(lines, colors=GREY, linewidths=1.5, zorder=1), autolim=False)
        roots = above[parent < 0]
        self.axes.vlines(-1, roots[:, 1].min(), roots[:, 1].max(), color=GREY, linewidth=3, zorder=1)
        pixels = float(np.clip(0.62 * min(self.across, self.up), SMALLEST, LARGEST))
        self.colours = self.colour_bar((1 - 2 * BAND, 1 + 2 * BAND), VOLTAGE, "voltage per unit", extend="both")
        size, self.edge = (pixels * 72 / DPI) ** 2, min(1.0, pixels / 14)
        self.axes.scatter(-1, 0, s=2 * size, marker="s", color=DARK, zorder=3)
        self.buses: Any = self.axes.scatter(place[:, 0], place[:, 1], s=size, color="white", edgecolors=DARK, zorder=3)
        self.bars: Any = PolyCollection([], zorder=2)
        self.axes.add_collection(self.bars, autolim=False)
        self.foot, self.thick = place[self.bus], 0.5 * pixels / self.across / 2
        self.gap, self.long = 0.5 * pixels / self.up, 0.48 - 0.5 * pixels / self.up

    def _make_profile(self, feeder: Feeder, axes: Any) -> None:
        far = np.abs(feeder.impedance) @ feeder.paths.T
        self.parent, self.along = feeder.parent, np.append(far, 0.0)  # the substation is the last, at parent -1
        for limit in (1 - BAND, 1 + BAND):
            axes.axhline(limit, color=RED, linestyle="--", linewidth=1)
        self.profile: Any = LineCollection([], colors=DARK, linewidths=1.5)
        axes.add_collection(self.profile, autolim=False)
        axes.set(xlim=(0, far.max() * 1.02), ylim=(1 - 2 * BAND, 1 + 2 * BAND), xticks=[])
        axes.set_xlabel("distance from the substation", fontsize=11)
        axes.set_ylabel("voltage", fontsize=11)

    def _make_day(self, max_steps: int, frames: Sequence[Frame], axes: Any) -> None:
        time, load, sun = (np.array([float(f.state[name][0]) for f in frames]) for name in ("time", "load", "sun"))
        hours = time / 4
        axes.fill_between(hours, sun, color=SUN, alpha=0.4, linewidth=0, label="sun")
        axes.plot(hours, load, color=DARK, linewidth=1.5, label="load")
        self.now = axes.axvline(0, color=RED, linewidth=1.5)
        axes.set(xlim=(0, max_steps / 4), ylim=(0, max(1.0, float(load.max(initial=0)) * 1.05)))
        axes.set_xlabel("hour", fontsize=11)
        axes.legend(loc="upper left", fontsize=10, frameon=False)

    def _move(self, frame: Frame) -> str:
        voltage, reactive = frame.state["voltage"], frame.state["reactive"]
        out = np.abs(voltage - 1) > BAND
        self.buses.set_facecolor(self.colours.to_rgba(voltage))
        self.buses.set_edgecolor(np.where(out, RED, DARK))
        self.buses.set_linewidth(np.where(out, 2.5, 1.0) * self.edge)
        corners = np.array([[-1, 0], [1, 0], [1, 1], [-1, 1]]) * [self.thick, self.long]
        grown = np.stack([np.ones_like(reactive), reactive], axis=1)[:, None]  # [N, 1, 2]
        start = self.foot + np.stack([np.zeros_like(reactive), self.gap * np.sign(reactive)], axis=1)
        self.bars.set_verts(start[:, None] + corners * grown)
        self.bars.set_facecolor(np.where(reactive > 0, FED, DRAWN))
        ends = np.append(voltage, 1.0)
        pairs = np.stack([self.parent, np.arange(len(voltage))], axis=1)
        self.profile.set_segments(np.stack([self.along[pairs], ends[pairs]], axis=2))
        time = int(frame.state["time"][0])
        self.now.set_xdata([time / 4, time / 4])
        return f"{time // 4 % 24:02d}:{15 * (time % 4):02d}     {out.sum():,} of {len(out):,} out of the band"
