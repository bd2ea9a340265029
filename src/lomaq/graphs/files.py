"""Graphs outside the library, in files and in networkx, as plain content.

Content is what the JSON form holds: ``n_agents``, ``edges`` and, where known, ``pos``, ``agent_type``, ``agent_name``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from lomaq.errors import InputError

#: Endings of the files that are read; the last three are edge lists.
ENDINGS = (".graphml", ".json", ".csv", ".txt", ".edges")
#: What is known of each agent, where it is known of all, and its type.
ATTRIBUTES: dict[str, Callable[[Any], Any]] = {"pos": list, "agent_type": int, "agent_name": str}
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, SyntaxError, RecursionError, nx.NetworkXError)


def from_networkx(graph: nx.Graph) -> dict[str, Any]:
    """Content of a networkx graph; see :meth:`lomaq.AgentGraph.from_networkx`."""
    names = list(graph.nodes)
    if not names:
        raise InputError("graph", "at least one agent", "no nodes")
    numbered = set(names) == set(range(len(names)))
    if numbered:
        names = list(range(len(names)))
    number = {name: i for i, name in enumerate(names)}
    nodes = [graph.nodes[name] for name in names]
    content: dict[str, Any] = {"n_agents": len(names), "edges": [(number[a], number[b]) for a, b in graph.edges()]}
    if all("x" in node and "y" in node for node in nodes):
        content["pos"] = [[float(node["x"]), float(node["y"])] for node in nodes]
    if not numbered:
        content["agent_name"] = [str(name) for name in names]
    for name, kind in ATTRIBUTES.items():
        if all(name in node for node in nodes):
            content[name] = [kind(node[name]) for node in nodes]
    return content


def to_networkx(content: dict[str, Any]) -> nx.Graph:
    """Nodes 0 … n-1 with ``pos``, ``agent_type`` and ``agent_name`` where known."""
    graph = nx.Graph()
    known = [name for name in ATTRIBUTES if name in content]
    graph.add_nodes_from((i, {name: content[name][i] for name in known}) for i in range(content["n_agents"]))
    graph.add_edges_from(content["edges"])
    return graph


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Errors while a graph file is read and becomes a graph name the file, in one line."""
    if not path.is_file():
        raise InputError("graph file", "an existing file", path)
    if path.suffix not in ENDINGS:
        raise InputError(str(path), f"a file ending {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}", repr(path.suffix))
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error.parts[0]}", *error.parts[1:]) from error
    except _DAMAGED as error:
        raise InputError(str(path), "a readable graph file", f"{type(error).__name__}: {error}") from error


def read(path: Path) -> dict[str, Any]:
    """Content of a file in one of :data:`ENDINGS`."""
    if path.suffix == ".graphml":
        return from_networkx(nx.read_graphml(path))
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        content = json.loads(text)
        if "nodes" in content:
            return from_networkx(nx.node_link_graph(content, edges="edges" if "edges" in content else "links"))
        return dict(content)
    if not text.strip():
        raise InputError("edges", "one pair of agents a line", "an empty file")
    pairs = np.loadtxt(path, dtype=np.int64, delimiter="," if path.suffix == ".csv" else None, ndmin=2)
    return {"n_agents": int(pairs.max()) + 1, "edges": pairs[:, :2].tolist()}


def write(path: Path, content: dict[str, Any]) -> None:
    """Write as ``.json`` (keeps everything) or ``.graphml`` (positions as ``x`` and ``y``)."""
    if path.suffix == ".json":
        path.write_text(json.dumps(content), encoding="utf-8")
    elif path.suffix == ".graphml":
        graph = to_networkx(content)
        for node in graph.nodes.values():
            if "pos" in node:
                node["x"], node["y"] = node.pop("pos")
        nx.write_graphml(graph, path)
    else:
        raise InputError(str(path), "a file ending .json or .graphml", repr(path.suffix))
