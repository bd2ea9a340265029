"""Weighted QMIX (Rashid et al., 2020): a monotone value that is fitted with care only where it matters."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from lomaq.envs.rollout import Rollout
from lomaq.errors import check_choice, check_float, check_int
from lomaq.mixers import Mixer
from lomaq.nn import Utilities, gather_actions
from lomaq.objectives.base import Critic, Metrics, Targets, ValueNetworks, greedy_actions, td_error
from lomaq.objectives.q_learning import JointQLearning
from lomaq.rewards.returns import Returns


class WeightedQMIX(JointQLearning):
    """(Q*(s, u) - y)² + w(s, u) (Q_tot(s, u) - y)² (Rashid et al., 2020, Section 4).

    Q* is a joint value without any constraint; ū are the agents' greedy actions, y the return that follows Q*(s', ū').
    A monotone Q_tot cannot fit y everywhere, and plain QMIX spreads the misfit evenly; here w = 1 for

    - ``optimistic`` (OW-QMIX): joint actions that Q_tot underestimates, Q_tot < y;
    - ``central`` (CW-QMIX): the greedy joint action, and those that look better than it, y > Q*(s, ū);

    and w = α for all others.

    Args:
        returns: How returns are made of rewards and values.
        double_q, target: As in :class:`lomaq.objectives.QLearning`.
        weighting: ``optimistic`` or ``central``.
        alpha: α in (0, 1]; 1 weighs all alike, as QMIX does, but with the targets of Q*.
        hidden: Width of the layers of Q*, at least 1.
    """

    identity: ClassVar[tuple[str, ...]] = ("weighting",)

    def __init__(
        self,
        returns: Returns,
        double_q: bool = False,
        target: Literal["greedy", "sampled"] = "greedy",
        weighting: Literal["optimistic", "central"] = "central",
        alpha: float = 0.1,
        hidden: int = 64,
    ) -> None:
        super().__init__(returns, double_q, target)
        self.weighting = check_choice("learner.objective.weighting", weighting, ("optimistic", "central"))
        self.alpha = check_float("learner.objective.alpha", alpha, 0, 1, above=True)
        self.hidden = check_int("learner.objective.hidden", hidden, 1)

    def make_critic(self, utilities: Utilities, mixer: Mixer) -> CentralValue:
        return CentralValue(utilities, self.hidden)

    def next_values(self, target: ValueNetworks, rollout: Rollout, outputs: Any, actions: Tensor) -> Tensor:
        return target.critic(rollout.observations[1:], actions)

    def transition_loss(
        self, online: ValueNetworks, rollout: Rollout, targets: Targets, outputs: Any
    ) -> tuple[Tensor, Metrics]:
        observations = rollout.observations[:-1]
        central = (online.critic(observations, rollout.actions) - targets.returns).square()
        mixed = online.mixer(gather_actions(outputs, rollout.actions), observations)
        error = mixed - targets.returns
        full = self._full_weight(online, rollout, targets.returns, outputs.detach(), mixed.detach())  # [T, B, 1]
        loss = (central + torch.where(full, 1.0, self.alpha) * error.square()).sum(dim=-1)
        metrics = {"critic_loss": central[..., 0], "full_weight_share": full[..., 0].float()}
        return loss, {"td_error": td_error(error, targets), **metrics}

    @torch.no_grad()
    def _full_weight(
        self, online: ValueNetworks, rollout: Rollout, returns: Tensor, utilities: Tensor, mixed: Tensor
    ) -> Tensor:
        """``[T, B, 1]`` bool, where w = 1."""
        if self.weighting == "optimistic":
            return mixed < returns
        greedy = greedy_actions(utilities, rollout)
        best = online.critic(rollout.observations[:-1], greedy)
        return (rollout.actions == greedy).all(dim=-1, keepdim=True) | (returns > best)


class CentralValue(Critic):
    """Q*(s, u): utilities of all agents without any bond, and a network that mixes those of ``u`` with the state.

    The state s is the concatenated observations of all agents.

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
