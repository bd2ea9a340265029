"""The schedule of exploration."""

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
        spread: How far the parallel environments differ, at least 0: environment i of B explores with
            ε^(1 + spread·i/(B − 1)) (Horgan et al., 2018, Section 4.1), so that the last ones play nearly greedily
            while ε is still high. 0: all with ε.
    """

    start: float = 1.0
    end: float = 0.05
    anneal_env_steps: int = 50_000
    spread: float = 0.0

    def __post_init__(self) -> None:
        check_float("learner.epsilon.start", self.start, 0, 1)
        check_float("learner.epsilon.end", self.end, 0, 1)
        check_int("learner.epsilon.anneal_env_steps", self.anneal_env_steps, 1)
        check_float("learner.epsilon.spread", self.spread, 0)

    def at(self, env_steps: int) -> float:
        """ε after ``env_steps``."""
        return self.start + (self.end - self.start) * min(1.0, env_steps / self.anneal_env_steps)

    def ladder(self, env_steps: int, n_envs: int) -> float | Tensor:
        """ε of each parallel environment after ``env_steps``, ``[B]`` float32; one number where all have the same."""
        epsilon = self.at(env_steps)
        return epsilon ** (1 + self.spread * torch.linspace(0, 1, n_envs)) if self.spread else epsilon
