"""Sums, means and standard deviations of numbers that are spread over the processes of a run."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn


def sum_over_processes(values: Tensor) -> Tensor:
    """``values`` summed over all processes, in place; of one process, as they are."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(values)
    return values


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average gradients over processes, for networks outside of DDP, whose reducer wants every parameter in a pass."""
    if distributed.is_available() and distributed.is_initialized():
        for parameter in parameters:
            assert parameter.grad is not None
            distributed.all_reduce(parameter.grad)
            parameter.grad /= distributed.get_world_size()


def moments(values: Tensor) -> Tensor:
    """Number, sum and sum of squares of the numbers of all processes, ``[3]`` float64; those of several calls add up.

    >>> moments(torch.tensor([1.0, 3.0])).tolist()
    [2.0, 4.0, 10.0]
    """
    values = values.double()
    return sum_over_processes(torch.stack([torch.ones_like(values).sum(), values.sum(), values.square().sum()]))


def deviation(moments: Tensor) -> float:
    """Standard deviation, the square root of E[x²] - E[x]², of at least one number.

    >>> deviation(moments(torch.tensor([1.0, 3.0])))
    1.0
    """
    count, total, squares = moments.tolist()
    return float(max(squares / count - (total / count) ** 2, 0.0) ** 0.5)
