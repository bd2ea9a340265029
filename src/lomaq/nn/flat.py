"""Parameters that lie in one vector, so that what is done to all of them takes a few operations and not a few each."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class FlatParameters:
    """Lays parameters one after the other in a vector; each becomes a view of its part.

    They can be used, loaded and changed in place as before. Gradients go to the parameters; :meth:`gather` copies them
    to the vector, for whoever clips and steps that.

    Args:
        parameters: On one device and of one dtype, where they are to stay.

    Attributes:
        vector: ``[K]``, all their numbers.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.vector = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in self.parameters]))
        parts = self.vector.detach().split([parameter.numel() for parameter in self.parameters])
        for parameter, part in zip(self.parameters, parts, strict=True):
            parameter.data = part.view_as(parameter)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def gather(self) -> None:
        """Give the vector the parameters' gradients, 0 where there is none."""
        parts = [p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in self.parameters]
        self.vector.grad = torch.cat(parts)

    @torch.no_grad()
    def clip_(self, largest: float) -> Tensor:
        """Shorten the vector's gradient to the norm ``largest`` where it is longer; its norm before, 0-dim."""
        assert self.vector.grad is not None
        norm = self.vector.grad.norm()
        self.vector.grad.mul_((largest / (norm + 1e-6)).clamp(max=1.0))
        return norm
