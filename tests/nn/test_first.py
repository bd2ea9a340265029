import pytest
import torch

from lomaq.graphs import AgentGraph
from lomaq.nn import Utilities
from lomaq.nn.first import FirstLayer

N, OBS = 4, 3


def test_columns_of_the_agents_are_added_as_their_one_hot_numbers_would_be():
    linear = torch.nn.Linear(OBS + N, 5)
    agents = torch.tensor([2, 0])
    x = torch.randn(6, 2, OBS)
    shown = torch.cat([x, torch.eye(N)[agents].expand(6, -1, -1)], dim=-1)
    expected = linear(shown)
    result = FirstLayer(linear, agents, N)(x)
    torch.testing.assert_close(result, expected)
    wanted = torch.autograd.grad(expected.square().sum(), linear.parameters())
    torch.testing.assert_close(torch.autograd.grad(result.square().sum(), linear.parameters()), wanted)


def test_other_agents_can_be_named():
    layer = FirstLayer(torch.nn.Linear(OBS + N, 5), torch.arange(N), N)
    x = torch.randn(N, OBS)
    assert torch.equal(layer(x[:1], torch.tensor([3])), layer(x[[0, 0, 0, 0]])[3:])


def test_without_numbers_it_is_the_layer_itself():
    linear = torch.nn.Linear(OBS, 5)
    x = torch.randn(6, 2, OBS)
    torch.testing.assert_close(FirstLayer(linear, None, N)(x), linear(x))


@pytest.mark.parametrize("agent_type", [None, [0, 1, 1, 0]])
@pytest.mark.parametrize("network", ["mlp", "gru"])
def test_utilities_keep_the_parameters_that_one_hot_numbers_had(network, agent_type):
    graph = AgentGraph.from_edges(N, [(0, 1)], agent_type=agent_type)
    utilities = Utilities(graph, OBS, 2, network, hidden=(8, 6), agent_id=True)
    assert utilities.state_dict()["networks.0.body.0.weight"].shape == (8, OBS + N)
    observations = torch.randn(1, 2, N, OBS)
    sequence = torch.full((1, 2, N), -1), torch.ones(1, 2, dtype=torch.bool), utilities.initial_hidden(2, "cpu")
    values, _ = utilities(observations, *sequence)
    for agent in range(N):
        plain = Utilities(AgentGraph.empty(1), OBS + N, 2, network, hidden=(8, 6))
        plain.networks[0].load_state_dict(utilities.networks[graph.types[agent]].state_dict())
        seen = torch.cat([observations[:, :, agent], torch.eye(N)[agent].expand(1, 2, -1)], dim=-1)[:, :, None]
        expected, _ = plain(seen, sequence[0][..., :1], sequence[1], plain.initial_hidden(2, "cpu"))
        torch.testing.assert_close(values[:, :, agent], expected[:, :, 0])


def test_many_agents_take_no_square_of_their_number():
    utilities = Utilities(AgentGraph.empty(20_000), OBS, 2, hidden=(8,), agent_id=True)  # one-hot: 1.6 GB
    assert sum(buffer.numel() for buffer in utilities.buffers()) < 100_000
    assert utilities.act(torch.randn(1, 20_000, OBS), utilities.initial_state(1, torch.device("cpu"))).shape == (
        1,
        20_000,
    )
