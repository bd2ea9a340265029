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
    assert AgentGraph.from_file(tmp_path / f"agents{suffix}").agent_name == ["west", "east"]


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
    assert graph.agent_name == ["a", "b", "c"]
    assert graph.agent_type.tolist() == [0, 1, 0]


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"graph file: expected an existing file, got .*nowhere\.json"):
        AgentGraph.from_file(tmp_path / "nowhere.json")
    with pytest.raises(InputError, match="existing file"):
        AgentGraph.from_file(tmp_path)


def test_file_of_unknown_kind_is_answered_with_the_kinds(tmp_path):
    path = tmp_path / "graph.yaml"
    path.write_text("n_agents: 3")
    with pytest.raises(InputError, match=r"graph\.yaml: expected a file ending \.graphml, \.json, .*, got '\.yaml'"):
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
        ("a.csv", b"from,to\n0,1\n"),
        ("a.csv", b"0.5,1.5\n"),
        ("a.csv", b"0,1\n1\n"),
        ("a.graphml", b"<graphml"),
        ("a.graphml", b"<other/>"),
    ],
)
def test_damaged_file_is_answered_in_one_line_that_names_it(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: (pos: )?expected .*, got ") as caught:
        AgentGraph.from_file(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"n_agents": 2, "edges": [[0, 2]]}, "agent numbers 0 … 1"),
        ({"n_agents": 2, "edges": [[1, 1]]}, "self loops"),
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
