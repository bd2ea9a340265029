"""What fits into memory: sizes are refused in one line before they are allocated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from torch.overrides import TorchFunctionMode

from lomaq.errors import InputError, is_out_of_memory

#: Share of the free memory that the tensors of one part may take: its gradients and the optimiser take as much again,
#: several times.
SHARE = 0.25
#: What is called a large setting.
LARGE = 1000
#: What makes tensors from sizes, in torch and, for tensors like another one, of a tensor.
_FACTORIES: set[Callable[..., Any]] = {
    *(torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.randint, torch.eye),
    *(torch.arange, torch.linspace, torch.Tensor.new_empty, torch.Tensor.new_zeros, torch.Tensor.new_ones),
    torch.Tensor.new_full,
}
#: Arguments that say nothing about a size and that tensors without memory do not take.
_ASIDE = ("device", "generator", "out", "pin_memory")


class TooLargeError(MemoryError):
    """Tensors would take more than they may; ``asked`` is how many bytes, infinite for sizes without a number."""

    def __init__(self, asked: float) -> None:
        super().__init__(f"{asked / 1e9:,.1f} GB")
        self.asked = asked


class Bounded(TorchFunctionMode):
    """Meanwhile, tensors that torch makes from sizes take at most ``most`` bytes together, else a TooLargeError."""

    def __init__(self, most: float) -> None:
        super().__init__()
        self.most, self.asked = most, 0.0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FACTORIES:
            self.asked += _bytes(func, args, kwargs)
            if self.asked > self.most:
                raise TooLargeError(self.asked)
        return func(*args, **kwargs)


def _bytes(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> float:
    """What a tensor would take, from one without memory; 0 where the call itself is wrong, which then says so."""
    try:
        made = func(*args, **{key: x for key, x in kwargs.items() if key not in _ASIDE}, device="meta")
    except (RuntimeError, TypeError) as error:
        return float("inf") if "verflow" in str(error) else 0.0
    return float(made.numel() * made.element_size())


def free_memory() -> int:
    """Bytes that programs can have now."""
    return int(psutil.virtual_memory().available)


@contextmanager
def fitting(name: str, settings: dict[str, Any]) -> Iterator[None]:
    """What is made meanwhile takes at most :data:`SHARE` of the free memory in tensors.

    Args:
        name: What is made.
        settings: What it is made of; the largest is named where it does not fit.

    Raises:
        InputError: If it does not fit.
    """
    most = SHARE * free_memory()
    try:
        with Bounded(most):
            yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        asked = getattr(error, "asked", None)
        got = "more" if asked is None else "more than can be counted" if asked == float("inf") else str(error)
        sizes = {key: max(_numbers(value), default=0) for key, value in settings.items()}
        largest = max(sizes, key=sizes.__getitem__, default="")
        remedy = f"its largest setting is {largest}={settings[largest]}" if sizes.get(largest, 0) >= LARGE else ""
        expected = f"tensors of at most {most / 1e9:,.1f} GB, a quarter of the free memory"
        raise InputError(name, expected, got, remedy[:120]) from error


def _numbers(value: Any) -> list[int]:
    values = value if isinstance(value, (list, tuple)) else [value]
    return [one for one in values if type(one) is int]
