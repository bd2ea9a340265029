"""LOMAQ+RD: block rewards that are learned from the team reward, in parallel to the values (Algorithms 3 to 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, distributed, nn

from lomaq.envs import Rollout
from lomaq.errors import InputError, check_choice, check_float, check_int
from lomaq.graphs import AgentGraph, Partition
from lomaq.nn import observation_factors
from lomaq.rewards.classes import RewardClassification, Value
from lomaq.rewards.decomposition import Decomposition, Inputs, Loss, RewardDecomposition, Share
from lomaq.rewards.groups import RewardGroups
from lomaq.rewards.source import BlockReward, Figures


class DecomposedReward(nn.Module, BlockReward):
    """r_J = Σ_{i∈J} r_i with r_i = Σ_{I∋i} r_I / |I| and groups' rewards r_I fitted to the team reward.

    In each iteration the networks take ``updates`` steps, then give the drawn samples their rewards anew, as the
    released code does. (Algorithm 3 as printed decomposes a reward once, when it is stored; rewards from networks that
    knew little would stay in the replay memory.) Samples whose predicted team reward is off by more than Δ are left out
    of the value loss; where fewer than ``pass_rate`` of the valid ones pass, values are not learned in this iteration.

    Of the environment's rewards only the sum over the agents is ever learned from, see :meth:`visible`.

    Args:
        partition: The blocks J.
        graph: The agents.
        obs_size: Observation size O.
        n_actions: Number of actions A.
        max_size: Most agents of a group, at least 1.
        variant: ``regression`` (one number a group) or ``classification`` (one of a few ``values``, Appendix B).
        values: For ``classification``, the values that a group of each size can have; unused else.
        value: For ``classification``, ``expected`` or ``likeliest``: what a group is said to get.
        inputs, share, hidden, regularisation, weights: See :class:`lomaq.rewards.decomposition.Decomposition`.
        loss: For ``regression``, ``squared`` (Eq. 2) or ``log_cosh`` (the released code).
        observation_scale: Fixed factor for each observed number; None for none.
        tolerance: Δ ≥ 0, in the unit of the team reward; None for Table 2's 0.1 an agent.
        relative_tolerance: Δ is also at most this share ≥ 0 of the standard deviation of all team rewards so far; None
            for no such bound, as in the paper. That deviation grows like √n while 0.1·n grows like n, so that with many
            agents a network that knows only the mean would pass.
        pass_rate: Share of valid samples that must pass before values are learned, in [0, 1].
        lr: Learning rate of Adam, above 0; falls as ``learner.lr_decay`` says.
        batch_size: Sequences of a step, drawn from the batch of the values; None for all of them.
        updates: Steps in each iteration, at least 1.
    """

    _moments: Tensor
    _scale: Tensor

    def __init__(
        self,
        partition: Partition,
        graph: AgentGraph,
        obs_size: int,
        n_actions: int,
        max_size: int = 1,
        variant: Literal["regression", "classification"] = "regression",
        values: Sequence[Sequence[float]] | None = None,
        value: Value = "expected",
        inputs: Inputs = "observations",
        share: Share = "size",
        hidden: Sequence[int] = (64, 128, 64),
        loss: Loss = "log_cosh",
        regularisation: float = 0.0,
        weights: Sequence[float] = (0.0, 1.0, 2.0, 3.0, 4.0),
        observation_scale: Sequence[float] | None = None,
        tolerance: float | None = None,
        relative_tolerance: float | None = None,
        pass_rate: float = 0.9,
        lr: float = 0.01,
        batch_size: int | None = None,
        updates: int = 1,
    ) -> None:
        nn.Module.__init__(self)
        BlockReward.__init__(self, partition)
        groups = RewardGroups.of(graph, max_size)
        sizes = (groups, obs_size, n_actions)
        self.model: Decomposition
        if check_choice("reward.variant", variant, ("regression", "classification")) == "regression":
            self.model = RewardDecomposition(*sizes, inputs, share, hidden, loss, regularisation, weights, tolerance)
        elif values is None:
            raise InputError("reward.values", "values for each group size with reward.variant=classification", None)
        else:
            self.model = RewardClassification(
                *sizes, values, value, inputs, share, hidden, regularisation, weights, tolerance
            )
        factors = observation_factors("reward.observation_scale", observation_scale, obs_size)
        self.register_buffer("_scale", factors, persistent=False)
        self.relative_tolerance = relative_tolerance
        if relative_tolerance is not None:
            self.relative_tolerance = check_float("reward.relative_tolerance", relative_tolerance, 0)
        self.pass_rate = check_float("reward.pass_rate", pass_rate, 0, 1)
        self.lr = check_float("reward.lr", lr, 0, above=True)
        self.batch_size = None if batch_size is None else check_int("reward.batch_size", batch_size, 1)
        self.updates = check_int("reward.updates", updates, 1)
        #: Number, sum and sum of squares of all team rewards so far.
        self.register_buffer("_moments", torch.zeros(3, dtype=torch.float64))

    @property
    def tolerance(self) -> float:
        """Δ of the gate at present, in the unit of the team reward."""
        if self.relative_tolerance is None:
            return self.model.tolerance
        count, total, squares = self._moments.tolist()
        if count == 0:
            return self.model.tolerance
        deviation = max(squares / count - (total / count) ** 2, 0.0) ** 0.5
        return min(self.model.tolerance, self.relative_tolerance * deviation)

    def agent_rewards(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Learned rewards of the agents.

        Args:
            observations: ``[..., N, O]`` float32, as the environment shows them.
            actions: ``[..., N]`` int64.

        Returns:
            ``[..., N]``.
        """
        return self.model.agent_rewards(observations * self._scale, actions)

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr, foreach=True)

    @torch.no_grad()
    def visible(self, rollout: Rollout) -> tuple[Rollout, Figures]:
        """Every agent's reward becomes an equal share of the team reward: the local ones are gone.

        Before that they serve for one figure, which nothing is learned from: ``local_reward_error``, the mean
        |learned - true local reward| over agents and transitions.
        """
        team = rollout.rewards.sum(dim=-1)  # [T, B]
        wide = team[rollout.mask].double()
        moments = torch.stack([torch.ones_like(wide).sum(), wide.sum(), wide.square().sum()])
        _sum_over_processes(moments)
        self._moments += moments
        learned = self.agent_rewards(rollout.observations[:-1], rollout.actions)
        error = (learned - rollout.rewards)[rollout.mask].abs().mean()
        shared = (team / rollout.rewards.size(-1))[..., None].expand_as(rollout.rewards)
        return replace(rollout, rewards=shared.contiguous()), {"local_reward_error": float(error)}

    def prepare(
        self, batch: Rollout, optimizer: torch.optim.Optimizer | None, generator: torch.Generator
    ) -> tuple[Rollout | None, Figures]:
        assert optimizer is not None
        figures = self._learn(batch, optimizer, generator)
        relabelled, more = self._relabel(batch)
        return relabelled, figures | more

    def _learn(self, batch: Rollout, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> Figures:
        """Algorithm 4: ``updates`` steps, each on sequences drawn from ``batch``."""
        total = torch.zeros((), device=batch.rewards.device)
        for _ in range(self.updates):
            drawn = batch
            if self.batch_size is not None and self.batch_size < batch.n_sequences:
                columns = torch.randperm(batch.n_sequences, generator=generator)[: self.batch_size]
                drawn = batch.select(columns.to(batch.actions.device))
            with torch.enable_grad():
                loss, _ = self.model.loss(
                    drawn.observations[:-1] * self._scale, drawn.actions, drawn.rewards.sum(dim=-1), drawn.mask
                )
                optimizer.zero_grad()
                loss.backward()
            self._average_gradients()
            optimizer.step()
            total += loss.detach()
        return {"reward_loss": float(total) / self.updates}

    def _average_gradients(self) -> None:
        """Over processes: these networks are outside of DDP, whose reducer wants every parameter in every pass."""
        if distributed.is_available() and distributed.is_initialized():
            for parameter in self.parameters():
                assert parameter.grad is not None
                distributed.all_reduce(parameter.grad)
                parameter.grad /= distributed.get_world_size()

    @torch.no_grad()
    def _relabel(self, batch: Rollout) -> tuple[Rollout | None, Figures]:
        """Algorithm 5: learned rewards, and ``valid`` only where they may be used; None where too few may."""
        rewards = self.agent_rewards(batch.observations[:-1], batch.actions)  # [T, B, N]
        error = (rewards.sum(dim=-1) - batch.rewards.sum(dim=-1)).abs()
        passed = batch.mask & (error <= self.tolerance)
        sums = torch.stack([passed.sum(), batch.mask.sum(), error[batch.mask].sum()]).double()
        _sum_over_processes(sums)
        passing, valid, off = sums.tolist()
        figures = {"reward_pass_rate": passing / valid, "reward_error": off / valid}
        if passing == 0 or passing < self.pass_rate * valid:
            return None, figures
        return replace(batch, rewards=rewards, mask=passed), figures


def _sum_over_processes(values: Tensor) -> None:
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(values)
