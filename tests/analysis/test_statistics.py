"""Statistics of few runs, against known answers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import bootstrap

from lomaq.analysis.statistics import area, estimate, improvement, iqm, profile, time_to


def test_the_interquartile_mean_leaves_out_the_outer_quarters() -> None:
    values = np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 900])
    assert iqm(values) == np.mean([2, 3, 4, 5, 6, 7])
    value, low, high = estimate(values)
    assert low < value < high
    assert value == iqm(values)


def test_equal_runs_and_a_single_run_have_an_interval_without_width() -> None:
    assert estimate([3.0, 3.0]) == estimate([3.0]) == (3.0, 3.0, 3.0)


def test_the_interval_of_one_task_is_that_of_scipys_bootstrap() -> None:
    values = np.random.default_rng(1).normal(size=12)
    interval = bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(2)).confidence_interval
    _, low, high = estimate(values, np.mean)
    assert [low, high] == pytest.approx([interval.low, interval.high], abs=0.03)


def test_a_stratified_interval_does_not_have_the_spread_between_tasks() -> None:
    easy, hard = [10.0, 10.1, 9.9, 10.0], [0.0, 0.1, -0.1, 0.0]
    value, low, high = estimate([easy, hard], np.mean)
    assert value == pytest.approx(5.0)
    assert high - low < 0.2 < np.diff(estimate([*easy, *hard], np.mean)[1:])[0]


def test_the_probability_of_improvement_counts_pairs_with_ties_as_halves() -> None:
    x, y = [3.0, 1.0, 2.0], [2.0, 0.0]
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(x, y)]
    assert improvement([x], [y]).value == np.mean(pairs)
    assert improvement([x, [1.0]], [y, [2.0]]).value == np.mean(pairs) / 2
    assert improvement([y], [x]).value == pytest.approx(1 - np.mean(pairs))
    assert improvement([[5.0, 6.0]], [[1.0, 2.0]]) == (1.0, 1.0, 1.0)


def test_a_performance_profile_falls_from_all_runs_to_none() -> None:
    assert [point.value for point in profile([1.0, 2.0, 3.0, 4.0], [0.5, 2.5, 4.0])] == [1.0, 0.5, 0.0]


def test_the_area_weighs_tests_by_the_env_steps_between_them() -> None:
    assert area([0, 10, 40], [0.0, 4.0, 4.0]) == (10 * 2 + 30 * 4) / 40
    assert area([7], [3.0]) == 3.0


def test_a_run_that_never_gets_there_is_censored_at_its_budget() -> None:
    assert time_to([10, 20, 30], 100) == (3, 3, 20.0, 20.0)
    assert time_to([10, None, None], 100) == (1, 3, None, 70.0)
    assert time_to([None, None], 100) == (0, 2, None, 100.0)
