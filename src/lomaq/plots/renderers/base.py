"""The base of all renderers: a figure whose artists are made once and moved from frame to frame."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from lomaq.envs import BatchedEnv

#: Pixels an inch, pixels of a figure's width, of its edge and of the strip that holds the title.
DPI, WIDTH, EDGE, TITLE_STRIP = 100, 800, 16, 52
#: Pixels of the strip of a legend.
LEGEND_STRIP = 34
#: Smallest text inside a mark, in points.
SMALLEST_TEXT = 9.0
DARK, RED, GREEN, GREY = "#22324a", "#d62728", "#1a8f3c", "#8a8f98"
#: Opacity of what belongs to a neighbouring row.
PALE = 0.35


@dataclass(frozen=True)
class Frame:
    """The first parallel environment at one step of an episode.

    Attributes:
        step: Steps taken so far.
        state: What the renderer shows of the state, see :func:`lomaq.plots.renderers.snapshot`.
        actions: ``[N]`` int64, the last actions; None before the first step.
        rewards: ``[N]`` float32, the last local rewards; None before the first step.
        total: Return so far, summed over agents and steps, discounted where the environment says so.
    """

    step: int
    state: dict[str, np.ndarray] = field(default_factory=dict)
    actions: np.ndarray | None = None
    rewards: np.ndarray | None = None
    total: float = 0.0


class Renderer(ABC):
    """A picture of the first parallel environment, brought up to date by :meth:`render`.

    Args:
        env: The environment.
        figure: Where to draw; None for a new one without a window.
        size: Width and height of the drawing area in pixels, without edges and title.
        below: Pixels below it, for a colour bar or a legend.
    """

    def __init__(self, env: BatchedEnv, figure: Figure | None, size: tuple[int, int], below: int = 0) -> None:
        self.max_steps, self.discounted = env.max_steps, env.discount != 1
        width, height = max(WIDTH, size[0] + 2 * EDGE), size[1] + TITLE_STRIP + EDGE + below
        self.width, self.height = width + width % 2, height + height % 2  # video formats want even numbers
        self.figure = FigureCanvasAgg(Figure()).figure if figure is None else figure
        self.figure.set_dpi(DPI)
        self.figure.set_size_inches(self.width / DPI, self.height / DPI)
        self.axes = self.place((self.width - size[0]) / 2, below + EDGE, *size)
        self.axes.set_axis_off()
        corner = EDGE / self.width, 1 - TITLE_STRIP / 2 / self.height
        self.title = self.figure.text(*corner, "", fontsize=16, va="center", color=DARK)

    def place(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """New axes at a place in pixels."""
        return self.figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))

    def number(self, x: float, y: float, text: str, size: float) -> Text:
        """Black text in the middle of a mark."""
        return self.axes.text(x, y, text, ha="center", va="center_baseline", fontsize=size, zorder=5, color="black")

    def colour_bar(
        self, span: tuple[float, float], colormap: Colormap, label: str, extend: str = "neither"
    ) -> ScalarMappable:
        """Colours of the numbers in a span, with their bar in the strip below the drawing area."""
        colours = ScalarMappable(mpl.colors.Normalize(*span), colormap)
        axes = self.place(self.width / 2, 32, self.width / 2 - 2.5 * EDGE, 16)
        self.figure.colorbar(colours, cax=axes, orientation="horizontal", extend=extend)
        axes.tick_params(labelsize=14)
        axes.locator_params(nbins=5)
        axes.text(-0.09, 0.5, label, transform=axes.transAxes, ha="right", va="center", fontsize=14, color=DARK)
        return colours

    def legend(self, marks: Mapping[str, dict[str, Any]]) -> None:
        """What marks mean, in the strip below the drawing area: words → properties of a marker of matplotlib's."""
        base: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 13}
        shown = [Line2D([], [], label=words, **base | look) for words, look in marks.items()]
        place: dict[str, Any] = {"loc": "lower center", "ncols": len(shown), "handletextpad": 0.3, "columnspacing": 1.0}
        self.figure.legend(handles=shown, fontsize=13, frameon=False, labelcolor=DARK, borderaxespad=0.4, **place)

    def render(self, frame: Frame) -> None:
        """Move everything to where it is in ``frame``."""
        name = "discounted return" if self.discounted else "return"
        words = [f"step {frame.step} of {self.max_steps}", f"{name} {frame.total:,.1f}", self._move(frame)]
        self.title.set_text("     ".join(word for word in words if word))

    @abstractmethod
    def _move(self, frame: Frame) -> str:
        """Move the artists; returns words for the title, or none."""

    def image(self) -> np.ndarray:
        """What is shown: ``[H, W, 3]`` uint8, H and W even. Only for a renderer without a window."""
        canvas = self.figure.canvas
        assert isinstance(canvas, FigureCanvasAgg)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def agents_in_a_row(n_agents: int, at_most: int, row_height: float, agent_width: float) -> int:
    """Agents in each row of a line that is broken into rows, for a picture of about four by three.

    Args:
        n_agents: Agents on the line, at least 1.
        at_most: As many agents always fit in a row.
        row_height: Height of a row.
        agent_width: Width that an agent takes, in the same unit.

    Example:
        >>> agents_in_a_row(15, 20, 1.8, 1.0), agents_in_a_row(30, 20, 1.8, 1.0)
        (15, 15)
    """
    if n_agents <= at_most:
        return n_agents
    wanted = max(at_most, math.ceil(math.sqrt(n_agents * row_height / (0.75 * agent_width))))
    return math.ceil(n_agents / math.ceil(n_agents / wanted))


def text_size(largest: int, pixels: float) -> float | None:
    """Font size in points at which numbers up to ``largest`` fit in a disc ``pixels`` across; None if it is too small.

    Example:
        >>> text_size(9, 40.0), text_size(99, 40.0), text_size(9999, 20.0)
        (20.0, 15.0, None)
    """
    width, height = 0.64 * len(str(largest)), 0.76  # of the font's digits, in font sizes
    size = math.floor(0.8 * pixels * 72 / DPI / math.hypot(width, height))
    return None if size < SMALLEST_TEXT else float(min(size, 20))
