"""Block rewards r_J from the environment's rewards."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from lomaq.errors import check_choice
from lomaq.partition import Partition


class RewardSource:
    """What each block is trained on.

    Args:
        partition: The blocks J.
        source: ``local``: r_J, the sum of its agents' local rewards; ``team``: the sum over all agents.
        redistribute: Partition whose blocks share their agents' rewards equally first (Proposition 4); None for not.
    """

    def __init__(
        self,
        partition: Partition,
        source: Literal["local", "team"] = "local",
        redistribute: Partition | None = None,
    ) -> None:
        check_choice("reward.source", source, ("local", "team"))
        self.partition, self.source, self.parent = partition, source, redistribute

    def __call__(self, rewards: Tensor) -> Tensor:
        """Local rewards ``[T, B, N]`` → block rewards ``[T, B, P]``."""
        if self.source == "team":
            return rewards.sum(dim=-1, keepdim=True).expand(*rewards.shape[:-1], self.partition.n_blocks)
        if self.parent is not None:
            rewards = self.parent.redistribute(rewards)
        return self.partition.block_sum(rewards)
