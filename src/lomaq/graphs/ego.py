"""Ego classes: which blocks have the same surroundings, and may therefore share a mixer's parameters.

The paper shares the mixer among "the interior agents" of its line (Table 1). Here that is found, for any graph: two
blocks are of one class when the subgraphs on their kappa-hop neighbourhoods are isomorphic with the block as root set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import networkx as nx
import numpy as np

from lomaq.graphs.graph import AgentGraph

#: Edges of neighbourhoods that are looked at together.
_EDGES = 2**21


@dataclass(frozen=True)
class Neighbourhoods:
    """The agents near each block, in slots.

    Attributes:
        start: ``[P + 1]`` int64, where each block's slots begin in ``agents``.
        agents: ``[S]`` int64, agent in each slot.
        distance: ``[S]`` int64, hops from the block to that agent.
    """

    start: np.ndarray
    agents: np.ndarray
    distance: np.ndarray

    @property
    def widths(self) -> np.ndarray:
        """``[P]`` int64, agents in each block's neighbourhood."""
        return np.diff(self.start)

    @cached_property
    def owner(self) -> np.ndarray:
        """``[S]`` int64, the block of each slot."""
        return np.repeat(np.arange(len(self.widths)), self.widths)


@dataclass(frozen=True)
class EgoClasses(Neighbourhoods):
    """Classes of blocks, and each block's neighbourhood laid out in the slots of its class.

    Slot k of two blocks of one class play the same role.

    Attributes:
        class_of: ``[P]`` int64, class of each block, numbered in order of first appearance.
    """

    class_of: np.ndarray

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.class_of.max()) + 1


def neighbourhoods(graph: AgentGraph, blocks: Sequence[Sequence[int]], kappa: int) -> Neighbourhoods:
    """The agents within ``kappa`` hops of each block, by their numbers."""
    reach = graph.khop(kappa, blocks)
    start, agents = reach.indptr.astype(np.int64), reach.indices.astype(np.int64)
    return Neighbourhoods(start, agents, reach.data.astype(np.int64) - 1)


def ego_classes(graph: AgentGraph, blocks: Sequence[Sequence[int]], kappa: int) -> EgoClasses:
    """Put blocks whose rooted surroundings are isomorphic into one class.

    All neighbourhoods are refined at once by colour (Weisfeiler–Leman); blocks with equal colours are laid out by
    (colour, index) and compared edge by edge, exactly. Only those that the index order cannot align are handed to an
    isomorphism search. Edges are read from the graph for a few blocks at a time, so that memory grows with the
    neighbourhoods' agents and not with the edges among them.

    Args:
        graph: The agents; ``agent_type`` is respected.
        blocks: Agents of each block.
        kappa: Number of hops, at least 0.
    """
    found = few_ego_classes(graph, blocks, kappa, len(blocks))
    assert found is not None
    return found


def few_ego_classes(graph: AgentGraph, blocks: Sequence[Sequence[int]], kappa: int, most: int) -> EgoClasses | None:
    """:func:`ego_classes`, or None as soon as there are more than ``most`` classes."""
    near = neighbourhoods(graph, blocks, kappa)
    start, agents, distance, owner = near.start, near.agents, near.distance, near.owner
    types = graph.types.cpu().numpy()
    label = distance * (int(types.max()) + 1) + types[agents]
    colour = _refine(graph, near, label)

    order = np.argsort(owner * (colour.max() + 1) + colour, kind="stable")  # agents rise already
    near = Neighbourhoods(start, agents[order], distance[order])
    colour, label = colour[order], label[order]
    class_of, leaders = _provisional(start, colour)
    if len(leaders) > most:
        return None
    failed = np.flatnonzero(_misaligned(graph, near, colour, leaders[class_of]))
    if failed.size and not _search(class_of, failed, leaders, graph, near, label, most):
        return None
    first = np.unique(class_of, return_index=True)[1]
    rank = np.empty(class_of.max() + 1, dtype=np.int64)
    rank[class_of[np.sort(first)]] = np.arange(len(first))
    return EgoClasses(start, near.agents, near.distance, rank[class_of])


class _Edges(NamedTuple):
    """The edges among the slots of each of some blocks, by source; slots count from the first one of these blocks."""

    slots: slice
    source: np.ndarray
    target: np.ndarray


def _edges(graph: AgentGraph, near: Neighbourhoods) -> Iterator[_Edges]:
    """The edges in the surroundings of all blocks, of a few at a time: of about :data:`_EDGES`, or of one block."""
    adjacency, n = graph.adjacency, graph.n_agents
    reach = np.diff(adjacency.indptr)[near.agents].astype(np.int64)  # edges of each slot's agent, also to outside
    cost = np.cumsum(np.add.reduceat(reach, near.start[:-1]) + n)
    batch = cost // _EDGES
    for blocks in np.split(np.arange(len(cost)), np.flatnonzero(np.diff(batch)) + 1):
        slots = slice(near.start[blocks[0]], near.start[blocks[-1] + 1])
        agents, owner = near.agents[slots], near.owner[slots] - blocks[0]
        place = np.full((len(blocks), n), -1, dtype=np.int32)  # of each agent in each block, where it is near
        place[owner, agents] = np.arange(len(agents))
        rows = adjacency[agents]  # [slots, N]
        source = np.repeat(np.arange(len(agents)), np.diff(rows.indptr))
        target = place[owner[source], rows.indices]
        inside = target >= 0
        yield _Edges(slots, source[inside], target[inside])


def _refine(graph: AgentGraph, near: Neighbourhoods, label: np.ndarray) -> np.ndarray:
    """Colour refinement until no colour splits: a slot's colour is its own and the multiset of its neighbours'."""
    random = np.random.default_rng(0)
    colour = np.unique(label, return_inverse=True)[1]
    n_colours = -1
    while colour.max() + 1 > n_colours:
        n_colours = int(colour.max()) + 1
        token = random.integers(0, 2**64, size=n_colours, dtype=np.uint64)[colour]
        around = np.empty_like(token)
        for slots, source, target in _edges(graph, near):
            # sums wrap around, which is as good a hash; a collision is caught by the comparison
            total = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(token[slots][target])])
            end = np.cumsum(np.bincount(source, minlength=slots.stop - slots.start))
            around[slots] = np.diff(total[end], prepend=np.uint64(0))
        colour = _numbered(colour, around)[0]
    return colour


def _numbered(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the pairs in their order, and where each pair is found first; uint64 may be any numbers."""
    key = first.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + second * np.uint64(0xD6E8FEB86659FD93)
    keys = np.unique(key)  # much faster than sorting pairs
    found = np.searchsorted(keys, key)
    at = np.empty(len(keys), dtype=np.int64)
    at[found[::-1]] = np.arange(len(key))[::-1]
    order = np.lexsort((second[at], first[at]))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[found], at[order]


def _provisional(start: np.ndarray, colour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Blocks by the colours of their slots alone: the class of each, and the first block of each class."""
    random = np.random.default_rng(1)
    token = random.integers(0, 2**64, size=int(colour.max()) + 1, dtype=np.uint64)[colour]
    return _numbered(np.diff(start), np.add.reduceat(token, start[:-1]))


def _misaligned(graph: AgentGraph, near: Neighbourhoods, colour: np.ndarray, leader: np.ndarray) -> np.ndarray:
    """``[P]`` bool, blocks that differ, slot by slot and edge by edge, from the block that is their leader."""
    start, owner = near.start, near.owner
    twin = start[leader[owner]] + np.arange(len(owner)) - start[owner]  # the leader's slot of the same place
    bad = np.zeros(len(leader), dtype=bool)
    bad[owner[colour != colour[twin]]] = True
    count = np.zeros(len(leader), dtype=np.int64)
    adjacency, n = graph.adjacency, graph.n_agents
    known = np.repeat(np.arange(n), np.diff(adjacency.indptr)) * n + adjacency.indices  # rising
    for slots, source, target in _edges(graph, near):
        mine, agent = owner[slots][source], near.agents[twin[slots]]
        count += np.bincount(mine, minlength=len(leader))
        wanted = agent[source] * n + agent[target]
        place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        bad[mine[known[place] != wanted]] = True
    return bad | (count != count[leader])


def _search(
    class_of: np.ndarray,
    failed: np.ndarray,
    leaders: np.ndarray,
    graph: AgentGraph,
    near: Neighbourhoods,
    label: np.ndarray,
    most: int,
) -> bool:
    """Find an isomorphism for each block that index order could not align, or open a new class; in place.

    Returns:
        Whether there are at most ``most`` classes.
    """
    adjacency, start, agents = graph.adjacency, near.start, near.agents

    def surroundings(block: int) -> nx.Graph:
        inside = slice(start[block], start[block + 1])
        mine = agents[inside]
        place = dict(zip(mine.tolist(), range(len(mine)), strict=True))
        result = nx.Graph()
        result.add_nodes_from((i, {"label": x}) for i, x in enumerate(label[inside].tolist()))
        rows = adjacency[mine]
        ends = zip(np.repeat(np.arange(len(mine)), np.diff(rows.indptr)).tolist(), rows.indices.tolist(), strict=True)
        result.add_edges_from((source, place[agent]) for source, agent in ends if agent in place)
        return result

    candidates: dict[int, list[tuple[int, nx.Graph]]] = {}
    next_class = int(class_of.max()) + 1
    for block in failed.tolist():
        key = int(class_of[block])
        known = candidates.setdefault(key, [(key, surroundings(int(leaders[key])))])
        mine = surroundings(block)
        for number, representative in known:
            mapping = nx.vf2pp_isomorphism(representative, mine, node_label="label")
            if mapping is not None:
                layout = start[block] + np.array([mapping[i] for i in range(len(mapping))])
                inside = slice(start[block], start[block + 1])
                agents[inside], near.distance[inside] = agents[layout], near.distance[layout]
                class_of[block] = number
                break
        else:
            known.append((next_class, mine))
            class_of[block] = next_class
            next_class += 1
            if next_class > most:
                return False
    return True
