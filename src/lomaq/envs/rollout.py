"""The one record that flows, from the environments through the replay memory to the loss."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lomaq.envs.base import BatchedEnv

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

    @classmethod
    def beginning(cls, observations: Tensor, hidden: Tensor) -> Rollout:
        """No step yet (T = 0): observations ``[B, N, O]`` that begin episodes, and empty memories ``[B, N, H]``."""
        batch, agents, _ = observations.shape
        no = torch.zeros(0, batch, dtype=torch.bool, device=observations.device)
        none = torch.full((batch, agents), -1, device=observations.device)
        first = torch.ones(1, batch, dtype=torch.bool, device=observations.device)
        actions, rewards = none[None][:0], observations[None, ..., 0][:0]
        return cls(observations[None], actions, rewards, no, no, no, first, none, hidden)

    def select(self, columns: Tensor) -> Rollout:
        """The sequences ``columns`` (``[B']`` int64)."""

        def pick(name: str, value: Tensor | None) -> Tensor | None:
            if value is None:
                return None
            return value.index_select(0 if name in AT_START else 1, columns)

        return Rollout(**{f.name: pick(f.name, getattr(self, f.name)) for f in fields(self)})  # type: ignore[arg-type]


class RolloutBuffers:
    """The steps of a rollout, copied as they come: an environment may reuse the tensors that it returns.

    Args:
        env: The environments.
        steps: Most steps T.
        masked: Whether there are action masks.
    """

    def __init__(self, env: BatchedEnv, steps: int, masked: bool) -> None:
        self.steps, n_envs, n_agents = steps, env.n_envs, env.n_agents

        def make(length: int, *shape: int, dtype: torch.dtype = torch.bool) -> tuple[Tensor, tuple[Tensor, ...]]:
            whole = torch.empty(length, n_envs, *shape, dtype=dtype, device=env.device)
            return whole, whole.unbind(0)

        self.observations = make(steps + 1, n_agents, env.obs_size, dtype=torch.float32)
        self.actions = make(steps, n_agents, dtype=torch.int64)
        self.rewards = make(steps, n_agents, dtype=torch.float32)
        self.terminated, self.truncated, self.mask = make(steps), make(steps), make(steps)
        self.is_first = make(steps + 1)
        self.action_mask = make(steps + 1, n_agents, env.n_actions) if masked else None

    def begin(self, observation: Tensor, is_first: Tensor, mask: Tensor | None) -> Tensor:
        """Keep what comes before the first step; the copy of the observation."""
        return self.follow(-1, observation, is_first, mask)

    def follow(self, t: int, observation: Tensor, is_first: Tensor, mask: Tensor | None) -> Tensor:
        """Keep what step ``t`` led to; the copy of the observation."""
        self.is_first[1][t + 1].copy_(is_first)
        if self.action_mask is not None:
            assert mask is not None
            self.action_mask[1][t + 1].copy_(mask)
        return self.observations[1][t + 1].copy_(observation)

    def step(
        self, t: int, actions: Tensor, rewards: Tensor, terminated: Tensor, truncated: Tensor, valid: Tensor
    ) -> None:
        """Keep step ``t``; what is not ``valid`` does not end."""
        self.actions[1][t].copy_(actions)
        self.rewards[1][t].copy_(rewards)
        torch.logical_and(terminated, valid, out=self.terminated[1][t])
        torch.logical_and(truncated, valid, out=self.truncated[1][t])
        self.mask[1][t].copy_(valid)

    def until(self, steps: int) -> dict[str, Any]:
        """The first ``steps`` steps, as fields of a rollout."""
        each = {name: vars(self)[name][0][:steps] for name in ("actions", "rewards", "terminated", "truncated", "mask")}
        after = {name: vars(self)[name][0][: steps + 1] for name in ("observations", "is_first")}
        masks = None if self.action_mask is None else self.action_mask[0][: steps + 1]
        return {**each, **after, "action_mask": masks}
