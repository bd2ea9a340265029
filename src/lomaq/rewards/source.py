"""Block rewards, and those of them that are read off the environment."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from lomaq.envs import Rollout
from lomaq.errors import check_choice, check_int
from lomaq.graphs import AgentGraph, Partition

#: Metrics of one iteration, by their column in ``metrics.csv``.
Metrics = dict[str, float]


class BlockReward:
    """Where the rewards of the blocks come from; here, where nothing has to be learned.

    The learner calls :meth:`observe` on what it has collected, :meth:`fit_and_relabel` on what it has drawn, and
    :meth:`aggregate` on the agents' rewards that came out.

    Args:
        partition: The blocks J.
    """

    def __init__(self, partition: Partition) -> None:
        self.partition = partition

    def make_optimizer(self) -> torch.optim.Optimizer | None:
        """The optimiser of what is learned, None where nothing is."""
        return None

    def observe(self, rollout: Rollout) -> tuple[Rollout, Metrics]:
        """A collected rollout with only those rewards that learning may read."""
        return rollout, {}

    def fit_and_relabel(
        self, batch: Rollout, optimizer: torch.optim.Optimizer | None, generator: torch.Generator
    ) -> tuple[Rollout | None, Metrics]:
        """Learn from a drawn batch and put the agents' rewards into it.

        Args:
            batch: Sequences from the replay memory.
            optimizer: What :meth:`make_optimizer` gave.
            generator: Where chance comes from.

        Returns:
            The batch that values may be learned from, None where they may not.
        """
        return batch, {}

    def aggregate(self, rewards: Tensor) -> Tensor:
        """r_J = Σ_{j∈J} r_j: rewards of the agents ``[..., N]`` → of the blocks ``[..., P]``."""
        return self.partition.block_sum(rewards)


class RewardSource(BlockReward):
    """The environment's own rewards.

    Args:
        partition: The blocks J.
        graph: The agents.
        kappa: Number of hops of ``neighbourhood``, at least 0.
        source: ``local``: r_J, the sum of its agents' local rewards; ``neighbourhood``: the sum over the agents within
            ``kappa`` hops of J; ``team``: the sum over all agents.
        redistribute: Partition whose blocks share their agents' rewards equally first (Proposition 4); None for not.
    """

    identity: ClassVar[tuple[str, ...]] = ("source", "redistribute")

    def __init__(
        self,
        partition: Partition,
        graph: AgentGraph,
        kappa: int,
        source: Literal["local", "neighbourhood", "team"] = "local",
        redistribute: Partition | None = None,
    ) -> None:
        super().__init__(partition)
        self.source = check_choice("reward.source", source, ("local", "neighbourhood", "team"))
        self.parent = redistribute
        near = source == "neighbourhood"
        self._receptive_field = partition.receptive_field(graph, check_int("kappa", kappa, 0)) if near else None

    def aggregate(self, rewards: Tensor) -> Tensor:
        if self.parent is not None:
            rewards = self.parent.redistribute(rewards)
        if self.source == "team":
            return rewards.sum(dim=-1, keepdim=True).expand(*rewards.shape[:-1], self.partition.n_blocks)
        if self._receptive_field is None:
            return super().aggregate(rewards)
        self._receptive_field = self._receptive_field.to(rewards.device)
        total = self._receptive_field @ rewards.reshape(-1, rewards.size(-1)).T  # [P, M]
        return total.T.reshape(*rewards.shape[:-1], -1)
