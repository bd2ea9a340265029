"""Test episodes: who acts in them, their returns and their metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from lomaq.envs import BatchedEnv, PolicyFn, contract
from lomaq.errors import EnvError
from lomaq.nn import Utilities, epsilon_greedy

#: Most environments that an evaluation steps together.
EVALUATION_BATCH = 256


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
        return self.utilities.greedy(observation, self.state, _choices(env))


class RandomActor:
    """Every agent takes any of its allowed actions.

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


@dataclass(frozen=True)
class Played:
    """Test episodes that were played.

    Attributes:
        returns: ``[episodes]`` float64, summed over agents and steps, discounted where the environment discounts; a
            single exact number where the environment can compute it.
        metrics: Metrics of the episodes, ``[episodes]`` float64 each; none with an exact return.
    """

    returns: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


def make_test_env(
    make: Callable[[int, int, torch.device], BatchedEnv], episodes: int, device: torch.device
) -> BatchedEnv:
    """The environments that play ``episodes`` test episodes: as many as can be together."""
    n_envs = min(episodes, EVALUATION_BATCH)
    env = make(n_envs, 0, device)
    return env if env.max_envs is None or env.max_envs >= n_envs else make(env.max_envs, 0, device)


@torch.no_grad()
def evaluate(actor: Actor, env: BatchedEnv, episodes: int, seed: int) -> Played:
    """Play test episodes.

    Args:
        actor: Who acts.
        env: The environments; their generator is seeded anew, so equal seeds mean equal starts.
        episodes: Episodes to play, in batches of ``env.n_envs``.
        seed: Seed of the starts.
    """
    if actor.memoryless:
        exact = env.exact_return(lambda states: _first_actions(actor, states))
        if exact is not None:
            return Played(torch.tensor([exact], dtype=torch.float64))
    env.generator.manual_seed(seed)
    batches = [_episodes(actor, env) for _ in range(-(-episodes // env.n_envs))]
    returns = torch.cat([batch.returns for batch in batches])[:episodes]
    names = batches[0].metrics
    return Played(returns, {name: torch.cat([batch.metrics[name] for batch in batches])[:episodes] for name in names})


def _first_actions(actor: Actor, env: BatchedEnv) -> Tensor:
    actor.reset(env)
    return actor.act(env, env.observe())


def _episodes(actor: Actor, env: BatchedEnv) -> Played:
    """One episode in every environment."""
    actor.reset(env)
    returns = torch.zeros(env.n_envs, dtype=torch.float64, device=env.device)
    metrics: dict[str, Tensor] = {}
    weight = 1.0
    for number, step in enumerate(env.episode(actor.act), start=1):
        returns += weight * step.rewards.sum(dim=1) * step.running
        weight *= env.discount
        ending = step.running & (step.terminated | step.truncated)
        if bool(ending.any()):
            for name, value in contract.read_metrics(env).items():
                metrics[name] = torch.where(ending, value, metrics.get(name, torch.zeros_like(value)))
                contract.check_numbers(env, f"episode_metrics()[{name!r}]", metrics[name][:, None], number)
    return Played(returns, metrics)
