import numpy as np
import pytest
import torch

from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import GCNMixer

HALF, SIXTH, THIRD = 1 / 2, 1 / 6**0.5, 1 / 3
# (D + I)^-1/2 (A + I) (D + I)^-1/2 of a line of four: ends have 2 agents around them (themselves included), others 3
LINE = np.array(
    [
        [HALF, SIXTH, 0, 0],
        [SIXTH, THIRD, THIRD, 0],
        [0, THIRD, THIRD, SIXTH],
        [0, 0, SIXTH, HALF],
    ]
)


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def act(x, activation):
    if activation == "elu":
        return elu(x)
    half = x.shape[-1] // 2
    return np.concatenate([elu(x[..., :half]), -elu(-x[..., half:])], axis=-1)


def normalised(graph):
    """The same matrix for any graph, dense."""
    joined = np.eye(graph.n_agents)
    joined[tuple(graph.edge_index.numpy())] = 1
    root = 1 / np.sqrt(joined.sum(axis=1))
    return root[:, None] * joined * root[None, :]


def numbers(mixer):
    return {name: parameter.detach().double().numpy() for name, parameter in mixer.named_parameters()}


def dense_values(mixer, graph, partition, utilities):
    """The whole mixer with dense matrices: ``[M, N]`` → ``[M, P]``."""
    p, adjacency = numbers(mixer), normalised(graph)
    if mixer.monotonicity == "reparametrisation":
        p = {name: value if name.split(".")[-1] in ("bias", "b1", "b2") else np.abs(value) for name, value in p.items()}
    values = []
    for sample in utilities:
        x = sample[:, None]  # [N, 1]
        for layer in range(mixer.kappa):
            around, own, bias = (p[f"convolutions.{layer}.{name}"] for name in ("around", "self", "bias"))
            x = act(adjacency @ x @ around + x @ own + bias, mixer.activation)
        x = np.stack([x[list(block)].mean(axis=0) for block in partition.blocks])  # [P, H]
        x = act(x @ p["w1"] + p["b1"], mixer.activation) @ p["w2"] + p["b2"]
        sizes = np.array([len(block) for block in partition.blocks])
        values.append(x[:, 0] * sizes / sizes.mean())
    return np.stack(values)


def randomise_(mixer, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    mixer.project_()


def test_adjacency_of_a_line_of_four_is_normalised_with_self_loops():
    mixer = GCNMixer(AgentGraph.line(4), Partition.singletons(4), 1)
    np.testing.assert_allclose(mixer._adjacency.to_dense(), LINE, rtol=1e-6)
    np.testing.assert_allclose(normalised(AgentGraph.line(4)), LINE)


def test_an_agent_without_neighbours_sees_itself_in_full():
    mixer = GCNMixer(AgentGraph.from_edges(3, [(0, 1)]), Partition.singletons(3), 1)
    np.testing.assert_allclose(mixer._adjacency.to_dense(), [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]])
    empty = GCNMixer(AgentGraph.empty(3), Partition.singletons(3), 1)
    np.testing.assert_allclose(empty._adjacency.to_dense(), np.eye(3))


@pytest.mark.parametrize("activation", ["elu", "split"])
@pytest.mark.parametrize("monotonicity", ["projection", "reparametrisation"])
@pytest.mark.parametrize("weight_sharing", [0.0, 0.25, 1.0])
def test_one_convolution_is_its_equation(monotonicity, activation, weight_sharing):
    mixer = GCNMixer(AgentGraph.line(4), Partition.singletons(4), 2, 6, monotonicity, activation)
    randomise_(mixer, 0)
    layer = mixer.convolutions[1]
    x = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(1))  # [N, M, F]
    result = layer(x, mixer._adjacency, monotonicity, activation, weight_sharing)
    p = {name: value.detach().double().numpy() for name, value in layer.named_parameters()}
    if monotonicity == "reparametrisation":
        p["around"], p["self"] = np.abs(p["around"]), np.abs(p["self"])
    for sample in range(3):
        here = x[:, sample].double().numpy()
        inner = (1 + weight_sharing) * LINE @ here @ p["around"] + (1 - weight_sharing) * here @ p["self"] + p["bias"]
        expected = act(inner, activation)
        np.testing.assert_allclose(result[:, sample].detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ["elu", "split"])
@pytest.mark.parametrize("monotonicity", ["projection", "reparametrisation"])
@pytest.mark.parametrize("kappa", [0, 2])
@pytest.mark.parametrize("spec", ["singletons", "pairs", "full", [[0, 3], [1], [2, 4]]])
def test_values_equal_dense_matrices(monotonicity, activation, kappa, spec):
    graph = AgentGraph.from_edges(5, [(0, 1), (0, 2), (1, 2), (2, 3), (3, 4)])
    partition = Partition.from_spec(spec, graph)
    mixer = GCNMixer(graph, partition, kappa, 4, monotonicity, activation)
    randomise_(mixer, kappa)
    utilities = torch.randn(3, 5, generator=torch.Generator().manual_seed(2))
    expected = dense_values(mixer, graph, partition, utilities.double().numpy())
    np.testing.assert_allclose(mixer(utilities).detach(), expected, rtol=1e-4, atol=1e-4)


def test_a_line_of_three_by_hand():
    mixer = GCNMixer(AgentGraph.line(3), Partition.singletons(3), 1, 2)
    p = {
        "convolutions.0.around": [[1.0, 0.0]],
        "convolutions.0.self": [[0.0, 2.0]],
        "convolutions.0.bias": [0.0, 1.0],
        "w1": [[1.0, 0.0], [0.0, 1.0]],
        "w2": [[6.0], [1.0]],
        "b1": [0.0, 0.0],
        "b2": [-1.0],
    }
    mixer.load_state_dict({name: torch.tensor(value) for name, value in p.items()})
    # the middle agent: 6 (3/3 + (2 + 4) / √6) + (2·3 + 1) - 1; the ends: 6 (u/2 + 3/√6) + 2u + 1 - 1
    root = 6**0.5
    expected = [6 * (1 + 3 / root) + 4, 6 * (1 + 6 / root) + 6, 6 * (2 + 3 / root) + 8]
    np.testing.assert_allclose(mixer(torch.tensor([2.0, 3.0, 4.0])).detach(), expected, rtol=1e-6)


def test_the_number_of_parameters_depends_on_kappa_and_width_only():
    def count(graph, kappa):
        mixer = GCNMixer(graph, Partition.singletons(graph.n_agents), kappa, 4)
        return sum(parameter.numel() for parameter in mixer.parameters())

    # first convolution 1 → 4, second 4 → 4 (two matrices and a bias each), read-out 4 → 4 → 1
    assert count(AgentGraph.line(5), 2) == count(AgentGraph.star(30), 2) == 12 + 36 + 20 + 5
    assert count(AgentGraph.line(5), 0) == (4 + 4) + 5


def test_without_convolutions_an_agent_is_valued_by_its_own_utility_only():
    torch.manual_seed(0)
    mixer = GCNMixer(AgentGraph.complete(3), Partition.singletons(3), 0, 4)
    one, two = mixer(torch.tensor([1.0, 2.0, 3.0])), mixer(torch.tensor([1.0, -5.0, 3.0]))
    torch.testing.assert_close(one[[0, 2]], two[[0, 2]])
    assert not torch.isclose(one[1], two[1])


def test_the_adjacency_stays_sparse_on_a_long_line():
    mixer = GCNMixer(AgentGraph.line(500), Partition.singletons(500), 2, 4)
    assert mixer._adjacency.layout == torch.sparse_csr
    assert mixer._adjacency.values().numel() == 500 + 2 * 499
