"""Who acts in test episodes."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from lomaq.envs import BatchedEnv, PolicyFn, contract
from lomaq.errors import EnvError
from lomaq.nn import Utilities, epsilon_greedy, epsilon_softmax

#: Added to the seed of the episodes in which actions are drawn, so that these are not drawn as the starts are.
ACTION_SEED = 3_000_017


class Actor(Protocol):
    """Acts in an environment from the beginning of its episodes.

    Attributes:
        memoryless: Actions are a function of the present state alone.
    """

    memoryless: bool

    def reset(self, env: BatchedEnv) -> None:
        """All parallel environments of ``env`` begin an episode."""

    def act(self, env: BatchedEnv, observation: Tensor) -> Tensor:
        """Actions ``[B, N]`` int64 for observations ``[B, N, O]``."""
        raise NotImplementedError


class GreedyActor:
    """Every agent takes the action of its largest utility; it knows nothing else.

    Args:
        utilities: The networks that act.
    """

    def __init__(self, utilities: Utilities) -> None:
        self.utilities = utilities
        self.memoryless = utilities.memory_size == 0 and not utilities.last_action

    def reset(self, env: BatchedEnv) -> None:
        self.state = self.utilities.initial_state(env.n_envs, env.device)

    def act(self, env: BatchedEnv, observation: Tensor) -> Tensor:
        return self.utilities.act(observation, self.state, _choices(env))


class _Drawing:
    """What actors that draw their actions share.

    Args:
        seed: Seed of the actions, which continue from episode to episode.
    """

    memoryless = False  # chance is no function of the state

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.generator: torch.Generator | None = None

    def reset(self, env: BatchedEnv) -> None:
        if self.generator is None:  # seeded once, or every batch of episodes would repeat the first one's actions
            self.generator = torch.Generator(env.device).manual_seed(self.seed)


class SampleActor(_Drawing):
    """Every agent draws from its policy, the softmax of its network's outputs over its allowed actions.

    Args:
        utilities: The networks that act, whose outputs are logits.
        seed: Seed of the episodes; the actions that follow from it continue from episode to episode.
    """

    def __init__(self, utilities: Utilities, seed: int) -> None:
        super().__init__(ACTION_SEED + seed)
        self.utilities = utilities

    def reset(self, env: BatchedEnv) -> None:
        super().reset(env)
        self.state = self.utilities.initial_state(env.n_envs, env.device)

    def act(self, env: BatchedEnv, observation: Tensor) -> Tensor:
        return self.utilities.act(observation, self.state, _choices(env), epsilon_softmax, self.generator)


class RandomActor(_Drawing):
    """Every agent takes any of its allowed actions.

    Args:
        seed: Seed of the actions, which continue from episode to episode.
    """

    def reset(self, env: BatchedEnv) -> None:
        super().reset(env)
        self.equal = torch.zeros(env.n_envs, env.n_agents, env.n_actions, device=env.device)

    def act(self, env: BatchedEnv, observation: Tensor) -> Tensor:
        return epsilon_greedy(self.equal, 1.0, self.generator, _choices(env))


class BaselineActor:
    """One of the environment's own policies, which may look at its whole state.

    Args:
        policy: Which.
    """

    memoryless = True

    def __init__(self, policy: PolicyFn) -> None:
        self.policy = policy

    def reset(self, env: BatchedEnv) -> None:
        pass

    def act(self, env: BatchedEnv, observation: Tensor) -> Tensor:
        return self.policy(env)


def _choices(env: BatchedEnv) -> Tensor | None:
    """The allowed actions ``[B, N, A]``, at least one for every agent; None where all are."""
    mask = env.allowed()
    if mask is not None:
        contract.check_choices(mask, f"action mask of {contract.title(env)}", EnvError, name_of=env.graph.name_of)
    return mask
