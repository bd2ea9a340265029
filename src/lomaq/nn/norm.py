"""Observations in units of their running standard deviation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Normalised numbers stay within ± this; one that never varied is 0.
LARGEST = 10.0
#: Smallest variance that is divided by.
_SMALLEST = 1e-8


class Norm(nn.Module):
    """Each observed number less its mean, in units of its standard deviation, of all agents of a type so far.

    What it has seen belongs to the weights: checkpoints and exported policies have it.

    Args:
        types: ``[N]`` int64, the type of each agent.
        obs_size: Observed numbers O.

    Attributes:
        count: ``[types]`` float64, observations so far.
        mean, variance: ``[types, O]`` float64.
    """

    _types: Tensor
    count: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, types: Tensor, obs_size: int) -> None:
        super().__init__()
        kinds = int(types.max()) + 1
        self.register_buffer("_types", types, persistent=False)
        self.register_buffer("count", torch.zeros(kinds, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(kinds, obs_size, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(kinds, obs_size, dtype=torch.float64))

    def forward(self, observations: Tensor) -> Tensor:
        """Normalised ``[..., N, O]``."""
        shift, scale = (x.index_select(0, self._types) for x in self.factors())
        return ((observations - shift) * scale).clamp(-LARGEST, LARGEST)

    def factors(self) -> tuple[Tensor, Tensor]:
        """Mean and reciprocal of the standard deviation, ``[types, O]`` float32; 0 for a number that never varied."""
        scale = self.variance.clamp(min=_SMALLEST).rsqrt().where(self.variance > _SMALLEST, 0.0)
        return self.mean.float(), scale.float()

    @torch.no_grad()
    def sums(self, observations: Tensor, mask: Tensor) -> Tensor:
        """What :meth:`add` takes, ``[types, 1 + 2O]`` float64; those of several processes add up.

        Args:
            observations: ``[T, B, N, O]`` float32.
            mask: ``[T, B]`` bool, those that count.
        """
        seen = observations[mask].double()  # [M, N, O]
        shifted = seen - self.mean.index_select(0, self._types)  # squares of large numbers would lose digits
        each = torch.cat([shifted.sum(dim=0), shifted.square().sum(dim=0)], dim=-1)  # [N, 2O]
        each = torch.cat([each.new_full((len(each), 1), len(seen)), each], dim=-1)
        return each.new_zeros(len(self.count), each.size(-1)).index_add_(0, self._types, each)

    @torch.no_grad()
    def add(self, sums: Tensor) -> None:
        """Take new observations into the mean and the variance, by their sums about the present mean."""
        new, first, second = sums.split([1, self.mean.size(1), self.mean.size(1)], dim=1)
        total = self.count[:, None] + new
        step = first / total.clamp(min=1)
        spread = self.variance * self.count[:, None] + second - step.square() * total
        self.variance.copy_(torch.where(total > 0, spread / total.clamp(min=1), self.variance).clamp(min=0))
        self.mean.add_(step)
        self.count.copy_(total[:, 0])
