"""Reward groups 𝓘 (Section 4.3): which sets of agents get a learned reward together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lomaq.errors import InputError, check_int
from lomaq.graphs import AgentGraph, ego_classes

#: Most rows that growing the groups by one agent may list; a graph with more has far too many networks to evaluate.
MOST_EXTENSIONS = 10**7


@dataclass(frozen=True, eq=False)
class RewardGroups:
    """The connected sets I of at most ``max_size`` agents with I ⊆ N(i) ∪ {i} for some agent i.

    Equation 3 as printed sums over every I ⊆ N(i) ∪ {i}, also those without i, so that the agents' rewards would not
    sum to the team reward; here agent i is paid for the groups that it is a member of. The paper's text does not say
    "connected"; its hyper-parameters do not need it (|I| = 1). The agent whose neighbourhood holds I need not be in I.

    Attributes:
        graph: The agents.
        members: For each size k = 1, 2, … that occurs: ``[G_k, k]`` int64, agents of each group in rising order, rows
            in lexicographic order. ``members[1]`` is every agent on its own.
    """

    graph: AgentGraph
    members: dict[int, Tensor]

    @classmethod
    def of(cls, graph: AgentGraph, max_size: int) -> RewardGroups:
        """List the groups of a graph, each size grown from the one below by a neighbour of some member.

        A connected set can lose an agent and stay connected and inside the same neighbourhood, so nothing is missed.

        Args:
            graph: The agents.
            max_size: Largest number of agents of a group, at least 1.

        Raises:
            InputError: If ``max_size`` is no such number, or so large that the groups cannot be listed.
        """
        check_int("reward.max_size", max_size, 1)
        start, neighbours = _adjacency(graph)
        groups = np.arange(graph.n_agents, dtype=np.int64)[:, None]
        members = {1: torch.from_numpy(groups)}
        for size in range(2, max_size + 1):
            groups = _grow(groups, start, neighbours)
            if size > 3:  # a connected set of three lies in the neighbourhood of its middle
                groups = groups[_share_a_neighbourhood(groups, start, neighbours)]
            if len(groups) == 0:
                break
            members[size] = torch.from_numpy(groups)
        return cls(graph, members)

    @property
    def n_agents(self) -> int:
        """Number of agents N."""
        return self.graph.n_agents

    @property
    def n_groups(self) -> int:
        """Number of groups G of all sizes."""
        return sum(len(rows) for rows in self.members.values())

    def by_class(self, size: int) -> tuple[Tensor, Tensor]:
        """Classes of the groups of one size: same class where their surroundings (one hop) look alike.

        Args:
            size: Agents of a group, one that occurs.

        Returns:
            The class ``[G_k]`` int64 of each group, numbered in order of first appearance, and its members
            ``[G_k, k]`` int64 in the order in which they match those of the first group of the class (by agent index,
            the two ends of a line would meet their networks mirrored).
        """
        ego = ego_classes(self.graph, self.members[size].tolist(), kappa=1)
        return torch.from_numpy(ego.class_of), torch.from_numpy(ego.agents[ego.distance == 0].reshape(-1, size))


def _adjacency(graph: AgentGraph) -> tuple[np.ndarray, np.ndarray]:
    """Where each agent's neighbours begin, ``[N + 1]``, and the neighbours ``[2E]``, rising for each agent."""
    source, target = graph.edge_index.cpu().numpy()
    order = np.lexsort((target, source))
    return np.searchsorted(source[order], np.arange(graph.n_agents + 1)), target[order]


def _expand(agents: np.ndarray, start: np.ndarray, neighbours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every neighbour of every entry of ``agents`` (``[K]``): the entry's place, and the neighbour."""
    degree = np.diff(start)[agents]
    total = int(degree.sum())
    if total > MOST_EXTENSIONS:
        raise InputError(
            "reward.max_size",
            f"a size whose groups take at most {MOST_EXTENSIONS:,} steps to list in this graph",
            f"one that takes {total:,}",
            "take a smaller size",
        )
    place = np.repeat(np.arange(len(agents)), degree)
    offset = np.arange(total) - np.repeat(np.cumsum(degree) - degree, degree)
    return place, neighbours[start[agents[place]] + offset]


def _grow(groups: np.ndarray, start: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Connected sets of one agent more: ``[G, k]`` → ``[G', k + 1]``, rows sorted and in lexicographic order."""
    place, added = _expand(groups.ravel(), start, neighbours)
    before = groups[place // groups.shape[1]]
    new = (before != added[:, None]).all(axis=1)
    grown = np.sort(np.column_stack([before[new], added[new]]), axis=1)
    grown = grown[np.lexsort(grown.T[::-1])]
    first = np.ones(len(grown), dtype=bool)
    first[1:] = (grown[1:] != grown[:-1]).any(axis=1)
    return np.ascontiguousarray(grown[first])


def _share_a_neighbourhood(groups: np.ndarray, start: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """``[G]`` bool: some agent i has the whole group in N(i) ∪ {i}.

    Such an i is in the closed neighbourhood of every member, so those around the member of lowest degree are tried.
    """
    n = len(start) - 1
    edges = np.repeat(np.arange(n), np.diff(start)) * n + neighbours  # rising
    degree = np.diff(start)
    lowest = np.take_along_axis(groups, degree[groups].argmin(axis=1)[:, None], axis=1)[:, 0]
    place, centre = _expand(lowest, start, neighbours)
    place, centre = np.append(place, np.arange(len(groups))), np.append(centre, lowest)
    wanted = centre[:, None] * n + groups[place]
    joined = edges[np.minimum(np.searchsorted(edges, wanted), len(edges) - 1)] == wanted
    holds = (joined | (groups[place] == centre[:, None])).all(axis=1)
    result = np.zeros(len(groups), dtype=bool)
    result[place[holds]] = True
    return result
