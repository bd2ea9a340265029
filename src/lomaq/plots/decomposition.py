"""The picture of a reward decomposition."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lomaq.runs.files import free_path

#: Most steps of which each is marked by a dot, since a line alone would hide them.
MARKED_STEPS = 60
#: Most agents whose names are all written.
MOST_NAMES = 12


def draw_decomposition(
    path: str | Path,
    learned: np.ndarray,
    true: np.ndarray,
    tolerance: float,
    title: str,
    names: Sequence[str] | None = None,
) -> Path:
    """Draw heat maps of an episode's learned and true rewards, and below them the team reward and its prediction.

    Args:
        path: Picture to write, ``.png`` or another ending that matplotlib knows; a name that is taken gets a number.
        learned: ``[T, N]``, learned local rewards.
        true: ``[T, N]``, the environment's local rewards.
        tolerance: Δ of the gate, in the unit of the team reward.
        title: Heading.
        names: Names of the N agents; without, they are numbered.

    Returns:
        The file that was written.
    """
    figure = Figure(figsize=(9, 8), layout="constrained", dpi=120)
    figure.suptitle(title, fontsize=15)
    top, middle, bottom = figure.subplots(3, sharex=True)
    ends = min(0.0, learned.min(), true.min()), max(0.0, learned.max(), true.max())  # 0 keeps its colour's place
    for axes, rewards, name in ((top, learned, "Learned rewards"), (middle, true, "True local rewards")):
        image = axes.imshow(rewards.T, aspect="auto", cmap="viridis", vmin=ends[0], vmax=ends[1])
        axes.set_title(name, fontsize=13)
        axes.set_ylabel("agent", fontsize=12)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        if names is not None:
            _name_rows(axes, names)
    figure.colorbar(image, ax=[top, middle], aspect=30, pad=0.01).set_label("reward of a step", fontsize=12)
    _draw_team(bottom, learned.sum(axis=1), true.sum(axis=1), tolerance)
    for axes in (top, middle, bottom):
        axes.tick_params(labelsize=11)
    figure.savefig(path := free_path(path))
    return path


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names at the ticks, at all agents where these are few."""
    if len(names) <= MOST_NAMES:
        axes.set_yticks(range(len(names)))
    shown = [name if len(name) <= 20 else f"{name[:19]}…" for name in names]
    axes.yaxis.set_major_formatter(lambda y, _: shown[round(y)] if 0 <= round(y) < len(shown) else "")


def _draw_team(axes: Axes, predicted: np.ndarray, team: np.ndarray, tolerance: float) -> None:
    """Team reward with the span in which the gate is open, and the prediction; crosses where it is shut."""
    steps = np.arange(len(team))
    edges, low, high = np.append(steps, len(team)) - 0.5, team - tolerance, team + tolerance
    label = f"gate open, Δ = {tolerance:.3g}"
    axes.stairs(high, edges, baseline=low, fill=True, color="tab:gray", alpha=0.25, label=label)
    dots = "o" if len(team) <= MARKED_STEPS else ""
    axes.plot(steps, team, color="black", linewidth=1.5, marker=dots, markersize=4, label="team reward")
    axes.plot(steps, predicted, color="tab:orange", linewidth=1.5, marker=dots, markersize=4, label="predicted")
    shut = np.abs(predicted - team) > tolerance
    if shut.any():
        axes.plot(steps[shut], predicted[shut], "x", color="tab:red", markersize=9, label="left out by the gate")
    axes.set_title("Sum over agents", fontsize=13)
    axes.set_xlabel("step", fontsize=12)
    axes.set_ylabel("reward of a step", fontsize=12)
    axes.set_xlim(-0.5, len(team) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=11, framealpha=0.8, loc="best")
