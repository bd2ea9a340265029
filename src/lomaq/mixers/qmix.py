"""QMIX's mixer: monotone in all utilities, with weights that hypernetworks make from the state."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from lomaq.mixers.base import StateMixer


class QMIXMixer(StateMixer):
    """F(U, s) = |w_2(s)|ᵀ ELU(|W_1(s)| U + b_1(s)) + V(s) (Rashid et al., 2018, Section 4).

    Arguments are those of :class:`lomaq.mixers.StateMixer`.
    """

    def _build(self, obs_size: int, hyper_hidden: int) -> None:
        n, hidden = self.n_agents, self.hidden
        self.body = nn.Sequential(nn.Linear(n * obs_size, hyper_hidden), nn.LayerNorm(hyper_hidden), nn.ReLU())
        self.w1, self.b1 = nn.Linear(hyper_hidden, n * hidden), nn.Linear(hyper_hidden, hidden)
        self.w2 = nn.Linear(hyper_hidden, hidden)
        self.value = nn.Sequential(nn.Linear(hyper_hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def _mix(self, utilities: Tensor, observations: Tensor | None) -> Tensor:
        assert observations is not None
        x = self.body((observations * self._scale).flatten(1))
        w1 = self.w1(x).view(-1, self.n_agents, self.hidden).abs()  # [M, N, H]
        hidden = functional.elu(torch.bmm(utilities.T[:, None], w1)[:, 0] + self.b1(x))  # [M, H]
        return ((hidden * self.w2(x).abs()).sum(dim=1) + self.value(x)[:, 0])[None]  # [1, M]

    def head(self) -> list[nn.Parameter]:
        return [*self.w2.parameters(), *self.value[-1].parameters()]

    def _multipliers(self) -> Iterable[Tensor]:
        return []  # absolute values only
