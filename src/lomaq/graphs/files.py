"""Graphs outside the library, in files and in networkx, as plain content.

Content is what the JSON form holds: ``n_agents``, ``edges`` and, where known, ``pos``, ``agent_type``, ``agent_name``;
besides, readers say how ``edges`` are meant: ``directed`` (None where each may stand in one or both directions),
``weighted``, and ``remarks`` on what was not taken as it was written.
"""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import networkx as nx
from defusedxml import DefusedXmlException, ElementTree

from lomaq.errors import InputError
from lomaq.graphs.kept import read_bytes
from lomaq.graphs.tables import read_table

#: Endings of the files that are read; the last five are tables.
ENDINGS = (".graphml", ".gexf", ".gml", ".json", ".csv", ".tsv", ".txt", ".edges", ".edgelist")
#: What is known of each agent, where it is known of all, and its type.
ATTRIBUTES: dict[str, Callable[[Any], Any]] = {"pos": list, "agent_type": int, "agent_name": str}
_DAMAGED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    nx.NetworkXException,
)


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
    content["directed"] = graph.is_directed()
    content["weighted"] = any(weight is not None for _, _, weight in graph.edges(data="weight"))
    if all(node.get(axis) not in (None, "") for node in nodes for axis in "xy"):
        content["pos"] = [[float(node["x"]), float(node["y"])] for node in nodes]
    if (labels := _labels(nodes)) is not None or not numbered:
        content["agent_name"] = labels or [str(name) for name in names]
    for name, kind in ATTRIBUTES.items():
        if all(name in node for node in nodes):
            content[name] = [kind(node[name]) for node in nodes]
    return content


def _labels(nodes: list[dict[str, Any]]) -> list[str] | None:
    """The labels of all nodes, None where one has none or two have the same."""
    labels = [str(node["label"]) for node in nodes if node.get("label") not in (None, "")]
    return labels if len({*labels}) == len(nodes) else None


def to_networkx(content: dict[str, Any]) -> nx.Graph:
    """Nodes 0 … n-1 with ``pos``, ``agent_type`` and ``agent_name`` where known."""
    graph = nx.Graph()
    known = [name for name in ATTRIBUTES if name in content]
    graph.add_nodes_from((i, {name: content[name][i] for name in known}) for i in range(content["n_agents"]))
    graph.add_edges_from(content["edges"])
    return graph


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Errors while a graph file is read and becomes a graph name the file, in one line."""
    try:
        with warnings.catch_warnings():  # networkx's, of what it leaves out of a file
            warnings.simplefilter("ignore")
            yield
    except InputError as error:
        if str(path) in error.parts[0] or str(path) == error.parts[2]:
            raise
        raise InputError(f"{path}: {error.parts[0]}", *error.parts[1:]) from error
    except RecursionError as error:
        raise InputError(str(path), "a readable graph file", "one that is nested too deeply") from error
    except _DAMAGED as error:
        raise InputError(str(path), "a readable graph file", f"{type(error).__name__}: {str(error)[:200]}") from error


def read(path: str | Path) -> dict[str, Any]:
    """Content of a file in one of :data:`ENDINGS`."""
    ending = Path(path).suffix.lower()
    data = read_bytes(path, "graph file")
    if ending not in ENDINGS:
        remedy = "write it in one of these forms"
        raise InputError(str(path), f"a file ending {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}", repr(ending), remedy)
    if ending == ".graphml":
        return _xml(data, nx.read_graphml)
    if ending == ".gexf":
        return _xml(data, nx.read_gexf)
    text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    if ending == ".gml":
        return _gml(text)
    return _json(text) if ending == ".json" else read_table(text)


def _xml(data: bytes, reader: Callable[[io.BytesIO], nx.Graph]) -> dict[str, Any]:
    """Content of an XML file: without document types and entities, which can grow without bounds and name files."""
    try:
        root = ElementTree.fromstring(data, forbid_dtd=True)
    except DefusedXmlException as error:
        raise InputError("XML", "no document type and no entities", "some") from error
    graph = reader(io.BytesIO(data))
    names = [node.get("id") for node in root.iterfind(".//{*}node")]
    if len({*names}) < len(names) or {*graph} != {*names}:
        raise InputError("nodes", "one graph whose edges join nodes that are there once", "others")
    plain = {str(i): i for i in range(len(names))}
    return from_networkx(nx.relabel_nodes(graph, plain) if {*graph} == {*plain} else graph)


def _gml(text: str) -> dict[str, Any]:
    if not re.search(r"\bmultigraph\b", text):  # else edges that stand twice are an error
        text = re.sub(r"\bgraph\s*\[", "graph [ multigraph 1 ", text, count=1)
    return from_networkx(nx.parse_gml(text.encode("ascii", "xmlcharrefreplace").decode(), label="id"))


def _json(text: str) -> dict[str, Any]:
    content = json.loads(text)
    forms = "an object with n_agents and edges, or networkx's with nodes and links, edges or adjacency"
    if not isinstance(content, dict):
        raise InputError("JSON", forms, type(content).__name__)
    if "nodes" not in content:
        if missing := [key for key in ("n_agents", "edges") if content.get(key) is None]:
            raise InputError("JSON", forms, f"no {missing[0]}")
        known = {name: content[name] for name in ("n_agents", "edges", *ATTRIBUTES) if content.get(name) is not None}
        return {**known, "directed": None, "weighted": False}
    if "adjacency" in content:
        graph = nx.adjacency_graph(content)
    else:
        graph = nx.node_link_graph(content, edges="edges" if "edges" in content else "links")
    if len(graph) != len(content["nodes"]):
        raise InputError("nodes", "edges that join nodes that are there once", "others")
    return from_networkx(graph)


def note(name: str, content: dict[str, Any], n_edges: int, loops: int, doubled: int, one_way: bool) -> str | None:
    """What was read, in one line, where it is not all that was there; else None."""
    counts = [(content["n_agents"], "agent"), (n_edges, "weighted edge" if content["weighted"] else "edge")]
    dropped = [f"{k:,} {what}{'s' * (k != 1)}" for k, what in ((loops, "loop"), (doubled, "doubled edge")) if k]
    remarks = ["weights ignored"] * content["weighted"] + content.get("remarks", [])
    remarks += [f"{' and '.join(dropped)} dropped"] * bool(dropped) + ["directed edges taken as undirected"] * one_way
    read = ", ".join(f"{count:,} {what}{'s' * (count != 1)}" for count, what in counts)
    return " ".join(f"{name}: {read}; {'; '.join(remarks)}".split()) if remarks else None


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
