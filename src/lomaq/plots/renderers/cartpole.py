"""Coupled carts on their track: springs coloured by stretch, fallen carts in red."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure

from lomaq.envs import CartPole
from lomaq.envs.cartpole import POLE_HALF_LENGTH, REST_DISTANCE
from lomaq.plots.renderers.base import DARK, EDGE, GREY, PALE, RED, WIDTH, Frame, Renderer, agents_in_a_row
from lomaq.plots.renderers.graph import renderer, snapshot

#: Carts that fit in one row, and the height of a row.
ROW, ROW_HEIGHT = 20, 1.85
CART_WIDTH, CART_HEIGHT = 0.46, 0.3
#: Space outside the walls, largest number of pixels for a rest distance, and least for which carts are numbered.
MARGIN, MOST_PIXELS, LEAST_PIXELS = 0.45, 110.0, 28.0
#: Corners of a zigzag: shares of its length, and heights.
ALONG = np.array([0, 0.14, 0.23, 0.41, 0.59, 0.77, 0.86, 1])
ACROSS = np.array([0, 0, 1, -1, 1, -1, 0, 0]) * 0.12
#: Stretch at which the colour of a spring is full.
MOST_STRETCH = 0.5
STRETCH = LinearSegmentedColormap.from_list("stretch", ["#2457d6", "#6f8fd0", "#9a9a9a", "#e0a04a", "#e07b00"])


@snapshot.register(CartPole)
def _snapshot(env: CartPole) -> dict[str, np.ndarray]:
    """Offsets and angles ``[N]`` float32 and whether each pole is up, ``[N]`` bool."""
    state = {"offset": env.offset, "angle": env.angle, "up": env.up()}
    return {name: value[0].cpu().numpy().copy() for name, value in state.items()}


@renderer.register(CartPole)
class CartPoleRenderer(Renderer):
    """Carts as boxes, poles at their angle, springs as zigzags; a long line is broken into rows.

    Where a row ends, the cart that comes next is drawn pale.
    """

    def __init__(self, env: CartPole, frames: Sequence[Frame] = (), figure: Figure | None = None) -> None:
        n = env.n_agents
        row = agents_in_a_row(n, ROW, ROW_HEIGHT, REST_DISTANCE)
        rows = -(-n // row)
        unit = min(MOST_PIXELS, (WIDTH - 2 * EDGE) / (row + 1 + 2 * MARGIN))
        super().__init__(env, figure, (WIDTH - 2 * EDGE, round(unit * rows * ROW_HEIGHT)), below=64)
        middle, half = (row - 1) / 2, (WIDTH - 2 * EDGE) / unit / 2
        self.axes.set(xlim=(middle - half, middle + half), ylim=(-rows * ROW_HEIGHT, 0))
        self._place_in_rows(n, row, rows)
        self._draw_still(n, row, rows, numbered=unit >= LEAST_PIXELS)
        self._make_artists(thickness=float(np.clip(unit / 14, 1.8, 4.5)))

    def _place_in_rows(self, n: int, row: int, rows: int) -> None:
        """Which carts and springs are drawn, and where."""
        first = np.arange(rows) * row  # [rows], cart and spring that begin each row; spring s is left of cart s
        end = np.minimum(first + row, n)
        own = np.arange(n) // row
        self.who = np.concatenate([np.arange(n), first[1:] - 1, end[:-1]])  # [M], all carts, then the pale ones
        self.pale = np.arange(len(self.who)) >= n
        cart_row = np.concatenate([own, np.arange(1, rows), np.arange(rows - 1)])
        self.rest, self.floor = self.who - first[cart_row], _floor(cart_row)  # [M] each
        self.spring = np.concatenate([np.arange(n), end])  # [S], those left of the carts, then the rows' last
        spring_row = np.concatenate([own, np.arange(rows)])
        ends = self.spring[:, None] + [-1, 0]  # [S, 2], the carts at both ends; -1 and n are walls
        half_cart = np.where((ends >= 0) & (ends < n), CART_WIDTH / 2, 0.0)
        self.spring_rest = ends - first[spring_row, None] + half_cart * [1, -1]  # [S, 2]
        self.spring_height = _floor(spring_row) + CART_HEIGHT / 2

    def _draw_still(self, n: int, row: int, rows: int, numbered: bool) -> None:
        """Tracks, walls and, where there is room, the numbers of the carts at the ends of each row."""
        for r in range(rows):
            y, last = _floor(r), min(row, n - r * row) - 1
            self.axes.plot([-1 - MARGIN, last + 1 + MARGIN], [y, y], color=GREY, linewidth=1.5, zorder=0)
            walls = [x for x, there in ((-1, r == 0), (last + 1, r == rows - 1)) if there]
            self.axes.vlines(walls, y, y + 0.75, color=DARK, linewidth=5, zorder=1)
            for x in sorted({0, last}) if numbered else ():
                self.axes.text(x, y - 0.07, str(r * row + x), ha="center", va="top", fontsize=12, color=DARK)

    def _make_artists(self, thickness: float) -> None:
        span = -MOST_STRETCH, MOST_STRETCH
        self.stretch_colours = self.colour_bar(span, STRETCH, "stretch of a spring", extend="both")
        # Any: matplotlib's annotations want lists where it takes arrays, which are faster
        self.springs: Any = LineCollection([], linewidths=thickness, zorder=2, capstyle="round")
        self.carts: Any = PolyCollection([], zorder=3, edgecolors="white", linewidths=1)
        self.poles: Any = LineCollection([], linewidths=1.5 * thickness, zorder=4, capstyle="round")
        for artist in (self.springs, self.carts, self.poles):
            self.axes.add_collection(artist, autolim=False)

    def _move(self, frame: Frame) -> str:
        offset, angle, up = (frame.state[name] for name in ("offset", "angle", "up"))
        x, lean = self.rest + offset[self.who], angle[self.who]  # [M] each
        corners = np.array([[-1, 0], [1, 0], [1, 1], [-1, 1]]) * [CART_WIDTH / 2, CART_HEIGHT]
        self.carts.set_verts(np.stack([x, self.floor], axis=1)[:, None] + corners)
        foot = np.stack([x, self.floor + CART_HEIGHT], axis=1)
        tip = foot + 2 * POLE_HALF_LENGTH * np.stack([np.sin(lean), np.cos(lean)], axis=1)
        self.poles.set_segments(np.stack([foot, tip], axis=1))
        colour = np.where(up[self.who, None], to_rgba(DARK), to_rgba(RED))  # [M, 4]
        colour[self.pale, 3] = PALE
        self.carts.set_facecolor(colour)
        self.poles.set_color(colour)
        self._show_springs(np.pad(offset, 1))  # walls do not move
        return f"{up.sum():,} of {len(up):,} up"

    def _show_springs(self, offset: np.ndarray) -> None:
        moved = offset[self.spring[:, None] + [0, 1]]  # [S, 2]
        left, right = (self.spring_rest + moved).T
        x = left[:, None] + (right - left)[:, None] * ALONG
        y = self.spring_height[:, None] + ACROSS
        self.springs.set_segments(np.stack([x, y], axis=2))  # [S, 8, 2]
        self.springs.set_color(self.stretch_colours.to_rgba(moved[:, 1] - moved[:, 0]))


def _floor(row: Any) -> Any:
    """Height of the track of a row, or of rows."""
    return -ROW_HEIGHT * (row + 1) + 0.45
