"""The environment's own exponential decay (Qu et al., 2020; Proposition 5), from exact action values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lomaq.errors import InputError, check_float, check_int
from lomaq.graphs import AgentGraph

#: Differences up to here, relative to the largest value, are rounding of float64.
ROUNDING = 1e-12


@dataclass(frozen=True)
class ExactDecay:
    """e_κ = max_i max |Q_i(s, a) - Q_i(s', a')| over states and joint actions that are equal within κ hops of agent i.

    The exponential decay property asks for e_κ ≤ c ρ^(κ+1). c and ρ are those of the lowest such bound that is exact at
    κ = 0: ρ = max_κ (e_κ / e_0)^(1/κ) over κ ≥ 1 and c = e_0 / ρ.

    Attributes:
        largest: e_κ for κ = 0 … the graph's diameter, in units of rewards.
        value_range: The same where nothing needs to be equal: the largest range of any Q_i.
        tolerance: Share of ``value_range`` that is called small enough.
        smallest_kappa: Smallest κ whose e_κ is; None where there is none.
        c: Constant of the bound, in units of rewards; None where fewer than two e_κ are above 0.
        rho: Its rate ρ in (0, 1]; None likewise.
        implied_kappa: Smallest κ at which the bound, not e_κ, is small enough; None where it never is.
    """

    largest: tuple[float, ...]
    value_range: float
    tolerance: float
    smallest_kappa: int | None
    c: float | None
    rho: float | None
    implied_kappa: int | None

    def line(self) -> str:
        """What was found, in words."""
        if max(self.largest) == 0:
            return "Q_i depends on agent i alone"
        shown = ", ".join(f"{e:.3g}" for e in self.largest)
        enough = "at no κ" if self.smallest_kappa is None else f"from κ={self.smallest_kappa}"
        text = (
            f"agents beyond κ = 0, 1, … hops change Q_i by up to {shown}, of its range of {self.value_range:.3g}; "
            f"below {100 * self.tolerance:g}% {enough}"
        )
        if self.c is None or self.rho is None:
            return f"{text}; no decay rate from one number"
        implied = "no κ" if self.implied_kappa is None else f"κ={self.implied_kappa}"
        return f"{text}; at most {self.c:.3g} · {self.rho:.2g}^(κ+1), which implies {implied}"


def exact_decay(q: Tensor, graph: AgentGraph, agent_states: int, tolerance: float = 0.05) -> ExactDecay:
    """How much a Q_i differs between states and joint actions that agree within κ hops of agent i, for every κ.

    Args:
        q: ``[N, K^N, A^N]`` float, every agent's exact Q_i; states are numbered Σ_j s_j K^j, joint actions Σ_j a_j A^j.
        graph: Where the hops are counted; agents that are not connected are beyond all κ.
        agent_states: States K of a single agent, at least 1.
        tolerance: Share of the values' range that is small enough, above 0.

    Raises:
        InputError: If the table is of another shape or not finite, or a number impossible.
    """
    n, k = graph.n_agents, check_int("agent_states", agent_states, 1)
    check_float("tolerance", tolerance, 0, above=True)
    n_actions = max(1, round(q.size(-1) ** (1 / n)))
    if q.shape != (n, k**n, n_actions**n):
        raise InputError("q", f"shape [{n}, {k}^{n}, actions^{n}]", list(q.shape))
    if not bool(q.isfinite().all()):
        raise InputError("q", "finite numbers", "NaN or infinity")
    hops = graph.khop(n).toarray().astype(np.int64) - 1  # [N, N], -1 where not connected
    hops[hops < 0] = n
    diameter = int(hops[hops < n].max())
    table = q.double().view(n, *[k] * n, *[n_actions] * n)  # agent j's state is axis n - j, its action axis 2n - j
    largest = []
    for kappa in range(-1, diameter + 1):
        spread = 0.0
        for own, distance in zip(table, hops, strict=True):
            far = np.flatnonzero(distance > kappa)
            axes = [int(axis) for j in far for axis in (n - 1 - j, 2 * n - 1 - j)]
            if axes:
                spread = max(spread, float((own.amax(dim=axes) - own.amin(dim=axes)).amax()))
        largest.append(0.0 if spread <= ROUNDING * float(q.abs().amax()) else spread)
    value_range, largest = largest[0], largest[1:]
    enough = tolerance * value_range
    smallest = next((kappa for kappa, e in enumerate(largest) if e <= enough), None)
    return ExactDecay(tuple(largest), value_range, tolerance, smallest, *_bound(largest, enough))


def _bound(largest: list[float], enough: float) -> tuple[float | None, float | None, int | None]:
    """c, ρ, and the smallest κ with c ρ^(κ+1) ≤ ``enough``."""
    if len(largest) < 2 or largest[1] == 0:
        return None, None, None
    rho = max((e / largest[0]) ** (1 / kappa) for kappa, e in enumerate(largest[1:], start=1))
    c = largest[0] / rho
    if rho == 1:
        return c, rho, 0 if c <= enough else None
    return c, rho, max(0, math.ceil(math.log(enough / c) / math.log(rho) - 1e-9) - 1)
