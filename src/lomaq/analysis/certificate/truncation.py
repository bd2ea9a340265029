"""How much of a block's value comes from how far: Proposition 5 on a learned mixer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.stats import linregress

from lomaq.analysis.certificate.probe import Probe
from lomaq.errors import check_float

#: Changes up to here, relative to a block's value, are rounding of float32.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Truncation:
    """|F_J - F̃_J^k| over states and blocks, in units of the standard deviation of F_J over states.

    Attributes:
        mean_error: Mean for k = 0 … kappa; empty where no block's value varies.
        max_error: Largest, likewise.
        n_states: States M.
        n_blocks: Blocks whose value varies over the states; the others have no such unit and are left out.
        rounding: Mean errors up to here are rounding.
        tolerance: Mean error that is called small enough.
        smallest_k: Smallest k whose mean error is below ``tolerance``; None where there is none.
        rho: Decay rate ρ of the mean error ≈ c ρ^(k+1), fitted where it is above rounding; None without a fit.
        c: Its constant.
        r_squared: Share of the variance of log errors that the fit explains; 1 for two points, whatever they are.
        n_points: Numbers of hops k that the fit rests on.
        reason: Why there is no fit; None where there is one.
    """

    mean_error: tuple[float, ...]
    max_error: tuple[float, ...]
    n_states: int
    n_blocks: int
    rounding: float
    tolerance: float
    smallest_k: int | None
    rho: float | None
    c: float | None
    r_squared: float | None
    n_points: int
    reason: str | None

    def line(self) -> str:
        """What was found, in words."""
        if not self.mean_error:
            return f"not measured: {self.reason}"
        shown = ", ".join(f"{error:.2g}" for error in self.mean_error[:8]) + ", …" * (len(self.mean_error) > 8)
        enough = "at no k" if self.smallest_k is None else f"from k={self.smallest_k}"
        text = f"mean error {shown} standard deviations for k = 0, 1, …; below {self.tolerance:g} {enough}"
        if self.rho is None:
            return f"{text}; no decay rate: {self.reason}"
        fit = f"{self.c:.2g} · {self.rho:.2g}^(k+1), R² {self.r_squared:.2f} over {self.n_points} points"
        return f"{text}; decays as {fit}"


@torch.no_grad()
def truncation(probe: Probe, tolerance: float = 0.05) -> Truncation:
    """Hide the agents beyond k hops of each block, for k = 0 … kappa.

    F̃_J^k is F_J with utilities and observations of the hidden agents replaced by their means over the visited states.
    One forward pass examines a colour at a k.

    Args:
        probe: The mixer.
        tolerance: Mean relative error that is small enough, above 0.

    Raises:
        InputError: If the tolerance is impossible.
    """
    check_float("tolerance", tolerance, 0, above=True)
    values, n_states = probe.values.double(), len(probe.values)  # [M, P]
    spread = values.std(dim=0, correction=0)
    rounding = ROUNDING * values.abs().amax(dim=0)  # [P]
    varies, finite = spread > rounding, bool(values.isfinite().all())
    if not finite or not bool(varies.any()):
        reason = "no block's value varies over the visited states" if finite else "a block's value is not finite"
        return Truncation((), (), n_states, 0, 0.0, tolerance, None, None, None, None, 0, reason)
    means = probe.utilities.mean(dim=0), None if probe.observations is None else probe.observations.mean(dim=0)
    mean_error, max_error, hidden = [], [], torch.empty_like(values)
    for k in range(probe.kappa + 1):
        for colour in probe.colours:
            truncated = probe.replace(colour.agents[colour.distance <= k], means)
            hidden[:, colour.blocks] = truncated[:, colour.blocks].double()
        error = ((hidden - values).abs() / spread)[:, varies].nan_to_num(nan=math.inf)
        mean_error.append(float(error.mean()))
        max_error.append(float(error.amax()))
    smallest = next((k for k, error in enumerate(mean_error) if error < tolerance), None)
    floor = float((rounding / spread)[varies].mean())
    sizes = n_states, int(varies.sum()), floor, tolerance, smallest
    return Truncation(tuple(mean_error), tuple(max_error), *sizes, *_fit(mean_error, floor))


def _fit(errors: list[float], floor: float) -> tuple[float | None, float | None, float | None, int, str | None]:
    """ρ, c, R², number of points and the reason for none: log error against k + 1."""
    points = [(k + 1, math.log(error)) for k, error in enumerate(errors) if floor < error < math.inf]
    if len(points) < 2:
        return None, None, None, len(points), f"a fit needs errors at two or more k, got {len(points)}"
    line = linregress(*zip(*points, strict=True))
    return math.exp(line.slope), math.exp(line.intercept), float(line.rvalue) ** 2, len(points), None
