"""Network topologies as public collections have them, whole and damaged, and other forms of small files.

Each is read or refused in one line within five seconds, with its communities and its pairs.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from xml.sax.saxutils import escape

import networkx as nx
import pytest

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition

#: Longest time for a file, in seconds.
LONGEST = 5.0
CITIES = ("Zürich", "Łódź", "東京", "São Paulo", "Αθήνα", "Reykjavík", "O'Hare & Sons", "<unknown>", "None", "")
HEAD = (
    '<?xml version="1.0" encoding="utf-8"?><graphml xmlns="http://graphml.graphdrawing.org/xmlns" '
    'xmlns:y="http://www.yworks.com/xml/graphml">'
)
#: Attributes of nodes and edges: name, type and a value drawn from a generator.
NODE_KEYS = (
    ("Latitude", "double", lambda draw: f"{draw.uniform(-90, 90):.5f}"),
    ("Longitude", "double", lambda draw: f"{draw.uniform(-180, 180):.5f}"),
    ("label", "string", lambda draw: escape(draw.choice(CITIES))),
    ("Internal", "int", lambda draw: str(draw.randint(0, 1))),
    ("x", "double", lambda draw: f"{draw.uniform(0, 1):.4f}"),
    ("y", "double", lambda draw: f"{draw.uniform(0, 1):.4f}"),
    ("hyperedge", "boolean", lambda draw: draw.choice(("true", "False", "1"))),
    ("id", "int", lambda draw: str(draw.randint(0, 10**9))),
)
EDGE_KEYS = (
    ("LinkSpeedRaw", "double", lambda draw: f"{draw.choice((1e9, 1e10, 2.5e6)):.1f}"),
    ("LinkLabel", "string", lambda draw: escape(draw.choice(CITIES))),
    ("weight", "float", lambda draw: f"{draw.uniform(0, 9):.2f}"),
    ("key", "int", lambda draw: str(draw.randint(0, 3))),
)


def topology(seed: int) -> tuple[str, nx.MultiGraph]:
    """A GraphML file and what it holds: a random tree with further, doubled and looped edges and sparse attributes."""
    draw = random.Random(seed)
    n = draw.choice((1, 2, 4, 11, 23, 47, 110, 197, 754))
    tree = nx.random_labeled_tree(n, seed=seed)
    edges = [*tree.edges, *((draw.randrange(n), draw.randrange(n)) for _ in range(draw.randrange(n)))]
    edges += draw.choices(edges, k=draw.choice((0, 0, 3))) if edges else []
    whole = nx.MultiGraph(edges)
    whole.add_nodes_from(range(n))
    prefix, directed = draw.choice(("", "n", "n0::", "Ω")), draw.random() < 0.2
    share = draw.choice((0, 0.3, 0.9, 1))  # of the attributes that are there
    keys = "".join(
        f'<key attr.name="{name}" attr.type="{kind}" for="{owner}" id="{owner}{i}"/>'
        for owner, kinds in (("node", NODE_KEYS), ("edge", EDGE_KEYS))
        for i, (name, kind, _) in enumerate(kinds)
    )

    def data(owner: str) -> str:
        kinds = NODE_KEYS if owner == "node" else EDGE_KEYS
        chosen = [(i, value(draw)) for i, (_, _, value) in enumerate(kinds) if draw.random() < share]
        return "".join(f'<data key="{owner}{i}">{value}</data>' for i, value in chosen)

    drawn = ""
    if draw.random() < 0.2:  # as yEd writes it
        keys += '<key for="node" id="drawn" yfiles.type="nodegraphics"/>'
        drawn = (
            '<data key="drawn"><y:ShapeNode><y:Geometry height="30.0" width="30.0" x="{x}" y="-3.5"/>'
            "<y:NodeLabel>{x}</y:NodeLabel></y:ShapeNode></data>"
        )
    order = draw.sample(range(n), n)
    nodes = [f'<node id="{prefix}{i}">{data("node")}{drawn.format(x=i)}</node>' for i in order]
    links = [f'<edge source="{prefix}{a}" target="{prefix}{b}">{data("edge")}</edge>' for a, b in edges]
    kind = "directed" if directed else "undirected"
    return f'{HEAD}{keys}<graph edgedefault="{kind}">{"".join(nodes + links)}</graph></graphml>', whole


def damaged(text: str, seed: int) -> bytes:
    """The file with something cut, doubled, replaced or put in."""
    draw = random.Random(seed)
    content = bytearray(text.encode())
    for _ in range(draw.choice((1, 1, 3, 10))):
        place, length = draw.randrange(len(content)), draw.choice((1, 5, 60, 1000))
        part = bytes(content[place : place + length])
        odd = (
            b"\0",
            b"\xff\xfe",
            b"&x;",
            b"<",
            b"</graph>",
            b"1e999",
            b"-1",
            b'" id="',
            b"<!DOCTYPE x []>",
            b"9" * 400,
        )
        content[place : place + length] = draw.choice((b"", part + part, part[::-1], draw.choice(odd)))
        content = content or bytearray(b" ")
    return bytes(content)


def read_or_refuse(path: Path) -> AgentGraph | None:
    """The graph, None where the file is refused; asserts that either is as it should be."""
    begun, graph, line = time.process_time(), None, path.name
    try:
        graph = AgentGraph.from_file(path)
    except InputError as error:
        line = str(error)
    assert path.name in line
    assert "\n" not in line
    assert len(line) < 1000
    if graph is not None:
        assert graph.validate()
        assert "\n" not in getattr(graph, "note", "")
        for partition in (Partition.communities(graph), Partition.pairs(graph)):
            assert partition.n_agents == graph.n_agents
    assert time.process_time() - begun < LONGEST
    return graph


def campaign(request: pytest.FixtureRequest, size: int, whole: int) -> range:
    return range(whole if request.config.getoption("--torture", default=False) else size)


@pytest.mark.parametrize("size", [10, pytest.param(261, marks=pytest.mark.slow)])
def test_topologies_are_read_as_they_are(request, edges_of, tmp_path, size):
    for seed in campaign(request, size, 2000):
        text, whole = topology(seed)
        path = tmp_path / "a.graphml"
        path.write_text(text)
        graph = read_or_refuse(path)
        assert graph is not None, seed
        assert graph.n_agents == len(whole)
        assert graph.n_edges == len({frozenset(edge) for edge in whole.edges() if edge[0] != edge[1]})
        assert ("loop" in getattr(graph, "note", "")) == (nx.number_of_selfloops(whole) > 0)


@pytest.mark.parametrize("size", [40, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_topologies_are_read_or_refused_in_one_line(request, tmp_path, size):
    outcomes = set()
    for seed in campaign(request, size, 20_000):
        path = tmp_path / "a.graphml"
        path.write_bytes(damaged(topology(seed % 50)[0][: 40_000 if seed % 2 else None], seed))
        outcomes.add(read_or_refuse(path) is None)
    assert True in outcomes


def other_forms(seed: int) -> dict[str, str]:
    """One small graph in many forms."""
    draw = random.Random(seed)
    n = draw.randrange(2, 30)
    graph = nx.gnm_random_graph(n, draw.randrange(1, 3 * n), seed=seed)
    for a, b in graph.edges:
        graph.edges[a, b]["weight"] = draw.choice((1, 2.5, -3))
    rows = [f"{a},{b},{w}" for a, b, w in graph.edges(data="weight")]
    matrix = nx.to_numpy_array(graph, weight=draw.choice((None, "weight"))).tolist()
    node_link, adjacency = nx.node_link_data(graph, edges="links"), nx.adjacency_data(graph)
    return {
        "a.csv": "\n".join(["source,target,weight", *rows]),
        "a.tsv": "\n".join(rows).replace(",", "\t"),
        "a.txt": "\n".join(nx.generate_edgelist(graph)),
        "a.edges": "% header\n" + "\n".join(rows).replace(",", " "),
        "a.edgelist": "\n".join(f"{a + 10**6} {b + 10**6}" for a, b in graph.edges),
        "matrix.csv": "\n".join(",".join(map(str, row)) for row in matrix),
        "matrix.txt": "\n".join(" ".join(map(str, row)) for row in matrix),
        "adjacency.txt": "\n".join(nx.generate_adjlist(graph)),
        "pajek.net": "\n".join(nx.generate_pajek(graph)),
        "pajek.txt": "\n".join(nx.generate_pajek(graph)),
        "a.gml": "\n".join(nx.generate_gml(graph)),
        "a.gexf": "".join(nx.generate_gexf(graph)),
        "a.graphml": "".join(nx.generate_graphml(graph)),
        "node_link.json": str(node_link).replace("'", '"').replace("False", "false").replace("True", "true"),
        "adjacency.json": str(adjacency).replace("'", '"').replace("False", "false").replace("True", "true"),
        "lists.json": str([list(edge) for edge in graph.edges]),
        "a.dot": "graph {" + ";".join(f"{a} -- {b}" for a, b in graph.edges) + "}",
        "a.mtx": f"%%MatrixMarket matrix coordinate pattern symmetric\n{n} {n} 0\n",
        "a.graph": f"{n} {graph.number_of_edges()}\n",
        "a.yaml": f"n_agents: {n}\nedges: []\n",
        "a": "0 1\n",
    }


READ = ("a.csv", "a.tsv", "a.txt", "a.edges", "a.edgelist", "a.gml", "a.gexf", "a.graphml")
READ_WITH_ALL = ("a.gml", "a.gexf", "a.graphml", "matrix.csv", "matrix.txt", "node_link.json", "adjacency.json")


@pytest.mark.parametrize("size", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_small_files_of_other_forms_are_read_or_refused_in_one_line(request, tmp_path, size):
    for seed in campaign(request, size, 2000):
        for name, text in other_forms(seed).items():
            path = tmp_path / name
            path.write_text(text)
            graph = read_or_refuse(path)
            assert graph is not None or name not in READ, (seed, name)
            path.write_bytes(damaged(text, seed))
            read_or_refuse(path)


@pytest.mark.parametrize("seed", range(5))
def test_all_forms_hold_the_same_graph(edges_of, tmp_path, seed):
    forms, found = other_forms(seed), {}
    for name in READ_WITH_ALL:
        (tmp_path / name).write_text(forms[name])
        found[name] = edges_of(AgentGraph.from_file(tmp_path / name))
    assert len({tuple(edges) for edges in found.values()}) == 1, found
