"""Positions of the agents of a graph, for drawing it."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components, depth_first_order, shortest_path
from scipy.spatial.distance import cdist

from lomaq.graphs.graph import AgentGraph

#: Most agents on a straight line; a longer one is folded, back and forth.
LONGEST_LINE = 20
#: Most agents on a circle; a longer one is drawn in waves, inwards and outwards.
LONGEST_CIRCLE = 120
#: Most agents of a connected part whose layout compares all distances, which costs their number squared.
MOST_COMPARED = 2000
#: Most distances that the rounds of such a layout compare together: seconds.
MOST_WORK = 40_000_000
#: Agents whose distances to all others make the first draft of a layout.
LANDMARKS = 50


def layout(graph: AgentGraph) -> np.ndarray:
    """Where the agents are drawn: at ``graph.pos``, where it has positions.

    Long lines and rings would leave a picture empty: a straight line of more than 20 agents is folded into rows, and a
    ring of more than 120 is drawn in waves. Without positions, paths become lines, rings and complete graphs circles,
    and all else is placed so that distances resemble numbers of hops; nothing is random.

    Returns:
        ``[N, 2]`` float64.

    Example:
        >>> layout(AgentGraph.from_edges(3, [[0, 2], [2, 1]])).tolist()
        [[0.0, 0.0], [2.0, 0.0], [1.0, 0.0]]
    """
    n = graph.n_agents
    adjacency = graph.adjacency
    n_parts, part_of = connected_components(adjacency, directed=False)
    if graph.pos is None:
        parts = [np.flatnonzero(part_of == part) for part in range(n_parts)]
        return _pack(parts, [_place(adjacency[part][:, part]) for part in parts], n)
    pos = graph.pos.cpu().numpy().astype(np.float64)
    if n > LONGEST_CIRCLE and n_parts == 1 and bool((graph.degree == 2).all()):
        return _circle(depth_first_order(adjacency, 0, return_predecessors=False))
    centred = pos - pos.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    if n <= LONGEST_LINE or spread[1] > 1e-4 * spread[0]:
        return pos
    along = centred @ axes[0]
    return _fold(np.argsort(along if axes[0].sum() > 0 else -along, kind="stable"))


def _fold(order: np.ndarray) -> np.ndarray:
    """Agents in this order, in rows of equal length, back and forth from the upper left."""
    length = len(order) if len(order) <= LONGEST_LINE else math.ceil(math.sqrt(3 * len(order)))
    row, column = np.divmod(np.arange(len(order)), length)
    pos = np.empty((len(order), 2))
    pos[order] = np.stack([np.where(row % 2, length - 1 - column, column), -row], axis=1)
    return pos


def _circle(order: np.ndarray) -> np.ndarray:
    """Agents in this order, 1 from one to the next along a circle, or along waves around one."""
    n = len(order)
    waves = 0 if n <= LONGEST_CIRCLE else round(0.5 * math.sqrt(n))
    angle = np.linspace(0, 2 * math.pi, 1 + n * (64 if waves else 1))
    distance = 1 + (0.45 if waves else 0.0) * np.tanh(3 * np.cos(waves * angle))  # blunt, or agents would touch
    curve = distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    travelled = np.concatenate([[0], np.linalg.norm(np.diff(curve, axis=0), axis=1).cumsum()])
    stops = np.arange(n) * travelled[-1] / n
    pos = np.empty((n, 2))
    pos[order] = np.stack([np.interp(stops, travelled, x) for x in curve.T], axis=1) * n / travelled[-1]
    return pos


def _place(adjacency: sp.csr_array) -> np.ndarray:
    """Positions of the agents of a connected part, about 1 from neighbour to neighbour."""
    n, degree = adjacency.shape[0], np.diff(adjacency.indptr)
    if degree.min() == n - 1:
        return _circle(np.arange(n)) if n > 2 else _fold(np.arange(n))
    if degree.max() <= 2:
        walk = depth_first_order(adjacency, int(degree.argmin()), return_predecessors=False)
        return _fold(walk) if degree.min() == 1 else _circle(walk)
    pos = _draft(adjacency)
    if n <= MOST_COMPARED:
        pos = _relax(pos, shortest_path(adjacency, unweighted=True))
    source, target = adjacency.nonzero()
    return pos / np.linalg.norm(pos[source] - pos[target], axis=1).mean()


def _draft(adjacency: sp.csr_array) -> np.ndarray:
    """Classical scaling of the hop distances to a few landmarks, each the farthest agent from those before it."""
    rows: list[np.ndarray] = []
    nearest, landmark = np.full(adjacency.shape[0], np.inf), 0
    for _ in range(min(LANDMARKS, adjacency.shape[0])):
        rows.append(shortest_path(adjacency, unweighted=True, indices=landmark))
        nearest = np.minimum(nearest, rows[-1])
        landmark = int(nearest.argmax())
    squared = np.stack(rows, axis=1) ** 2  # [N, landmarks]
    centred = squared - squared.mean(axis=0) - squared.mean(axis=1, keepdims=True) + squared.mean()
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    pos = left[:, :2] * np.sqrt(size[:2])
    jitter = np.random.default_rng(0).normal(size=pos.shape)  # agents with equal distances must not coincide
    return pos + 1e-2 * pos.std() * jitter


def _relax(pos: np.ndarray, hops: np.ndarray, rounds: int = 100) -> np.ndarray:
    """Majorise the stress Σ (distance - hops)² / hops² over all pairs, Kamada and Kawai's energy."""
    n = len(pos)
    hops = hops + np.eye(n)
    weight = 1 / hops**2 - np.eye(n)
    inverse = np.linalg.inv(np.diag(weight.sum(axis=1)) - weight + 1 / n)
    pull = weight * hops
    for _ in range(min(rounds, MOST_WORK // n**2)):
        ratio = pull / np.maximum(cdist(pos, pos), 1e-9)
        pos = inverse @ (ratio.sum(axis=1)[:, None] * pos - ratio @ pos)
    return pos


def _pack(parts: list[np.ndarray], places: list[np.ndarray], n_agents: int) -> np.ndarray:
    """Connected parts next to each other, the largest first, in rows from the upper left."""
    sizes = [np.ptp(place, axis=0) + 1 for place in places]
    limit = max(max(width for width, _ in sizes), math.sqrt(1.6 * sum(width * height for width, height in sizes)))
    pos = np.empty((n_agents, 2))
    left = top = depth = 0.0
    for i in sorted(range(len(parts)), key=lambda i: -len(parts[i])):
        (width, height), place = sizes[i], places[i]
        if left + width > limit + 1e-9:
            left, top, depth = 0.0, top - depth, 0.0
        pos[parts[i]] = place - [place[:, 0].min(), place[:, 1].max()] + [left, top]
        left, depth = left + width, max(depth, height)
    return pos
