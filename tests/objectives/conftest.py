"""What several objectives are tested on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from lomaq.envs import Rollout
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import SumMixer


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
def one_step(make_rollout) -> Callable[..., Rollout]:
    """One step of one sequence: ``one_step([0, 2], observations, mask)``; nothing is observed unless told."""

    def make(actions: Sequence[int], observations: Tensor | None = None, mask: Tensor | None = None) -> Rollout:
        n_agents = len(actions)
        return replace(
            make_rollout(valid=("1",), mask=mask, n_agents=n_agents),
            observations=torch.zeros(2, 1, n_agents, 2) if observations is None else observations,
            actions=torch.tensor([[actions]]),
            rewards=torch.zeros(1, 1, n_agents),
        )

    return make


@pytest.fixture(scope="session")
def table_networks() -> Callable[..., SimpleNamespace]:
    """Networks without parameters, whose utilities ``[N, A]`` depend on nothing; their mixer is a sum unless told."""
    return _table_networks


@pytest.fixture(scope="session")
def forbidding() -> Callable[..., Tensor]:
    """An action mask that forbids pairs of agent and action: ``forbidding((0, 1), shape=(2, 1, N, A))``."""
    return _forbidding
