"""Graphs outside the library, in files and in networkx, as plain content.

Content is what the JSON form holds: ``n_agents``, ``edges`` and, where known, ``pos``, ``agent_type``, ``names`` and, a
number an edge, ``edge_weight``; besides, readers say how ``edges`` are meant: ``directed`` (None where each may stand
in one or both directions), and give ``remarks`` on what was not taken as it was written.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
from defusedxml import DefusedXmlException, ElementTree

from lomaq.errors import InputError
from lomaq.graphs.given import as_pairs
from lomaq.graphs.kept import MOST_BYTES, read_bytes
from lomaq.graphs.metis import read_metis
from lomaq.graphs.tables import read_rows, read_table, weight_column, weights_of
from lomaq.inputs.endings import ENDINGS, METIS
from lomaq.inputs.text import at_home

if TYPE_CHECKING:
    from lomaq.graphs.graph import AgentGraph

#: What may be known of all agents: its name in content and in :class:`lomaq.AgentGraph`, and in a networkx node.
ATTRIBUTES = {"pos": "pos", "agent_type": "agent_type", "names": "name"}
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
    content |= {"directed": graph.is_directed(), "remarks": []}
    edges = [data for _, _, data in graph.edges(data=True)]
    if (key := weight_column({*chain.from_iterable(edges)})) is not None:
        weights = weights_of([data.get(key) for data in edges])
        if weights is not None:
            content["edge_weight"] = weights
        else:
            content["remarks"] = ["weights ignored, which are no numbers"]
    if all(node.get(axis) not in (None, "") for node in nodes for axis in "xy"):
        content["pos"] = [[float(node["x"]), float(node["y"])] for node in nodes]
    called = (_different([node.get(key) for node in nodes]) for key in ("name", "label"))
    if (known := next(filter(None, called), None)) is not None or not numbered:
        content["names"] = known or [str(name) for name in names]
    for name, kind in (("pos", list), ("agent_type", int)):
        if all(name in node for node in nodes):
            content[name] = [kind(node[name]) for node in nodes]
    return content


def _different(names: list[Any]) -> list[str] | None:
    """The names as text, None where one is missing or two are the same."""
    texts = [str(name) for name in names if name not in (None, "")]
    return texts if len({*texts}) == len(names) else None


def to_networkx(content: dict[str, Any]) -> nx.Graph:
    """Nodes 0 … n-1 with ``pos``, ``agent_type`` and ``name``, edges with ``weight``, where known."""
    graph = nx.Graph()
    known = [(key, content[name]) for name, key in ATTRIBUTES.items() if name in content]
    graph.add_nodes_from((i, {key: values[i] for key, values in known}) for i in range(content["n_agents"]))
    if "edge_weight" in content:
        ends = zip(content["edges"], content["edge_weight"], strict=True)
        graph.add_weighted_edges_from((*pair, weight) for pair, weight in ends)
    else:
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
    """Content of a file in one of :data:`ENDINGS`, perhaps packed."""
    plain, data = Path(path), read_bytes(path, "graph file")
    if packed := plain.suffix.lower() == ".gz":
        plain = plain.with_suffix("")
    ending = plain.suffix.lower()
    if ending not in ENDINGS:
        remedy = "write it in one of these forms"
        expected = f"a file ending {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}, perhaps with .gz behind it"
        raise InputError(str(path), expected, repr("".join(Path(path).suffixes[-2:])), remedy)
    if packed:
        data = _unpack(data)
    if ending == ".graphml":
        return _xml(data, nx.read_graphml)
    if ending == ".gexf":
        return _xml(data, nx.read_gexf)
    text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    if ending == ".gml":
        return _gml(text)
    if ending in METIS:
        return read_metis(text)
    return _json(text) if ending == ".json" else read_table(text)


def _unpack(data: bytes) -> bytes:
    """What gzip packed, of no more bytes than a file may have that is not packed."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            plain = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError("content", "what gzip packed, whole", error) from error
    if len(plain) > MOST_BYTES:
        raise InputError("content", f"at most {MOST_BYTES:,} bytes when unpacked", "more")
    return plain


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
    forms = "an object with n_agents and edges, or networkx's with nodes and links, edges or adjacency, or a matrix"
    if isinstance(content, list) and len(content) > 1 and all(isinstance(row, list) for row in content):
        return read_rows([(i, [str(cell) for cell in row]) for i, row in enumerate(content, 1)])
    if not isinstance(content, dict):
        raise InputError("JSON", forms, type(content).__name__)
    if "nodes" not in content:
        if content.get("edges") is None:
            raise InputError("JSON", forms, "no edges")
        if content.get("n_agents") is None:
            ends = as_pairs(content["edges"])
            remedy = f'add "n_agents": {int(ends.max(initial=0)) + 1}, or more where agents have no edge'
            raise InputError("JSON", "n_agents next to edges", "none", remedy)
        keys = ("n_agents", "edges", "edge_weight", *ATTRIBUTES)
        return {**{key: content[key] for key in keys if content.get(key) is not None}, "directed": None}
    if "adjacency" in content:
        graph = nx.adjacency_graph(content)
    else:
        graph = nx.node_link_graph(content, edges="edges" if "edges" in content else "links")
    if len(graph) != len(content["nodes"]):
        raise InputError("nodes", "edges that join nodes that are there once", "others")
    return from_networkx(graph)


def dropped(n_loops: int, n_doubled: int) -> str:
    """What was left out, in words; nothing where nothing was."""
    counts = [(n_loops, "loop"), (n_doubled, "doubled edge")]
    left_out = " and ".join(f"{count:,} {what}{'s' * (count != 1)}" for count, what in counts if count)
    return left_out and f"{left_out} dropped"


def note(name: str, graph: AgentGraph, remarks: list[str]) -> str | None:
    """What was read, in one line, where it is not all that was there; else None."""
    counts = [(graph.n_agents, "agent"), (graph.n_edges, "edge" if graph.edge_weight is None else "weighted edge")]
    read = ", ".join(f"{count:,} {what}{'s' * (count != 1)}" for count, what in counts)
    return " ".join(f"{name}: {read}; {'; '.join(filter(None, remarks))}".split()) if any(remarks) else None


def write(path: str | Path, content: dict[str, Any]) -> None:
    """Write as ``.json`` (keeps everything) or ``.graphml`` (positions as ``x`` and ``y``); ``~/`` is the home."""
    path = Path(at_home(str(path)))
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
