"""The curve of a run says of which episodes its points are."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from lomaq.plots.curves import draw_curve
from lomaq.runs import Evaluation


def evaluations_of(*episodes: int) -> list[Evaluation]:
    """Tests whose episodes return 0, 1, 2, …"""
    return [Evaluation(100 * k, 1.0 * k, [float(x) for x in range(count)]) for k, count in enumerate(episodes)]


@pytest.mark.parametrize(
    ("episodes", "label"),
    [
        ((1, 1), "test return"),
        ((20, 20), "test return (20 episodes)"),
        ((3, 3, 9), "test return (the first 3 episodes of each test)"),
    ],
)
def test_the_axis_names_the_episodes_that_are_drawn(tmp_path: Path, monkeypatch, episodes, label) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: drawn.append(figure))
    draw_curve(tmp_path / "curve.png", "title", evaluations_of(*episodes), {})
    axes = drawn[0].axes[0]
    assert axes.get_ylabel() == label
    mean = axes.lines[0].get_ydata()
    assert list(mean) == [(min(episodes) - 1) / 2] * len(episodes)
