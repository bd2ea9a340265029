"""Ego classes: which blocks have the same surroundings, and may therefore share a mixer's parameters.

The paper shares the mixer among "the interior agents" of its line (Table 1). Here that is found, for any graph: two
blocks are of one class when the subgraphs on their kappa-hop neighbourhoods are isomorphic with the block as root set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
import scipy.sparse as sp

from lomaq.graphs.graph import AgentGraph


@dataclass(frozen=True)
class EgoClasses:
    """Classes of blocks, and each block's neighbourhood laid out in the slots of its class.

    Attributes:
        class_of: ``[P]`` int64, class of each block, numbered in order of first appearance.
        start: ``[P + 1]`` int64, where each block's slots begin in ``agents``.
        agents: ``[S]`` int64, agent in each slot; slot k of two blocks of one class play the same role.
        distance: ``[S]`` int64, hops from the block to that agent.
    """

    class_of: np.ndarray
    start: np.ndarray
    agents: np.ndarray
    distance: np.ndarray

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.class_of.max()) + 1

    @property
    def widths(self) -> np.ndarray:
        """``[P]`` int64, agents in each block's neighbourhood."""
        return np.diff(self.start)


def ego_classes(graph: AgentGraph, blocks: Sequence[Sequence[int]], kappa: int) -> EgoClasses:
    """Put blocks whose rooted surroundings are isomorphic into one class.

    All neighbourhoods are refined at once by colour (Weisfeiler–Leman); blocks with equal colours are laid out by
    (colour, index) and compared edge by edge, exactly. Only those that the index order cannot align are handed to an
    isomorphism search.

    Args:
        graph: The agents; ``agent_type`` is respected.
        blocks: Agents of each block.
        kappa: Number of hops, at least 0.
    """
    reach = graph.khop(kappa, blocks)
    n_blocks = len(blocks)
    start = reach.indptr.astype(np.int64)
    agents, distance = reach.indices.astype(np.int64), reach.data.astype(np.int64) - 1
    owner = np.repeat(np.arange(n_blocks), np.diff(start))
    source, target = _surroundings(graph, owner, agents)
    types = graph.types.cpu().numpy()
    label = distance * (int(types.max()) + 1) + types[agents]
    colour = _refine(label, source, target)

    order = np.lexsort((agents, colour, owner))
    agents, distance, colour, label = agents[order], distance[order], colour[order], label[order]
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    source, target = place[source], place[target]

    class_of, failed, leaders = _align(owner, start, colour, source, target)
    if failed.size:
        edges = sp.csr_array((np.ones(len(source), dtype=bool), (source, target)), shape=(len(owner),) * 2)
        _search(class_of, failed, leaders, start, edges, label, agents, distance)
    first = np.unique(class_of, return_index=True)[1]
    rank = np.empty(class_of.max() + 1, dtype=np.int64)
    rank[class_of[np.sort(first)]] = np.arange(len(first))
    return EgoClasses(rank[class_of], start, agents, distance)


def _surroundings(graph: AgentGraph, owner: np.ndarray, agents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges among the slots of each block, as slot numbers in the disjoint union of all neighbourhoods."""
    edges = graph.adjacency[agents].tocoo()  # [S, N]
    source = edges.row.astype(np.int64)
    key = owner * graph.n_agents + agents  # rising, since neighbourhoods are sorted
    wanted = owner[source] * graph.n_agents + edges.col
    target = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    inside = key[target] == wanted
    return source[inside], target[inside]


def _refine(label: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Colour refinement until no colour splits: a slot's colour is its own and the multiset of its neighbours'."""
    random = np.random.default_rng(0)
    edges = sp.csr_array((np.ones(len(source), dtype=np.uint64), (source, target)), shape=(len(label), len(label)))
    colour = np.unique(label, return_inverse=True)[1]
    n_colours = -1
    while colour.max() + 1 > n_colours:
        n_colours = int(colour.max()) + 1
        token = random.integers(0, 2**64, size=n_colours, dtype=np.uint64)[colour]
        around = edges @ token  # sums wrap around, which is as good a hash; a collision is caught by the comparison
        colour = np.unique(np.stack([colour.astype(np.uint64), around]), axis=1, return_inverse=True)[1].ravel()
    return colour


def _align(
    owner: np.ndarray, start: np.ndarray, colour: np.ndarray, source: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare every block with the first block of equal colours, slot by slot and edge by edge.

    Returns:
        The provisional class of each block, the blocks that did not align, and the first block of each class.
    """
    widths = np.diff(start)
    random = np.random.default_rng(1)
    token = random.integers(0, 2**64, size=int(colour.max()) + 1, dtype=np.uint64)[colour]
    signature = np.add.reduceat(token, start[:-1])
    _, leaders, class_of = np.unique(
        np.stack([widths.astype(np.uint64), signature]), axis=1, return_index=True, return_inverse=True
    )
    class_of = class_of.ravel().astype(np.int64)
    leader = leaders[class_of]
    slot = np.arange(len(owner)) - start[owner]
    bad = np.zeros(len(widths), dtype=bool)
    bad[owner[colour != colour[start[leader[owner]] + slot]]] = True

    order = np.lexsort((target, source))
    edge_owner, edge = owner[source[order]], np.stack([slot[source[order]], slot[target[order]]])
    count = np.bincount(edge_owner, minlength=len(widths))
    edge_start = np.cumsum(count) - count
    bad |= count != count[leader]
    edge_slot = np.arange(len(order)) - edge_start[edge_owner]
    twin = edge_start[leader[edge_owner]] + np.minimum(edge_slot, count[leader[edge_owner]] - 1)
    bad[edge_owner[(edge != edge[:, twin]).any(axis=0)]] = True
    return class_of, np.flatnonzero(bad), leaders


def _search(
    class_of: np.ndarray,
    failed: np.ndarray,
    leaders: np.ndarray,
    start: np.ndarray,
    edges: sp.csr_array,
    label: np.ndarray,
    agents: np.ndarray,
    distance: np.ndarray,
) -> None:
    """Find an isomorphism for each block that index order could not align, or open a new class; in place."""

    def surroundings(block: int) -> nx.Graph:
        inside = slice(start[block], start[block + 1])
        result = nx.from_scipy_sparse_array(edges[inside, inside])
        nx.set_node_attributes(result, dict(enumerate(label[inside].tolist())), "label")
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
                agents[inside], distance[inside] = agents[layout], distance[layout]
                class_of[block] = number
                break
        else:
            known.append((next_class, mine))
            class_of[block] = next_class
            next_class += 1
