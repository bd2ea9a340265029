import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.ego import ego_classes
from lomaq.graph import AgentGraph
from lomaq.mixers import MaskedMLPMixer
from lomaq.partition import Partition

SHARES = ("ego", "all", "none")


def n_parameters(mixer):
    return sum(parameter.numel() for parameter in mixer.parameters())


def act(x, activation):
    """ELU or its split on a list of numbers."""

    def elu(z):
        return z if z > 0 else math.exp(z) - 1

    if activation == "elu":
        return [elu(z) for z in x]
    half = len(x) // 2
    return [elu(z) for z in x[:half]] + [-elu(-z) for z in x[half:]]


def slow_values(mixer, graph, partition, utilities):
    """Every block on its own, number by number."""
    sign = np.abs if mixer.monotonicity == "reparametrisation" else np.asarray
    w1, w2, w3 = (sign(w.detach().double().numpy()) for w in (mixer.w1, mixer.w2, mixer.w3))
    b1, b2, b3 = (b.detach().double().numpy() for b in (mixer.b1, mixer.b2, mixer.b3))
    ego = ego_classes(graph, partition.blocks, mixer.kappa)
    mean_size = graph.n_agents / partition.n_blocks
    rows_of = {}  # first-layer rows of each network, one behind the other
    for block in range(partition.n_blocks):
        network = {"ego": ego.class_of[block], "none": block, "all": 0}[mixer.share]
        rows_of.setdefault(network, ego.widths[block])
    values = []
    for block in range(partition.n_blocks):
        slots = range(ego.start[block], ego.start[block + 1])
        agents, hops = ego.agents[slots], ego.distance[slots]
        if mixer.share == "all":
            network = 0
            seen = [(hop, np.mean(utilities[agents[hops == hop]])) for hop in np.unique(hops)]
        else:
            network = ego.class_of[block] if mixer.share == "ego" else block
            begin = sum(rows_of[earlier] for earlier in range(network))
            seen = [(begin + slot, utilities[agent]) for slot, agent in enumerate(agents)]
        x = b1[network].copy()
        for row, utility in seen:
            x += w1[row] * utility
        x = np.array(act(x, mixer.activation))
        x = np.array(act(b2[network] + x @ w2[network], mixer.activation))
        values.append((b3[network] + x @ w3[network]) * len(partition.blocks[block]) / mean_size)
    return values


GRAPHS = {
    "line": AgentGraph.line(5),
    "star": AgentGraph.star(6),
    "grid": AgentGraph.grid(2, 3),
    "kite": AgentGraph.from_edges(5, [(0, 1), (0, 2), (1, 2), (2, 3), (3, 4)]),
}


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", GRAPHS)
@settings(max_examples=8, deadline=None)
@given(
    spec=st.sampled_from(["singletons", "pairs", "full", "communities"]),
    kappa=st.integers(0, 3),
    activation=st.sampled_from(["elu", "split"]),
    monotonicity=st.sampled_from(["projection", "reparametrisation"]),
    seed=st.integers(0, 1000),
)
def test_values_equal_a_loop_over_blocks(share, name, spec, kappa, activation, monotonicity, seed):
    graph = GRAPHS[name]
    partition = Partition.from_spec(spec, graph)
    mixer = MaskedMLPMixer(graph, partition, kappa, 4, share, monotonicity, activation)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    mixer.project_()
    utilities = torch.randn(graph.n_agents, generator=generator)
    expected = slow_values(mixer, graph, partition, utilities.double().numpy())
    np.testing.assert_allclose(mixer(utilities).detach(), expected, rtol=1e-4, atol=1e-4)


def test_two_agents_by_hand():
    mixer = MaskedMLPMixer(AgentGraph.line(2), Partition.full(2), 0, 2)
    numbers = {
        "w1": [[1.0, 0.0], [2.0, 1.0]],
        "b1": [[0.0, -1.0]],
        "w2": [[[1.0, 0.5], [0.0, 1.0]]],
        "b2": [[0.0, 0.0]],
        "w3": [[1.0, 2.0]],
        "b3": [0.25],
    }
    mixer.load_state_dict({name: torch.tensor(value) for name, value in numbers.items()})
    # first layer: 1·3 + 2·2 = 7 and 1·2 - 1 = 1; second: 7 and 0.5·7 + 1 = 4.5; value: 7 + 2·4.5 + 0.25
    assert mixer(torch.tensor([3.0, 2.0])).item() == 16.25


@pytest.mark.parametrize(
    ("graph", "spec", "kappa"),
    [
        (AgentGraph.line(6), "singletons", 1),
        (AgentGraph.ring(6), "singletons", 2),
        (AgentGraph.ring(6), "pairs", 1),
        (AgentGraph.star(5), "singletons", 2),
        (AgentGraph.grid(3, 3), "singletons", 1),
    ],
)
def test_blocks_of_one_class_are_one_function_of_their_slots(graph, spec, kappa):
    torch.manual_seed(0)
    partition = Partition.from_spec(spec, graph)
    mixer = MaskedMLPMixer(graph, partition, kappa, 4)
    ego = ego_classes(graph, partition.blocks, kappa)
    assert ego.n_classes < partition.n_blocks
    for name in ("w2", "w3", "b1", "b2", "b3"):
        assert len(mixer.get_parameter(name)) == ego.n_classes
    for members in (np.flatnonzero(ego.class_of == number) for number in range(ego.n_classes)):
        role = torch.randn(ego.widths[members[0]])
        values = []
        for block in members:
            utilities = torch.randn(graph.n_agents)  # whatever the others do
            utilities[ego.agents[ego.start[block] : ego.start[block + 1]]] = role
            values.append(mixer(utilities)[block])
        torch.testing.assert_close(torch.stack(values), values[0].expand(len(values)))


@pytest.mark.parametrize("kappa", [0, 1, 2])
def test_rotating_a_ring_rotates_the_values_of_one_network_for_all(kappa):
    torch.manual_seed(0)
    mixer = MaskedMLPMixer(AgentGraph.ring(5), Partition.singletons(5), kappa, 4, "all")
    utilities = torch.tensor([0.1, -2.0, 3.0, 0.5, -0.7])
    values = mixer(utilities)
    for by in range(1, 5):
        torch.testing.assert_close(mixer(utilities.roll(by)), values.roll(by))


def test_with_one_network_for_all_only_the_mean_at_each_distance_counts():
    torch.manual_seed(0)
    mixer = MaskedMLPMixer(AgentGraph.line(5), Partition.singletons(5), 2, 4, "all")
    middle = mixer(torch.tensor([1.0, 5.0, 2.0, 3.0, 4.0]))[2]
    torch.testing.assert_close(mixer(torch.tensor([2.5, 4.0, 2.0, 4.0, 2.5]))[2], middle)
    assert not torch.isclose(mixer(torch.tensor([2.5, 4.5, 2.0, 4.0, 2.5]))[2], middle)


def test_without_sharing_every_block_has_parameters_of_its_own():
    mixer = MaskedMLPMixer(AgentGraph.ring(4), Partition.singletons(4), 1, 4, "none")
    assert mixer.w1.shape == (4 * 3, 4)
    assert mixer.w2.shape == (4, 4, 4)
    for block in range(4):
        mixer.zero_grad()
        mixer(torch.randn(4))[block].backward()
        for name in ("w2", "w3", "b1", "b2", "b3"):
            touched = mixer.get_parameter(name).grad.flatten(1) if name != "b3" else mixer.b3.grad[:, None]
            assert touched.any(dim=1).nonzero().flatten().tolist() == [block]
        assert mixer.w1.grad.any(dim=1).nonzero().flatten().tolist() == [3 * block, 3 * block + 1, 3 * block + 2]


def test_on_a_line_shared_parameters_do_not_grow_with_the_number_of_agents():
    def count(n, share):
        return n_parameters(MaskedMLPMixer(AgentGraph.line(n), Partition.singletons(n), 1, 4, share))

    # two classes, ends (2 agents wide) and interior (3); a network of 4 units has 4·4 + 4 weights and 4 + 4 + 1 biases
    assert count(7, "ego") == count(20, "ego") == (2 + 3) * 4 + 2 * (20 + 9)
    assert count(7, "all") == count(20, "all") == 2 * 4 + 20 + 9
    assert count(7, "none") == (2 * 2 + 5 * 3) * 4 + 7 * (20 + 9)


def test_one_hub_does_not_pad_every_block():
    graph = AgentGraph.star(200)
    for share in SHARES:
        mixer = MaskedMLPMixer(graph, Partition.singletons(200), 1, 2, share)
        padded = sum(buffer.numel() for name, buffer in mixer.named_buffers() if name.startswith("_agent_"))
        seen = 200 + 199 * 2  # the hub sees all, a leaf itself and the hub
        assert seen <= padded < 4 * seen
        utilities = torch.linspace(-1, 1, 200)
        assert mixer(utilities).shape == (200,)


def test_blocks_of_many_widths_come_out_in_their_own_order():
    # hub 5 sees all of 0 … 8, agents 9, 10 and 11 hang on agent 8: widths from 2 to 9
    graph = AgentGraph.from_edges(12, [(5, i) for i in range(9) if i != 5] + [(8, 9), (9, 10), (10, 11)])
    torch.manual_seed(0)
    mixer = MaskedMLPMixer(graph, Partition.singletons(12), 1, 4, "none")
    assert mixer.n_bulks > 1
    utilities = torch.randn(12)
    expected = slow_values(mixer, graph, Partition.singletons(12), utilities.double().numpy())
    np.testing.assert_allclose(mixer(utilities).detach(), expected, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------- what it can represent

OR = torch.tensor([0.0, 1.0, 1.0, 1.0])  # payoffs of the joint actions 00, 01, 10, 11
JOINT = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])


def best_fit_of_or(activation, seed, steps=500):
    """Largest error over the four joint actions, with utilities and mixer learned together."""
    torch.manual_seed(seed)
    mixer = MaskedMLPMixer(AgentGraph.line(2), Partition.full(2), 1, 8, activation=activation)
    table = torch.nn.Parameter(torch.randn(2, 2))  # utility of each agent's two actions
    optimizer = torch.optim.Adam([table, *mixer.parameters()], lr=0.03)
    for _ in range(steps):
        utilities = torch.stack([table[0, JOINT[:, 0]], table[1, JOINT[:, 1]]], dim=-1)
        error = mixer(utilities)[:, 0] - OR
        optimizer.zero_grad()
        error.square().sum().backward()
        optimizer.step()
    return float(error.detach().abs().max())


def test_elu_alone_cannot_represent_substitutes():
    # convex and monotone implies F(11) - F(10) >= F(01) - F(00), so the best fit is 0.25, 0.75, 0.75, 1.25
    errors = [best_fit_of_or("elu", seed, steps=250) for seed in range(3)]
    assert min(errors) > 0.24
    assert min(errors) < 0.35  # and it has learned as much as it can


def test_split_represents_substitutes():
    assert min(best_fit_of_or("split", seed) for seed in range(3)) < 0.02
