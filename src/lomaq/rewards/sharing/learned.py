"""Shares that are learned while values are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lomaq.envs import Rollout
from lomaq.errors import NonFiniteLossError
from lomaq.graphs import AgentGraph, Partition
from lomaq.rewards.returns import Returns
from lomaq.rewards.settings import SharingSettings
from lomaq.rewards.sharing.conflicts import Conflicts
from lomaq.rewards.sharing.effects import NETWORKS, ActionEffects
from lomaq.rewards.sharing.matrix import ShareMatrix

#: States that a step of the shares looks at, and steps that effects are learned from: as many as have so many agents
#: in all, but at least and at most some states, and at least a sequence for each network.
AGENT_STATES, LEAST_STATES, MOST_STATES, AGENT_STEPS = 2**15, 8, 256, 2**14


class LearnedSharing(nn.Module):
    """W, learned while values are: where blocks oppose what is best for the team, rewards go to those who cause them.

    In every few iterations the effects of actions are learned from what was played, then the shares take one step.

    Args:
        graph: The agents.
        partition: The blocks J.
        kappa: Hops within which blocks see agents.
        hops: Hops that a reward may travel.
        obs_size: Observation size O.
        n_actions: Number of actions A.
        observation_scale: Fixed factor for each observed number; None for none.
        settings: How.
    """

    _iterations: Tensor

    def __init__(
        self,
        graph: AgentGraph,
        partition: Partition,
        kappa: int,
        hops: int,
        obs_size: int,
        n_actions: int,
        observation_scale: Sequence[float] | None,
        settings: SharingSettings,
    ) -> None:
        super().__init__()
        self.settings, self.returns = settings, Returns(settings.gamma, settings.lam)
        self.matrix = ShareMatrix(graph, hops, equal=False, learned=True, share=settings.share)
        sizes: dict[str, Any] = {"hidden": settings.hidden, "share": settings.share}
        self.effects = ActionEffects(graph, kappa, obs_size, n_actions, observation_scale, **sizes)
        self.conflicts = Conflicts(self.effects, self.matrix, graph, partition, kappa, settings.margin)
        self.register_buffer("_iterations", torch.tensor(0))

    def learn(self, rollout: Rollout, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> dict[str, float]:
        """One iteration; returns its metrics, none where nothing was learned.

        Raises:
            NonFiniteLossError: If the effects went out of bounds.
        """
        s = self.settings
        self._iterations += 1
        if self._iterations % s.every > 0:
            return {}
        each = rollout.n_sequences // NETWORKS
        wanted = max(AGENT_STEPS // (NETWORKS * rollout.actions[:, 0].numel()), 1)
        chosen = torch.randperm(each, generator=generator)[:wanted].to(rollout.actions.device)
        columns = torch.cat([chosen + each * number for number in range(NETWORKS)])  # each keeps to its own
        loss = self.effects.learn(rollout.select(columns), self.returns, optimizer, s.updates, generator)
        rows = drawn_states(rollout, generator)
        states = rollout.observations[:-1].flatten(0, 1)[rows]
        mask = None if rollout.action_mask is None else rollout.action_mask[:-1].flatten(0, 1)[rows]
        found = self.conflicts(states, mask)
        if not math.isfinite(loss + found.opposed):
            raise NonFiniteLossError(f"the effects of actions became {loss + found.opposed}; lower reward.sharing.lr")
        self.matrix.step_(found.slopes, s.rate, s.price)
        passed_on = float(self.matrix.passed_on.mean())
        return {"effect_loss": loss, "conflict": found.conflict, "opposed": found.opposed, "passed_on": passed_on}


def drawn_states(rollout: Rollout, generator: torch.Generator) -> Tensor:
    """Places ``[M]`` int64 in the flattened steps of some transitions of a rollout, fewer for more agents."""
    n_agents = rollout.actions.size(-1)
    wanted = min(max(AGENT_STATES // n_agents, LEAST_STATES), MOST_STATES)
    rows = rollout.mask.flatten().nonzero()[:, 0]
    return rows[torch.randperm(len(rows), generator=generator)[:wanted].to(rows.device)]
