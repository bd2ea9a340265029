"""The one record that flows, from the environments through the replay memory to the loss."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

#: Fields without a time axis, one entry a sequence.
AT_START = ("last_actions", "hidden", "epsilon")


@dataclass(frozen=True)
class Rollout:
    """``B`` sequences of ``T`` steps, time first.

    An environment that ended is reset in a step of its own, which is no transition: ``mask`` is false there, as it is
    in the padding after a shorter episode.

    Attributes:
        observations: ``[T + 1, B, N, O]`` float32, the last one is what the last step led to.
        actions: ``[T, B, N]`` int64.
        rewards: ``[T, B, N]`` float32, local reward of each agent.
        terminated: ``[T, B]`` bool, the step led to a real end.
        truncated: ``[T, B]`` bool, the step led to the time limit.
        mask: ``[T, B]`` bool, the step is a transition.
        is_first: ``[T + 1, B]`` bool, the observation begins an episode.
        last_actions: ``[B, N]`` int64, taken before the first observation (-1: none).
        hidden: ``[B, N, H]`` float32, recurrent state before the first observation (H = 0: no memory).
        action_mask: ``[T + 1, B, N, A]`` bool, or None where all actions are always allowed.
        epsilon: ``[B]`` float32, the share of random actions; None from a replay memory.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    mask: Tensor
    is_first: Tensor
    last_actions: Tensor
    hidden: Tensor
    action_mask: Tensor | None = None
    epsilon: Tensor | None = None

    @property
    def n_steps(self) -> int:
        """Steps T, of the longest sequence."""
        return self.actions.size(0)

    @property
    def n_sequences(self) -> int:
        """Sequences B."""
        return self.actions.size(1)

    @cached_property
    def n_transitions(self) -> Tensor:
        """0-dim int64, steps that are transitions, at least 1: what a mean over them is divided by."""
        return self.mask.sum().clamp(min=1)

    def previous_actions(self) -> Tensor:
        """``[T + 1, B, N]`` int64, the action taken before each observation, -1 where an episode begins."""
        before = torch.cat([self.last_actions[None], self.actions])
        return before.masked_fill(self.is_first[..., None], -1)

    def select(self, columns: Tensor) -> Rollout:
        """The sequences ``columns`` (``[B']`` int64)."""

        def pick(name: str, value: Tensor | None) -> Tensor | None:
            if value is None:
                return None
            return value.index_select(0 if name in AT_START else 1, columns)

        return Rollout(**{f.name: pick(f.name, getattr(self, f.name)) for f in fields(self)})  # type: ignore[arg-type]
