"""λ-returns of block values along sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lomaq.envs.rollout import Rollout
from lomaq.errors import check_choice, check_float


@dataclass(frozen=True)
class Returns:
    """How rewards and values along a rollout become returns: TD(λ).

    Args:
        gamma: Discount γ in [0, 1).
        lam: λ in [0, 1]; 0 is the paper's one-step target.
        time_limit: ``bootstrap`` continues with the value after a time limit, ``terminal`` treats it as an end.
    """

    gamma: float
    lam: float
    time_limit: Literal["bootstrap", "terminal"] = "bootstrap"

    def __post_init__(self) -> None:
        check_float("learner.objective.returns.gamma", self.gamma, 0, 1, below=True)
        check_float("learner.objective.returns.lam", self.lam, 0, 1)
        check_choice("learner.objective.returns.time_limit", self.time_limit, ("bootstrap", "terminal"))

    def __call__(self, rewards: Tensor, next_values: Tensor, rollout: Rollout) -> Tensor:
        """λ-returns ``[T, B, P]``, cut before a step that is no transition, which has no reward to continue with.

        Args:
            rewards: ``[T, B, P]`` rewards of the blocks.
            next_values: ``[T, B, P]`` values of what follows each step, in the same units.
            rollout: The sequences.
        """
        ended = rollout.terminated | rollout.truncated
        terminal = rollout.terminated if self.time_limit == "bootstrap" else ended
        cut = ended.clone()
        cut[:-1] |= ~rollout.mask[1:]
        return lambda_returns(rewards, next_values, terminal, cut, self.gamma, self.lam)


def lambda_returns(
    rewards: Tensor, next_values: Tensor, terminal: Tensor, cut: Tensor, gamma: float, lam: float
) -> Tensor:
    """G_t = r_t + γ (1 - terminal_t) [(1 - λ_t) V(s_{t+1}) + λ_t G_{t+1}], with λ_t = 0 where the sequence is cut.

    Args:
        rewards: ``[T, B, P]`` block rewards.
        next_values: ``[T, B, P]`` value of the state after each step.
        terminal: ``[T, B]`` bool, nothing follows this step.
        cut: ``[T, B]`` bool, the step's successor is not the next one of the sequence; the last step always is.
        gamma: Discount γ in [0, 1].
        lam: λ in [0, 1]; 0 is the one-step target, 1 the whole return.

    Returns:
        ``[T, B, P]``.
    """
    follow = torch.where(cut, 0.0, lam).to(rewards.dtype)[..., None] * gamma  # [T, B, 1]
    follow[-1] = 0.0
    follow = follow.masked_fill(terminal[..., None], 0.0)
    bootstrap = torch.where(terminal, 0.0, gamma).to(rewards.dtype)[..., None] - follow
    known = rewards + bootstrap * next_values
    result = torch.empty_like(known)
    result[-1] = known[-1]
    for t in range(len(known) - 2, -1, -1):
        torch.addcmul(known[t], follow[t], result[t + 1], out=result[t])
    return result
