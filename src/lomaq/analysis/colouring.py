"""Blocks in colours, so that one pass through a mixer examines all blocks of a colour at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from lomaq.errors import InputError, check_int
from lomaq.graphs import AgentGraph, Partition

#: Utilities ``[..., N]`` and observations ``[..., N, O]`` or None → block values ``[..., P]``; nothing else is assumed.
MixerFunction = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, eq=False)
class Colour:
    """Blocks whose kappa-hop neighbourhoods are disjoint, and those neighbourhoods one behind the other.

    Attributes:
        blocks: ``[m]`` int64, the blocks J, rising.
        agents: ``[a]`` int64, the agents of their neighbourhoods, each once.
        owner: ``[a]`` int64, whose neighbourhood each agent is in, as a place in ``blocks``.
        distance: ``[a]`` int64, hops from that block to the agent, 0 … kappa.
    """

    blocks: Tensor
    agents: Tensor
    owner: Tensor
    distance: Tensor


class Colouring:
    """All blocks of a partition in colours: first fit, blocks with large neighbourhoods first.

    Time and memory grow with the neighbourhoods' sizes; on a graph of bounded degree the number of colours does not
    depend on its size (2 kappa + 1 for the singletons of a line). Where all neighbourhoods meet, as in a star, every
    block has a colour of its own.

    Args:
        graph: The N agents.
        partition: The P blocks.
        kappa: Number of hops that a block sees, at least 0.

    Attributes:
        kappa: As given.
        n_agents: Number of agents N.
        n_blocks: Number of blocks P.
        n_pairs: Number of pairs (block, agent within kappa hops of it).
        colours: The colours; every block is in exactly one.

    Raises:
        InputError: If kappa is no such number or the partition is of other agents.

    Example:
        >>> colouring = Colouring(AgentGraph.line(7), Partition.singletons(7), kappa=1)
        >>> [colour.blocks.tolist() for colour in colouring.colours]
        [[1, 4], [2, 5], [0, 3, 6]]
    """

    def __init__(self, graph: AgentGraph, partition: Partition, kappa: int) -> None:
        self.kappa = check_int("kappa", kappa, 0)
        if partition.n_agents != graph.n_agents:
            raise InputError("partition", f"blocks of the graph's {graph.n_agents} agents", f"{partition.n_agents}")
        reach = graph.khop(kappa, partition.blocks)
        self.n_agents, self.n_blocks, self.n_pairs = graph.n_agents, partition.n_blocks, int(reach.nnz)
        colour_of = _first_fit(reach)
        self.colours = tuple(_gather(reach, np.flatnonzero(colour_of == c)) for c in range(int(colour_of.max()) + 1))

    def check(self, utilities: Tensor, observations: Tensor | None) -> None:
        """Check what is to be mixed.

        Args:
            utilities: ``[M, N]`` float, at M visited states.
            observations: ``[M, N, O]`` float or None.

        Raises:
            InputError: If a shape does not fit, or a number is not finite.
        """
        shape = list(utilities.shape)
        if utilities.dim() != 2 or utilities.size(0) == 0 or utilities.size(1) != self.n_agents:
            raise InputError("utilities", f"shape [states, {self.n_agents}], at least one state", shape)
        if observations is not None and (observations.dim() != 3 or list(observations.shape[:2]) != shape):
            raise InputError("observations", f"shape [{shape[0]}, {shape[1]}, O]", list(observations.shape))
        for name, tensor in (("utilities", utilities), ("observations", observations)):
            if tensor is not None and not bool(tensor.isfinite().all()):
                raise InputError(name, "finite numbers", "NaN or infinity", "the networks have diverged")

    def keep(
        self, agents: Tensor, utilities: Tensor, observations: Tensor | None, others: tuple[Tensor, Tensor | None]
    ) -> tuple[Tensor, Tensor | None]:
        """Utilities ``[M, N]`` and observations ``[M, N, O]`` of ``agents``, those of ``others`` for all the rest."""
        kept = torch.zeros(self.n_agents, dtype=torch.bool, device=utilities.device)
        kept[agents.to(kept.device)] = True
        mixed = torch.where(kept, utilities, others[0])
        if observations is None:
            return mixed, None
        assert others[1] is not None
        return mixed, torch.where(kept[:, None], observations, others[1])


def _first_fit(reach: sp.csr_array) -> np.ndarray:
    """``[P]`` int64 colour of each block: the first that no block with a common agent has."""
    colours_at: list[set[int]] = [set() for _ in range(reach.shape[1])]  # of the blocks that see each agent
    result = np.empty(reach.shape[0], dtype=np.int64)
    for block in np.argsort(-np.diff(reach.indptr), kind="stable").tolist():  # once per examination, no hot path
        seen = reach.indices[reach.indptr[block] : reach.indptr[block + 1]].tolist()
        taken = set[int]().union(*(colours_at[agent] for agent in seen))
        colour = next(c for c in itertools.count() if c not in taken)
        for agent in seen:
            colours_at[agent].add(colour)
        result[block] = colour
    return result


def _gather(reach: sp.csr_array, blocks: np.ndarray) -> Colour:
    rows = reach[blocks]
    owner = np.repeat(np.arange(len(blocks)), np.diff(rows.indptr))
    arrays = (blocks, rows.indices, owner, rows.data - 1)
    return Colour(*(torch.from_numpy(array.astype(np.int64)) for array in arrays))
