"""Q-learning of block values: targets from the actions that follow, and the partition TD loss (Eq. 1)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor

from lomaq.envs.rollout import Rollout
from lomaq.errors import InputError, check_bool, check_choice
from lomaq.mixers import Mixer
from lomaq.nn import epsilon_greedy, gather_actions
from lomaq.objectives.base import Batch, Metrics, Objective, Targets, ValueNetworks, epsilon_of, td_error
from lomaq.rewards.returns import Returns


class QLearning(Objective):
    """λ-returns of the values of the actions a' that follow each step.

    Args:
        returns: How returns are made of rewards and values.
        double_q: Select the greedy actions by the online networks; matters only with target networks.
        target: ``greedy`` takes each agent's best action for a'. ``sampled`` draws a' as agents act while they collect
            (Algorithm 2, lines 6, 7 and 9): for each agent a random allowed action with probability ε of the rollout,
            else its best. Then the values are those of the exploring policy, and a replay memory, which keeps no ε, is
            refused.
    """

    def __init__(
        self, returns: Returns, double_q: bool = False, target: Literal["greedy", "sampled"] = "greedy"
    ) -> None:
        super().__init__(returns)
        self.double_q = self.selects_online = check_bool("learner.objective.double_q", double_q)
        self.target = check_choice("learner.objective.target", target, ("greedy", "sampled"))
        self.on_policy = target == "sampled"

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        outputs, selector = self.outputs_and_selector(batch)
        values = self.next_values(batch.target, batch.rollout, outputs, self.next_actions(batch, selector))
        return Targets(self.returns(batch.rewards, values * batch.scale, batch.rollout))

    def outputs_and_selector(self, batch: Batch) -> tuple[Any, Any]:
        """The target networks' unroll, and what selects its greedy actions: itself or the online networks' unroll."""
        known = batch.unrolled
        if batch.online is batch.target and known is not None:
            return known, known
        outputs = self.unroll(batch.target, batch.rollout)
        if not self.double_q or batch.online is batch.target:
            return outputs, outputs
        return outputs, self.unroll(batch.online, batch.rollout) if known is None else known

    def next_actions(self, batch: Batch, selector: Any) -> Tensor:
        """Actions a' ``[T, B, N]`` int64 after every step, selected by the unroll ``selector``."""
        return self.select(batch, selector[1:])

    def select(self, batch: Batch, utilities: Tensor) -> Tensor:
        """Greedy or, with ``sampled``, ε-greedy allowed actions by utilities ``[T, B, N, A]`` after every step."""
        rollout = batch.rollout
        mask = None if rollout.action_mask is None else rollout.action_mask[1:]
        epsilon = epsilon_of(rollout) if self.target == "sampled" else 0.0
        return epsilon_greedy(utilities, epsilon, batch.generator, mask)

    @abstractmethod
    def next_values(self, target: ValueNetworks, rollout: Rollout, outputs: Any, actions: Tensor) -> Tensor:
        """Values ``[T, B, P]`` of ``actions`` ``[T, B, N]`` after every step, in the networks' units."""


class PartitionTD(QLearning):
    """Σ_J (y_J - F_J)² (Eq. 1): every block's mixer is trained on that block's own reward by Q-learning.

    Where the mixer is softly monotone, its violation is added with its weight (Section 4.1).
    """

    def next_values(self, target: ValueNetworks, rollout: Rollout, outputs: Any, actions: Tensor) -> Tensor:
        return target.mixer(gather_actions(outputs[1:], actions), rollout.observations[1:])

    def transition_loss(
        self, online: ValueNetworks, rollout: Rollout, targets: Targets, outputs: Any
    ) -> tuple[Tensor, Metrics]:
        chosen = gather_actions(outputs, rollout.actions)  # [T, B, N]
        if online.mixer.penalty == 0:
            error = online.mixer(chosen, rollout.observations[:-1]) - targets.returns  # [T, B, P]
            return error.square().sum(dim=-1), {"td_error": td_error(error, targets)}
        values, violation = online.mixer.forward_with_violation(chosen, rollout.observations[:-1])
        error = values - targets.returns
        loss = error.square().sum(dim=-1) + online.mixer.penalty * violation
        return loss, {"td_error": td_error(error, targets), "violation": violation}


class JointQLearning(QLearning):
    """Q-learning of one joint value of all agents by a network of the objective's own; there is no local form."""

    def check(self, networks: ValueNetworks) -> None:
        super().check(networks)
        self.check_mixer(networks.mixer)

    def check_mixer(self, mixer: Mixer, plain_sum: bool = False) -> None:
        """Refuse several blocks, soft monotonicity, which the loss leaves out, and weights where a plain sum is needed.

        Raises:
            InputError: If the mixer has any of these.
        """
        name = type(self).__name__
        if mixer.n_blocks != 1:
            raise InputError("partition", f"full for {name}", f"{mixer.n_blocks} blocks", "partition=full")
        if mixer.penalty > 0:
            raise InputError("mixer.monotonicity", f"projection or reparametrisation for {name}", "soft")
        if plain_sum and mixer.head():  # when σ moves, these would be rescaled in place of the utilities
            raise InputError("mixer", f"sum for {name}", type(mixer).__name__, "mixer=sum")
