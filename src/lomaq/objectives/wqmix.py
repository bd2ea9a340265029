"""Weighted QMIX (Rashid et al., 2020): a monotone value that is fitted with care only where it matters."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from lomaq.envs import Rollout
from lomaq.errors import check_choice, check_float, check_int
from lomaq.mixers import Mixer
from lomaq.nn import Utilities, gather_actions
from lomaq.objectives.td import (
    Critic,
    PartitionTD,
    ValueNetworks,
    greedy_actions,
    mean_over_transitions,
    one_block,
)


class WeightedQMIX(PartitionTD):
    """(Q*(s, u) - y)² + w(s, u) (Q_tot(s, u) - y)² (Rashid et al., 2020, Section 4).

    Q* is a joint value without any constraint; ū are the agents' greedy actions, y the return that follows Q*(s', ū').
    A monotone Q_tot cannot fit y everywhere, and plain QMIX spreads the misfit evenly; here w = 1 for

    - ``optimistic`` (OW-QMIX): joint actions that Q_tot underestimates, Q_tot < y;
    - ``central`` (CW-QMIX): the greedy joint action, and those that look better than it, y > Q*(s, ū);

    and w = α for all others.

    Args:
        gamma: Discount γ in [0, 1).
        lam: λ of the returns in [0, 1].
        double_q: As in :class:`PartitionTD`.
        time_limit: As in :class:`PartitionTD`.
        weighting: ``optimistic`` or ``central``.
        alpha: α in (0, 1]; 1 weighs all alike, as QMIX does, but with the targets of Q*.
        hidden: Width of the layers of Q*, at least 1.
    """

    def __init__(
        self,
        gamma: float,
        lam: float,
        double_q: bool = False,
        time_limit: Literal["bootstrap", "terminal"] = "bootstrap",
        weighting: Literal["optimistic", "central"] = "central",
        alpha: float = 0.1,
        hidden: int = 64,
    ) -> None:
        super().__init__(gamma, lam, double_q, time_limit)
        self.weighting = check_choice("learner.objective.weighting", weighting, ("optimistic", "central"))
        self.alpha = check_float("learner.objective.alpha", alpha, 0, 1, above=True)
        self.hidden = check_int("learner.objective.hidden", hidden, 1)

    def make_critic(self, utilities: Utilities, mixer: Mixer) -> CentralValue:
        one_block("ow_qmix and cw_qmix", mixer)
        return CentralValue(utilities, self.hidden)

    def _next_values(self, online: ValueNetworks, target: ValueNetworks, rollout: Rollout, judge: Any) -> Tensor:
        _, greedy = self._greedy(online, target, rollout, judge)
        return _critic(target)(rollout.observations[1:], greedy[1:])

    def loss(self, online: ValueNetworks, rollout: Rollout, targets: Tensor, unrolled: Any = None) -> Tensor:
        utilities = self._utilities(online, rollout, unrolled)
        observations = rollout.observations[:-1]
        central = _critic(online)(observations, rollout.actions)
        mixed = online.mixer(gather_actions(utilities, rollout.actions), observations)
        weight = self._weight(online, rollout, targets, utilities.detach(), mixed.detach())
        error = (central - targets).square() + weight * (mixed - targets).square()
        return mean_over_transitions(error.sum(dim=-1), rollout)

    @torch.no_grad()
    def _weight(
        self, online: ValueNetworks, rollout: Rollout, targets: Tensor, utilities: Tensor, mixed: Tensor
    ) -> Tensor:
        """w ``[T, B, 1]``."""
        if self.weighting == "optimistic":
            matters = mixed < targets
        else:
            greedy = greedy_actions(utilities, rollout)
            best = _critic(online)(rollout.observations[:-1], greedy)
            matters = (rollout.actions == greedy).all(dim=-1, keepdim=True) | (targets > best)
        return torch.where(matters, 1.0, self.alpha)


class CentralValue(Critic):
    """Q*(s, u): utilities of all agents without any bond, and a network that mixes those of ``u`` with the state.

    The state s is what all agents observe, one behind the other.

    Args:
        utilities: The utilities of the agents it values.
        hidden: Width of the layers.
    """

    def __init__(self, utilities: Utilities, hidden: int) -> None:
        super().__init__(utilities)
        n_agents, obs_size, n_actions = utilities.n_agents, utilities.obs_size, utilities.n_actions
        self.utilities = nn.Sequential(
            nn.Linear(obs_size, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, n_actions)
        )
        self.mix = nn.Sequential(
            nn.Linear(n_agents * (1 + obs_size), hidden),
            nn.LayerNorm(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Values ``[..., 1]`` of joint actions ``[..., N]`` int64 at observations ``[..., N, O]``."""
        observations = observations * self._scale
        chosen = gather_actions(self.utilities(observations), actions)
        return self.mix(torch.cat([chosen, observations.flatten(-2)], dim=-1))

    def last_layer(self) -> list[nn.Parameter]:
        return list(self.mix[-1].parameters())


def _critic(networks: ValueNetworks) -> CentralValue:
    assert isinstance(networks.critic, CentralValue)
    return networks.critic
