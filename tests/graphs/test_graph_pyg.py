"""A graph of agents as PyG data: batches, convolutions, transforms, and what ``validate`` finds."""

import math

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv
from torch_geometric.transforms import AddSelfLoops, ToUndirected

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph


def test_graph_is_pyg_data_that_batches_and_comes_back(edges_of):
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


def test_one_way_edges_become_valid_by_pygs_own_transform(edges_of):
    graph = AgentGraph(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
    assert not graph.validate(raise_on_error=False)
    fixed = ToUndirected()(graph)
    assert fixed.validate()
    assert edges_of(fixed) == [(0, 1), (1, 2)]


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
