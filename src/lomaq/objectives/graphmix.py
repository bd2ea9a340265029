"""GraphMIX (Naderializadeh et al., 2020): the partition TD loss, and utilities that each learn a part of the reward."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from lomaq.envs import Rollout
from lomaq.errors import InputError, check_float
from lomaq.mixers import GraphMIXMixer, Mixer
from lomaq.nn import Utilities
from lomaq.objectives.td import PartitionTD, ValueNetworks, gather_actions, mean_over_transitions


class GraphMIX(PartitionTD):
    """(F(U, s) - y)² + λ_local Σ_i (U_i - y_i)², with y_i = φ_i r + γ max_a U_i(s', a) (Naderializadeh et al., 2020).

    r is the team reward and φ_i the mixer's fraction for agent i, into which the gradient of the second term also goes.
    That term is one-step whatever ``lam`` is, since returns of φ_i r would hold fractions of later states.

    Utilities of the second term are in units of σ, too. When σ moves, only the mixer's last layer is rescaled, so that
    F keeps its meaning; the utilities follow σ by learning, as slowly as it moves. Rescaling them at once would be
    undone in the mixer's first weights, and the first σ would tear these two apart.

    Args:
        gamma: Discount γ in [0, 1).
        lam: λ of the returns y in [0, 1].
        double_q: As in :class:`PartitionTD`; the target's maximum in y_i is then at the online utilities' choice.
        time_limit: As in :class:`PartitionTD`, for y and y_i.
        local: λ_local, at least 0; with 0 it is :class:`PartitionTD`.
    """

    def __init__(
        self,
        gamma: float,
        lam: float,
        double_q: bool = False,
        time_limit: Literal["bootstrap", "terminal"] = "bootstrap",
        local: float = 1.0,
    ) -> None:
        super().__init__(gamma, lam, double_q, time_limit)
        self.local = check_float("learner.objective.local", local, 0)

    def make_critic(self, utilities: Utilities, mixer: Mixer) -> None:
        if not isinstance(mixer, GraphMIXMixer):
            expected = "graphmix for algo=graphmix"
            raise InputError("mixer", expected, type(mixer).__name__, "algo=graphmix has both")
        mixer.fraction.requires_grad_()

    @torch.no_grad()
    def targets(
        self,
        online: ValueNetworks,
        target: ValueNetworks,
        rollout: Rollout,
        rewards: Tensor,
        scale: float,
        judge: Any = None,
    ) -> Tensor:
        """λ-returns y, the team reward r and γ max_a U_i(s', a), side by side: ``[T, B, 2 + N]``.

        All are in the units of ``rewards``, the team's ``[T, B, 1]``; the arguments are those of :class:`PartitionTD`.
        """
        following = gather_actions(*self._greedy(online, target, rollout, judge))[1:]  # [T, B, N]
        value = target.mixer(following, rollout.observations[1:])  # [T, B, 1]
        returns = self._returns(rewards, value * scale, rollout, self.lam)
        local = self._returns(torch.zeros_like(following), following * scale, rollout, lam=0.0)
        return torch.cat([returns, rewards, local], dim=-1)

    def loss(self, online: ValueNetworks, rollout: Rollout, targets: Tensor, unrolled: Any = None) -> Tensor:
        """Both squared errors, the second summed over agents, averaged over transitions; ``targets`` as above."""
        assert isinstance(online.mixer, GraphMIXMixer)
        chosen = gather_actions(self._utilities(online, rollout, unrolled), rollout.actions)  # [T, B, N]
        value, fractions = online.mixer.forward_with_fractions(chosen, rollout.observations[:-1])
        returns, reward, following = targets.split([1, 1, chosen.size(-1)], dim=-1)
        error = (value - returns).square().sum(dim=-1)  # [T, B]
        local = (chosen - fractions * reward - following).square().sum(dim=-1)  # [T, B]
        return mean_over_transitions(error + self.local * local, rollout)
