"""Test returns along a run, or along several of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from lomaq.runs.files import Evaluation, alike


@dataclass(frozen=True)
class Curve:
    """Test returns against env steps: of each test the mean, the lowest and the highest episode, or seed.

    Of tests with unequal numbers of episodes the first count, as many as all have.
    """

    steps: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]

    @classmethod
    def of(cls, evaluations: Sequence[Evaluation], metric: str | None = None) -> Curve:
        """The tests of one run: their returns, or a metric of the environment."""
        each = [e.returns if metric is None else e.metrics[metric] for e in alike(evaluations)]
        mean, low, high = ([pick(values) for values in each] for pick in (fmean, min, max))
        return cls([e.env_steps for e in evaluations], mean, low, high)

    @classmethod
    def over_seeds(cls, runs: Sequence[Curve]) -> Curve:
        """Mean of several runs up to the end of the shortest, with the lowest and the highest of their means."""
        steps = [sum(column) / len(column) for column in zip(*(run.steps for run in runs), strict=False)]
        means = list(zip(*(run.mean for run in runs), strict=False))
        return cls(steps, [sum(m) / len(m) for m in means], [min(m) for m in means], [max(m) for m in means])

    def first_at(self, threshold: float, tests: int = 1) -> int | None:
        """Env steps of the first of ``tests`` tests in a row with a mean of at least ``threshold``; None: never."""
        rows = zip(*(self.mean[i:] for i in range(tests)), strict=False)  # [K - tests + 1][tests]
        return next((int(step) for step, row in zip(self.steps, rows, strict=False) if min(row) >= threshold), None)
