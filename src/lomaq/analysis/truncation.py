"""How much of a block's value comes from how far: Proposition 5 on a learned mixer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.stats import linregress
from torch import Tensor

from lomaq.analysis.colouring import Colouring, MixerFunction
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


@torch.no_grad()
def truncation(
    mixer: MixerFunction,
    colouring: Colouring,
    utilities: Tensor,
    observations: Tensor | None = None,
    tolerance: float = 0.05,
) -> Truncation:
    """Hide the agents beyond k hops of each block, for k = 0 … kappa.

    F̃_J^k is F_J with utilities and observations of the hidden agents replaced by their means over the visited states.
    One forward pass examines a colour at a k.

    Args:
        mixer: The mixer.
        colouring: The blocks.
        utilities: ``[M, N]`` float, of the actions chosen at M visited states.
        observations: ``[M, N, O]`` float, for mixers with local state.
        tolerance: Mean relative error that is small enough, above 0.

    Raises:
        InputError: If a number or a shape is impossible.
    """
    check_float("tolerance", tolerance, 0, above=True)
    colouring.check(utilities, observations)
    values = mixer(utilities, observations).double()  # [M, P]
    n_states = len(values)
    spread = values.std(dim=0, correction=0)
    rounding = ROUNDING * values.abs().amax(dim=0)  # [P]
    varies = spread > rounding
    finite = bool(values.isfinite().all())
    if not finite or not bool(varies.any()):
        reason = "no block's value varies over the visited states" if finite else "a block's value is not finite"
        return Truncation((), (), n_states, 0, 0.0, tolerance, None, None, None, None, 0, reason)
    mean_error, max_error = [], []
    for k in range(colouring.kappa + 1):
        hidden = _hide(mixer, colouring, utilities, observations, k)
        error = ((hidden - values).abs() / spread)[:, varies].nan_to_num(nan=math.inf)
        mean_error.append(float(error.mean()))
        max_error.append(float(error.amax()))
    smallest = next((k for k, error in enumerate(mean_error) if error < tolerance), None)
    floor = float((rounding / spread)[varies].mean())
    fit = _fit(mean_error, floor)
    n_blocks = int(varies.sum())
    return Truncation(tuple(mean_error), tuple(max_error), n_states, n_blocks, floor, tolerance, smallest, *fit)


def _hide(mixer: MixerFunction, colouring: Colouring, utilities: Tensor, observations: Tensor | None, k: int) -> Tensor:
    """F̃_J^k ``[M, P]`` float64 of every block J."""
    means = utilities.mean(dim=0), None if observations is None else observations.mean(dim=0)
    result = utilities.new_empty(len(utilities), colouring.n_blocks, dtype=torch.float64)
    for colour in colouring.colours:
        near = colour.agents[colour.distance <= k]
        values = mixer(*colouring.keep(near, utilities, observations, means))
        result[:, colour.blocks] = values[:, colour.blocks].double()
    return result


def _fit(errors: list[float], floor: float) -> tuple[float | None, float | None, float | None, int, str | None]:
    """ρ, c, R², number of points and the reason for none: log error against k + 1."""
    points = [(k + 1, math.log(error)) for k, error in enumerate(errors) if floor < error < math.inf]
    if len(points) < 2:
        return None, None, None, len(points), f"a fit needs errors at two or more k, got {len(points)}"
    line = linregress(*zip(*points, strict=True))
    return math.exp(line.slope), math.exp(line.intercept), float(line.rvalue) ** 2, len(points), None
