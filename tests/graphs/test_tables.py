"""Edge lists and adjacency matrices: what is read by header and shape, and the line that says so."""

import pytest

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph

#: File → agents, edges, names and the note after "file: n agents, e edges; ", None where there is nothing to say.
READ = {
    "two columns": ("0 1\n1 2\n", 3, [(0, 1), (1, 2)], None, None),
    "weights": ("0 1 5\n1 2 7\n", 3, [(0, 1), (1, 2)], None, None),
    "from one": ("1 2\n2 3\n", 3, [(0, 1), (1, 2)], ["1", "2", "3"], "numbers 1 … 3 are agents 0 … 2"),
    "far apart": ("10,20\n20,1000000\n", 3, [(0, 1), (1, 2)], ["10", "20", "1000000"], "numbers 10 … 1000000 are"),
    "one far": ("0,1\n1,1000000000", 3, [(0, 1), (1, 2)], ["0", "1", "1000000000"], "are agents 0 … 2"),
    "not in order": ("30 4\n4 100\n", 3, [(0, 1), (0, 2)], ["4", "30", "100"], "numbers 4 … 100 are agents 0 … 2"),
    "floats": ("0.0,1.0\n1.0,2.0\n", 3, [(0, 1), (1, 2)], None, None),
    "names": ("b;a\na;ö d\n", 3, [(0, 1), (1, 2)], ["b", "a", "ö d"], None),
    "quoted names": ('"a, b",c\nc,d\n', 3, [(0, 1), (1, 2)], ["a, b", "c", "d"], None),
    "header": ("source,target,weight\n0,1,5\n1,2,7\n", 3, [(0, 1), (1, 2)], None, None),
    "header elsewhere": ("id,From,To\n7,a,b\n8,b,c\n", 3, [(0, 1), (1, 2)], ["a", "b", "c"], "other columns ignored"),
    "header of a journey": ("origin,destination,km\n0,1,5\n", 2, [(0, 1)], None, "other columns ignored"),
    "names below a header": (
        "station a,station b\nA,B\nB,C\n",
        5,
        [(0, 1), (2, 3), (3, 4)],
        ["station a", "station b", "A", "B", "C"],
        "the first line is an edge of station a and station b; a header names source and target",
    ),
    "unknown header": ("left,right\n0,1\n1,2\n", 3, [(0, 1), (1, 2)], None, None),
    "letters like a header": ("u,v\nv,w\n", 3, [(0, 1), (1, 2)], ["u", "v", "w"], None),
    "comments": ("% sym\n# from to\n\n0\t1\r\n1\t2\r\n", 3, [(0, 1), (1, 2)], None, None),
    "networkx": ("0 1 {}\n1 2 {'weight': 3}\n", 3, [(0, 1), (1, 2)], None, None),
    "trailing comma": ("0,1,\n1,2,\n", 3, [(0, 1), (1, 2)], None, None),
    "both directions": ("0 1\n1 0\n", 2, [(0, 1)], None, None),
    "loops and doubles": ("0 0\n0 1\n0 1\n1 1\n", 2, [(0, 1)], None, "2 loops and 1 doubled edge dropped"),
    "third column of words": ("0 1 x\n1 2 y\n", 3, [(0, 1), (1, 2)], None, "2 edges; third column ignored"),
    "matrix": ("0 1 0\n1 0 1\n0 1 0\n", 3, [(0, 1), (1, 2)], None, "3 agents, 2 edges; read as an adjacency matrix"),
    "one-way matrix": (
        "0,1,0,0\n0,0,1,0\n0,0,0,1\n0,0,0,1\n",
        4,
        [(0, 1), (1, 2), (2, 3)],
        None,
        "read as an adjacency matrix; 1 loop dropped; directed edges taken as undirected",
    ),
    "weighted matrix": ("0 .5 0\n.5 0 2\n0 2 0", 3, [(0, 1), (1, 2)], None, "2 weighted edges; read"),
    "matrix with names": (",a,b,c\na,0,1,0\nb,1,0,1\nc,0,1,0\n", 3, [(0, 1), (1, 2)], ["a", "b", "c"], "matrix"),
    "matrix with numbers": (",5,6\n5,0,1\n6,1,0\n", 2, [(0, 1)], ["5", "6"], "matrix"),
    "matrix with header": ("a,b,c\n0,1,0\n1,0,1\n0,1,0\n", 3, [(0, 1), (1, 2)], ["a", "b", "c"], "matrix"),
    "R's matrix": ("a b c\na 0 1 0\nb 1 0 1\nc 0 1 0\n", 3, [(0, 1), (1, 2)], ["a", "b", "c"], "matrix"),
    "triangle with weights": ("0 1 2\n1 2 0\n2 0 1\n", 3, [(0, 1), (0, 2), (1, 2)], None, None),
    "two edges are no matrix": ("0 1\n1 0\n", 2, [(0, 1)], None, None),
}


@pytest.mark.parametrize(("text", "n_agents", "edges", "names", "note"), READ.values(), ids=READ)
def test_table_is_read_by_header_and_shape_and_says_what_it_left_out(
    edges_of, tmp_path, text, n_agents, edges, names, note
):
    (tmp_path / "streets.csv").write_text(text)
    graph = AgentGraph.from_file(tmp_path / "streets.csv")
    assert graph.n_agents == n_agents
    assert edges_of(graph) == edges
    assert getattr(graph, "names", None) == names
    if note is None:
        assert "note" not in graph
    else:
        assert graph.note.startswith(f"streets.csv: {n_agents} agents, {len(edges)} ")
        assert note in graph.note
        assert "\n" not in graph.note


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_mark_tells_the_encoding(edges_of, tmp_path, encoding):
    (tmp_path / "a.tsv").write_bytes("source\ttarget\nüb\tö\n".encode(encoding))
    graph = AgentGraph.from_file(tmp_path / "a.tsv")
    assert graph.names == ["üb", "ö"]


REFUSED = {
    "one column": ("1\n2\n", r"line 1: expected two agents, and perhaps a weight, got 1 column;"),
    "a list of neighbours": ("0 1 2\n1 3\n", r"line 2: expected 3 columns, as in the first line, got 2"),
    "five columns": ("1 2 3 4 5\n2 3 4 5 6\n", r"line 1: expected two agents, and perhaps a weight, got 5 columns"),
    "half an agent": ("0,1\n0.5,1.5\n", r"line 2: expected agents as whole numbers or names, got 0\.5"),
    "infinite": ("0,1e999\n", r"line 1: expected agents as whole numbers or names, got 1e999"),
    "missing": ("# x\n0,1\n1,\n", r"line 3: expected two agents, got an empty cell"),
    "positions": ("id,x,y\n0,3,4\n1,2,2\n", r"header: expected columns named source and target, got id, x, y"),
    "header alone": ("source,target\n", r"edges: expected one pair of agents a line, got a header alone"),
    "nothing": ("# nothing\n", r"edges: expected one pair of agents a line, got an empty file"),
    "rubbish": ("0 1\0\n", r"edges: expected text, got bytes that are none"),
    "Matrix Market": (
        "%%MatrixMarket matrix\n3 3 1\n1 2 1\n",
        r"edges: expected one pair .*, got a Matrix Market file",
    ),
    "DIMACS": ("c a\np edge 3 2\ne 1 2\n", r"line 2: expected 2 columns"),
    "infinite matrix": ("0 1e999 0\n1e999 0 1\n0 1 0\n", r"adjacency matrix: expected finite numbers"),
    "a name twice": (",a,a\na,0,1\na,1,0\n", r"adjacency matrix: expected names that differ"),
}


@pytest.mark.parametrize(("text", "line"), REFUSED.values(), ids=REFUSED)
def test_other_tables_are_refused_in_a_line_that_names_the_place(tmp_path, text, line):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(InputError, match=rf"a\.txt: {line}") as caught:
        AgentGraph.from_file(tmp_path / "a.txt")
    assert "\n" not in str(caught.value)
