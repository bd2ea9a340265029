"""Statistics of few runs, against known answers."""

from __future__ import annotations

import itertools
import math

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


def test_the_area_counts_each_test_for_the_env_steps_before_it_and_none_for_the_untrained_networks() -> None:
    assert area([0, 10, 40], [900.0, 4.0, 2.0]) == (10 * 4 + 30 * 2) / 40
    assert area([10, 40], [4.0, 2.0]) == area([0, 10, 40], [-900.0, 4.0, 2.0])
    assert area([7], [3.0]) == 3.0


def test_a_run_that_never_gets_there_is_censored_at_its_budget() -> None:
    assert time_to([10, 20, 30], 100)[:3] == (3, 3, 20.0)
    assert time_to([10, None, None], 100)[:3] == (1, 3, None)
    assert [time_to(first, 100).mean for first in ([10, 20, 30], [10, None, None])] == [20.0, 70.0]
    assert time_to([None, None], 100) == (0, 2, None, None, None, 100.0)
    assert time_to([10], 100) == (1, 1, 10.0, None, None, 10.0)


def test_the_interval_of_the_median_time_is_that_of_greenwoods_formula() -> None:
    """The same by hand: S = 1 - k/n without censoring before the budget, Var(log(-log S)) = k / (n (n - k) log² S)."""
    times, n = [*range(10, 100, 10)], 10
    ends = []
    for sign in (1, -1):
        bands = {}
        for k, t in enumerate(times, start=1):
            log = math.log(1 - k / n)
            bands[t] = (1 - k / n) ** math.exp(sign * 1.959964 * math.sqrt(k / (n * (n - k))) / -log)
        ends.append(min(t for t, share in bands.items() if share <= 0.5))
    assert time_to([*times, None], 100) == (9, 10, 50.0, *ends, 55.0)
    assert ends == [10, 80]
    assert time_to([*times[:6], None, None, None, None], 100).high is None


def test_methods_of_several_tasks_are_drawn_task_by_task() -> None:
    """The interval of a mean over two tasks, against a plain loop over bootstrap samples."""
    tasks = [np.array([0.0, 1.0, 4.0]), np.array([10.0, 12.0])]
    random = np.random.default_rng(3)
    means = [np.concatenate([random.choice(runs, len(runs)) for runs in tasks]).mean() for _ in range(4000)]
    _, low, high = estimate(tasks, np.mean)
    assert [low, high] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.21)
