"""The schedule of exploration."""

from __future__ import annotations

from dataclasses import dataclass

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
