"""The dependency graph of the agents of a PettingZoo environment."""

from __future__ import annotations

import json
from collections.abc import Callable

import networkx as nx
import numpy as np
import torch
from scipy.spatial import cKDTree

from lomaq.envs.graphs import make_graph
from lomaq.envs.pettingzoo.spec import Edges, Spec
from lomaq.errors import InputError, check_float, check_int
from lomaq.graphs import AgentGraph
from lomaq.graphs.kept import made_once


def graph_of(
    spec: Spec,
    graph: str | None,
    radius: float | None,
    neighbours: int | None,
    types: str,
    discover: Callable[[], AgentGraph],
) -> AgentGraph:
    """The graph that ``env.graph`` names, with the agents' names and types.

    Args:
        spec: The environment.
        graph: ``line``, ``ring``, ``star``, ``grid`` or ``complete``; the path of a graph file; ``positions`` of the
            environment; ``discovered`` from random play; ``package.module:function`` that gets the environment and
            returns a networkx graph, an edge list or an adjacency matrix. None for the environment's own, and where it
            has none for all pairs.
        radius: Largest distance of neighbours, with ``positions``.
        neighbours: Nearest agents that each is joined to, with ``positions``.
        types: See :class:`~lomaq.envs.pettingzoo.env.PettingZoo`.
        discover: Makes the graph that is ``discovered``; it is kept with a run.

    Raises:
        InputError: If there is no such graph, or it does not fit.
    """
    n = len(spec.agents)
    if graph != "positions" and (radius is not None or neighbours is not None):
        name = "env.radius" if radius is not None else "env.neighbours"
        raise InputError(name, "only with env.graph=positions", f"env.graph={graph}")
    if graph == "positions":
        made = _near(spec, radius, neighbours)
    elif graph == "discovered":
        content = json.loads(made_once("discovered.json", lambda: _written(discover())))
        made = AgentGraph.from_edges(content["n_agents"], content["edges"], edge_weight=content["edge_weight"])
    elif graph is None or ":" in graph:
        made = AgentGraph.complete(n) if spec.graph is None else _own(spec.graph, n)
    else:
        made = make_graph(graph, n)
    if made.n_agents != n:
        raise InputError("env.graph", f"a graph of the {n} agents of {spec.title}", f"one of {made.n_agents}")
    if spec.positions is not None and "pos" not in made:
        made.pos = torch.tensor(_positions(spec), dtype=torch.float32)
    made.names = [str(agent) for agent in spec.agents]
    numbers = {"signature": _numbered(spec.signatures), "agents": list(range(n)), "one": [0] * n}[types]
    if any(numbers):
        made.agent_type = torch.tensor(numbers)
    return made


def _written(graph: AgentGraph) -> bytes:
    assert graph.pair_weight is not None
    content = {"n_agents": graph.n_agents, "edges": graph.pairs.tolist(), "edge_weight": graph.pair_weight.tolist()}
    return json.dumps(content).encode()


def _numbered(signatures: list[str]) -> list[int]:
    """The number of each signature, in the order in which they come."""
    known = list(dict.fromkeys(signatures))
    return [known.index(one) for one in signatures]


def _own(edges: Edges, n_agents: int) -> AgentGraph:
    """The environment's own graph; what it has besides undirected edges is said in a note."""
    graph = nx.DiGraph() if edges.directed else nx.Graph()
    graph.add_nodes_from(range(n_agents))
    weighted = any(weight != 1 for *_, weight in edges.edges)
    for one, two, weight in edges.edges:
        graph.add_edge(one, two, **({"weight": weight} if weighted else {}))
    return AgentGraph.from_networkx(graph)


def _positions(spec: Spec) -> np.ndarray:
    pos = np.array(spec.positions)
    if pos.shape != (len(spec.agents), 2):
        raise InputError("positions of the environment", f"[{len(spec.agents)}, 2]", f"shape {list(pos.shape)}")
    return pos


def _near(spec: Spec, radius: float | None, neighbours: int | None) -> AgentGraph:
    if spec.positions is None:
        raise InputError("env.graph", f"positions, which {spec.title} does not have", "positions", "see its attributes")
    if not spec.still:
        got, remedy = f"others with another seed of {spec.title}", "take env.graph=discovered, complete or a file"
        raise InputError("env.graph=positions", "positions that are the same in every episode", got, remedy)
    pos = _positions(spec)
    if (radius is None) == (neighbours is None):
        given = "neither" if radius is None else "both"
        raise InputError("env.graph=positions", "env.radius=DISTANCE or env.neighbours=NUMBER", given)
    if radius is not None:
        return AgentGraph.radius(pos, check_float("env.radius", radius, 0, above=True))
    k = check_int("env.neighbours", neighbours, 1, len(pos) - 1)
    nearest = cKDTree(pos).query(pos, k=k + 1)[1]
    pairs = [(i, int(j)) for i, row in enumerate(nearest) for j in row if i != j]
    return AgentGraph.from_edges(len(pos), pairs, pos=pos.tolist())
