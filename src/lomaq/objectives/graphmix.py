"""GraphMIX (Naderializadeh et al., 2020): the partition TD loss, and utilities that each learn a part of the reward."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from lomaq.envs.rollout import Rollout
from lomaq.errors import InputError, check_float
from lomaq.mixers import GraphMIXMixer
from lomaq.nn import gather_actions
from lomaq.objectives.base import Batch, Metrics, Targets, ValueNetworks, td_error
from lomaq.objectives.q_learning import PartitionTD
from lomaq.rewards.returns import Returns


@dataclass(frozen=True)
class LocalTargets(Targets):
    """Targets with what the local loss needs, in the unit of the rewards.

    Attributes:
        team_reward: ``[T, B, 1]``, r.
        following: ``[T, B, N]``, γ max_a U_i(s', a), 0 after an end.
    """

    team_reward: Tensor = field(kw_only=True)
    following: Tensor = field(kw_only=True)


class GraphMIX(PartitionTD):
    """(F(U, s) - y)² + λ_local Σ_i (U_i - y_i)², with y_i = φ_i r + γ max_a U_i(s', a) (Naderializadeh et al., 2020).

    r is the team reward and φ_i the mixer's fraction for agent i, into which the gradient of the second term also goes.
    That term is one-step whatever λ of the returns is, since returns of φ_i r would hold fractions of later states.

    Utilities of the second term are in units of σ, too. When σ moves, only the mixer's last layer is rescaled, so that
    F keeps its meaning; the utilities follow σ by learning, as slowly as it moves. Rescaling them at once would be
    undone in the mixer's first weights, and the first σ would tear these two apart.

    Args:
        returns: How the returns y are made of rewards and values; its time limit holds for y_i, too.
        double_q: As in :class:`lomaq.objectives.QLearning`; the target's maximum in y_i is then at the online
            utilities' choice.
        target: As in :class:`lomaq.objectives.QLearning`; with ``sampled`` y_i follows the drawn action, too.
        local: λ_local, at least 0; with 0 it is :class:`PartitionTD`.
    """

    def __init__(
        self,
        returns: Returns,
        double_q: bool = False,
        target: Literal["greedy", "sampled"] = "greedy",
        local: float = 1.0,
    ) -> None:
        super().__init__(returns, double_q, target)
        self.local = check_float("learner.objective.local", local, 0)

    def check(self, networks: ValueNetworks) -> None:
        super().check(networks)
        mixer = networks.mixer
        if not isinstance(mixer, GraphMIXMixer):
            raise InputError("mixer", "graphmix for GraphMIX", type(mixer).__name__, "algo=graphmix has both")
        if not mixer.learn_fractions:
            raise InputError("mixer.learn_fractions", "true for GraphMIX", "false", "algo=graphmix sets it")

    @torch.no_grad()
    def targets(self, batch: Batch) -> LocalTargets:
        outputs, selector = self.outputs_and_selector(batch)
        chosen = gather_actions(outputs[1:], self.next_actions(batch, selector))  # [T, B, N]
        value = batch.target.mixer(chosen, batch.rollout.observations[1:])  # [T, B, 1]
        returns = self.returns(batch.rewards, value * batch.scale, batch.rollout)
        one_step = replace(self.returns, lam=0.0)
        following = one_step(torch.zeros_like(chosen), chosen * batch.scale, batch.rollout)
        return LocalTargets(returns, team_reward=batch.rewards, following=following)

    def transition_loss(
        self, online: ValueNetworks, rollout: Rollout, targets: Targets, outputs: Any
    ) -> tuple[Tensor, Metrics]:
        """Both squared errors, the second summed over agents, ``[T, B]``."""
        assert isinstance(targets, LocalTargets)
        assert isinstance(online.mixer, GraphMIXMixer)
        chosen = gather_actions(outputs, rollout.actions)  # [T, B, N]
        value, fractions = online.mixer.forward_with_fractions(chosen, rollout.observations[:-1])
        error = value - targets.returns
        reward, following = targets.team_reward / targets.scale, targets.following / targets.scale
        local = (chosen - fractions * reward - following).square().sum(dim=-1)  # [T, B]
        loss = error.square().sum(dim=-1) + self.local * local
        return loss, {"td_error": td_error(error, targets), "local_loss": local}
