"""λ-returns of block values along sequences."""

from __future__ import annotations

import torch
from torch import Tensor


def lambda_returns(
    rewards: Tensor, next_values: Tensor, terminal: Tensor, cut: Tensor, gamma: float, lam: float
) -> Tensor:
    """G_t = r_t + γ (1 - terminal_t) [(1 - λ_t) V(s_{t+1}) + λ_t G_{t+1}], with λ_t = 0 where the sequence is cut.

    Args:
        rewards: ``[T, B, P]`` block rewards.
        next_values: ``[T, B, P]`` greedy value of the state behind each step.
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
