"""LOMAQ+RD: block rewards that are learned from the team reward, in parallel to the values (Algorithms 3 to 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from lomaq.envs import Rollout
from lomaq.errors import InputError, check_choice
from lomaq.graphs import AgentGraph, Partition
from lomaq.nn import observation_factors
from lomaq.nn.moments import average_gradients, deviation, moments, sum_over_processes
from lomaq.rewards.classes import RewardClassification, Value
from lomaq.rewards.decomposition import Decomposition, RewardDecomposition
from lomaq.rewards.groups import RewardGroups
from lomaq.rewards.settings import FitSettings, GateSettings, NetworkSettings
from lomaq.rewards.source import BlockReward, Metrics

#: Rewards are known that pass the gate in more than this share of a new rollout …
SETTLED = 0.99
#: … with a mean error of at most this share of its Δ.
SMALL = 0.25


class DecomposedReward(nn.Module, BlockReward):
    """r_J = Σ_{i∈J} r_i with r_i = Σ_{I∋i} r_I / |I| and groups' rewards r_I fitted to the team reward.

    In each iteration the networks take ``fit.updates`` steps, fewer where they know the rewards already, then give the
    drawn samples their rewards anew, as the released code does. (Algorithm 3 as printed decomposes a reward once, when
    it is stored; rewards from networks that knew little would stay in the replay memory.) Samples whose predicted team
    reward is off by more than Δ are left out of the value loss; where fewer than ``gate.pass_rate`` of the valid ones
    pass, values are not learned in this iteration.

    Of the environment's rewards only the sum over the agents is ever learned from, see :meth:`observe`.

    Args:
        partition: The blocks J.
        graph: The agents.
        obs_size: Observation size O.
        n_actions: Number of actions A.
        max_size: Most agents of a group, at least 1.
        variant: ``regression`` (one number a group) or ``classification`` (one of a few ``values``, Appendix B).
        values: For ``classification``, the values that a group of each size can have; unused else.
        value: For ``classification``, a group's reward: its ``expected`` value or the ``likeliest`` one.
        observation_scale: Fixed factor for each observed number; None for none.
        networks: The groups' networks.
        fit: How they are fitted.
        gate: Which of their rewards are used.
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
        observation_scale: Sequence[float] | None = None,
        networks: NetworkSettings = NetworkSettings(),
        fit: FitSettings = FitSettings(),
        gate: GateSettings = GateSettings(),
    ) -> None:
        nn.Module.__init__(self)
        BlockReward.__init__(self, partition)
        self.fit, self.gate = fit, gate
        kinds = {"networks": (networks, NetworkSettings), "fit": (fit, FitSettings), "gate": (gate, GateSettings)}
        for name, (part, kind) in kinds.items():
            if not isinstance(part, kind):
                remedy = f"set one of them, reward.{name}.NAME=…"
                raise InputError(f"reward.{name}", "a group of settings", repr(part), remedy)
        self._updates = fit.updates  # of this iteration, see observe
        sizes = (RewardGroups.of(graph, max_size), obs_size, n_actions)
        self.model: Decomposition
        if check_choice("reward.variant", variant, ("regression", "classification")) == "regression":
            self.model = RewardDecomposition(*sizes, networks, fit)
        elif values is None:
            raise InputError("reward.values", "values for each group size with reward.variant=classification", None)
        else:
            self.model = RewardClassification(*sizes, values, value, networks, fit)
        factors = observation_factors("reward.observation_scale", observation_scale, obs_size)
        self.register_buffer("_scale", factors, persistent=False)
        self.register_buffer("_moments", torch.zeros(3, dtype=torch.float64))  # of all team rewards so far

    @property
    def tolerance(self) -> float:
        """Δ of the gate at present, in the unit of the team reward."""
        bound = 0.1 * self.model.n_agents if self.gate.tolerance is None else self.gate.tolerance
        if self.gate.relative_tolerance is None or self._moments[0] == 0:
            return bound
        return min(bound, self.gate.relative_tolerance * deviation(self._moments))

    def agent_rewards(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Learned rewards of the agents.

        Args:
            observations: ``[..., N, O]`` float32, as the environment gives them.
            actions: ``[..., N]`` int64.

        Returns:
            ``[..., N]``.
        """
        return self.model.agent_rewards(observations * self._scale, actions)

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.fit.lr, foreach=True)

    @torch.no_grad()
    def observe(self, rollout: Rollout) -> tuple[Rollout, Metrics]:
        """Every agent's reward becomes an equal share of the team reward: the local ones are gone.

        What the networks predict for the new rollout decides how many steps they take in this iteration:
        ``fit.settled_updates`` where more than :data:`SETTLED` of it would pass the gate, with a mean error of at most
        :data:`SMALL` Δ, else ``fit.updates``.

        Before that the local ones serve for one metric, which nothing is learned from: ``local_reward_error``, the mean
        |learned - true local reward| over agents and transitions.
        """
        team = rollout.rewards.sum(dim=-1)  # [T, B]
        self._moments += moments(team[rollout.mask])
        learned = self.agent_rewards(rollout.observations[:-1], rollout.actions)
        error = (learned - rollout.rewards)[rollout.mask].abs().mean()
        _, passing, valid, off = self._gate(learned, team, rollout.mask)
        settled = passing > SETTLED * valid and off <= SMALL * self.tolerance * valid
        updates = self.fit.updates
        self._updates = min(updates, self.fit.settled_updates or updates) if settled else updates
        shared = (team / rollout.rewards.size(-1))[..., None].expand_as(rollout.rewards)
        return replace(rollout, rewards=shared.contiguous()), {"local_reward_error": float(error)}

    def fit_and_relabel(
        self, batch: Rollout, optimizer: torch.optim.Optimizer | None, generator: torch.Generator
    ) -> tuple[Rollout | None, Metrics]:
        assert optimizer is not None
        metrics = self._learn(batch, optimizer, generator)
        relabelled, more = self._relabel(batch)
        return relabelled, metrics | more

    def _learn(self, batch: Rollout, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> Metrics:
        """Algorithm 4: ``updates`` steps, each on sequences drawn from ``batch``."""
        total = torch.zeros((), device=batch.rewards.device)
        for _ in range(self._updates):
            drawn = batch
            if self.fit.batch_size is not None and self.fit.batch_size < batch.n_sequences:
                columns = torch.randperm(batch.n_sequences, generator=generator)[: self.fit.batch_size]
                drawn = batch.select(columns.to(batch.actions.device))
            with torch.enable_grad():
                loss = self.model.loss(
                    drawn.observations[:-1] * self._scale, drawn.actions, drawn.rewards.sum(dim=-1), drawn.mask
                )
                optimizer.zero_grad()
                loss.backward()
            average_gradients(self.parameters())
            optimizer.step()
            total += loss.detach()
        return {"reward_loss": float(total) / self._updates}

    @torch.no_grad()
    def _relabel(self, batch: Rollout) -> tuple[Rollout | None, Metrics]:
        """Algorithm 5: learned rewards, and a ``mask`` of those that may be used; None where too few may."""
        rewards = self.agent_rewards(batch.observations[:-1], batch.actions)  # [T, B, N]
        passed, passing, valid, off = self._gate(rewards, batch.rewards.sum(dim=-1), batch.mask)
        metrics = {"reward_pass_rate": passing / valid, "reward_error": off / valid}
        if passing == 0 or passing < self.gate.pass_rate * valid:
            return None, metrics
        return replace(batch, rewards=rewards, mask=passed), metrics

    def _gate(self, rewards: Tensor, team_reward: Tensor, valid: Tensor) -> tuple[Tensor, float, float, float]:
        """Which valid samples pass, ``[T, B]``; of all processes how many, of how many, and the sum of their errors."""
        error = (rewards.sum(dim=-1) - team_reward).abs()
        passed = valid & (error <= self.tolerance)
        sums = torch.stack([passed.sum(), valid.sum(), error[valid].sum()]).double()
        passing, count, off = sum_over_processes(sums).tolist()
        return passed, passing, count, off
