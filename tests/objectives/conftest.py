"""What several objectives are tested on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from lomaq.envs import Rollout


def _one_step(
    actions: Sequence[int], observations: Tensor | None = None, mask: Tensor | None = None, obs_size: int = 2
) -> Rollout:
    none = torch.zeros(1, 1, dtype=torch.bool)
    return Rollout(
        observations=torch.zeros(2, 1, len(actions), obs_size) if observations is None else observations,
        actions=torch.tensor([[actions]]),
        rewards=torch.zeros(1, 1, len(actions)),
        terminated=none,
        truncated=none,
        mask=~none,
        is_first=torch.zeros(2, 1, dtype=torch.bool),
        last_actions=torch.full((1, len(actions)), -1),
        hidden=torch.zeros(1, len(actions), 0),
        action_mask=mask,
    )


@pytest.fixture(scope="session")
def one_step() -> Callable[..., Rollout]:
    """One step of one sequence: ``one_step([0, 2], observations, mask)``; nothing is observed unless told."""
    return _one_step
