"""W, who answers for how much of which reward."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lomaq.graphs import AgentGraph, csr_matrix, ego_classes
from lomaq.nn.slots import Share, lay_out


class Pairs(NamedTuple):
    """All pairs of an agent and one within some hops of it; pairs of one row play the same role. Int64 each.

    Attributes:
        agent: ``[S]``, rising.
        other: ``[S]``.
        row: ``[S]``, numbered class by class: the pairs of an agent have consecutive rows.
        row_hops: ``[rows]``, distance of the pairs of each row.
        row_class: ``[rows]``, class of their agents, rising.
        class_of: ``[N]``, class of each agent.
    """

    agent: Tensor
    other: Tensor
    row: Tensor
    row_hops: Tensor
    row_class: Tensor
    class_of: Tensor


def pairs_within(graph: AgentGraph, hops: int, share: Share) -> Pairs:
    """The pairs within ``hops``.

    Args:
        graph: The agents.
        hops: Largest distance, at least 0.
        share: Which agents are of one class: ``ego`` those with isomorphic surroundings, ``none`` each its own.
    """
    ego = ego_classes(graph, [[i] for i in range(graph.n_agents)], hops)
    layout = lay_out(ego, share)
    agent = np.repeat(np.arange(graph.n_agents), ego.widths)
    row_class = np.empty(len(layout.hops), dtype=np.int64)
    row_class[layout.row] = layout.network[agent]
    arrays = (agent, ego.agents, layout.row, layout.hops, row_class, layout.network)
    return Pairs(*(torch.from_numpy(np.asarray(array, dtype=np.int64)) for array in arrays))


class ShareMatrix(nn.Module):
    """W: agent j gets the share W_jk ≥ 0 of agent k's reward, Σ_j W_jk = 1, W_jk = 0 beyond some hops.

    Proposition 4 redistributes the rewards of disjoint groups; here every agent's neighbourhood is a group of its own.

    Args:
        graph: The agents.
        hops: Hops that a reward may travel, at least 0.
        equal: Start with equal shares for all agents within ``hops``; else with the identity.
        learned: Whether W belongs in checkpoints.
        share: Which agents have the same shares: ``ego`` those with isomorphic surroundings, ``none`` each its own.

    Attributes:
        pairs: (k, j): of k's reward j may get a share.
        shares: ``[rows]`` float32, the shares by the rows of ``pairs``.
    """

    shares: Tensor
    _row: Tensor
    _place: Tensor
    _hops: Tensor
    _class: Tensor

    def __init__(self, graph: AgentGraph, hops: int, equal: bool, learned: bool = False, share: Share = "ego") -> None:
        super().__init__()
        self.n_agents = graph.n_agents
        self.pairs = pairs_within(graph, hops, share)
        width = self.pairs.row_class.bincount()
        shares = 1 / width[self.pairs.row_class].float() if equal else (self.pairs.row_hops == 0).float()
        self.register_buffer("shares", shares, persistent=learned)
        index = {"_row": self.pairs.row, "_place": torch.stack([self.pairs.other, self.pairs.agent])}
        for name, value in {**index, "_hops": self.pairs.row_hops, "_class": self.pairs.row_class}.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, rewards: Tensor) -> Tensor:
        """r′ = W r: ``[..., N]`` → ``[..., N]``; sums over all agents stay."""
        shared = self.matrix() @ rewards.reshape(-1, self.n_agents).T
        return shared.T.reshape(rewards.shape)

    def matrix(self) -> Tensor:
        """W, CSR ``[N, N]`` float32."""
        receiver, giver = self._place
        return csr_matrix(receiver, giver, self.shares[self._row], (self.n_agents, self.n_agents))

    @property
    def passed_on(self) -> Tensor:
        """``[N]`` float32, the share of each agent's reward that others get."""
        receiver, giver = self._place
        own = receiver == giver
        return 1 - self.shares[self._row[own]][giver[own].argsort()]

    @torch.no_grad()
    def step_(self, slopes: Tensor, rate: float, price: float) -> None:
        """A step down ``slopes`` ``[rows]`` and down ``price`` for each hop; then to the nearest W that is allowed."""
        width = self._class.bincount()
        place = torch.arange(len(self.shares), device=self._class.device) - (width.cumsum(0) - width)[self._class]
        padded = self.shares.new_full((len(width), int(width.max())), -torch.inf)
        padded[self._class, place] = self.shares - rate * (slopes + price * self._hops)
        self.shares.copy_(nearest_distribution(padded)[self._class, place])


def nearest_distribution(x: Tensor) -> Tensor:
    """The nearest non-negative numbers that sum to 1 of each row ``[..., K]``; -inf stands for no number.

    Euclidean projection onto the simplex by sorting (Held, Wolfe and Crowder, 1974).

    >>> nearest_distribution(torch.tensor([[0.8, 0.6, -torch.inf], [0.2, 0.2, -3.0]]))
    tensor([[0.6000, 0.4000, 0.0000],
            [0.5000, 0.5000, 0.0000]])
    """
    falling = x.sort(dim=-1, descending=True).values
    rank = torch.arange(1, x.size(-1) + 1, device=x.device)
    excess = (falling.cumsum(dim=-1) - 1) / rank
    last = (falling > excess).sum(dim=-1, keepdim=True) - 1
    return (x - excess.gather(-1, last)).clamp(min=0)
