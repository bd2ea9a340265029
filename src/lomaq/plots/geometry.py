"""Discs, edges and outlines of a graph whose agents have positions."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial import ConvexHull, cKDTree

#: Most pairs of an edge and an agent that are looked through for agents on edges.
MOST_CROSSINGS = 10**8
#: Share of the distance to the nearest agent that the radius of a disc has.
FULLNESS = 0.36


def disc_radius(pos: np.ndarray) -> float:
    """A third of the usual distance to the nearest agent, for ``[N, 2]`` positions, so that discs rarely touch."""
    near = cKDTree(pos).query(pos, k=min(2, len(pos)))[0].reshape(len(pos), -1)[:, -1]
    apart = near[near > 0]
    if not apart.size:
        return FULLNESS
    span = float(np.ptp(pos, axis=0).max())
    return float(np.clip(FULLNESS * np.median(apart), span / 400, span / 6 if len(pos) > 2 else span))


def edge_lines(pos: np.ndarray, pairs: np.ndarray, radius: float) -> np.ndarray:
    """The edges as broken lines; an edge that would run through other agents bends around them.

    Args:
        pos: ``[N, 2]`` positions.
        pairs: ``[E, 2]`` edges.
        radius: Of an agent.

    Returns:
        ``[E, S, 2]``; S = 2 where no edge bends. Where edges times agents exceed 10^8, none does.
    """
    start, end = pos[pairs[:, 0]], pos[pairs[:, 1]]
    straight = np.stack([start, end], axis=1)
    if not len(pairs) or len(pairs) * len(pos) > MOST_CROSSINGS:
        return straight
    chunk = max(1, 10**6 // len(pos))
    passed = np.concatenate([_passed(pos, pairs[i : i + chunk], radius) for i in range(0, len(pairs), chunk)])
    if not passed.any():
        return straight
    along = end - start
    length = np.linalg.norm(along, axis=1)
    height = np.minimum(np.where(passed, (0.7 + 0.9 * passed) * radius, 0), 0.4 * length)
    side = np.where(pairs[:, 0] % 2, -1, 1) * height / np.maximum(length, 1e-30)
    bend = side[:, None] * np.stack([-along[:, 1], along[:, 0]], axis=1)  # [E, 2], to where the arc is highest
    t = np.linspace(0, 1, 17)[:, None]
    return start[:, None] + t * along[:, None] + 4 * t * (1 - t) * bend[:, None]


def _passed(pos: np.ndarray, pairs: np.ndarray, radius: float) -> np.ndarray:
    """``[E]`` int64, other agents whose middle lies within a third of the radius of the edge."""
    start = pos[pairs[:, 0]]
    along = pos[pairs[:, 1]] - start
    squared = np.maximum((along**2).sum(axis=1), 1e-30)[:, None]
    offset = pos[None] - start[:, None]  # [E, N, 2]
    share = (offset @ along[:, :, None])[..., 0] / squared
    away = np.abs(offset[..., 0] * along[:, 1:] - offset[..., 1] * along[:, :1]) / np.sqrt(squared)
    hit = (share > 0) & (share < 1) & (away < radius / 3)
    np.put_along_axis(hit, pairs, False, axis=1)
    return hit.sum(axis=1)


def hull(points: np.ndarray, margin: float) -> np.ndarray:
    """Convex outline at a distance of ``margin`` around points: the hull of a circle around each.

    Args:
        points: ``[M, 2]``, at least one.
        margin: Above 0.

    Returns:
        ``[K, 2]`` float64, the corners counterclockwise.
    """
    angle = 2 * math.pi * np.arange(48) / 48
    circles = points[:, None] + margin * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    cloud = circles.reshape(-1, 2)
    return cloud[ConvexHull(cloud).vertices]
