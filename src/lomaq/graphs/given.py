"""What a graph is made of, as arrays: checked, or refused in one line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lomaq.errors import InputError, check_int

#: Most agents of a graph: what is made of it has a size, and a slip in a file must not fill the memory.
MOST_AGENTS = 1_000_000


def numbers(n_agents: int) -> np.ndarray:
    """``[N]`` int64, the numbers of so many agents."""
    return np.arange(check_int("n_agents", n_agents, 1, MOST_AGENTS))


def circle(places: np.ndarray, n_places: int) -> np.ndarray:
    """Positions of the given ones of ``n_places`` places on a circle of radius 1."""
    angle = 2 * math.pi * places / n_places
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def as_pairs(edges: Iterable[Sequence[int]]) -> np.ndarray:
    """``[E, 2]`` int64."""
    if isinstance(edges, np.ndarray) and edges.dtype == np.int64:
        return edges.reshape(-1, 2)
    try:
        return np.array([(_whole(a), _whole(b)) for a, b in edges], dtype=np.int64).reshape(-1, 2)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("edges", "pairs of agent numbers such as [[0, 1], [1, 2]]", error) from error


def as_weights(edge_weight: Any, n_edges: int) -> np.ndarray:
    """``[E]`` float32, finite."""
    try:
        with np.errstate(over="ignore"):
            weights = np.asarray(edge_weight, dtype=np.float64).astype(np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("edge_weight", "one number an edge", error) from error
    if weights.shape != (n_edges,):
        raise InputError("edge_weight", f"{n_edges} numbers, one an edge", f"shape {list(weights.shape)}")
    if not np.isfinite(weights).all():
        raise InputError("edge_weight", "finite numbers within those of 32 bits", "others")
    return weights


def as_positions(pos: Any) -> np.ndarray:
    """``[N, 2]`` float64, finite."""
    try:
        points = np.asarray(pos, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("pos", "finite positions of shape [N, 2]", error) from error
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0 or not np.isfinite(points).all():
        raise InputError("pos", "finite positions of shape [N, 2]", shown(torch.from_numpy(points)))
    return points


def as_types(agent_type: Any) -> Tensor:
    """Of whatever shape and type it has."""
    try:
        return torch.as_tensor(agent_type)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError("agent_type", "whole numbers 0, 1, …", error) from error


def check_names(names: Any, n_agents: int) -> None:
    """Raise where they are not a list of so many texts that all differ."""
    if not isinstance(names, list) or len(names) != n_agents or not all(isinstance(name, str) for name in names):
        got = f"{len(names)}" if isinstance(names, list) else type(names).__name__
        raise InputError("names", f"a list of {n_agents} names", got)
    if len({*names}) < n_agents:
        seen = set[str]()
        double = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InputError("names", "names that differ", f"{double[:50]!r} twice")


def shown(values: Tensor) -> str:
    """A tensor in a line: its shape, and a value that is not finite or the values of a few."""
    odd = values[~values.isfinite()] if values.is_floating_point() else values[:0]
    text = f"{odd[0].item()} among them" if odd.numel() else f"{values.tolist()}" if values.numel() <= 20 else ""
    return f"{values.dtype} of shape {list(values.shape)} {text}"


def _whole(agent: object) -> int:
    if isinstance(agent, bool) or not isinstance(agent, (int, np.integer)):
        raise TypeError(f"{str(agent)[:50]!r} is no agent number")
    return int(agent)
