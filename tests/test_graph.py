import json
import math

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv
from torch_geometric.transforms import AddSelfLoops, ToUndirected

from lomaq.errors import InputError
from lomaq.graph import AgentGraph


def edges_of(graph):
    """Undirected edges, and a check that each stands in both directions, once and sorted."""
    pairs = [tuple(pair) for pair in graph.edge_index.T.tolist()]
    assert pairs == sorted(set(pairs))
    assert set(pairs) == {(b, a) for a, b in pairs}
    return [(a, b) for a, b in pairs if a < b]


@st.composite
def small_graphs(draw, most=9):
    n = draw(st.integers(1, most))
    possible = [(a, b) for a in range(n) for b in range(a + 1, n)]
    edges = draw(st.lists(st.sampled_from(possible), unique=True)) if possible else []
    return n, edges


# ---------------------------------------------------------------- builders


@pytest.mark.parametrize(
    ("graph", "n_agents", "expected"),
    [
        (AgentGraph.line(1), 1, []),
        (AgentGraph.line(4), 4, [(0, 1), (1, 2), (2, 3)]),
        (AgentGraph.ring(1), 1, []),
        (AgentGraph.ring(2), 2, [(0, 1)]),
        (AgentGraph.ring(3), 3, [(0, 1), (0, 2), (1, 2)]),
        (AgentGraph.ring(4), 4, [(0, 1), (0, 3), (1, 2), (2, 3)]),
        (AgentGraph.star(1), 1, []),
        (AgentGraph.star(4), 4, [(0, 1), (0, 2), (0, 3)]),
        (AgentGraph.grid(1, 1), 1, []),
        (AgentGraph.grid(2, 3), 6, [(0, 1), (0, 3), (1, 2), (1, 4), (2, 5), (3, 4), (4, 5)]),
        (AgentGraph.grid(3, 1), 3, [(0, 1), (1, 2)]),
        (AgentGraph.complete(1), 1, []),
        (AgentGraph.complete(4), 4, [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]),
        (AgentGraph.empty(3), 3, []),
    ],
)
def test_builder_makes_exactly_these_edges(graph, n_agents, expected):
    assert graph.n_agents == n_agents
    assert edges_of(graph) == expected
    assert graph.n_edges == len(expected)
    assert graph.edge_index.dtype == torch.int64
    assert graph.degree.tolist() == [sum(i in edge for edge in expected) for i in range(n_agents)]
    assert graph.validate()


@pytest.mark.parametrize("graph", [AgentGraph.line(5), AgentGraph.ring(5), AgentGraph.grid(2, 3)])
def test_drawing_puts_joined_agents_equally_far_apart_and_no_two_on_one_spot(graph):
    assert graph.pos.dtype == torch.float32
    assert graph.pos.shape == (graph.n_agents, 2)
    source, target = graph.edge_index
    lengths = (graph.pos[source] - graph.pos[target]).norm(dim=1)
    assert torch.allclose(lengths, lengths[:1])
    assert torch.pdist(graph.pos).min() > 0.5


def test_star_is_drawn_with_its_hub_in_the_middle():
    pos = AgentGraph.star(5).pos
    assert pos[0].tolist() == [0.0, 0.0]
    assert torch.allclose(pos[1:].norm(dim=1), torch.ones(4))


@pytest.mark.parametrize(
    "build",
    [
        AgentGraph.line,
        AgentGraph.ring,
        AgentGraph.star,
        AgentGraph.complete,
        AgentGraph.empty,
        lambda n: AgentGraph.from_edges(n, []),
        lambda n: AgentGraph.grid(n, 2),
        lambda n: AgentGraph.grid(2, n),
    ],
)
@pytest.mark.parametrize("n_agents", [0, -1, 2.0, "3", None])
def test_builder_refuses_an_impossible_number_of_agents(build, n_agents):
    with pytest.raises(InputError, match="whole number of at least 1"):
        build(n_agents)


def test_radius_joins_agents_at_most_that_far_apart():
    pos = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.5], [5.0, 5.0]]
    graph = AgentGraph.radius(pos, 1.5)
    assert edges_of(graph) == [(0, 1), (1, 2)]
    assert graph.pos.tolist() == pos
    assert edges_of(AgentGraph.radius(torch.tensor(pos), 1.9)) == [(0, 1), (0, 2), (1, 2)]


@pytest.mark.parametrize("radius", [0, -1.0, math.nan, "far"])
def test_radius_must_be_above_zero(radius):
    with pytest.raises(InputError, match="radius"):
        AgentGraph.radius([[0, 0], [1, 1]], radius)


@pytest.mark.parametrize("pos", [[0.0, 1.0], [[0.0, 1.0, 2.0]], [[0.0, math.nan]], [[math.inf, 0.0]]])
def test_positions_must_be_finite_pairs(pos):
    for build in (AgentGraph.radius, AgentGraph.regions):
        with pytest.raises(InputError, match="pos"):
            build(pos, 1.0)


def test_square_regions_overlap_at_the_corner_where_circles_do_not():
    centres = [[0.0, 0.0], [1.5, 1.5], [3.4, 1.5]]
    assert edges_of(AgentGraph.regions(centres, 1.0, "square")) == [(0, 1), (1, 2)]
    assert edges_of(AgentGraph.regions(centres, 1.0, "circle")) == [(1, 2)]


@pytest.mark.parametrize("shape", ["square", "circle"])
def test_regions_that_only_touch_do_not_overlap(shape):
    assert edges_of(AgentGraph.regions([[0, 0], [2, 0], [3.99, 0]], 1.0, shape)) == [(1, 2)]


def test_regions_on_the_line_of_the_navigation_figures_reach_two_to_either_side():
    graph = AgentGraph.regions([[0.75 * i, 0.0] for i in range(5)], 1.0)
    assert edges_of(graph) == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4)]


def test_single_region_stands_alone():
    graph = AgentGraph.regions([[3.0, 4.0]], 1.0)
    assert (graph.n_agents, graph.n_edges) == (1, 0)


def test_unknown_region_shape_is_refused():
    with pytest.raises(InputError, match="shape"):
        AgentGraph.regions([[0, 0], [1, 1]], 1.0, "triangle")


def test_no_positions_make_no_graph():
    with pytest.raises(InputError, match="pos"):
        AgentGraph.radius(np.zeros((0, 2)), 1.0)


@pytest.mark.parametrize(
    "edges", [[(0, 1), (2, 1)], [(0, 1), (1, 0), (1, 2), (2, 1)], [[1, 0], [1, 0], [2, 1]], iter([(1, 2), (0, 1)])]
)
def test_edges_may_come_in_one_or_both_directions_and_twice(edges):
    graph = AgentGraph.from_edges(3, edges, agent_type=[0, 1, 0], pos=[[0, 0], [1, 0], [2, 0]])
    assert edges_of(graph) == [(0, 1), (1, 2)]
    assert graph.agent_type.tolist() == [0, 1, 0]
    assert graph.agent_type.dtype == torch.int64
    assert graph.pos.dtype == torch.float32


def test_agents_without_edges_count():
    graph = AgentGraph.from_edges(4, [(0, 1)])
    assert graph.n_agents == 4
    assert graph.degree.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([(0, 0)], r"edges: expected no self loops, got \[0, 0\]"),
        ([(0, 1), (1, 3)], r"edges: expected agent numbers 0 … 2, got \[1, 3\]"),
        ([(0, 1), (-1, 2)], r"edges: expected agent numbers 0 … 2, got \[-1, 2\]"),
        ([(0, 1, 2)], "edges: expected pairs"),
        ([(0,)], "edges: expected pairs"),
        ([0, 1], "edges: expected pairs"),
        ([("a", "b")], "edges: expected pairs"),
        (5, "edges: expected pairs"),
    ],
)
def test_impossible_edges_are_refused(edges, message):
    with pytest.raises(InputError, match=message):
        AgentGraph.from_edges(3, edges)


def test_fractions_are_no_agent_numbers():
    with pytest.raises(InputError, match="edges"):
        AgentGraph.from_edges(3, [(0.5, 1.7)])


@pytest.mark.parametrize("agent", [math.inf, 10**30])
def test_numbers_beyond_int64_are_no_agents(agent):
    with pytest.raises(InputError, match="edges"):
        AgentGraph.from_edges(3, [(0, agent)])


@pytest.mark.parametrize(
    ("agent_type", "allowed"), [([0, 2, 0], False), ([0, 1], False), ([1, 1, 1], False), ([0, 1, 2], True)]
)
def test_agent_types_number_every_agent_from_zero_without_gaps(agent_type, allowed):
    if allowed:
        assert AgentGraph.from_edges(3, [(0, 1)], agent_type=agent_type).agent_type.tolist() == agent_type
    else:
        with pytest.raises(InputError, match="agent_type"):
            AgentGraph.from_edges(3, [(0, 1)], agent_type=agent_type)


def test_negative_agent_types_are_refused():
    with pytest.raises(InputError, match="agent_type"):
        AgentGraph.from_edges(3, [(0, 1)], agent_type=[-5, -5, -5])


@pytest.mark.parametrize("pos", [[[0, 0], [1, 0]], [0, 1, 2]])
def test_positions_must_fit_the_agents(pos):
    with pytest.raises(InputError, match=r"pos: expected finite positions of shape"):
        AgentGraph.from_edges(3, [(0, 1)], pos=pos)


def test_positions_in_three_dimensions_are_refused():
    with pytest.raises(InputError, match=r"pos: expected finite positions of shape"):
        AgentGraph.from_edges(2, [(0, 1)], pos=[[0, 0, 0], [1, 1, 1]])


# ------------------------------------------------------------ PyG and networkx


def test_graph_is_pyg_data_that_batches_and_comes_back():
    first, second = AgentGraph.line(3), AgentGraph.ring(4)
    assert isinstance(first, Data)
    batch = Batch.from_data_list([first, second])
    assert batch.num_nodes == 7
    assert batch.batch.tolist() == [0, 0, 0, 1, 1, 1, 1]
    expected = torch.cat([first.edge_index, second.edge_index + 3], dim=1)
    assert torch.equal(batch.edge_index, expected)
    back = batch.to_data_list()[1]
    assert isinstance(back, AgentGraph)
    assert back.n_agents == 4
    assert edges_of(back) == edges_of(second)


def test_pyg_loader_hands_out_batches_of_graphs():
    batches = list(DataLoader([AgentGraph.line(2), AgentGraph.line(3), AgentGraph.empty(4)], batch_size=2))
    assert [batch.num_nodes for batch in batches] == [5, 4]
    assert [batch.num_edges for batch in batches] == [6, 0]


def test_pyg_convolution_averages_over_the_edges():
    graph = AgentGraph.line(3)
    layer = GCNConv(1, 1, bias=False)
    torch.nn.init.ones_(layer.lin.weight)
    result = layer(torch.tensor([[1.0], [10.0], [100.0]]), graph.edge_index)
    ends, cross = 1 / 2, 1 / math.sqrt(6)
    expected = [ends * 1 + cross * 10, cross * 1 + 10 / 3 + cross * 100, cross * 10 + ends * 100]
    assert result.squeeze(1).tolist() == pytest.approx(expected, rel=1e-5)


def test_pyg_transforms_keep_the_kind_of_graph():
    graph = AgentGraph.ring(5)
    same = ToUndirected()(graph.clone())
    assert isinstance(same, AgentGraph)
    assert torch.equal(same.edge_index, graph.edge_index)
    looped = AddSelfLoops()(graph.clone())
    assert looped.edge_index.size(1) == 10 + 5
    assert not looped.validate(raise_on_error=False)


def test_one_way_edges_become_valid_by_pygs_own_transform():
    graph = AgentGraph(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
    assert not graph.validate(raise_on_error=False)
    fixed = ToUndirected()(graph)
    assert fixed.validate()
    assert edges_of(fixed) == [(0, 1), (1, 2)]


def test_networkx_nodes_with_names_are_numbered_in_order_and_keep_their_names():
    source = nx.Graph()
    source.add_node("west", pos=(0.0, 0.0), agent_type=1)
    source.add_node("mid", pos=(1.0, 0.0), agent_type=0)
    source.add_node("east", pos=(2.0, 1.0), agent_type=1)
    source.add_edges_from([("east", "mid"), ("mid", "west")])
    graph = AgentGraph.from_networkx(source)
    assert edges_of(graph) == [(0, 1), (1, 2)]
    assert graph.agent_name == ["west", "mid", "east"]
    assert graph.pos.tolist() == [[0.0, 0.0], [1.0, 0.0], [2.0, 1.0]]
    assert graph.agent_type.tolist() == [1, 0, 1]
    assert dict(graph.to_networkx().nodes(data="agent_name")) == {0: "west", 1: "mid", 2: "east"}


def test_networkx_nodes_zero_to_n_keep_their_numbers_in_whatever_order_they_were_added():
    source = nx.Graph([(2, 0), (0, 1)])
    assert list(source.nodes) == [2, 0, 1]
    nx.set_node_attributes(source, {i: float(i) for i in range(3)}, "x")
    nx.set_node_attributes(source, 0.5, "y")
    graph = AgentGraph.from_networkx(source)
    assert edges_of(graph) == [(0, 1), (0, 2)]
    assert graph.pos.tolist() == [[0.0, 0.5], [1.0, 0.5], [2.0, 0.5]]
    assert "agent_name" not in graph


def test_networkx_attributes_that_some_nodes_lack_are_left_out():
    source = nx.path_graph(3)
    source.nodes[0].update(pos=(0.0, 0.0), agent_type=0)
    graph = AgentGraph.from_networkx(source)
    assert graph.pos is None
    assert "agent_type" not in graph


def test_directed_networkx_graph_loses_its_directions():
    assert edges_of(AgentGraph.from_networkx(nx.DiGraph([(1, 0), (1, 2), (2, 1)]))) == [(0, 1), (1, 2)]


def test_parallel_networkx_edges_count_once():
    assert edges_of(AgentGraph.from_networkx(nx.MultiGraph([(0, 1), (0, 1), (1, 2)]))) == [(0, 1), (1, 2)]


def test_networkx_graph_without_nodes_or_with_loops_is_refused():
    with pytest.raises(InputError, match="at least one agent"):
        AgentGraph.from_networkx(nx.Graph())
    with pytest.raises(InputError, match="self loops"):
        AgentGraph.from_networkx(nx.Graph([(0, 1), (1, 1)]))


@settings(max_examples=30, deadline=None)
@given(small_graphs())
def test_networkx_round_trip_keeps_agents_and_edges(drawn):
    n, edges = drawn
    graph = AgentGraph.from_edges(n, edges, pos=[[i / 2, -i] for i in range(n)], agent_type=[0] * n)
    back = AgentGraph.from_networkx(graph.to_networkx())
    assert back.n_agents == n
    assert edges_of(back) == sorted(edges)
    assert torch.equal(back.pos, graph.pos)
    assert torch.equal(back.agent_type, graph.agent_type)


# -------------------------------------------------------------------- files


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
def test_edge_list_has_one_pair_a_line(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert edges_of(AgentGraph.from_file(tmp_path / name)) == [(0, 1), (1, 2)]


@pytest.mark.parametrize("edges_key", ["edges", "links"])
def test_node_link_json_is_read_with_its_names(tmp_path, edges_key):
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


# --------------------------------------------------------------- neighbours


def test_khop_of_a_line_by_hand():
    distance = AgentGraph.line(5).khop(2)
    assert distance.dtype == np.int32
    assert distance.toarray().tolist() == [
        [1, 2, 3, 0, 0],
        [2, 1, 2, 3, 0],
        [3, 2, 1, 2, 3],
        [0, 3, 2, 1, 2],
        [0, 0, 3, 2, 1],
    ]


def test_khop_of_blocks_takes_the_distance_to_the_nearest_member():
    distance = AgentGraph.line(6).khop(1, [[0, 3], [1], [4, 5, 2]])
    assert distance.toarray().tolist() == [[1, 2, 2, 1, 2, 0], [2, 1, 2, 0, 0, 0], [0, 2, 1, 2, 1, 1]]


def test_khop_zero_is_the_block_itself():
    assert AgentGraph.complete(3).khop(0).toarray().tolist() == np.eye(3).tolist()


def test_neighbourhood_lists_agents_within_kappa_around_a_rings_seam():
    assert AgentGraph.ring(6).neighbourhood(0, 2) == [0, 1, 2, 4, 5]


@settings(max_examples=60, deadline=None)
@given(small_graphs(), st.integers(0, 4), st.data())
def test_khop_equals_networkx_shortest_paths(drawn, kappa, data):
    n, edges = drawn
    graph = AgentGraph.from_edges(n, edges)
    blocks = None
    if data.draw(st.booleans(), "with blocks"):
        block_of = data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
        blocks = [[i for i in range(n) if block_of[i] == b] for b in sorted(set(block_of))]
    lengths = dict(nx.all_pairs_shortest_path_length(graph.to_networkx()))
    expected = []
    for block in [[i] for i in range(n)] if blocks is None else blocks:
        hops = [min(lengths[j].get(i, math.inf) for j in block) for i in range(n)]
        expected.append([1 + hop if hop <= kappa else 0 for hop in hops])
    result = graph.khop(kappa, blocks)
    assert result.toarray().tolist() == expected
    assert result.nnz == np.count_nonzero(expected)
    assert result.has_sorted_indices


@settings(max_examples=30, deadline=None)
@given(small_graphs(), st.integers(0, 3), st.randoms(use_true_random=False))
def test_khop_follows_a_renumbering_of_the_agents(drawn, kappa, random):
    n, edges = drawn
    new = random.sample(range(n), n)
    before = AgentGraph.from_edges(n, edges).khop(kappa).toarray()
    after = AgentGraph.from_edges(n, [(new[a], new[b]) for a, b in edges]).khop(kappa).toarray()
    assert np.array_equal(after[np.ix_(new, new)], before)


def test_khop_of_a_long_line_stays_sparse():
    n = 20_000
    result = AgentGraph.line(n).khop(3)
    assert result.shape == (n, n)
    assert result.nnz == 7 * n - 2 * (3 + 2 + 1)
    middle = result[[n // 2]]
    assert middle.indices.tolist() == list(range(n // 2 - 3, n // 2 + 4))
    assert middle.data.tolist() == [4, 3, 2, 1, 2, 3, 4]


@pytest.mark.parametrize("kappa", [-1, 1.0, "1"])
def test_khop_refuses_an_impossible_kappa(kappa):
    with pytest.raises(InputError, match="kappa"):
        AgentGraph.line(3).khop(kappa)


@pytest.mark.parametrize("agent", [-1, 3])
def test_neighbourhood_of_an_unknown_agent_is_refused(agent):
    with pytest.raises(InputError, match="agent: expected a whole number from 0 to 2"):
        AgentGraph.line(3).neighbourhood(agent, 1)


# --------------------------------------------------------------- validation


@pytest.mark.parametrize(
    ("edge_index", "message"),
    [
        ([[0, 1, 2], [1, 0, 2]], "no self loops"),
        ([[0, 3], [3, 0]], r"agent numbers 0 … 2, got \[0, 3\]"),
        ([[0, -1], [-1, 0]], "agent numbers 0 … 2"),
        ([[0, 1, 1], [1, 0, 2]], "one-way or repeated edge"),
        ([[0, 1, 0, 1], [1, 0, 1, 0]], "one-way or repeated edge"),
        ([[0, 1]], r"int64 of shape \[2, E\]"),
        ([0, 1], r"int64 of shape \[2, E\]"),
        ([[0.0, 1.0], [1.0, 0.0]], r"int64 of shape \[2, E\], got torch.float32"),
    ],
)
def test_validate_finds_what_is_wrong_with_edges(edge_index, message):
    graph = AgentGraph(edge_index=torch.tensor(edge_index), num_nodes=3)
    with pytest.raises(InputError, match=f"edge_index: expected .*{message}"):
        graph.validate()
    assert not graph.validate(raise_on_error=False)


def test_validate_accepts_edges_in_any_order():
    assert AgentGraph(edge_index=torch.tensor([[2, 0, 1, 1], [1, 1, 2, 0]]), num_nodes=3).validate()


def test_validate_finds_types_that_do_not_fit():
    graph = AgentGraph.line(3)
    graph.agent_type = torch.tensor([0, 2, 2])
    with pytest.raises(InputError, match="agent_type: expected 3 int64 types numbered 0, 1, … without gaps"):
        graph.validate()


def test_validate_finds_types_that_are_no_whole_numbers():
    graph = AgentGraph.line(2)
    graph.agent_type = torch.tensor([0.0, 1.0])
    with pytest.raises(InputError, match="agent_type"):
        graph.validate()
