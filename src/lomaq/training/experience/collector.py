"""Steps the environments with the utilities and fills rollouts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lomaq.envs import BatchedEnv, Rollout, contract
from lomaq.envs.rollout import RolloutBuffers
from lomaq.errors import NonFiniteLossError
from lomaq.graphs import AgentGraph
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
        if steps is not None:
            self.observation = env.stagger(self.generator)
        self.state = utilities.initial_state(env.n_envs, env.device)
        self.ended = torch.zeros(env.n_envs, dtype=torch.bool, device=env.device)
        self.outputs: list[Tensor] = []

    @torch.no_grad()
    def collect(self, epsilon: float | Tensor) -> Rollout:
        """Play one rollout with a share ε of random actions, one for all environments or ``[B]`` float32.

        In a rollout of fixed length, an environment that ended is reset in its next step, which is no transition. A
        rollout of whole episodes starts every environment afresh and is as long as the longest episode.

        Raises:
            EnvError: If a number of the environments is not finite, or an agent had no allowed action.
            NonFiniteLossError: If only the networks' outputs are not finite.
        """
        env, state = self.env, self.state
        epsilons = torch.as_tensor(epsilon, dtype=torch.float32, device=env.device).expand(env.n_envs)
        shares = epsilon if isinstance(epsilon, float) else epsilons[:, None, None]
        episodes = self.steps is None
        if episodes:
            self.observation = env.reset()
            state.is_first.fill_(True)
            self.ended.fill_(False)
        before = {"last_actions": state.previous.clone(), "hidden": state.hidden.clone()}
        mask = env.allowed()
        kept = RolloutBuffers(env, env.max_steps if self.steps is None else self.steps, mask is not None)
        self.observation = kept.begin(self.observation, state.is_first, mask)
        self.outputs = []
        for t in range(kept.steps):
            outputs = self.utilities.step(self.observation, state, mask)
            self.outputs.append(outputs)
            actions = self.policy(outputs, shares, self.generator, mask)
            valid = ~self.ended
            observation, rewards, terminated, truncated = env.step(actions)
            kept.step(t, actions, rewards, terminated, truncated, valid)
            ended = terminated | truncated
            if episodes:
                is_first = torch.zeros_like(self.ended)
                self.ended = self.ended | ended
            else:
                is_first = self.ended  # what was waiting is reset by this step
                self.ended = ended & valid
                if is_first.any():
                    observation = env.reset(is_first)
            state.acted(actions, is_first)
            mask = env.allowed()
            self.observation = kept.follow(t, observation, is_first, mask)
            if episodes and bool(self.ended.all()):
                break
        rollout = Rollout(**kept.until(t + 1), **before, epsilon=epsilons)
        contract.check_rollout(env, rollout)
        _check_outputs(outputs, self.env.graph)
        return rollout

    @torch.no_grad()
    def unrolled(self) -> Tensor:
        """Outputs ``[T + 1, B, N, A]`` along the last rollout, of networks that have not changed since."""
        after = replace(self.state)
        return torch.stack([*self.outputs, self.utilities.step(self.observation, after, self.env.allowed())])

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the next rollouts."""
        state = {name: value.clone() for name, value in vars(self.state).items()}
        carried = {"observation": self.observation.clone(), "ended": self.ended.clone(), **state}
        return {**carried, "generator": self.generator.get_state(), "env": self.env.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`; an environment that is not resumable, with new episodes."""
        self.generator.set_state(state["generator"].cpu())
        if not self.env.resumable:
            self.env.generator.set_state(state["env"]["generator"].cpu())
            self.observation = self.env.reset()
            return
        names = ("observation", "ended", "previous", "is_first", "hidden")
        self.observation, self.ended, *carried = (state[name].to(self.env.device, copy=True) for name in names)
        self.state = ActingState(*carried)
        self.env.load_state_dict(state["env"])


def _check_outputs(outputs: Tensor, graph: AgentGraph) -> None:
    """Of the last step ``[B, N, A]``: weights without bounds stay so."""
    if not bool(outputs.sum().isfinite()) and not bool(outputs.isfinite().all()):
        b, n, action = (~outputs.isfinite()).nonzero()[0].tolist()
        value = float(outputs[b, n, action])
        where = f"environment {b}, agent {graph.name_of(n)}, action {action}"
        raise NonFiniteLossError(f"the utilities became {value} ({where}); lower learner.lr or learner.grad_clip")
