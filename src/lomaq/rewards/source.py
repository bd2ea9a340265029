"""Block rewards, and those of them that are read off the environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from lomaq.envs import Rollout
from lomaq.errors import InputError, check_choice, check_int
from lomaq.graphs import AgentGraph, Partition
from lomaq.rewards.settings import SharingSettings
from lomaq.rewards.sharing import NETWORKS, LearnedSharing, ShareMatrix

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

    def check(self, n_sequences: int) -> None:
        """Refuse batches of a size that rewards cannot be learned from; here none.

        Raises:
            InputError: If they cannot.
        """

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


class RewardSource(nn.Module, BlockReward):
    """The environment's own rewards.

    Args:
        partition: The blocks J.
        graph: The agents.
        kappa: Number of hops of ``neighbourhood``, and within which blocks see agents, at least 0.
        obs_size: Observation size O, for learned sharing.
        n_actions: Number of actions A, for learned sharing.
        source: ``local``: r_J, the sum of its agents' local rewards; ``neighbourhood``: the sum over the agents within
            ``kappa`` hops of J, which counts a reward once for every block that is near; ``team``: the sum over all.
        redistribute: Partition whose blocks share their agents' rewards equally first (Proposition 4); None for not.
        share: Who answers for a local reward: ``none`` its agent; ``equal`` all agents within ``hops``, equally;
            ``learned`` these by shares that are learned, see :class:`lomaq.rewards.LearnedSharing`. The sum over agents
            stays in all cases.
        hops: Hops that a reward may travel, at least 0.
        observation_scale: Fixed factor for each observed number, for learned sharing; None for none.
        sharing: How shares are learned.
    """

    _receptive_field: Tensor | None
    identity: ClassVar[tuple[str, ...]] = ("source", "redistribute", "share")

    def __init__(
        self,
        partition: Partition,
        graph: AgentGraph,
        kappa: int,
        obs_size: int,
        n_actions: int,
        source: Literal["local", "neighbourhood", "team"] = "local",
        redistribute: Partition | None = None,
        share: Literal["none", "equal", "learned"] = "none",
        hops: int = 2,
        observation_scale: Sequence[float] | None = None,
        sharing: SharingSettings = SharingSettings(),
    ) -> None:
        nn.Module.__init__(self)
        BlockReward.__init__(self, partition)
        self.source = check_choice("reward.source", source, ("local", "neighbourhood", "team"))
        self.parent = redistribute
        check_int("kappa", kappa, 0)
        check_int("reward.hops", hops, 0)
        if check_choice("reward.share", share, ("none", "equal", "learned")) != "none":
            for name, value, plain in (("source", source, "local"), ("redistribute", redistribute, None)):
                if value != plain:
                    expected = f"{'null' if plain is None else plain} with reward.share={share}"
                    raise InputError(f"reward.{name}", expected, value)
        field = partition.receptive_field(graph, kappa) if source == "neighbourhood" else None
        self.register_buffer("_receptive_field", field, persistent=False)
        self.sharing: LearnedSharing | ShareMatrix | None = None
        if share == "equal":
            self.sharing = ShareMatrix(graph, hops, equal=True)
        elif share == "learned":
            sizes = (kappa, hops, obs_size, n_actions, observation_scale)
            self.sharing = LearnedSharing(graph, partition, *sizes, sharing)

    @property
    def matrix(self) -> ShareMatrix | None:
        """W, where rewards are shared."""
        return self.sharing.matrix if isinstance(self.sharing, LearnedSharing) else self.sharing

    def check(self, n_sequences: int) -> None:
        if isinstance(self.sharing, LearnedSharing) and n_sequences < NETWORKS:
            expected = f"at least {NETWORKS} sequences with reward.share=learned, one for each of its networks"
            raise InputError("learner.n_envs or learner.batch_size", expected, n_sequences)

    def make_optimizer(self) -> torch.optim.Optimizer | None:
        if not isinstance(self.sharing, LearnedSharing):
            return None
        return torch.optim.Adam(self.parameters(), lr=self.sharing.settings.lr, foreach=True)

    def fit_and_relabel(
        self, batch: Rollout, optimizer: torch.optim.Optimizer | None, generator: torch.Generator
    ) -> tuple[Rollout | None, Metrics]:
        if not isinstance(self.sharing, LearnedSharing):
            return batch, {}
        assert optimizer is not None
        return batch, self.sharing.learn(batch, optimizer, generator)

    def aggregate(self, rewards: Tensor) -> Tensor:
        if self.parent is not None:
            rewards = self.parent.redistribute(rewards)
        if (matrix := self.matrix) is not None:
            rewards = matrix(rewards)
        if self.source == "team":
            return rewards.sum(dim=-1, keepdim=True).expand(*rewards.shape[:-1], self.partition.n_blocks)
        if self._receptive_field is None:
            return super().aggregate(rewards)
        total = self._receptive_field @ rewards.reshape(-1, rewards.size(-1)).T  # [P, M]
        return total.T.reshape(*rewards.shape[:-1], -1)
