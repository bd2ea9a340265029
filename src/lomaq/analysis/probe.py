"""A mixer under examination: a black box at visited states, its blocks in colours."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from lomaq.errors import InputError, check_int
from lomaq.graphs import AgentGraph, Partition

#: Utilities ``[..., N]`` and observations ``[..., N, O]`` or None → block values ``[..., P]``; nothing else is assumed.
MixerFunction = Callable[[Tensor, Tensor | None], Tensor]


class Colour(NamedTuple):
    """Blocks whose kappa-hop neighbourhoods are disjoint, and those neighbourhoods concatenated; all int64.

    Attributes:
        blocks: ``[m]``, the blocks J, rising.
        agents: ``[a]``, the agents of their neighbourhoods, each once.
        owner: ``[a]``, whose neighbourhood each agent is in, as a place in ``blocks``.
        distance: ``[a]``, hops from that block to the agent, 0 … kappa.
    """

    blocks: Tensor
    agents: Tensor
    owner: Tensor
    distance: Tensor


class Probe:
    """A mixer at M visited states; one pass through it examines all blocks of a colour.

    Blocks are coloured by first fit, those with large neighbourhoods first. Time and memory grow with the
    neighbourhoods' sizes. A line of singletons needs 2 kappa + 1 colours whatever its length; where all neighbourhoods
    meet, as in a star, every block has its own colour.

    Args:
        mixer: The mixer, in evaluation mode.
        graph: The N agents.
        partition: The P blocks that the mixer values.
        kappa: Hops within which a block may depend on agents, at least 0.
        utilities: ``[M, N]`` float, of the actions chosen at the states.
        observations: ``[M, N, O]`` float there, for mixers with local state.

    Attributes:
        colours: Every block is in exactly one.
        pairs: All pairs of a block and an agent within kappa hops, ``[pairs]`` int64 each: block, agent, hops.
        values: ``[M, P]`` block values.

    Raises:
        InputError: If kappa or a shape is impossible, the partition is of other agents, or a number is not finite.
    """

    def __init__(
        self,
        mixer: MixerFunction,
        graph: AgentGraph,
        partition: Partition,
        kappa: int,
        utilities: Tensor,
        observations: Tensor | None = None,
    ) -> None:
        self.mixer, self.graph, self.partition, self.kappa = mixer, graph, partition, check_int("kappa", kappa, 0)
        self.utilities, self.observations = utilities, observations
        self._check()
        reach = graph.khop(kappa, partition.blocks)
        colour_of = _first_fit(reach)
        self.colours = [_gather(reach, np.flatnonzero(colour_of == c)) for c in range(int(colour_of.max()) + 1)]
        columns = ((colour.blocks[colour.owner], colour.agents, colour.distance) for colour in self.colours)
        self.pairs = tuple(torch.cat(column) for column in zip(*columns, strict=True))
        with torch.no_grad():
            self.values = mixer(utilities, observations)

    def _check(self) -> None:
        shape, n_agents = list(self.utilities.shape), self.graph.n_agents
        if self.partition.n_agents != n_agents:
            raise InputError("partition", f"blocks of the graph's {n_agents} agents", self.partition.n_agents)
        if len(shape) != 2 or shape[0] == 0 or shape[1] != n_agents:
            raise InputError("utilities", f"shape [states, {n_agents}], at least one state", shape)
        if self.observations is not None and (
            self.observations.dim() != 3 or list(self.observations.shape[:2]) != shape
        ):
            raise InputError("observations", f"shape [{shape[0]}, {shape[1]}, O]", list(self.observations.shape))
        for name in ("utilities", "observations"):
            tensor = vars(self)[name]
            if tensor is not None and not bool(tensor.isfinite().all()):
                raise InputError(name, "finite numbers", "NaN or infinity", "the networks have diverged")

    def replace(self, kept: Tensor, others: tuple[Tensor, Tensor | None]) -> Tensor:
        """Block values ``[M, P]`` when all agents but ``kept`` have the utilities and observations of ``others``."""
        keep = torch.zeros(self.graph.n_agents, dtype=torch.bool)
        keep[kept] = True
        utilities, observations = torch.where(keep, self.utilities, others[0]), None
        if self.observations is not None:
            assert others[1] is not None
            observations = torch.where(keep[:, None], self.observations, others[1])
        return self.mixer(utilities, observations)


def _first_fit(reach: sp.csr_array) -> np.ndarray:
    """``[P]`` int64 colour of each block: the first that no block with a common agent has."""
    colours_at: list[set[int]] = [set() for _ in range(reach.shape[1])]  # of the blocks that depend on each agent
    result = np.empty(reach.shape[0], dtype=np.int64)
    for block in np.argsort(-np.diff(reach.indptr), kind="stable").tolist():  # once per examination, no hot path
        near = reach.indices[reach.indptr[block] : reach.indptr[block + 1]].tolist()
        taken = set[int]().union(*(colours_at[agent] for agent in near))
        result[block] = next(c for c in itertools.count() if c not in taken)
        for agent in near:
            colours_at[agent].add(int(result[block]))
    return result


def _gather(reach: sp.csr_array, blocks: np.ndarray) -> Colour:
    rows = reach[blocks]
    owner = np.repeat(np.arange(len(blocks)), np.diff(rows.indptr))
    arrays = (blocks, rows.indices, owner, rows.data - 1)
    return Colour(*(torch.from_numpy(array.astype(np.int64)) for array in arrays))
