"""Large inputs in parts, one after the other, so that what networks make on the way stays bounded."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

#: Most numbers of a hidden layer that are made at once: 64 MB, 800 steps of 300 agents with layers of 64.
MOST_NUMBERS = 2**24


def chunks(count: int, most: int) -> list[slice]:
    """Cut ``count`` entries into equal parts of at most ``most``, which is at least 1."""
    size = max(1, -(-count // max(1, -(-count // most))))
    return [slice(begin, min(begin + size, count)) for begin in range(0, count, size)]


def in_chunks(
    function: Callable[..., tuple[Tensor, ...]],
    inputs: Sequence[Tensor | None],
    dims: Sequence[int],
    out_dims: Sequence[int],
    numbers: int,
) -> tuple[Tensor, ...]:
    """``function(*inputs)`` where entries along a dimension do not depend on each other.

    In one call where its hidden layers have at most :data:`MOST_NUMBERS` numbers, else for as many entries at a time as
    have that many. Where gradients are needed, nothing of a part is kept: it is computed again, and its results are the
    same.

    Args:
        function: Makes tensors.
        inputs: What it takes.
        dims: The dimension of each input.
        out_dims: The same of each result.
        numbers: Numbers of the widest hidden layer for one entry.
    """
    count = next(x.size(dim) for x, dim in zip(inputs, dims, strict=True) if x is not None)
    parts = chunks(count, max(1, MOST_NUMBERS // max(1, numbers)))
    if len(parts) <= 1:
        return function(*inputs)
    if torch.is_grad_enabled():
        function = functools.partial(checkpoint, function, use_reentrant=False, preserve_rng_state=False)
    results = [
        function(*(x if x is None else _cut(x, dim, part) for x, dim in zip(inputs, dims, strict=True)))
        for part in parts
    ]
    return tuple(torch.cat(pieces, dim) for pieces, dim in zip(zip(*results, strict=True), out_dims, strict=True))


def _cut(x: Tensor, dim: int, part: slice) -> Tensor:
    return x.narrow(dim, part.start, part.stop - part.start)
