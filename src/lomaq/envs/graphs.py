"""The graph of an environment that runs on any: by name, or from a file."""

from __future__ import annotations

import math
from collections.abc import Callable

import networkx as nx
import numpy as np

from lomaq.errors import InputError, check_int
from lomaq.graphs import AgentGraph
from lomaq.graphs.kept import is_there

#: Edges that each new agent of a Barabási–Albert graph brings; leaves of a star of ``halves``.
_NEW_EDGES, _LEAVES = 2, 8


def make_graph(graph: str, n_agents: int | None) -> AgentGraph:
    """What ``env.graph`` names.

    Args:
        graph: ``line``, ``ring``, ``star``, ``complete`` or ``grid`` of rows × columns = n, as near to square as n's
            divisors allow (a prime n makes a line); ``barabasi_albert``, where agents join one by one by two edges each
            and prefer those of many neighbours, at least 3 and for each n always the same graph; ``halves``, at least
            20, of three types: ⌊n/2⌋ on a ring (0), the others in stars of a hub (1) and eight leaves (2), the last of
            which takes those left over, with an edge from the ring to the first hub and from each hub to the next; or
            the path of a graph file.
        n_agents: Number of agents n, at least 1; None where a file gives it.

    Raises:
        InputError: If the graph is unknown, its file damaged or of another size, or the number impossible.
    """
    if isinstance(graph, str) and graph in _BUILDERS:
        return _BUILDERS[graph](check_int("env.n_agents", n_agents, 1))
    if not isinstance(graph, str) or not is_there(graph):
        raise InputError("env.graph", f"{', '.join(_BUILDERS)} or an existing graph file", repr(graph))
    try:
        found = AgentGraph.from_file(graph)
    except InputError as error:
        raise InputError(f"env.graph: {error.parts[0]}", *error.parts[1:]) from error
    if n_agents is not None and check_int("env.n_agents", n_agents, 1) != found.n_agents:
        expected = f"null or the {found.n_agents} of {graph}"
        raise InputError("env.n_agents", expected, n_agents, "set env.n_agents=null with a graph file")
    return found


def _near_square(n_agents: int) -> AgentGraph:
    rows = next(rows for rows in range(math.isqrt(n_agents), 0, -1) if n_agents % rows == 0)
    return AgentGraph.grid(rows, n_agents // rows)


def _barabasi_albert(n_agents: int) -> AgentGraph:
    if n_agents <= _NEW_EDGES:
        raise InputError("env.n_agents", f"at least {_NEW_EDGES + 1} for env.graph=barabasi_albert", n_agents)
    return AgentGraph.from_edges(n_agents, nx.barabasi_albert_graph(n_agents, _NEW_EDGES, seed=0).edges)


def _halves(n_agents: int) -> AgentGraph:
    if n_agents < 20:
        raise InputError("env.n_agents", "at least 20 for env.graph=halves", n_agents)
    ring, others = np.arange(n_agents // 2), np.arange(n_agents // 2, n_agents)
    size = 1 + _LEAVES
    star = np.minimum((others - len(ring)) // size, len(others) // size - 1)  # the last takes those left over
    hub = len(ring) + size * star
    hubs = np.unique(hub)
    edges = [(ring, np.roll(ring, -1)), (others[others != hub], hub[others != hub]), ([0, *hubs[:-1]], hubs)]
    types = np.concatenate([0 * ring, np.where(others == hub, 1, 2)])
    return AgentGraph.from_edges(n_agents, np.concatenate(edges, axis=1).T, agent_type=types.tolist())


_BUILDERS: dict[str, Callable[[int], AgentGraph]] = {
    "line": AgentGraph.line,
    "ring": AgentGraph.ring,
    "star": AgentGraph.star,
    "grid": _near_square,
    "complete": AgentGraph.complete,
    "barabasi_albert": _barabasi_albert,
    "halves": _halves,
}
