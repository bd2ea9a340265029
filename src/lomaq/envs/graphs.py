"""The graph of an environment that runs on any: by name, or from a file."""

from __future__ import annotations

import math
from collections.abc import Callable

from lomaq.errors import InputError, check_int
from lomaq.graphs import AgentGraph
from lomaq.graphs.kept import is_there


def make_graph(graph: str, n_agents: int | None) -> AgentGraph:
    """What ``env.graph`` names.

    Args:
        graph: ``line``, ``ring``, ``star``, ``complete`` or ``grid`` of rows × columns = n, as near to square as n's
            divisors allow (a prime n makes a line); or the path of a graph file.
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


_BUILDERS: dict[str, Callable[[int], AgentGraph]] = {
    "line": AgentGraph.line,
    "ring": AgentGraph.ring,
    "star": AgentGraph.star,
    "grid": _near_square,
    "complete": AgentGraph.complete,
}
