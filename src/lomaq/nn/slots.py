"""Where networks of blocks find their inputs and weights: neighbourhoods as padded indices, weights picked by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn

from lomaq.graphs import AgentGraph, EgoClasses, Neighbourhoods, few_ego_classes, neighbourhoods

Share = Literal["auto", "ego", "all", "none"]
SHARES = get_args(Share)
#: Most networks that ``auto`` makes for the kinds of surroundings: no graph of so many blocks has more.
MOST_NETWORKS = 256


class Layout(NamedTuple):
    """Where each block's first layer finds its weights: slots in the order of ``near.agents``."""

    network: np.ndarray  # [P] which network a block uses
    row: np.ndarray  # [S] which first-layer row a slot uses
    factor: np.ndarray  # [S] what a slot's input is multiplied with
    fan_in: np.ndarray  # [rows] inputs of the layer a row belongs to
    hops: np.ndarray  # [rows] distance of the agents that a row is for


class Slots(nn.Module):
    """The κ-hop neighbourhoods of all blocks, for networks whose blocks run together in batched products.

    Blocks of very different width go in a few padded buckets (each at most twice as wide as its narrowest block), so
    that one hub does not pad all. A bucket has the indices ``blocks`` ``[P]``, ``network`` ``[P]`` (which network a
    block uses), and for each of its W slots ``agent``, ``row`` (of the first layer's weights) and ``factor`` (of the
    input; 0 in the padding) ``[P, W]``.

    Args:
        graph: The agents.
        blocks: Agents of each block.
        kappa: Number of hops, at least 0.
        share: Which blocks use the same network: ``ego`` those with isomorphic surroundings, ``none`` every block its
            own, ``all`` a single one, whose first layer has one row a hop distance, for the mean input there. ``auto``
            is ``ego`` with at most :data:`MOST_NETWORKS` networks, and else ``all``: on an irregular graph nearly every
            block would have a network of its own.

    Attributes:
        share: What ``share`` means here, never ``auto``.
        n_networks: Number of networks.
        n_buckets: Number of buckets.
        size: Slots of all blocks, with the padding.
        fan_in: ``[rows]`` float32, inputs of the first layer that a row belongs to.
        hops: ``[rows]`` int64, distance of the agents that a row is for.
    """

    _place: Tensor

    def __init__(self, graph: AgentGraph, blocks: Sequence[Sequence[int]], kappa: int, share: Share) -> None:
        super().__init__()
        most = MOST_NETWORKS if share == "auto" else len(blocks)
        ego = None if share == "all" else few_ego_classes(graph, blocks, kappa, most)
        self._too_many = share == "auto" and ego is None
        self.share: Share = "all" if ego is None else "ego" if share == "auto" else share
        near = neighbourhoods(graph, blocks, kappa) if ego is None else ego
        layout = lay_out(near, self.share)
        self.n_networks = int(layout.network.max()) + 1
        self.fan_in, self.hops = torch.from_numpy(layout.fan_in).float(), torch.from_numpy(layout.hops)
        self._build_buckets(near, layout)

    def note(self, name: str) -> str | None:
        """A line for a person where ``auto``, the value of the setting ``name``, took one network for all."""
        if not self._too_many:
            return None
        kinds = f"the blocks have more than {MOST_NETWORKS} kinds of surroundings, so all share one network"
        return f"{name}=auto: {kinds}; {name}=ego gives each kind its own"

    def _build_buckets(self, near: Neighbourhoods, layout: Layout) -> None:
        """Padded indices ``[blocks, width]`` of each bucket, widest first."""
        by_width = np.argsort(-near.widths, kind="stable")
        self.n_buckets, self.size, begin = 0, 0, 0
        while begin < len(by_width):
            width = near.widths[by_width[begin]]
            end = begin + int((near.widths[by_width[begin:]] * 2 > width).sum())
            members = np.sort(by_width[begin:end])
            slot = near.start[members][:, None] + np.arange(width)
            real = np.arange(width) < near.widths[members][:, None]
            slot = np.where(real, slot, 0)
            bucket = {
                "blocks": members,
                "agent": np.where(real, near.agents[slot], 0),
                "row": np.where(real, layout.row[slot], 0),
                "factor": np.where(real, layout.factor[slot], 0.0).astype(np.float32),
                "network": layout.network[members],
            }
            for name, value in bucket.items():
                self.register_buffer(f"_{name}_{self.n_buckets}", torch.from_numpy(value), persistent=False)
            self.n_buckets, self.size = self.n_buckets + 1, self.size + slot.size
            begin = end
        order = torch.cat([self.bucket(number, "blocks")[0] for number in range(self.n_buckets)])
        self.register_buffer("_place", torch.argsort(order), persistent=False)

    def bucket(self, number: int, *names: str) -> list[Tensor]:
        """Indices of a bucket, by name."""
        return [self.get_buffer(f"_{name}_{number}") for name in names]

    def gather(self, inputs: Tensor, bucket: int) -> Tensor:
        """Inputs ``[N, ...]`` of the agents in the slots of a bucket, ``[P, W, ...]``; anything in the padding."""
        (agent,) = self.bucket(bucket, "agent")
        return inputs.index_select(0, agent.flatten()).unflatten(0, agent.shape)

    def in_order(self, parts: list[Tensor]) -> Tensor:
        """Results of all buckets, ``[P of the bucket, ...]`` each, in the order of the blocks."""
        return parts[0] if self.n_buckets == 1 else torch.cat(parts).index_select(0, self._place)


def lay_out(near: Neighbourhoods, share: Share) -> Layout:
    """Which network each block uses and which row of its first layer each slot, see :class:`Slots`."""
    n_blocks, owner = len(near.widths), near.owner
    if share == "all":
        n_rows = int(near.distance.max()) + 1
        ring = owner * n_rows + near.distance  # which slots are averaged together
        network, factor = np.zeros(n_blocks, dtype=np.int64), 1 / np.bincount(ring)[ring]
        return Layout(network, near.distance, factor, np.full(n_rows, n_rows), np.arange(n_rows))
    network = np.arange(n_blocks)
    if share == "ego":
        assert isinstance(near, EgoClasses)
        network = near.class_of
    width = near.widths[np.unique(network, return_index=True)[1]]
    first_row = np.cumsum(width) - width
    slot = np.arange(len(owner)) - near.start[owner]
    row = first_row[network[owner]] + slot
    hops = np.empty(width.sum(), dtype=np.int64)
    hops[row] = near.distance
    return Layout(network, row, np.ones(len(owner)), np.repeat(width, width), hops)
