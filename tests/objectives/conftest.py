"""What several objectives are tested on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from lomaq.envs import Rollout
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import SumMixer

#: Steps, sequences and agents of ``make_rollout`` where nothing else is asked for.
T, B, N = 3, 2, 2


def _flags(*columns: str) -> Tensor:
    return torch.tensor([[c == "1" for c in row] for row in zip(*columns, strict=True)])


def _make_rollout(
    terminated: Sequence[str] = (),
    truncated: Sequence[str] = (),
    valid: Sequence[str] = ("1" * T,) * B,
    mask: Tensor | None = None,
    epsilon: float | None = None,
    n_actions: int = 2,
    obs_size: int = 2,
    n_agents: int = N,
) -> Rollout:
    transitions = _flags(*valid)
    steps, batch = transitions.shape
    none = ("0" * steps,) * batch
    generator = torch.Generator().manual_seed(0)
    is_first = torch.zeros(steps + 1, batch, dtype=torch.bool)
    is_first[0] = True
    return Rollout(
        observations=torch.randn(steps + 1, batch, n_agents, obs_size, generator=generator),
        actions=torch.randint(n_actions, (steps, batch, n_agents), generator=generator),
        rewards=torch.randn(steps, batch, n_agents, generator=generator),
        terminated=_flags(*(terminated or none)),
        truncated=_flags(*(truncated or none)),
        mask=transitions,
        is_first=is_first,
        last_actions=torch.full((batch, n_agents), -1),
        hidden=torch.zeros(batch, n_agents, 0),
        action_mask=mask,
        epsilon=None if epsilon is None else torch.full((batch,), epsilon),
    )


def _one_step(actions: Sequence[int], observations: Tensor | None = None, mask: Tensor | None = None) -> Rollout:
    n_agents = len(actions)
    return replace(
        _make_rollout(valid=("1",), mask=mask, n_agents=n_agents),
        observations=torch.zeros(2, 1, n_agents, 2) if observations is None else observations,
        actions=torch.tensor([[actions]]),
        rewards=torch.zeros(1, 1, n_agents),
    )


def _slow_returns(
    rewards: Tensor, next_values: Tensor, rollout: Rollout, gamma: float, lam: float, time_limit: str = "bootstrap"
) -> np.ndarray:
    result = np.zeros(rewards.shape)
    for t, b, p in reversed(list(np.ndindex(*rewards.shape))):
        value, truncated = float(next_values[t, b, p]), bool(rollout.truncated[t, b])
        if rollout.terminated[t, b] or (truncated and time_limit == "terminal"):
            following = 0.0
        elif truncated or t == len(rewards) - 1 or not rollout.mask[t + 1, b]:
            following = value
        else:
            following = (1 - lam) * value + lam * result[t + 1, b, p]
        result[t, b, p] = float(rewards[t, b, p]) + gamma * following
    return result


def _table_networks(
    utilities: Sequence[Sequence[float]] | Tensor, critic: object = None, mixer: object = None
) -> SimpleNamespace:
    table = utilities if isinstance(utilities, Tensor) else torch.tensor(utilities)  # [N, A]
    n_agents = len(table)

    def unroll(rollout: Rollout, steps: int | None = None) -> Tensor:
        return table.expand(*rollout.observations[:steps].shape[:2], *table.shape)

    plain_sum = SumMixer(AgentGraph.complete(n_agents), Partition.full(n_agents), 1)
    return SimpleNamespace(unroll=unroll, mixer=mixer or plain_sum, critic=critic)


def _forbidding(*pairs: tuple[int, int], shape: Sequence[int] = (2, 1, 2, 3)) -> Tensor:
    mask = torch.ones(*shape, dtype=torch.bool)
    for agent, action in pairs:
        mask[..., agent, action] = False
    return mask


@pytest.fixture(scope="session")
def flags() -> Callable[..., Tensor]:
    """``[T, B]`` bool from one string of 0 and 1 for each sequence."""
    return _flags


@pytest.fixture(scope="session")
def make_rollout() -> Callable[..., Rollout]:
    """Random sequences of two agents and three steps, unless told; ends and transitions are written as in ``flags``."""
    return _make_rollout


@pytest.fixture(scope="session")
def one_step() -> Callable[..., Rollout]:
    """One step of one sequence: ``one_step([0, 2], observations, mask)``; nothing is observed unless told."""
    return _one_step


@pytest.fixture(scope="session")
def slow_returns() -> Callable[..., np.ndarray]:
    """λ-returns, backwards and number by number; arguments as in ``_slow_returns``."""
    return _slow_returns


@pytest.fixture(scope="session")
def table_networks() -> Callable[..., SimpleNamespace]:
    """Networks without parameters, whose utilities ``[N, A]`` depend on nothing; their mixer is a sum unless told."""
    return _table_networks


@pytest.fixture(scope="session")
def forbidding() -> Callable[..., Tensor]:
    """An action mask that forbids pairs of agent and action: ``forbidding((0, 1), shape=(2, 1, N, A))``."""
    return _forbidding
