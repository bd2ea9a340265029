"""Test returns along a run, or along several of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lomaq.runs.files import Evaluation


@dataclass(frozen=True)
class Curve:
    """Test returns against env steps, K tests.

    Attributes:
        steps: Env steps of the tests, in order.
        mean: Mean test return of each.
        low: Lower edge of the band around it: the lowest episode, or the lowest seed.
        high: Upper edge.
    """

    steps: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]

    @classmethod
    def of(cls, evaluations: Sequence[Evaluation]) -> Curve:
        """One run; the band goes from the lowest to the highest episode."""
        low, high = ([pick(e.returns) for e in evaluations] for pick in (min, max))
        return cls([e.env_steps for e in evaluations], [e.mean for e in evaluations], low, high)

    @classmethod
    def over_seeds(cls, runs: Sequence[Curve]) -> Curve:
        """Mean of several runs up to the end of the shortest; the band goes from the lowest to the highest of them.

        >>> Curve.over_seeds([Curve([0, 9], [1, 3], [0, 0], [5, 5]), Curve([0, 11], [3, 3], [0, 0], [5, 5])])
        Curve(steps=[0.0, 10.0], mean=[2.0, 3.0], low=[1, 3], high=[3, 3])
        """
        steps = [sum(column) / len(column) for column in zip(*(run.steps for run in runs), strict=False)]
        means = list(zip(*(run.mean for run in runs), strict=False))
        return cls(steps, [sum(m) / len(m) for m in means], [min(m) for m in means], [max(m) for m in means])
