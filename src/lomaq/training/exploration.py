"""ε-greedy actions and their schedule."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lomaq.errors import check_float, check_int


@dataclass(frozen=True)
class Epsilon:
    """ε falls linearly from ``start`` to ``end`` over the first ``anneal_env_steps``.

    Args:
        start: ε of the first step, in [0, 1].
        end: ε from ``anneal_env_steps`` on, in [0, 1].
        anneal_env_steps: Env steps, at least 1.
    """

    start: float = 1.0
    end: float = 0.05
    anneal_env_steps: int = 50_000

    def __post_init__(self) -> None:
        check_float("learner.epsilon.start", self.start, 0, 1)
        check_float("learner.epsilon.end", self.end, 0, 1)
        check_int("learner.epsilon.anneal_env_steps", self.anneal_env_steps, 1)

    def at(self, env_steps: int) -> float:
        """ε after ``env_steps``."""
        return self.start + (self.end - self.start) * min(1.0, env_steps / self.anneal_env_steps)


def epsilon_greedy(
    utilities: Tensor, epsilon: float, generator: torch.Generator | None, action_mask: Tensor | None = None
) -> Tensor:
    """Each agent takes its best action, or with probability ε a random one.

    Args:
        utilities: ``[B, N, A]``.
        epsilon: Probability of a random action, in [0, 1].
        generator: Where chance comes from; may be None for ε = 0.
        action_mask: ``[B, N, A]`` bool, the allowed actions; None for all.

    Returns:
        Actions ``[B, N]`` int64.
    """
    scores = utilities
    if epsilon > 0:
        assert generator is not None
        draw = torch.rand(utilities.shape[:-1], generator=generator, device=utilities.device)
        noise = torch.rand(utilities.shape, generator=generator, device=utilities.device)
        scores = torch.where((draw < epsilon)[..., None], noise, utilities)
    if action_mask is not None:
        scores = scores.masked_fill(~action_mask, -torch.inf)
    return scores.argmax(dim=-1)
