"""Who goes where, and how: the two halves of a central baseline policy for agents that cover targets."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor

from lomaq.errors import InputError
from lomaq.graphs import RegionShape


def match(cost: Tensor, agent: Tensor, target: Tensor) -> Tensor:
    """The one-to-one matching of N agents with N targets of least total cost, in every environment.

    Only pairs that are listed can be matched; all environments are one sparse problem.

    Args:
        cost: ``[P, B]`` cost of each pair, at least 0; infinite where it is impossible.
        agent: ``[P]`` int64, the agent of each pair; every agent 0 … N - 1 is in one.
        target: ``[P]`` int64, the target of each pair, 0 … N - 1; no pair twice.

    Returns:
        ``[N, B]`` int64, the target of each agent.

    Raises:
        InputError: If in an environment the possible pairs leave an agent without a target.
    """
    n, n_envs = int(agent.max()) + 1, cost.size(1)
    weight = cost.double().cpu().numpy() + 1  # the same for all matchings; SciPy drops pairs of weight 0
    pair, env = np.nonzero(np.isfinite(weight))
    rows, columns = (env * n + x.cpu().numpy()[pair] for x in (agent, target))
    problem = csr_matrix((weight[pair, env], (rows, columns)), shape=(n_envs * n, n_envs * n))
    try:
        matched, chosen = min_weight_full_bipartite_matching(problem)
    except ValueError as error:
        raise InputError("cost", "possible pairs that give every agent its own target", "too few") from error
    found = np.empty(n_envs * n, dtype=np.int64)
    found[matched] = chosen % n
    return torch.from_numpy(found).to(cost.device).view(n_envs, n).T


def outside(offset: Tensor, half_width: float, shape: RegionShape) -> Tensor:
    """How far places are outside a region, ``[P, B]``; at most 0 inside.

    Args:
        offset: ``[P, 2, B]`` places less the middle of the region.
        half_width: Half the side of a square, or the radius of a circle.
        shape: ``square`` or ``circle``.
    """
    if shape == "square":
        return (offset.abs() - half_width).clamp(min=0).norm(dim=1)
    return offset.norm(dim=1) - half_width


def steer(offset: Tensor, velocity: Tensor, pushes: Tensor, keep: float, dt: float) -> Tensor:
    """The action of each agent after which, coasting for one more step, it is nearest to its target.

    An agent moves by v' = keep · v + push, x' = x + dt · v'; two steps take it by dt · (1 + keep) · v'. Looking only
    at the step itself acts late on the speed, looking at the end of the coasting brakes long before the target.

    Args:
        offset: ``[N, 2, B]`` target less position.
        velocity: ``[N, 2, B]``.
        pushes: ``[A, 2]`` what each action adds to the velocity.
        keep: Share of the velocity that a step leaves, in [0, 1).
        dt: Duration of a step.

    Returns:
        ``[B, N]`` int64; of equally good actions the first.
    """
    after = keep * velocity[:, None] + pushes[..., None]  # [N, A, 2, B]
    missed = offset[:, None] - dt * (1 + keep) * after
    return missed.square().sum(dim=2).argmin(dim=1).T
