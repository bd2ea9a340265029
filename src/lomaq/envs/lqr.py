"""The linear-quadratic regulator of equal linear systems in a row joined by springs: a yardstick for a row of carts.

With equal costs for all, the row falls apart into its modes: one small Riccati equation each instead of a large one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import solve_discrete_are
from torch import Tensor

from lomaq.errors import InputError


@dataclass(frozen=True)
class RowRegulator:
    """The inputs that a regulator wants, u = -Σ_s M diag(gains_s) M x_s with the modes M.

    Attributes:
        gains: ``[S, N]`` float32, gain of each state component in each mode.
        modes: ``[N, N]`` float32, symmetric and orthonormal, one mode a row.
    """

    gains: Tensor
    modes: Tensor

    def wanted(self, state: Tensor) -> Tensor:
        """Inputs ``[B, N]`` float32 that the regulator wants.

        Args:
            state: ``[S, B, N]`` float32, the systems' state components as deviations from rest.
        """
        amplitude = state @ self.modes  # [S, B, N]
        return -(amplitude * self.gains[:, None]).sum(dim=0) @ self.modes


def row_regulator(
    transition: np.ndarray,
    push: np.ndarray,
    stiffness: float,
    n_agents: int,
    *,
    state_cost: Sequence[float],
    input_cost: float,
    device: torch.device | str = "cpu",
) -> RowRegulator:
    """The regulator of N equal systems x' = A x + b (u + stiffness · (left + right - 2 own)) in a row between walls.

    left, right and own are first state components, 0 for the walls. Mode j of the row feels a spring to its rest place
    of its own, A_j = A - stiffness · λ_j b e_0ᵀ, and nothing of the other modes.

    Args:
        transition: ``[S, S]`` A of one system alone, for one step.
        push: ``[S]`` b, what a unit of input adds to the state in one step.
        stiffness: Input per unit of difference of the first components, at least 0.
        n_agents: Number of systems N, at least 1.
        state_cost: Cost of each squared state component in a step, at least 0.
        input_cost: Cost of a squared input in a step, above 0.
        device: Where the result lives.

    Raises:
        InputError: If the springs are too stiff for a solution in floating point.
    """
    springs, modes = row_modes(n_agents)
    first = np.eye(len(push))[0]
    try:
        with np.errstate(all="raise", under="ignore"):
            gains = [
                stationary_gain(transition - stiffness * spring * np.outer(push, first), push, state_cost, input_cost)
                for spring in springs  # built once
            ]
    except (np.linalg.LinAlgError, FloatingPointError) as error:
        raise InputError("env.stiffness", "springs soft enough for the oracle's regulator", stiffness) from error
    return RowRegulator(*(torch.from_numpy(x).to(device, torch.float32) for x in (np.stack(gains, axis=1), modes)))


def row_modes(n_agents: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues ``[N]`` and eigenvectors ``[N, N]`` of the matrix with 2 on the diagonal and -1 beside it.

    λ_j = 2 - 2 cos(πj / (N + 1)) and M_ji = √(2 / (N + 1)) sin(πij / (N + 1)), for i, j = 1 … N.

    Example:
        >>> row_modes(3)[0].round(3).tolist()
        [0.586, 2.0, 3.414]
    """
    number = np.arange(1, n_agents + 1)
    angle = np.pi * number / (n_agents + 1)
    return 2 - 2 * np.cos(angle), np.sqrt(2 / (n_agents + 1)) * np.sin(np.outer(angle, number))


def stationary_gain(
    transition: np.ndarray, push: np.ndarray, state_cost: Sequence[float], input_cost: float
) -> np.ndarray:
    """``[S]`` k of the input u = -k·x that makes Σ_t (Σ_s cost_s x_s² + input_cost u²) least for x' = A x + b u.

    Args:
        transition: ``[S, S]`` A.
        push: ``[S]`` b.
        state_cost: Cost of each squared state component, at least 0.
        input_cost: Cost of the squared input, above 0.

    Raises:
        numpy.linalg.LinAlgError: If the Riccati equation has no stabilising solution in floating point.
    """
    value = solve_discrete_are(transition, push[:, None], np.diag(state_cost), np.array([[input_cost]]))
    gain: np.ndarray = push @ value @ transition / (input_cost + push @ value @ push)
    return gain
