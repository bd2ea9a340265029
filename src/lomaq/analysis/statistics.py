"""Statistics of few runs: robust means, bootstrapped intervals, comparisons, curves and times to a threshold.

The choice of statistics is that of Agarwal et al. 2021 (*Deep reinforcement learning at the edge of the statistical
precipice*) and Gorsane et al. 2022 (*Towards a standardised performance evaluation protocol for cooperative MARL*).
Runs of one task are an array ``[R]``, those of several tasks a list of arrays. Bootstraps draw runs with replacement
within each task (stratified), as many as it has.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import CensoredData, ecdf, trim_mean

#: Bootstrap samples, confidence, and the seed of their draws: the same numbers give the same interval.
SAMPLES, CONFIDENCE, SEED = 9_999, 0.95, 0


class Estimate(NamedTuple):
    """A statistic and the bootstrapped 95 % interval around it."""

    value: float
    low: float
    high: float


def iqm(values: ArrayLike, axis: int | None = None) -> Any:
    """Interquartile mean: the mean without the lowest and the highest quarter (rounded down to whole numbers).

    >>> float(iqm([0.0, 1.0, 2.0, 9.0]))
    1.5
    """
    return trim_mean(np.asarray(values, dtype=float), 0.25, axis=axis)


def estimate(tasks: ArrayLike | Sequence[ArrayLike], statistic: Callable[..., Any] = iqm) -> Estimate:
    """``statistic`` of all runs together and its percentile bootstrap interval.

    Args:
        tasks: ``[R]`` runs of one task, or a list of these.
        statistic: Of runs ``[…, R]`` with ``axis``.

    >>> estimate([2.0, 2.0])
    Estimate(value=2.0, low=2.0, high=2.0)
    """
    return _estimate(_arrays(tasks), lambda *drawn: statistic(np.concatenate(drawn, axis=-1), axis=-1))


def improvement(x: Sequence[ArrayLike], y: Sequence[ArrayLike]) -> Estimate:
    """Probability that a run of X is better than one of Y, P(X > Y) with ties as halves, the mean over tasks.

    Args:
        x: Runs of method X: ``[R]`` for each task.
        y: Those of method Y on the same tasks.

    >>> improvement([[1.0, 2.0]], [[0.0, 2.0]]).value
    0.625
    """

    def better(*drawn: np.ndarray) -> Any:
        difference = [a[..., :, None] - b[..., None, :] for a, b in zip(drawn[::2], drawn[1::2], strict=True)]
        return np.mean([((d > 0) + 0.5 * (d == 0)).mean(axis=(-2, -1)) for d in difference], axis=0)

    return _estimate(_arrays([one for pair in zip(x, y, strict=True) for one in pair]), better)


def profile(tasks: ArrayLike | Sequence[ArrayLike], levels: ArrayLike) -> list[Estimate]:
    """Performance profile: the share of runs above each level τ, with its interval.

    >>> [point.value for point in profile([1.0, 2.0, 3.0, 4.0], [0.5, 2.5])]
    [1.0, 0.5]
    """
    return [estimate(tasks, partial(_above, level)) for level in np.asarray(levels, dtype=float)]


def _above(level: float, runs: np.ndarray, axis: int) -> Any:
    return (runs > level).mean(axis=axis)


def area(steps: ArrayLike, returns: ArrayLike) -> float:
    """Area under a test curve, over the env steps of the last test: the mean return along the run.

    A test stands for the env steps since the test before it. That of the untrained networks, at env step 0, stands for
    none: how they happen to start counts for nothing.

    Args:
        steps: ``[T]`` env steps of the tests, rising, the last above 0.
        returns: ``[T]`` mean returns.

    >>> area([0, 10, 40], [50.0, 4.0, 2.0])
    2.5
    """
    x, y = np.asarray(steps, dtype=float), np.asarray(returns, dtype=float)
    return float(y @ np.diff(x, prepend=0.0) / x[-1])


class TimeTo(NamedTuple):
    """Env steps until a threshold, over runs some of which never reach it.

    Attributes:
        reached: Runs that do.
        runs: All.
        median: Kaplan-Meier median; None where less than half of the runs reach it.
        low: Lower end of its 95 % interval; None where it is open, as that of a single run is.
        high: Upper end; None where it is open.
        mean: Restricted mean: that of the time until the threshold or until ``budget``, whichever comes first.
    """

    reached: int
    runs: int
    median: float | None
    low: float | None
    high: float | None
    mean: float


def time_to(first: Sequence[float | None], budget: float) -> TimeTo:
    """Env steps to a threshold with censoring (Kaplan and Meier 1958).

    The interval of the median holds all times at which the survival function's, by Greenwood's formula after a log-log
    transform, holds one half (Brookmeyer and Crowley 1982).

    Args:
        first: For each run the env steps at which it is first there; None where it never is, which tells only that it
            takes more than ``budget``.
        budget: Env steps of a run.

    >>> time_to([10, 20, None], 100)
    TimeTo(reached=2, runs=3, median=20.0, low=10.0, high=None, mean=43.333333333333336)
    """
    there = [float(one) for one in first if one is not None]
    late = [float(budget)] * (len(first) - len(there))
    mean = float(np.mean([*there, *late]))
    if not there:
        return TimeTo(0, len(first), None, None, None, mean)
    survival = ecdf(CensoredData(there, right=late)).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it is undefined, NaN, where the last run arrives
        band = survival.confidence_interval(CONFIDENCE, method="log-log")

    def halved(shares: np.ndarray) -> float | None:
        """The first time at which no more than half of the runs are left."""
        return next((float(t) for t, share in zip(survival.quantiles, shares, strict=True) if share <= 0.5), None)

    low, median, high = (halved(one.probabilities) for one in (band.low, survival, band.high))
    return TimeTo(len(there), len(first), median, low, high, mean)


def _arrays(tasks: Any) -> list[np.ndarray]:
    """Runs of each task; one task alone is a list of one."""
    return [np.asarray(one, dtype=float) for one in ([tasks] if np.ndim(tasks[0]) == 0 else tasks)]


def _estimate(groups: list[np.ndarray], statistic: Callable[..., Any]) -> Estimate:
    """``statistic`` of ``groups``, and its interval from samples ``[SAMPLES, R]`` of each."""
    random = np.random.default_rng(SEED)
    drawn = [runs[random.integers(len(runs), size=(SAMPLES, len(runs)))] for runs in groups]
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.quantile(statistic(*drawn), tails)
    return Estimate(float(statistic(*groups)), float(low), float(high))
