"""What several mixers are tested with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor


def _slow_violation(mixer: Callable[[Tensor], Tensor], utilities: Tensor, blocks_of_parents: list[list[int]]) -> Tensor:
    result = []
    for sample in utilities:
        slope = torch.autograd.functional.jacobian(mixer, sample)  # [P, N]
        parents = torch.stack([slope[list(blocks)].sum(dim=0) for blocks in blocks_of_parents])
        result.append((-parents).clamp(min=0).sum())
    return torch.stack(result)


@pytest.fixture(scope="session")
def slow_violation() -> Callable[..., Tensor]:
    """Sum over the blocks of P′ and all agents of what is negative in the slope, by one backward pass a block."""
    return _slow_violation
