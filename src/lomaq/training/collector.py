"""Steps the environments with the utilities and fills rollouts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lomaq.envs import BatchedEnv, Rollout
from lomaq.nn import ActingState, ActionSelector, Utilities, epsilon_greedy


class Collector:
    """Carries the environments, the agents' memories and the source of exploration from rollout to rollout.

    Args:
        env: B parallel environments; reset at once.
        utilities: The networks that act.
        seed: Seed of exploration.
        steps: Steps T of a rollout; None collects one whole episode of every environment.
        policy: How actions follow from the networks' outputs.
    """

    def __init__(
        self,
        env: BatchedEnv,
        utilities: Utilities,
        seed: int,
        steps: int | None,
        policy: ActionSelector = epsilon_greedy,
    ) -> None:
        self.env, self.utilities, self.steps, self.policy = env, utilities, steps, policy
        self.generator = torch.Generator(env.device).manual_seed(seed)
        self.observation = env.reset()
        if steps is not None:  # spread the environments over the episode, else all rollouts see the same part of it
            env.time.random_(env.max_steps, generator=self.generator)
        self.state = utilities.initial_state(env.n_envs, env.device)
        self.ended = torch.zeros(env.n_envs, dtype=torch.bool, device=env.device)

    @torch.no_grad()
    def collect(self, epsilon: float) -> Rollout:
        """Play one rollout with a share ε of random actions.

        In a rollout of fixed length, an environment that ended is reset in its next step, which is no transition. A
        rollout of whole episodes starts every environment afresh and is as long as the longest episode.
        """
        env, state = self.env, self.state
        episodes = self.steps is None
        if episodes:
            self.observation = env.reset()
            state.is_first.fill_(True)
            self.ended.fill_(False)
        before = {"last_actions": state.previous.clone(), "hidden": state.hidden.clone()}
        frames: list[tuple[Tensor, ...]] = []
        observations, firsts, masks = [self.observation], [state.is_first.clone()], [env.action_mask()]
        for _ in range(env.max_steps if self.steps is None else self.steps):
            outputs = self.utilities.step(self.observation, state, masks[-1])
            actions = self.policy(outputs, epsilon, self.generator, masks[-1])
            valid = ~self.ended
            self.observation, rewards, terminated, truncated = env.step(actions)
            frames.append((actions, rewards, terminated & valid, truncated & valid, valid))
            ended = terminated | truncated
            if episodes:
                is_first = torch.zeros_like(self.ended)
                self.ended = self.ended | ended
            else:
                is_first = self.ended  # what was waiting is reset by this step
                self.ended = ended & valid
                if is_first.any():
                    self.observation = env.reset(is_first)
            state.acted(actions, is_first)
            observations.append(self.observation)
            firsts.append(is_first)
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
        state = {name: value.clone() for name, value in vars(self.state).items()}
        carried = {"observation": self.observation.clone(), "ended": self.ended.clone(), **state}
        return {**carried, "generator": self.generator.get_state(), "env": self.env.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        names = ("observation", "ended", "previous", "is_first", "hidden")
        self.observation, self.ended, *carried = (state[name].to(self.env.device, copy=True) for name in names)
        self.state = ActingState(*carried)
        self.generator.set_state(state["generator"].cpu())
        self.env.load_state_dict(state["env"])
