"""The partition TD loss (Eq. 1): every block's mixer is trained on that block's own reward by Q-learning."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lomaq.envs import Rollout
from lomaq.errors import InputError, check_bool, check_choice, check_float
from lomaq.mixers import Mixer
from lomaq.nn import Utilities, epsilon_greedy, gather_actions
from lomaq.objectives.returns import lambda_returns


class Critic(nn.Module, ABC):
    """What an objective learns besides utilities and mixer; it may see everything, since only training uses it.

    Args:
        utilities: Of the agents it values; its observations have the same fixed factors as theirs.
    """

    _scale: Tensor

    def __init__(self, utilities: Utilities) -> None:
        super().__init__()
        scale = utilities.observation_scale
        self.register_buffer("_scale", torch.ones(utilities.obs_size) if scale is None else scale, persistent=False)

    @abstractmethod
    def last_layer(self) -> list[nn.Parameter]:
        """The parameters of the last, linear layers of its values."""

    @torch.no_grad()
    def rescale_(self, factor: float) -> None:
        """Multiply every value by ``factor`` > 0, in the last layer."""
        for parameter in self.last_layer():
            parameter.mul_(factor)


class ValueNetworks(nn.Module):
    """The utilities and the mixer, with what the objective learns besides: all that is learned.

    Block values come out in units of the run's value scale σ, see :class:`lomaq.training.scale.ValueScale`.
    """

    def __init__(self, utilities: Utilities, mixer: Mixer, critic: Critic | None = None) -> None:
        super().__init__()
        self.utilities = utilities
        self.mixer = mixer
        self.critic = critic

    def unroll(self, rollout: Rollout, steps: int | None = None) -> Tensor:
        """Utilities of every action along the first ``steps`` (all T + 1) observations: ``[steps, B, N, A]``."""
        observations, previous = rollout.observations[:steps], rollout.previous_actions()[:steps]
        mask = None if rollout.action_mask is None else rollout.action_mask[:steps]
        return self.utilities(observations, previous, rollout.is_first[:steps], rollout.hidden, mask)[0]

    def rescale_(self, factor: float) -> None:
        """Multiply every value by ``factor``: in the mixer's last layer or the utilities', and in the critic's."""
        (self.mixer if self.mixer.head() else self.utilities).rescale_(factor)
        if self.critic is not None:
            self.critic.rescale_(factor)


class PartitionTD:
    """Σ_J (y_J - F_J)², averaged over transitions, with λ-returns y_J of the greedy block values.

    Where the mixer is softly monotone, its violation is added with its weight (Section 4.1).

    Args:
        gamma: Discount γ in [0, 1).
        lam: λ of the returns in [0, 1]; 0 is the paper's one-step target.
        double_q: Choose the greedy action of the target by the online utilities (matters with a target network).
        time_limit: ``bootstrap`` goes on from the value behind a time limit, ``terminal`` treats it as an end.

    Attributes:
        on_policy: Whether it must see rollouts of the present networks only, and so no replay memory.
        mixes: Whether its values are what the mixer makes of the utilities, so that a certificate means something.
        explore: How the agents act while they collect: (what their networks say, ε, generator, mask) → actions.
    """

    on_policy = False
    mixes = True
    explore: Callable[..., Tensor] = staticmethod(epsilon_greedy)

    def __init__(
        self,
        gamma: float,
        lam: float,
        double_q: bool = False,
        time_limit: Literal["bootstrap", "terminal"] = "bootstrap",
    ) -> None:
        self.gamma = check_float("learner.objective.gamma", gamma, 0, 1, below=True)
        self.lam = check_float("learner.objective.lam", lam, 0, 1)
        self.double_q = check_bool("learner.objective.double_q", double_q)
        self.time_limit = check_choice("learner.objective.time_limit", time_limit, ("bootstrap", "terminal"))

    def make_critic(self, utilities: Utilities, mixer: Mixer) -> Critic | None:
        """What is learned besides ``utilities`` and ``mixer``; here nothing.

        Raises:
            InputError: If the objective cannot train these.
        """
        return None

    def unroll(self, networks: ValueNetworks, rollout: Rollout, steps: int | None = None) -> Any:
        """What the agents' networks say along the first ``steps`` (all T + 1) observations; here their utilities."""
        return networks.unroll(rollout, steps)

    def rescale_(self, networks: ValueNetworks, factor: float) -> None:
        """Multiply every value that ``networks`` hold by ``factor`` > 0."""
        networks.rescale_(factor)

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
        """λ-returns in the units of the rewards.

        Args:
            online: Networks that choose the greedy action where ``double_q``.
            target: Networks that value it.
            rollout: The sequences.
            rewards: ``[T, B, P]`` block rewards.
            scale: σ, what one unit of the networks' output is worth.
            judge: ``unroll(online, rollout)`` where it is known already.

        Returns:
            ``[T, B, P]``; meaningless where the rollout is not valid, and cut before such a step. An objective may add
            columns for its own loss, in the same units.
        """
        values = self._next_values(online, target, rollout, judge) * scale
        return self._returns(rewards, values, rollout, self.lam)

    def _returns(self, rewards: Tensor, values: Tensor, rollout: Rollout, lam: float) -> Tensor:
        """λ-returns ``[T, B, P]`` of block rewards, where ``values`` ``[T, B, P]`` follow every step."""
        ended = rollout.terminated | rollout.truncated
        terminal = rollout.terminated if self.time_limit == "bootstrap" else ended
        cut = ended.clone()
        cut[:-1] |= ~rollout.mask[1:]  # a step that does not count has no reward to go on with
        return lambda_returns(rewards, values, terminal, cut, self.gamma, lam)

    def _next_values(self, online: ValueNetworks, target: ValueNetworks, rollout: Rollout, judge: Any) -> Tensor:
        """Values ``[T, B, P]`` of what follows every step, in the networks' units; here of the greedy actions."""
        best = gather_actions(*self._greedy(online, target, rollout, judge))  # [T + 1, B, N]
        return target.mixer(best[1:], rollout.observations[1:])

    def _greedy(
        self, online: ValueNetworks, target: ValueNetworks, rollout: Rollout, judge: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Utilities ``[T + 1, B, N, A]`` of the target and the actions ``[T + 1, B, N]`` that it shall value."""
        utilities = target.unroll(rollout)
        return utilities, greedy_actions(self._judge(online, target, rollout, utilities, judge), rollout)

    def _judge(self, online: ValueNetworks, target: ValueNetworks, rollout: Rollout, own: Any, judge: Any) -> Any:
        """What chooses the target's actions: ``own``, the target's unroll, or with double Q the online networks'."""
        if not self.double_q or online is target:
            return own
        return self.unroll(online, rollout) if judge is None else judge

    def loss(self, online: ValueNetworks, rollout: Rollout, targets: Tensor, unrolled: Any = None) -> Tensor:
        """Squared error, summed over blocks (Eq. 1) and averaged over transitions.

        Args:
            online: Networks to train.
            rollout: The sequences.
            targets: ``[T, B, P]`` in the networks' units (divided by σ).
            unrolled: ``unroll(online, rollout)`` where it is known already.
        """
        chosen = gather_actions(self._utilities(online, rollout, unrolled), rollout.actions)  # [T, B, N]
        if online.mixer.penalty > 0:
            values, violation = online.mixer.forward_with_violation(chosen, rollout.observations[:-1])
            error = (values - targets).square().sum(dim=-1) + online.mixer.penalty * violation  # [T, B]
        else:
            error = (online.mixer(chosen, rollout.observations[:-1]) - targets).square().sum(dim=-1)
        return mean_over_transitions(error, rollout)

    def _utilities(self, online: ValueNetworks, rollout: Rollout, unrolled: Tensor | None) -> Tensor:
        """Utilities ``[T, B, N, A]`` to train."""
        return online.unroll(rollout, rollout.n_steps) if unrolled is None else unrolled[: rollout.n_steps]


def one_block(algo: str, mixer: Mixer) -> None:
    """Refuse several blocks, where ``algo`` has no local form, and soft monotonicity, which its loss leaves out.

    Raises:
        InputError: If there are several, or the mixer has a penalty.
    """
    if mixer.n_blocks != 1:
        raise InputError("partition", f"full for algo={algo}", f"{mixer.n_blocks} blocks", "partition=full")
    if mixer.penalty > 0:
        raise InputError("mixer.monotonicity", f"projection or reparametrisation for algo={algo}", "soft")


def one_sum(algo: str, mixer: Mixer) -> None:
    """Refuse all but one plain sum, where ``algo`` puts the values together itself.

    Raises:
        InputError: If there are several blocks, or the mixer has weights: these would be rescaled, not the utilities.
    """
    one_block(algo, mixer)
    if mixer.head():
        raise InputError("mixer", f"sum for algo={algo}", type(mixer).__name__, "mixer=sum")


def greedy_actions(utilities: Tensor, rollout: Rollout) -> Tensor:
    """Each agent's best allowed action: utilities ``[t, B, N, A]`` of the first t observations → ``[t, B, N]``."""
    if rollout.action_mask is not None:
        utilities = utilities.masked_fill(~rollout.action_mask[: len(utilities)], -torch.inf)
    return utilities.argmax(dim=-1)


def mean_over_transitions(error: Tensor, rollout: Rollout) -> Tensor:
    """Mean of ``error`` ``[T, B]`` over the valid steps; a part of a rollout may have none."""
    return (error * rollout.mask).sum() / rollout.mask.sum().clamp(min=1)
