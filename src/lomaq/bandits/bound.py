"""Theorem 1: the width of Multi-OFUL's confidence sets and the bound on its regret, as the paper prints them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lomaq.errors import InputError, check_float, check_int
from lomaq.graphs import Partition

#: Joint actions that an int64 can number; memory ends long before.
MOST_JOINT_ACTIONS = 2**62
#: Smallest λ / S_x²: the first updates subtract nearly all of 1/λ and lose its digits.
LEAST_REGULARISATION = 1e-4


@dataclass(frozen=True)
class Constants:
    """Everything that Section 3.2 calls a constant.

    Args:
        partition: P, the blocks whose rewards are observed.
        n_arms: K, arms of each agent, at least 1.
        dim: d, size of the context, at least 1.
        noise_bound: R_max, the largest sub-Gaussian constant R_J of a block's noise, at least 0.
        parameter_bound: S_θ, largest norm of an arm's parameters, above 0.
        context_bound: S_x, largest norm of a context, above 0.
        delta: δ, probability with which the theorem may fail, inside (0, 1).
        regularisation: λ of the ridge regressions, at least 10^-4 S_x² (rank-one updates of V⁻¹ lose digits below) and
            at most |P| K^|J| / δ for the smallest block J (the logarithm in the printed width is negative beyond).

    Raises:
        InputError: If one of them is out of its range, or a block has more joint actions than can be numbered.
    """

    partition: Partition
    n_arms: int
    dim: int
    noise_bound: float
    parameter_bound: float
    context_bound: float
    delta: float
    regularisation: float

    def __post_init__(self) -> None:
        check_int("K", self.n_arms, 1)
        check_int("d", self.dim, 1)
        check_float("noise_scale", self.noise_bound, 0)
        check_float("parameter_bound", self.parameter_bound, 0, above=True)
        check_float("context_bound", self.context_bound, 0, above=True)
        check_float("delta", self.delta, 0, 1, above=True, below=True)
        check_float("regularisation", self.regularisation, LEAST_REGULARISATION * self.context_bound**2)
        if max(self.joint_actions) > MOST_JOINT_ACTIONS:
            size = max(map(len, self.partition.blocks))
            power = f"{self.n_arms}^{size} = 10^{size * math.log10(self.n_arms):.0f}"
            got = f"a block of {size} agents with {power} joint actions"
            raise InputError("partition", "blocks whose statistics fit into memory", got, "use smaller blocks")
        limit = self.partition.n_blocks * min(self.joint_actions) / self.delta
        if self.regularisation > limit:
            expected = f"at most |P| K^|J| / δ = {limit:g} for the smallest block"
            why = "beyond it the confidence width of the paper is the root of a negative number"
            raise InputError("regularisation", expected, self.regularisation, why)

    @property
    def joint_actions(self) -> list[int]:
        """K^|J| of each block, ``P`` numbers."""
        return [self.n_arms ** len(block) for block in self.partition.blocks]

    @property
    def k_p(self) -> int:
        """K_P = Σ_J K^|J|."""
        return sum(self.joint_actions)

    def width(self, t: float, block_size: int) -> float:
        """√β_J(t, δ) = λ^½ |J| S_θ + R_max √(d log(|P| K^|J| (1 + t S_x) / (λ δ))).

        Theorem 2 of Abbasi-Yadkori, Pál and Szepesvári (2011), which it comes from, has 1 + t S_x² / λ in place of
        (1 + t S_x) / λ and needs d ≥ 2. The two agree at λ = S_x = 1, and the printed one is at least as wide where
        λ ≤ 1 and S_x ≤ 1; elsewhere it may be too narrow for its promise.

        Args:
            t: Round, from 1.
            block_size: |J|, number of agents.
        """
        inside = math.log(self.partition.n_blocks / self.delta) + block_size * math.log(self.n_arms)
        inside += math.log((1 + t * self.context_bound) / self.regularisation)
        bias = math.sqrt(self.regularisation) * block_size * self.parameter_bound
        return bias + self.noise_bound * math.sqrt(self.dim * inside)

    def printed_bound(self, rounds: np.ndarray) -> np.ndarray:
        """Theorem 1: 2 √(T d K_P log(λ + T S_x² / (K d))) (λ^½ n S_θ + R_max √(d log(|P| K^n (1 + T S_x) / (λ δ)))).

        Args:
            rounds: ``[C]``, numbers of rounds T, each at least 1.

        Returns:
            ``[C]`` float64, in units of reward; NaN where λ < 1 makes the first logarithm negative.
        """
        rounds = np.asarray(rounds, dtype=np.float64)
        first = np.log(self.regularisation + rounds * self.context_bound**2 / (self.n_arms * self.dim))
        first = np.where(first >= 0, first, np.nan)
        width = np.array([self.width(t, self.partition.n_agents) for t in rounds.tolist()])
        return 2 * np.sqrt(rounds * self.dim * first * self.k_p) * width

    def corrected_bound(self, rounds: np.ndarray) -> np.ndarray:
        """√|P| times :meth:`printed_bound`.

        The printed proof replaces the square of Σ_J 2 √β_J min(‖x‖, 1) by the sum of the squares; Cauchy–Schwarz over
        the blocks costs a factor |P| inside the root. It also bounds a round's regret by 2, where E[r_J] ∈ [-1, 1]
        gives 2 |P|; the corrected bound needs no more.

        A proof with exact constants also needs: Σ min(‖x‖², 1) is at most 1/log 2 ≈ 1.44 times the log-determinant
        (1.2 times the bound), the first logarithm is that of 1 + T S_x² / (K d λ), and the last factor is at least 1.
        """
        return math.sqrt(self.partition.n_blocks) * self.printed_bound(rounds)
