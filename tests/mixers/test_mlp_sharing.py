"""Which blocks share a network of the masked MLP mixer, what their values depend on, and how many parameters it has."""

import numpy as np
import pytest
import torch

from lomaq.graphs import AgentGraph, Partition, ego_classes
from lomaq.mixers import MaskedMLPMixer


def n_parameters(mixer):
    return sum(parameter.numel() for parameter in mixer.parameters())


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
