"""On whom a block depends: shared weights, and weights that decay with distance."""

import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import GCNMixer, MaskedMLPMixer
from lomaq.nn.monotone import DECAY

GRAPHS = {"ring": AgentGraph.ring(6), "star": AgentGraph.star(5), "grid": AgentGraph.grid(2, 3)}
every_graph = pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)


def jacobian(mixer, utilities):
    return torch.autograd.functional.jacobian(mixer, utilities)  # [P, N]


def random_weights(mixer):
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return mixer


@every_graph
@pytest.mark.parametrize("share", ["ego", "all", "none"])
def test_with_shared_weights_a_block_depends_equally_on_its_receptive_field(graph, share):
    n = graph.n_agents
    mixer = random_weights(MaskedMLPMixer(graph, Partition.singletons(n), 1, 8, share=share, weight_sharing=1.0))
    slopes = jacobian(mixer, torch.randn(n, generator=torch.Generator().manual_seed(0)))
    for block in range(n):
        seen = graph.neighbourhood(block, 1)
        torch.testing.assert_close(slopes[block, seen], slopes[block, seen[0]].expand(len(seen)))


@every_graph
def test_with_shared_weights_a_block_is_a_function_of_the_sum_of_its_inputs(graph):
    n = graph.n_agents
    mixer = random_weights(MaskedMLPMixer(graph, Partition.singletons(n), 1, 8, weight_sharing=1.0))
    utilities = torch.randn(n, generator=torch.Generator().manual_seed(0))
    moved = utilities.clone()
    moved[0] += 0.5
    moved[1] -= 0.5  # 0 and 1 are neighbours
    both = [block for block in range(n) if {0, 1} <= set(graph.neighbourhood(block, 1))]
    torch.testing.assert_close(mixer(moved)[both], mixer(utilities)[both])


def test_weight_sharing_is_a_straight_line_between_free_and_equal_weights():
    ring, one = AgentGraph.ring(5), Partition.singletons(5)
    utilities = torch.full((5,), 3.0)
    slopes = {}
    for share in (0.0, 0.5, 1.0):
        mixer = MaskedMLPMixer(ring, one, 1, 8, weight_sharing=share)
        with torch.no_grad():
            mixer.w1.copy_(torch.tensor([[0.6], [0.2], [0.1]]).expand(3, 8))
            mixer.w2.fill_(0.1)
            mixer.w3.fill_(0.1)
        slopes[share] = jacobian(mixer, utilities)[0].sort().values[-3:] / (0.8 * 8 * 0.1)
    assert slopes[0.0].tolist() == pytest.approx([0.1, 0.2, 0.6], abs=1e-5)
    assert slopes[0.5].tolist() == pytest.approx([0.2, 0.25, 0.45], abs=1e-5)
    assert slopes[1.0].tolist() == pytest.approx([0.3, 0.3, 0.3], abs=1e-5)


def test_a_gcn_of_shared_weights_on_a_ring_depends_equally_on_itself_and_its_neighbours():
    ring = AgentGraph.ring(6)
    mixer = random_weights(GCNMixer(ring, Partition.singletons(6), 1, 8, weight_sharing=1.0))
    slopes = jacobian(mixer, torch.randn(6, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(slopes[2, [1, 2, 3]], slopes[2, 2].expand(3))
    assert slopes[2, [0, 4, 5]].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("mixer", [MaskedMLPMixer, GCNMixer])
@pytest.mark.parametrize("share", [-0.1, 1.5, "much"])
def test_weight_sharing_must_lie_between_zero_and_one(mixer, share):
    with pytest.raises(InputError, match=r"mixer\.weight_sharing"):
        mixer(AgentGraph.line(3), Partition.singletons(3), 1, 8, weight_sharing=share)


@pytest.mark.parametrize("share", ["ego", "all", "none"])
def test_with_decayed_weights_a_block_depends_on_its_own_agents_most(share):
    torch.manual_seed(0)
    line = AgentGraph.line(7)
    mixer = MaskedMLPMixer(line, Partition.singletons(7), 2, 256, share=share, init="decayed")
    slopes = jacobian(mixer, torch.full((7,), 5.0))[3]
    own, near, far = slopes[3], slopes[[2, 4]].mean(), slopes[[1, 5]].mean()
    one_hop, two_hops = (1, 1) if share != "all" else (1 / 2, 1 / 2)  # there, a weight is for the mean at a distance
    assert near / own == pytest.approx(DECAY * one_hop, rel=0.2)
    assert far / own == pytest.approx(DECAY**2 * two_hops, rel=0.2)


def test_with_the_decayed_start_a_convolution_passes_less_on_than_it_keeps():
    torch.manual_seed(0)
    convolution = GCNMixer(AgentGraph.line(4), Partition.singletons(4), 1, 512, init="decayed").convolutions[0]
    ratio = convolution.around.mean().item() / convolution.self.mean().item()
    assert ratio == pytest.approx(DECAY, rel=0.2)
