"""Bounded navigation: faint regions, numbered agents, landmarks that turn green while they are covered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.collections import EllipseCollection, PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from scipy.spatial import cKDTree

from lomaq.envs import Navigation
from lomaq.envs.navigation import AGENT_RADIUS, COVER_DISTANCE, HALF_WIDTH
from lomaq.plots.renderers.base import (
    DARK,
    EDGE,
    GREEN,
    GREY,
    LEGEND_STRIP,
    PALE,
    RED,
    WIDTH,
    Frame,
    Renderer,
    agents_in_a_row,
    text_size,
)
from lomaq.plots.renderers.graph import renderer, snapshot

#: Widest and highest drawing area in pixels, and largest number of pixels for a unit of length.
BOX, MOST_PIXELS = (WIDTH - 2 * EDGE, 720), 110.0
#: Space around the regions, for the rings of landmarks on their edge.
MARGIN = COVER_DISTANCE + 0.03
#: Space between two rows of a line, in units of length.
GAP = 0.6
AGENT = "#f2c14e"


@snapshot.register(Navigation)
def _snapshot(env: Navigation) -> dict[str, np.ndarray]:
    """Positions of agents and landmarks, ``[N, 2]`` float32."""
    return {name: getattr(env, name)[..., 0].cpu().numpy().copy() for name in ("position", "landmark")}


@renderer.register(Navigation)
class NavigationRenderer(Renderer):
    """Regions, agents as numbered discs, landmarks as rings of the radius within which an agent covers them.

    A long line is broken into rows; agents and landmarks of a neighbouring row that are in sight are pale.
    """

    def __init__(self, env: Navigation, frames: Sequence[Frame] = (), figure: Figure | None = None) -> None:
        base = env.base[..., 0].cpu().numpy().astype(float)  # [N, 2]
        n = len(base)
        spacing = float(base[1, 0] - base[0, 0]) if n > 1 else 1.0
        height = 2 * HALF_WIDTH + GAP
        line = bool(np.ptp(base[:, 1]) == 0)
        row = agents_in_a_row(n, max(1, round(6 / spacing)), height, spacing) if line else n
        rows = -(-n // row)
        span = np.ptp(base[:row], axis=0) + 2 * (HALF_WIDTH + MARGIN)
        span[1] += (rows - 1) * height
        unit = min(MOST_PIXELS, *(np.array(BOX) / span))
        super().__init__(env, figure, (round(unit * span[0]), round(unit * span[1])), LEGEND_STRIP)
        low = base[0] - HALF_WIDTH - MARGIN - [0, (rows - 1) * height]
        self.axes.set(xlim=(low[0], low[0] + span[0]), ylim=(low[1], low[1] + span[1]))
        self._place_in_rows(base, row, rows, height)
        self._draw_regions(base, env.regions, opacity=min(0.03, 0.2 / env.n_slots))
        self._make_artists(unit)
        ring = {"markersize": 15, "markeredgewidth": 2.5}
        shape = "s" if env.regions == "square" else "o"
        self.legend(
            {
                "agent": {"color": AGENT, "markeredgecolor": DARK},
                "covered landmark": {"color": "#1a8f3c8c", "markeredgecolor": GREEN, **ring},
                "open landmark": {"color": "none", "markeredgecolor": RED, **ring},
                "region": {
                    "color": "#00000014",
                    "markeredgecolor": GREY,
                    "marker": shape,
                    "markersize": 16,
                },
                **({"next row": {"color": AGENT, "markeredgecolor": DARK, "alpha": PALE}} if rows > 1 else {}),
            }
        )

    def _place_in_rows(self, base: np.ndarray, row: int, rows: int, height: float) -> None:
        """Who is drawn in which row, and how far from where it is; the M drawn things are all agents, then passers."""
        n, x, reach = len(base), base[:, 0], HALF_WIDTH + COVER_DISTANCE
        first = np.arange(rows) * row  # [rows]
        last = np.minimum(first + row, n) - 1
        own = np.arange(n) // row
        near = (x > x[first, None] - reach - HALF_WIDTH) & (x < x[last, None] + reach + HALF_WIDTH)  # [rows, N]
        row_of_passer, passer = np.nonzero(near & (own != np.arange(rows)[:, None]))
        self.who = np.concatenate([np.arange(n), passer])  # [M]
        self.passing = np.arange(len(self.who)) >= n
        where = np.concatenate([own, row_of_passer])
        self.shift = np.stack([x[0] - x[first], -height * np.arange(rows)], axis=1)[where]  # [M, 2]
        self.low, self.high = x[0] - reach, (x[last] - x[first] + x[0] + reach)[where]

    def _draw_regions(self, base: np.ndarray, shape: str, opacity: float) -> None:
        centre = base + self.shift[: len(base)]
        side = 2 * HALF_WIDTH
        patches = [
            Rectangle((x - HALF_WIDTH, y - HALF_WIDTH), side, side) if shape == "square" else Circle((x, y), HALF_WIDTH)
            for x, y in centre
        ]
        face, edge = (0, 0, 0, opacity), (0, 0, 0, 6 * opacity)
        self.axes.add_collection(PatchCollection(patches, facecolor=face, edgecolor=edge, zorder=0))

    def _make_artists(self, unit: float) -> None:
        count, at = len(self.who), np.full((len(self.who), 2), np.nan)
        self.faint = np.where(self.passing, PALE, 1.0)

        def discs(radius: float, **style: object) -> EllipseCollection:
            wide, place = np.full(count, 2 * radius), {"offsets": at, "offset_transform": self.axes.transData}
            artist = EllipseCollection(wide, wide, np.zeros(count), units="xy", **place, **style)
            self.axes.add_collection(artist, autolim=False)
            return artist

        self.rings = discs(COVER_DISTANCE, zorder=2, linewidths=max(1.5, unit / 35))
        self.centres = discs(COVER_DISTANCE / 5, zorder=3)
        agents = np.tile(to_rgba(AGENT), (count, 1))
        edges = np.tile(to_rgba(DARK), (count, 1))
        agents[:, 3] = edges[:, 3] = self.faint
        self.agents = discs(AGENT_RADIUS, zorder=4, facecolors=agents, edgecolors=edges, linewidths=1.2)
        n = int((~self.passing).sum())
        size = text_size(n - 1, 2 * AGENT_RADIUS * unit)
        self.numbers = [] if size is None else [self.number(0, 0, str(i), size) for i in range(n)]

    def _move(self, frame: Frame) -> str:
        position, landmark = frame.state["position"], frame.state["landmark"]
        covered = cKDTree(position).query(landmark)[0] < COVER_DISTANCE  # [N]
        agents = self._drawn_at(position)
        self.agents.set_offsets(agents)
        for text, place in zip(self.numbers, agents, strict=False):  # artists, of at most some dozens
            text.set_position(place)
        marks = self._drawn_at(landmark)
        colour = np.where(covered[self.who, None], to_rgba(GREEN), to_rgba(RED))  # [M, 4]
        colour[:, 3] = self.faint
        inside = colour.copy()
        inside[:, 3] *= np.where(covered[self.who], 0.55, 0.08)
        self.rings.set(offsets=marks, edgecolors=colour, facecolors=inside)
        self.centres.set(offsets=marks, facecolors=colour, edgecolors=colour)
        return f"{covered.sum():,} of {len(covered):,} covered"

    def _drawn_at(self, place: np.ndarray) -> np.ndarray:
        """``[M, 2]``, where the drawn things are; NaN for passers that are out of sight."""
        at = place[self.who] + self.shift
        out = self.passing & ((at[:, 0] < self.low) | (at[:, 0] > self.high))
        at[out] = np.nan
        return at
