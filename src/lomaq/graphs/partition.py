"""Partitions P of the agents into blocks J (Section 2): who is valued together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lomaq.errors import InputError, check_int
from lomaq.graphs.communities import communities
from lomaq.graphs.graph import AgentGraph
from lomaq.graphs.kept import is_there, read_bytes
from lomaq.graphs.sparse import csr_matrix
from lomaq.inputs.text import parse_json

NAMES = ("singletons", "pairs", "full", "communities")


class Partition:
    """Disjoint blocks that together hold every agent once.

    Attributes:
        blocks: agents of each block, rising; blocks in order of their first agent.
        n_agents: Number of agents N.
        block_of: ``[N]`` int64, the block of each agent.
        sizes: ``[P]`` int64, agents in each block.

    Example:
        >>> partition = Partition([[0, 2], [1]], n_agents=3)
        >>> partition.block_sum(torch.tensor([1.0, 10.0, 100.0]))
        tensor([101.,  10.])
    """

    #: How a setting is one: what :meth:`from_spec` takes.
    written = (str, list)

    def __init__(self, blocks: Sequence[Sequence[int]], n_agents: int, name_of: Callable[[int], str] = str) -> None:
        """Check and store ``blocks``; ``name_of`` names an agent in an error.

        Raises:
            InputError: If an agent is missing, repeated or unknown, or a block is empty.
        """
        check_int("n_agents", n_agents, 1)
        remedy = f"list each of the agents 0 … {n_agents - 1} in exactly one block"
        seen: set[int] = set()
        for block in blocks:
            if not _is_list(block) or len(block) == 0:
                raise InputError("partition", "blocks that are non-empty lists of agents", repr(block), remedy)
            for agent in block:
                if isinstance(agent, bool) or not isinstance(agent, int) or not 0 <= agent < n_agents:
                    raise InputError("partition", f"agent numbers 0 … {n_agents - 1}", repr(agent), remedy)
                if agent in seen:
                    raise InputError("partition", "each agent once", f"agent {name_of(agent)} twice", remedy)
                seen.add(agent)
        if missing := sorted(set(range(n_agents)) - seen):
            shown = ", ".join(map(name_of, missing[:5])) + (", …" if len(missing) > 5 else "")
            raise InputError("partition", "every agent in a block", f"no block with agent {shown}", remedy)
        self.blocks: tuple[tuple[int, ...], ...] = tuple(sorted(tuple(sorted(block)) for block in blocks))
        self.n_agents = n_agents
        self.sizes = torch.tensor([len(block) for block in self.blocks])
        self.block_of = torch.empty(n_agents, dtype=torch.int64)
        order = torch.tensor([agent for block in self.blocks for agent in block])
        self.block_of[order] = torch.repeat_interleave(torch.arange(len(self.blocks)), self.sizes)

    @property
    def n_blocks(self) -> int:
        """Number of blocks P."""
        return len(self.blocks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Partition) and self.blocks == other.blocks

    def __hash__(self) -> int:
        return hash(self.blocks)

    def __repr__(self) -> str:
        shown = ", ".join(str(list(block)) for block in self.blocks[:4]) + (", …" if self.n_blocks > 4 else "")
        return f"Partition({self.n_blocks} blocks of {self.n_agents} agents: {shown})"

    @classmethod
    def singletons(cls, n_agents: int) -> Partition:
        """Every agent its own block: the paper's choice for its experiments."""
        return cls([[i] for i in range(n_agents)], n_agents)

    @classmethod
    def full(cls, n_agents: int) -> Partition:
        """One block of all agents: QMIX's and VDN's choice."""
        return cls([list(range(n_agents))], n_agents)

    @classmethod
    def pairs(cls, graph: AgentGraph) -> Partition:
        """Neighbours two by two, a maximal matching of the graph taken in index order; the rest stay single."""
        free = [True] * graph.n_agents
        blocks = []
        for a, b in graph.pairs.tolist():  # sorted, so each agent takes its lowest free neighbour
            if a < b and free[a] and free[b]:
                free[a] = free[b] = False
                blocks.append([a, b])
        return cls(blocks + [[i] for i in range(graph.n_agents) if free[i]], graph.n_agents)

    @classmethod
    def communities(cls, graph: AgentGraph) -> Partition:
        """Connected communities of the graph, see :func:`lomaq.graphs.communities.communities`."""
        found = communities(graph.adjacency)
        blocks = np.split(np.argsort(found, kind="stable"), np.cumsum(np.bincount(found))[:-1])
        return cls([block.tolist() for block in blocks], graph.n_agents)

    @classmethod
    def from_spec(cls, spec: str | Sequence[Sequence[int]], graph: AgentGraph) -> Partition:
        """Build from a name, a list of blocks, or the path of a JSON file that holds such a list.

        Args:
            spec: ``singletons``, ``pairs``, ``full``, ``communities``, ``[[0, 1], [2]]`` or ``blocks.json``; lists may
                have names of agents in place of their numbers.
            graph: The agents.

        Raises:
            InputError: If the name is unknown, the file unreadable or the list no partition of the agents.
        """
        if isinstance(spec, (list, tuple)):
            return cls(_numbered(spec, graph), graph.n_agents, graph.name_of)
        if spec in NAMES:
            return getattr(cls, spec)(graph if spec in ("pairs", "communities") else graph.n_agents)
        if not isinstance(spec, str) or Path(spec).suffix != ".json" or not is_there(spec):
            expected = f"one of {', '.join(NAMES)}, a list of blocks or an existing .json file"
            raise InputError("partition", expected, repr(spec))
        name = f"partition file {spec}"
        try:
            text = read_bytes(spec, name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(name, "a text file", error) from error
        blocks = parse_json(name, text)
        if not isinstance(blocks, list):
            raise InputError(name, "a JSON list of blocks", type(blocks).__name__)
        return cls(_numbered(blocks, graph), graph.n_agents, graph.name_of)

    def refinement_breaker(self, coarser: Partition) -> tuple[int, ...] | None:
        """The first block that lies in no single block of ``coarser``; None when this refines it (Section 2)."""
        parent = coarser.block_of
        return next((block for block in self.blocks if len({int(parent[i]) for i in block}) > 1), None)

    def block_sum(self, values: Tensor) -> Tensor:
        """Sum over the agents of each block: ``[..., N]`` → ``[..., P]`` (the block reward r_J)."""
        assert values.size(-1) == self.n_agents, (values.shape, self.n_agents)
        if self.n_blocks == self.n_agents:
            return values  # singletons, blocks are in order of agents
        if self.n_blocks == 1:
            return values.sum(dim=-1, keepdim=True)
        total = values.new_zeros(*values.shape[:-1], self.n_blocks)
        return total.index_add_(-1, self.block_of.to(values.device), values)

    def receptive_field(self, graph: AgentGraph, kappa: int) -> Tensor:
        """CSR matrix ``[P, N]``, 1 where agent i is within ``kappa`` hops of block J: a product sums over the field."""
        near = graph.khop(kappa, self.blocks)
        block = np.repeat(np.arange(self.n_blocks), np.diff(near.indptr))
        rows, agents = torch.from_numpy(block), torch.from_numpy(near.indices.astype(np.int64))
        return csr_matrix(rows, agents, torch.ones(len(agents)), (self.n_blocks, self.n_agents))

    def redistribute(self, rewards: Tensor) -> Tensor:
        """Give each agent the mean of its block's rewards: ``[..., N]`` → ``[..., N]`` (Proposition 4).

        Sums over each block, and so over all agents, are preserved.
        """
        mean = self.block_sum(rewards) / self.sizes.to(rewards)
        return mean.index_select(-1, self.block_of.to(rewards.device))


def _numbered(blocks: Sequence[Any], graph: AgentGraph) -> list[Any]:
    """The blocks with numbers for the names of agents; all else stays."""
    number = {name: i for i, name in enumerate(graph.names)} if "names" in graph else {}
    return [[number.get(x, x) if isinstance(x, str) else x for x in b] if _is_list(b) else b for b in blocks]


def _is_list(block: object) -> bool:
    return isinstance(block, Sequence) and not isinstance(block, (str, bytes))
