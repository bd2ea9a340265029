"""Graphs in files: what comes back, the kinds that are read, and what damaged ones answer."""

import json

import networkx as nx
import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph


@pytest.mark.parametrize("suffix", [".json", ".graphml"])
def test_file_round_trip_keeps_edges_positions_and_types(tmp_path, suffix):
    graph = AgentGraph.from_edges(
        4, [(0, 2), (2, 1)], pos=[[0, 0], [1, 0.25], [2, 0], [-3, 1]], agent_type=[0, 1, 1, 0]
    )
    path = tmp_path / f"agents{suffix}"
    graph.to_file(path)
    back = AgentGraph.from_file(str(path))
    assert back.n_agents == 4
    assert torch.equal(back.edge_index, graph.edge_index)
    assert torch.equal(back.pos, graph.pos)
    assert torch.equal(back.agent_type, graph.agent_type)


@pytest.mark.parametrize("suffix", [".json", ".graphml"])
def test_file_round_trip_of_a_bare_graph_adds_nothing(tmp_path, suffix):
    AgentGraph.empty(3).to_file(tmp_path / f"agents{suffix}")
    back = AgentGraph.from_file(tmp_path / f"agents{suffix}")
    assert (back.n_agents, back.n_edges) == (3, 0)
    assert back.pos is None
    assert "agent_type" not in back


@pytest.mark.parametrize("suffix", [".json", ".graphml"])
def test_file_round_trip_keeps_names(tmp_path, suffix):
    graph = AgentGraph.from_networkx(nx.Graph([("west", "east")]))
    graph.to_file(tmp_path / f"agents{suffix}")
    assert AgentGraph.from_file(tmp_path / f"agents{suffix}").names == ["west", "east"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "0,1\n2,1\n1,2\n"), ("a.txt", "0 1\n1 2"), ("a.edges", "1\t0\t7\n2\t1\t5")],
)
def test_edge_list_has_one_pair_a_line(edges_of, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert edges_of(AgentGraph.from_file(tmp_path / name)) == [(0, 1), (1, 2)]


@pytest.mark.parametrize("edges_key", ["edges", "links"])
def test_node_link_json_is_read_with_its_names(edges_of, tmp_path, edges_key):
    source = nx.Graph([("a", "b"), ("b", "c")])
    nx.set_node_attributes(source, {"a": 0, "b": 1, "c": 0}, "agent_type")
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(nx.node_link_data(source, edges=edges_key)))
    graph = AgentGraph.from_file(path)
    assert edges_of(graph) == [(0, 1), (1, 2)]
    assert graph.names == ["a", "b", "c"]
    assert graph.agent_type.tolist() == [0, 1, 0]


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"graph file: expected an existing file, got .*nowhere\.json"):
        AgentGraph.from_file(tmp_path / "nowhere.json")
    with pytest.raises(InputError, match="existing file"):
        AgentGraph.from_file(tmp_path)


def test_file_of_unknown_kind_is_answered_with_the_kinds(tmp_path):
    path = tmp_path / "graph.yaml"
    path.write_text("n_agents: 3")
    with pytest.raises(InputError, match=r"graph\.yaml: expected a file ending \.graphml, \.gexf, .*, got '\.yaml'"):
        AgentGraph.from_file(path)
    with pytest.raises(InputError, match=r"expected a file ending \.json or \.graphml, got '\.csv'"):
        AgentGraph.line(2).to_file(tmp_path / "graph.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"{"),
        ("a.json", b"\xff\xfe\x00"),
        ("a.json", b"[[0, 1]]"),
        ("a.json", b'{"edges": [[0, 1]]}'),
        ("a.json", b'{"n_agents": 2}'),
        ("a.json", b'{"nodes": 3, "links": []}'),
        ("a.json", b'{"nodes": [{"id": 0}], "links": [{"source": 0}]}'),
        ("a.json", b'{"n_agents": 2, "edges": [[0, 1]], "pos": [[0, 1], [1]]}'),
        ("a.csv", b"0.5,1.5\n"),
        ("a.csv", b"0,1\n1\n"),
        ("a.graphml", b"<graphml"),
        ("a.graphml", b"<other/>"),
    ],
)
def test_damaged_file_is_answered_in_one_line_that_names_it(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: (\w+( \d)?: )?expected .*, got ") as caught:
        AgentGraph.from_file(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"n_agents": 2, "edges": [[0, 2]]}, "agent numbers 0 … 1"),
        ({"edges": [[0, 2]]}, 'expected n_agents next to edges, got none; add "n_agents": 3, or more'),
        ({"n_agents": 100_000_000, "edges": []}, "n_agents: expected a whole number from 1 to 1000000, got 100000000"),
        ({"n_agents": 2, "edges": [[0, 1e999]]}, "edges: expected pairs of agent numbers .*'inf' is no agent number"),
        ({"n_agents": 1e999, "edges": []}, "n_agents: expected a whole number .*, got inf"),
        ({"n_agents": 1, "edges": [], "pos": [[0, 1e999]]}, "pos: expected finite positions .* inf among them"),
        ({"n_agents": 2, "edges": [], "agent_type": [0, 1e999]}, "agent_type: .*inf among them"),
        ({"n_agents": 2, "edges": [], "agent_type": [0, 10**30]}, "agent_type: expected whole numbers"),
        ({"n_agents": 2, "edges": [], "names": ["a"]}, "names: expected a list of 2 names"),
        ({"n_agents": 2, "edges": [], "names": "ab"}, "names: expected a list of 2 names"),
        ({"n_agents": 0, "edges": []}, "n_agents"),
        ({"n_agents": "2", "edges": []}, "n_agents"),
        ({"n_agents": 2, "edges": [[0, 1]], "agent_type": [0, 5]}, "agent_type"),
    ],
)
def test_readable_file_with_an_impossible_graph_says_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        AgentGraph.from_file(path)


GRAPHML = '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">{}</graphml>'
ENTITY = '<!DOCTYPE g [<!ENTITY x "lol">]>'
FOREIGN = '<!DOCTYPE g [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
NODE = '<graph edgedefault="undirected"><node id="&x;"/></graph>'
HOSTILE = {
    "entity.graphml": (ENTITY + GRAPHML.format(NODE), "XML: expected no document type and no entities"),
    "foreign.graphml": (FOREIGN + GRAPHML.format(NODE), "XML: expected no document type and no entities"),
    "foreign.gexf": (FOREIGN + "<gexf>&x;</gexf>", "XML: expected no document type and no entities"),
    "deep.graphml": (GRAPHML.format("<a>" * 20_000 + "</a>" * 20_000), "not successfully read"),
    "groups.graphml": (
        GRAPHML.format('<graph><node id="n" yfiles.foldertype="group">' * 5000 + "<graph/>" + "</node></graph>" * 5000),
        "nested too deeply",
    ),
    "deep.json": ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
    "edges.json": ('{"n_agents": 2, "edges": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
    "deep.gml": ("graph [ " + "a [ " * 20_000 + "] " * 20_000 + "]", "nested too deeply"),
    "large.csv": ("0,1\n" * 9_000_000, "expected at most 33,554,432 bytes, got 36,000,000"),
    "phantom.json": ('{"nodes": [{"id": 0}], "links": [{"source": 0, "target": 7}]}', "nodes that are there once"),
    "phantom.graphml": (
        GRAPHML.format('<graph><node id="a"/><edge source="a" target="b"/></graph>'),
        "nodes that are there once",
    ),
    "twice.graphml": (GRAPHML.format('<graph><node id="a"/><node id="a"/></graph>'), "nodes that are there once"),
    "position.graphml": (
        GRAPHML.format(
            '<key id="x" for="node" attr.name="x" attr.type="double"/><key id="y" for="node" attr.name="y" '
            'attr.type="double"/><graph><node id="a"><data key="x">1e999</data><data key="y">1</data></node></graph>'
        ),
        "inf among them",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_file_made_to_harm_is_refused_in_one_line(tmp_path, name):
    text, line = HOSTILE[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=line) as caught:
        AgentGraph.from_file(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_gml_of_a_multigraph_is_read_with_its_labels(edges_of, tmp_path):
    nodes = "".join(f'node [ id {10 * i} label "{name}" ] ' for i, name in enumerate(("Zürich", "Bern", "Chur")))
    edges = "".join(f"edge [ source {a} target {b} ] " for a, b in ((0, 10), (10, 0), (20, 20)))
    (tmp_path / "a.gml").write_text(f"graph [ {nodes}{edges}]")
    graph = AgentGraph.from_file(tmp_path / "a.gml")
    assert edges_of(graph) == [(0, 1)]
    assert graph.names == ["Zürich", "Bern", "Chur"]
    assert graph.note == "a.gml: 3 agents, 1 edge; 1 loop and 1 doubled edge dropped"


def test_gexf_and_networkx_adjacency_are_read(edges_of, tmp_path):
    nx.write_gexf(nx.path_graph(3), tmp_path / "a.gexf")
    (tmp_path / "a.json").write_text(json.dumps(nx.adjacency_data(nx.path_graph(3))))
    for name in ("a.gexf", "a.json"):
        assert edges_of(AgentGraph.from_file(tmp_path / name)) == [(0, 1), (1, 2)]


def test_loops_and_doubled_edges_of_our_own_form_are_dropped_with_a_note(edges_of, tmp_path):
    (tmp_path / "a.json").write_text('{"n_agents": 3, "edges": [[0, 1], [1, 0], [0, 1], [2, 2]]}')
    graph = AgentGraph.from_file(tmp_path / "a.json")
    assert edges_of(graph) == [(0, 1)]
    assert graph.note == "a.json: 3 agents, 1 edge; 1 loop and 1 doubled edge dropped"


def test_node_link_json_of_bare_names_is_damaged(tmp_path):
    path = tmp_path / "graph.json"
    path.write_text('{"nodes": ["a"], "links": []}')
    with pytest.raises(InputError, match="readable graph file"):
        AgentGraph.from_file(path)


def test_empty_edge_list_is_damaged_without_a_warning(tmp_path):
    path = tmp_path / "graph.csv"
    path.write_text("")
    with pytest.raises(InputError, match=r"graph\.csv: edges: expected one pair of agents a line, got an empty file"):
        AgentGraph.from_file(path)
