"""Masked MLP over kappa-hop neighbourhoods, all blocks at once (Section 4.1, Table 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from lomaq.ego import EgoClasses, ego_classes
from lomaq.errors import InputError, check_choice
from lomaq.graph import AgentGraph
from lomaq.mixers.base import Mixer
from lomaq.nn.monotone import Activation, Constraint, Start, activate, effective_weight, start_weight_
from lomaq.partition import Partition

Share = Literal["ego", "all", "none"]


@dataclass(frozen=True)
class _Layout:
    """Where each block's first layer finds its weights: slots in the order of ``ego.agents``."""

    network: np.ndarray  # [P] which network a block uses
    row: np.ndarray  # [S] which first-layer row a slot uses
    factor: np.ndarray  # [S] what a slot's utility is multiplied with
    fan_in: np.ndarray  # [rows] inputs of the layer a row belongs to


class MaskedMLPMixer(Mixer):
    """F_J = Linear – act – Linear – act – Linear of the utilities that block J sees.

    Blocks are gathered into one padded array and multiplied with the weights of their class in batched products, so
    nothing loops over agents, blocks or classes, and cost is O(sum of neighbourhoods). Blocks of very different width
    go in a few bulks (each at most twice as wide as its narrowest block), so that one hub does not pad every block.

    Args:
        share: Which blocks use the same network: ``ego`` those with isomorphic surroundings (on the paper's line, the
            interior agents), ``none`` every block its own, ``all`` a single one, whose first layer has one row a hop
            distance and sees the mean utility at each distance.

    The other arguments are those of :class:`lomaq.mixers.Mixer`.
    """

    def __init__(
        self,
        graph: AgentGraph,
        partition: Partition,
        kappa: int,
        hidden: int = 32,
        share: Share = "ego",
        monotonicity: Constraint = "reparametrisation",
        activation: Activation = "elu",
        start: Start = "mean",
    ) -> None:
        super().__init__(graph, partition, kappa, hidden, monotonicity, activation, start)
        if activation == "split" and hidden % 2:
            raise InputError("mixer.hidden", "an even number for mixer.activation=split", hidden)
        self.share = check_choice("mixer.share", share, ("ego", "all", "none"))
        ego = ego_classes(graph, partition.blocks, kappa)
        layout = _lay_out(ego, self.share)
        n_networks, fan_in = int(layout.network.max()) + 1, torch.from_numpy(layout.fan_in).float()
        self.w1 = nn.Parameter(torch.empty(len(fan_in), hidden))
        self.w2 = nn.Parameter(torch.empty(n_networks, hidden, hidden))
        self.w3 = nn.Parameter(torch.empty(n_networks, hidden))
        self.b1, self.b2 = (nn.Parameter(torch.zeros(n_networks, hidden)) for _ in range(2))
        self.b3 = nn.Parameter(torch.zeros(n_networks))
        start_weight_(self.w1, fan_in[:, None], self.start)
        start_weight_(self.w2, hidden, self.start)
        start_weight_(self.w3, hidden, self.start)
        self._build_bulks(ego, layout)

    def _build_bulks(self, ego: EgoClasses, layout: _Layout) -> None:
        """Padded indices ``[blocks, width]`` of each bulk, widest first."""
        by_width = np.argsort(-ego.widths, kind="stable")
        self.n_bulks, begin = 0, 0
        while begin < len(by_width):
            width = ego.widths[by_width[begin]]
            end = begin + int((ego.widths[by_width[begin:]] * 2 > width).sum())
            members = np.sort(by_width[begin:end])
            slot = ego.start[members][:, None] + np.arange(width)
            real = np.arange(width) < ego.widths[members][:, None]
            slot = np.where(real, slot, 0)
            bulk = {
                "blocks": members,
                "agent": np.where(real, ego.agents[slot], 0),
                "row": np.where(real, layout.row[slot], 0),
                "factor": np.where(real, layout.factor[slot], 0.0).astype(np.float32),
                "network": layout.network[members],
            }
            for name, value in bulk.items():
                self.register_buffer(f"_{name}_{self.n_bulks}", torch.from_numpy(value), persistent=False)
            self.n_bulks += 1
            begin = end

    def _mix(self, utilities: Tensor) -> Tensor:
        parts = [self._mix_bulk(utilities, str(number)) for number in range(self.n_bulks)]
        if self.n_bulks == 1:
            return parts[0]
        values = torch.cat(parts)
        order = torch.cat([self.get_buffer(f"_blocks_{number}") for number in range(self.n_bulks)])
        return values.index_select(0, torch.argsort(order))

    def _mix_bulk(self, utilities: Tensor, number: str) -> Tensor:
        agent, row, factor, network = (self.get_buffer(f"_{x}_{number}") for x in ("agent", "row", "factor", "network"))
        w1, w2, w3 = (effective_weight(w, self.monotonicity) for w in (self.w1, self.w2, self.w3))
        seen = utilities.index_select(0, agent.flatten()).view(*agent.shape, -1)  # [P, W, M]
        first = w1.index_select(0, row.flatten()).view(*row.shape, self.hidden) * factor[..., None]  # [P, W, H]
        x = torch.baddbmm(self.b1[network][:, None], seen.transpose(1, 2), first)  # [P, M, H]
        x = activate(x, self.activation)
        x = activate(torch.baddbmm(self.b2[network][:, None], x, w2[network]), self.activation)
        return torch.baddbmm(self.b3[network][:, None, None], x, w3[network][..., None])[..., 0]  # [P, M]

    def weights(self) -> list[nn.Parameter]:
        return [self.w1, self.w2, self.w3]

    def head(self) -> list[nn.Parameter]:
        return [self.w3, self.b3]


def _lay_out(ego: EgoClasses, share: str) -> _Layout:
    owner = np.repeat(np.arange(len(ego.widths)), ego.widths)
    ones = np.ones(len(owner))
    if share == "all":
        n_rows = int(ego.distance.max()) + 1
        count = np.zeros((len(ego.widths), n_rows))
        np.add.at(count, (owner, ego.distance), 1)
        return _Layout(
            np.zeros(len(ego.widths), dtype=np.int64),
            ego.distance,
            1 / count[owner, ego.distance],
            np.full(n_rows, n_rows),
        )
    network = ego.class_of if share == "ego" else np.arange(len(ego.widths))
    width = ego.widths[np.unique(network, return_index=True)[1]]
    first_row = np.cumsum(width) - width
    slot = np.arange(len(owner)) - ego.start[owner]
    return _Layout(network, first_row[network[owner]] + slot, ones, np.repeat(width, width))
