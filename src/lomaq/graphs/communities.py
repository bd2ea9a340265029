"""Communities of a graph: Louvain's method in whole numbers, which ends on every graph."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components


def communities(adjacency: sp.csr_array) -> np.ndarray:
    """Connected communities of high modularity (Blondel et al., 2008).

    Each node in turn goes to the neighbouring community that raises the modularity most; the communities become the
    nodes of a smaller graph, until nothing moves. The gains are whole numbers: in floating point, rounding makes ties
    look like gains, and nodes go to and fro for ever, as in networkx's ``louvain_communities``.

    Args:
        adjacency: ``[N, N]``, symmetric, 1 where two nodes are joined, no loops.

    Returns:
        ``[N]``, the number of each node's community.
    """
    community = np.arange(adjacency.shape[0])
    weights = sp.csr_array(adjacency, dtype=np.int64)
    while True:
        label = _move(weights)
        n_labels = int(label.max()) + 1
        if n_labels == len(label):
            break
        community = label[community]
        joined = sp.csr_array((np.ones_like(label), (label, np.arange(len(label)))), shape=(n_labels, len(label)))
        weights = sp.csr_array(joined @ weights @ joined.T)
    source, target = adjacency.nonzero()
    inside = community[source] == community[target]
    kept = sp.csr_array((np.ones(int(inside.sum())), (source[inside], target[inside])), shape=adjacency.shape)
    return connected_components(kept, directed=False)[1]


def _move(weights: sp.csr_array) -> np.ndarray:
    """``[N]``, labels 0, 1, … of the communities after single nodes have moved as long as one of them gains."""
    n = weights.shape[0]
    start, columns, values = weights.indptr.tolist(), weights.indices.tolist(), weights.data.tolist()
    degree = weights.sum(axis=1).tolist()  # Python's integers, which cannot overflow
    total, twice = list(degree), sum(degree)
    label, waiting, queued = list(range(n)), list(range(n)), [True] * n
    for node in waiting:  # grows: a node that moves calls those of its neighbours that it left behind
        queued[node] = False
        links: dict[int, int] = {}
        for place in range(start[node], start[node + 1]):
            if columns[place] != node:
                where = label[columns[place]]
                links[where] = links.get(where, 0) + values[place]
        mine, size = label[node], degree[node]
        total[mine] -= size
        best, most = mine, twice * links.get(mine, 0) - size * total[mine]
        for where, link in links.items():
            if (gain := twice * link - size * total[where]) > most:
                best, most = where, gain
        total[best] += size
        if best != mine:
            label[node] = best
            for neighbour in columns[start[node] : start[node + 1]]:
                if label[neighbour] != best and not queued[neighbour]:
                    queued[neighbour] = True
                    waiting.append(neighbour)
    return np.unique(label, return_inverse=True)[1].ravel()
