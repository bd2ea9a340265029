"""A wrong graph of the same shape: the causal control of everything that a graph is said to help with."""

from __future__ import annotations

import numpy as np
import torch

from lomaq.errors import InputError
from lomaq.graphs.graph import AgentGraph

#: Permutations that are drawn; the one with the fewest true edges is taken.
DRAWS = 100


def shuffled(graph: AgentGraph, seed: object) -> AgentGraph:
    """The same graph with its agents' names permuted: of a hundred draws the one that keeps the fewest true edges.

    Positions stay with the places in the graph; types and names stay with the agents.

    Args:
        graph: The true graph.
        seed: Of the draws, at least 0; true is 0.

    Raises:
        InputError: If it is no seed, or no permutation changes the graph.
    """
    if not isinstance(seed, int) or seed < 0:
        raise InputError("env.permute", "false, true or a seed of at least 0", repr(seed))
    pairs, n = graph.edge_index.cpu().numpy(), graph.n_agents
    random, true = np.random.default_rng(0 if seed is True else seed), pairs[0] * n + pairs[1]
    draws = [random.permutation(n) for _ in range(DRAWS)]
    kept = [int(np.isin(name[pairs[0]] * n + name[pairs[1]], true).sum()) for name in draws]
    if min(kept) == len(true):
        raise InputError("env.permute", "false on a graph that is the same whatever its agents' names", seed)
    name = draws[int(np.argmin(kept))]  # of the agent in each place
    result = graph.clone()
    moved = AgentGraph.from_edges(n, name[pairs].T, edge_weight=graph.edge_weight)
    result.edge_index, result.edge_weight = moved.edge_index, moved.edge_weight
    if graph.pos is not None:
        result.pos = graph.pos[torch.from_numpy(np.argsort(name))]
    return result
