"""Is a mixer a function of one state: the same values again, in another order, and without the other states."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lomaq.analysis.certificate.probe import Probe

#: Most states that are mixed alone.
ALONE = 16


@dataclass(frozen=True)
class Consistency:
    """What became of block values when they were computed once more.

    Attributes:
        repeats: Whether the same call gives the same bits again.
        n_alone: States that were also mixed alone.
        n_blocks_changed: Blocks whose value depends on the other states or on their order by more than rounding.
        largest_change: Largest change of such a value; infinite where one value is finite and the other not.
    """

    repeats: bool
    n_alone: int
    n_blocks_changed: int
    largest_change: float

    @property
    def passed(self) -> bool:
        """Whether every value depends on its state alone."""
        return self.repeats and self.n_blocks_changed == 0

    def line(self) -> str:
        """What was found, in words."""
        looked = f"in another order and for {self.n_alone:,} states alone"
        if self.passed:
            return f"the same values again, {looked}"
        if not self.repeats:
            return "the same call gives other values the second time"
        changed = f"{self.n_blocks_changed:,} blocks changed, by up to {self.largest_change:.2g}"
        return f"{changed}, {looked}: a state's value depends on the other states"


@torch.no_grad()
def consistency(probe: Probe) -> Consistency:
    """Mix the visited states again, in reverse, and some of them alone."""
    utilities, observations, values = probe.utilities, probe.observations, probe.values
    repeats = torch.equal(probe.mix(utilities, observations).nan_to_num(), values.nan_to_num())
    backwards = probe.mix(utilities.flip(0), None if observations is None else observations.flip(0)).flip(0)
    n_alone = min(ALONE, len(values))
    alone = [
        probe.mix(utilities[m : m + 1, None], None if observations is None else observations[m : m + 1, None])[0]
        for m in range(n_alone)  # once per examination, no hot path
    ]
    change = torch.zeros(values.size(1), dtype=torch.float64)
    for again, before in ((backwards, values), (torch.cat(alone), values[:n_alone])):
        size = (again.double() - before.double()).abs()
        size = torch.where(again.isfinite() | before.isfinite(), size.nan_to_num(nan=math.inf), 0.0)
        change = torch.maximum(change, torch.where(size > probe.rounding(before), size, 0.0).amax(dim=0))
    return Consistency(repeats, n_alone, int((change > 0).sum()), float(change.amax()))
