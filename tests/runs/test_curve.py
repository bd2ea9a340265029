"""Curves of test returns."""

from __future__ import annotations

import pytest

from lomaq.runs import Curve, Evaluation


def curve(*means: float) -> Curve:
    return Curve.of([Evaluation(10 * number, 0.0, [mean - 1, mean + 1]) for number, mean in enumerate(means)])


def test_a_curve_of_one_run_has_the_band_of_its_episodes() -> None:
    assert curve(1, 5) == Curve([0, 10], [1, 5], [0, 4], [2, 6])


@pytest.mark.parametrize(
    ("means", "threshold", "first", "solved"),
    [
        ((0, 5, 1, 5, 6), 5, 10, 30),
        ((5, 5, 0, 0, 0), 5, 0, 0),
        ((0, 5, 1, 5, 4), 5, 10, None),
        ((9, 1, 9, 8, 9), 8, 0, 20),
        ((9,), 5, 0, None),
        ((1, 2), 5, None, None),
        ((), 5, None, None),
    ],
)
def test_a_threshold_is_reached_by_one_test_and_a_task_solved_by_two_in_a_row(means, threshold, first, solved) -> None:
    assert curve(*means).first_at(threshold) == first
    assert curve(*means).first_at(threshold, tests=2) == solved
