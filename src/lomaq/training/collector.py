"""Steps the environments with the utilities and fills rollouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lomaq.envs import BatchedEnv, Rollout
from lomaq.nn import Utilities, epsilon_greedy


class Collector:
    """Carries the environments, the agents' memories and the source of exploration from rollout to rollout.

    Args:
        env: The environments, B copies; reset at once.
        utilities: The networks that act.
        seed: Seed of exploration.
        steps: Steps T of a rollout; None collects one whole episode of every copy.
        explore: How actions follow from utilities, ε, a generator and a mask.
    """

    state_names = ("observation", "previous", "is_first", "ended", "hidden")

    def __init__(
        self,
        env: BatchedEnv,
        utilities: Utilities,
        seed: int,
        steps: int | None,
        explore: Callable[..., Tensor] = epsilon_greedy,
    ) -> None:
        self.env, self.utilities, self.steps, self.explore = env, utilities, steps, explore
        self.generator = torch.Generator(env.device).manual_seed(seed)
        self.observation = env.reset()
        if steps is not None:  # spread the copies over the episode, else all rollouts see the same part of it
            env.time.random_(env.max_steps, generator=self.generator)
        shape = (env.n_envs, env.n_agents)
        self.previous = torch.full(shape, -1, dtype=torch.int64, device=env.device)
        self.is_first = torch.ones(env.n_envs, dtype=torch.bool, device=env.device)
        self.ended = torch.zeros(env.n_envs, dtype=torch.bool, device=env.device)
        self.hidden = utilities.initial_hidden(env.n_envs, env.device)

    @torch.no_grad()
    def collect(self, epsilon: float) -> Rollout:
        """Play one rollout with a share ε of random actions.

        In a rollout of fixed length, a copy that ended is reset in its next step, which is not valid. A rollout of
        whole episodes starts every copy afresh and is as long as the longest of them.
        """
        env = self.env
        episodes = self.steps is None
        if episodes:
            self.observation = env.reset()
            self.is_first.fill_(True)
            self.ended.fill_(False)
        length = env.max_steps if self.steps is None else self.steps
        before = {"last_actions": self.previous.clone(), "hidden": self.hidden.clone()}
        frames: list[tuple[Tensor, ...]] = []
        observations, firsts, masks = [self.observation], [self.is_first.clone()], [env.action_mask()]
        for _ in range(length):
            mask = masks[-1]
            values, self.hidden = self.utilities(
                self.observation[None],
                self.previous[None],
                self.is_first[None],
                self.hidden,
                None if mask is None else mask[None],
            )
            actions = self.explore(values[0], epsilon, self.generator, mask)
            valid = ~self.ended
            self.observation, rewards, terminated, truncated = env.step(actions)
            frames.append((actions, rewards, terminated & valid, truncated & valid, valid))
            ended = terminated | truncated
            if episodes:
                self.is_first = torch.zeros_like(self.ended)
                self.ended = self.ended | ended
            else:
                self.is_first = self.ended  # what was waiting is reset by this step
                self.ended = ended & valid
                if self.is_first.any():
                    self.observation = env.reset(self.is_first)
            self.previous = actions.masked_fill(self.is_first[:, None], -1)
            observations.append(self.observation)
            firsts.append(self.is_first)
            masks.append(env.action_mask())
            if episodes and bool(self.ended.all()):
                break
        actions, rewards, terminated, truncated, valid = (torch.stack(x) for x in zip(*frames, strict=True))
        return Rollout(
            observations=torch.stack(observations),
            actions=actions,
            rewards=rewards,
            terminated=terminated,
            truncated=truncated,
            mask=valid,
            is_first=torch.stack(firsts),
            action_mask=None if masks[0] is None else torch.stack([m for m in masks if m is not None]),
            epsilon=torch.full((env.n_envs,), epsilon, device=env.device),
            **before,
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the next rollouts."""
        state = {name: getattr(self, name).clone() for name in self.state_names}
        return {**state, "generator": self.generator.get_state(), "env": self.env.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        for name in self.state_names:
            setattr(self, name, state[name].to(self.env.device, copy=True))
        self.generator.set_state(state["generator"].cpu())
        self.env.load_state_dict(state["env"])
