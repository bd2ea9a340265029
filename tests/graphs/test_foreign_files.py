"""A small file of every kind that others write: what is read, names, weights, and the line that says the rest."""

import gzip
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.graphs.kept import keeping

FILES = Path(__file__).parent / "files"
TOWNS = ["Aue", "Borna", "Calw", "Dörpen"]
AS_MET = ["Aue", "Borna", "Dörpen", "Calw"]
#: The roads of all files but one: there and back between the first two, each with its weight, the rest one way.
ROADS = {("Aue", "Borna"): 3.0, ("Aue", "Dörpen"): 5.0, ("Borna", "Calw"): 1.0, ("Calw", "Dörpen"): 3.0}
DIRECTED = "1 loop dropped; directed edges taken as undirected; different weights of an edge averaged"
LIST = "other columns ignored; 1 loop dropped; different weights of an edge averaged"
FROM_ONE = "numbers 1 … 4 are agents 0 … 3"
#: File → names and the note after "file: 4 agents, 4 weighted edges; ".
KINDS = {
    "labels.gml": (TOWNS, DIRECTED),
    "labels.gml.gz": (TOWNS, DIRECTED),
    "strings.graphml": (TOWNS, DIRECTED),
    "weights.gexf": (TOWNS, DIRECTED),
    "links.json": (TOWNS, DIRECTED),
    "edges.json": (TOWNS, DIRECTED),
    "header.csv": (AS_MET, LIST),
    "header.csv.gz": (AS_MET, LIST),
    "tabs.tsv": (AS_MET, LIST),
    "semicolons.csv": (AS_MET, LIST),
    "from_one.edges": (list("1234"), f"{FROM_ONE}; 1 loop dropped; different weights of an edge averaged"),
    "weights.graph": (list("1234"), f"sizes and weights of nodes ignored; {FROM_ONE}"),
    "matrix.txt": (None, f"read as an adjacency matrix; {DIRECTED}"),
    "matrix.csv": (None, f"read as an adjacency matrix; {DIRECTED}"),
    "matrix.json": (None, f"read as an adjacency matrix; {DIRECTED}"),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_gives_the_same_roads_with_names_weights_and_a_note(name):
    names, note = KINDS[name]
    graph = AgentGraph.from_file(FILES / name)
    assert graph.validate()
    assert getattr(graph, "names", None) == names
    called = TOWNS if names is None or names[0] == "1" else names
    found = {tuple(sorted((called[a], called[b]))) for a, b in graph.pairs.tolist()}
    weights = [ROADS[tuple(sorted((called[a], called[b])))] for a, b in graph.pairs.tolist()]
    assert found == set(ROADS)
    assert graph.pair_weight.tolist() == weights
    assert graph.note == f"{name}: 4 agents, 4 weighted edges; {note}"


def test_no_file_of_a_kind_is_without_a_test():
    assert {path.name for path in FILES.iterdir()} == {*KINDS, "plain.metis"}


def test_metis_without_weights_has_agents_without_neighbours(edges_of):
    graph = AgentGraph.from_file(FILES / "plain.metis")
    assert edges_of(graph) == [(0, 1), (0, 2), (2, 3)]
    assert graph.edge_weight is None
    assert graph.names == ["1", "2", "3", "4", "5"]
    assert graph.note == "plain.metis: 5 agents, 3 edges; numbers 1 … 5 are agents 0 … 4"


# --------------------------------------------------------------------- weights


def test_weights_are_the_same_in_both_directions_and_in_the_order_of_the_edges():
    graph = AgentGraph.from_edges(3, [(2, 1), (0, 1)], edge_weight=[0.5, -2.0])
    assert graph.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert graph.edge_weight.tolist() == [-2.0, -2.0, 0.5, 0.5]
    assert graph.pair_weight.tolist() == [-2.0, 0.5]


def test_an_edge_that_is_given_several_times_has_the_mean_of_its_weights():
    graph = AgentGraph.from_edges(2, [(0, 1), (1, 0), (0, 1)], edge_weight=[1, 2, 6])
    assert graph.edge_weight.tolist() == [3.0, 3.0]


def test_an_edge_without_a_weight_counts_one_and_words_are_no_weights():
    source = nx.Graph([(0, 1), (1, 2)])
    source.edges[1, 2]["value"] = "4.5"
    assert AgentGraph.from_networkx(source).pair_weight.tolist() == [1.0, 4.5]
    source.edges[0, 1]["value"] = "heavy"
    graph = AgentGraph.from_networkx(source)
    assert graph.edge_weight is None
    assert graph.note == "graph: 3 agents, 2 edges; weights ignored, which are no numbers"


@pytest.mark.parametrize("suffix", [".json", ".graphml"])
def test_weights_and_names_survive_files_and_networkx(tmp_path, suffix):
    graph = AgentGraph.from_file(FILES / "labels.gml")
    graph.to_file(tmp_path / f"roads{suffix}")
    for back in (AgentGraph.from_file(tmp_path / f"roads{suffix}"), AgentGraph.from_networkx(graph.to_networkx())):
        assert torch.equal(back.edge_index, graph.edge_index)
        assert torch.equal(back.edge_weight, graph.edge_weight)
        assert back.names == TOWNS
        assert "note" not in back


def test_weights_and_names_follow_a_subgraph_and_a_copy():
    graph = AgentGraph.from_file(FILES / "labels.gml")
    part = graph.subgraph(torch.tensor([0, 1, 3]))
    assert part.validate()
    assert part.names == ["Aue", "Borna", "Dörpen"]
    assert part.pairs.tolist() == [[0, 1], [0, 2]]
    assert part.pair_weight.tolist() == [3.0, 5.0]
    assert torch.equal(graph.clone().edge_weight, graph.edge_weight)


@pytest.mark.parametrize(
    ("weights", "line"),
    [
        ([1.0], "edge_weight: expected 2 numbers, one an edge, got shape [1]"),
        ([1.0, float("nan")], "edge_weight: expected finite numbers"),
        ([1.0, 1e300], "edge_weight: expected finite numbers within those of 32 bits"),
        (["a", 1.0], "edge_weight: expected one number an edge"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights, line):
    with pytest.raises(InputError) as caught:
        AgentGraph.from_edges(3, [(0, 1), (1, 2)], edge_weight=weights)
    assert str(caught.value).startswith(line)


def test_validate_finds_weights_that_differ_by_direction_and_names_that_do_not():
    graph = AgentGraph.from_edges(2, [(0, 1)], edge_weight=[1.0], names=["a", "b"])
    graph.edge_weight = torch.tensor([1.0, 2.0])
    with pytest.raises(InputError, match="edge_weight: expected the same weight in both directions"):
        graph.validate()
    graph.edge_weight, graph.names = None, ["a", "a"]
    with pytest.raises(InputError, match="names: expected names that differ, got 'a' twice"):
        graph.validate()


def test_directed_weighted_matrix_of_a_generator_becomes_the_mean_of_both_directions(tmp_path):
    random = np.random.default_rng(0)
    matrix = 0.3 * random.random((12, 12)) * (random.random((12, 12)) < 0.2) * (1 - np.eye(12))
    np.savetxt(tmp_path / "influence.txt", matrix)
    graph = AgentGraph.from_file(tmp_path / "influence.txt")
    both = (matrix != 0).astype(int) + (matrix.T != 0)
    mean = (matrix + matrix.T) / np.maximum(both, 1)
    pairs = np.argwhere(np.triu(mean))
    assert graph.pairs.tolist() == pairs.tolist()
    assert graph.pair_weight.numpy() == pytest.approx(mean[tuple(pairs.T)])
    assert "directed edges taken as undirected" in graph.note


# ----------------------------------------------------------------------- names


def test_agents_are_called_by_name_and_by_number_where_they_have_none():
    graph = AgentGraph.from_edges(2, [(0, 1)], names=["A11", "A12"])
    assert graph.labels == ["A11", "A12"]
    assert graph.name_of(1) == "1 (node 'A12')"
    assert AgentGraph.line(2).labels == ["0", "1"]
    assert AgentGraph.line(2).name_of(1) == "1"


def test_a_partition_may_name_agents_and_says_whom_it_misses(tmp_path):
    graph = AgentGraph.from_file(FILES / "labels.gml")
    expected = Partition([[0, 3], [1, 2]], 4)
    assert Partition.from_spec([["Dörpen", "Aue"], ["Borna", 2]], graph) == expected
    (tmp_path / "blocks.json").write_text('[["Dörpen", "Aue"], ["Borna", "Calw"]]', encoding="utf-8")
    assert Partition.from_spec(str(tmp_path / "blocks.json"), graph) == expected
    with pytest.raises(InputError, match=r"no block with agent 2 \(node 'Calw'\)"):
        Partition.from_spec([["Dörpen", "Aue", "Borna"]], graph)
    with pytest.raises(InputError, match="agent numbers 0 … 3, got 'Ulm'"):
        Partition.from_spec([["Ulm"]], graph)


# ---------------------------------------------------------------------- damage

BOMB = gzip.compress(bytes(40_000_000))
DAMAGED = {
    "bomb.gml.gz": (BOMB, "content: expected at most 33,554,432 bytes when unpacked, got more"),
    "no.gml.gz": (b"graph [ ]", "content: expected what gzip packed, whole, got Not a gzipped file"),
    "cut.csv.gz": (gzip.compress(b"0,1\n")[:-6], "content: expected what gzip packed, whole"),
    "twice.csv.gz.gz": (gzip.compress(b"0,1\n"), "expected a file ending .graphml, .gexf"),
    "bare.gz": (gzip.compress(b"0,1\n"), "expected a file ending .graphml, .gexf"),
    "empty.metis": (b"% nothing\n", "METIS: expected the numbers of nodes and edges, got an empty file"),
    "head.graph": (b"3\n", "line 1: expected numbers of nodes and edges"),
    "format.graph": (b"2 1 7\n2\n1\n", "line 1: expected numbers of nodes and edges"),
    "huge.graph": (
        b"99999999999999999 1\n2\n1\n",
        "METIS: expected a line for each of the 99,999,999,999,999,999 nodes",
    ),
    "short.graph": (b"3 1\n2\n1", "METIS: expected a line for each of the 3 nodes, got 2 lines"),
    "long.graph": (b"1 0\n\n1\n", "METIS: expected a line for each of the 1 nodes, got 2 lines"),
    "edges.graph": (b"2 2\n2\n1\n", "METIS: expected each of 2 edges at both its ends, 4 neighbours, got 2"),
    "number.graph": (b"2 1\n2\n3\n", "line 3: expected neighbours 1 … 2, got '3'"),
    "word.graph": (b"2 1\n2\nx\n", "line 3: expected neighbours 1 … 2, got 'x'"),
    "weight.graph": (b"2 1 1\n2 5\n1\n", "line 3: expected the weights that the first line announces, one behind each"),
    "heavy.graph": (b"2 1 1\n2 x\n1 x\n", "line 2: expected weights that are numbers, got 'x'"),
    "sizes.graph": (b"2 1 10 2\n1 1 2\n1\n", "line 3: expected the weights that the first line announces, got 1"),
    "bytes.metis": (b"2 1\n2\n\xff\n", "expected a readable graph file, got UnicodeDecodeError"),
    "infinite.csv": (b"0,1,inf\n1,2,3\n", "edge_weight: expected finite numbers"),
    "double.json": (b'{"n_agents": 2, "edges": [], "names": ["a", "a"]}', "names: expected names that differ, got 'a'"),
    "rows.json": (b"[[0, 1], [1]]", "line 2: expected 2 columns"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_file_is_refused_in_one_line_that_names_it(tmp_path, name):
    content, line = DAMAGED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        AgentGraph.from_file(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_packed_file_is_kept_with_a_run_and_read_from_there_when_it_is_gone(tmp_path):
    path, kept = tmp_path / "roads.gml.gz", dict[str, str]()
    path.write_bytes((FILES / "labels.gml.gz").read_bytes())
    with keeping(kept):
        first = AgentGraph.from_file(path)
    path.unlink()
    with keeping(kept):
        again = AgentGraph.from_file(path)
    assert torch.equal(again.edge_weight, first.edge_weight)
    assert (again.names, again.note) == (TOWNS, first.note)
