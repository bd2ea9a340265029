import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.analysis.certificate.locality import locality, slopes
from lomaq.analysis.certificate.probe import Probe
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import GCNMixer, MaskedMLPMixer

GRAPHS = {
    "line": AgentGraph.line(9),
    "ring": AgentGraph.ring(9),
    "star": AgentGraph.star(6),
    "grid": AgentGraph.grid(3, 3),
}
KINDS = {
    "gcn": (GCNMixer, {}),
    "mlp-ego": (MaskedMLPMixer, {"share": "ego"}),
    "mlp-all": (MaskedMLPMixer, {"share": "all"}),
    "mlp-none": (MaskedMLPMixer, {"share": "none"}),
    "mlp-local": (MaskedMLPMixer, {"share": "ego", "state": "local", "obs_size": 2}),
}
STATES = 5


def visited(graph, seed=0):
    generator = torch.Generator().manual_seed(seed)
    n = graph.n_agents
    return torch.randn(STATES, n, generator=generator), torch.randn(STATES, n, 2, generator=generator)


def make(kind, graph, partition, kappa):
    """A mixer with weights of either sign, as after training."""
    torch.manual_seed(0)
    mixer_class, options = KINDS[kind]
    mixer = mixer_class(graph, partition, kappa, 6, activation="split", **options)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return mixer


def leaky(mixer, block, agent, size=1e-3):
    """``mixer``, whose one ``block`` also depends on one ``agent``."""

    def mix(utilities, observations):
        values = mixer(utilities, observations).clone()
        values[..., block] += size * utilities[..., agent]
        return values

    return mix


# ----------------------------------------------------------------- good mixers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spec", ["singletons", "pairs"])
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())
def test_real_mixers_are_monotone_and_local_on_every_graph(kind, spec, graph):
    partition = Partition.from_spec(spec, graph)
    utilities, observations = visited(graph)
    for kappa in range(4):
        mixer = make(kind, graph, partition, kappa)
        probe = Probe(mixer, graph, partition, kappa, utilities, observations)
        up, far = slopes(probe), locality(probe)
        assert up.passed
        assert 0 <= up.smallest <= up.mean_by_hop[0] <= up.largest_by_hop[0]
        assert far.passed
        assert (far.largest_change, far.worst_block, far.worst_agents) == (0, None, ())
        assert up.n_slopes == STATES * up.n_pairs
        assert up.n_pairs + far.n_pairs == graph.n_agents * partition.n_blocks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spec", ["singletons", "pairs"])
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())
def test_slopes_are_those_of_the_dense_jacobian(kind, spec, graph):
    partition, kappa = Partition.from_spec(spec, graph), 1
    mixer = make(kind, graph, partition, kappa).double()
    utilities, observations = (x.double() for x in visited(graph))
    rows = [
        torch.autograd.functional.jacobian(lambda u, m=m: mixer(u, observations[m : m + 1])[0], utilities[m : m + 1])
        for m in range(STATES)
    ]
    dense = torch.stack(rows)[:, :, 0]  # [M, P, N]
    found = slopes(Probe(mixer, graph, partition, kappa, utilities, observations))
    hops = torch.from_numpy(graph.khop(kappa, partition.blocks).toarray()) - 1
    assert found.n_pairs == int((hops >= 0).sum())
    assert found.smallest == pytest.approx(float(dense[:, hops >= 0].min()), rel=1e-9)
    for hop in range(int(hops.max()) + 1):
        near = dense[:, hops == hop]
        assert found.smallest_by_hop[hop] == pytest.approx(float(near.min()), rel=1e-9)
        assert found.mean_by_hop[hop] == pytest.approx(float(near.mean()), rel=1e-9)
        assert found.largest_by_hop[hop] == pytest.approx(float(near.max()), rel=1e-9)


def test_slopes_of_a_linear_mixer_by_hand():
    graph, weight = AgentGraph.line(3), torch.tensor([[2.0, 1.0, 0.0], [-1.0, 3.0, 5.0], [0.0, 1.0, 4.0]])
    found = slopes(Probe(lambda u, _: u @ weight.T, graph, Partition.singletons(3), 1, torch.zeros(2, 3)))
    assert (found.smallest, found.n_slopes, found.n_pairs, found.n_states) == (-1.0, 14, 7, 2)
    assert (found.n_negative, found.share_negative, found.n_not_finite) == (2, 2 / 14, 0)
    assert found.smallest_by_hop == (2.0, -1.0)
    assert found.mean_by_hop == (3.0, 1.5)
    assert found.largest_by_hop == (4.0, 5.0)
    assert not found.passed


def test_a_mixer_that_sees_everyone_has_no_pair_beyond():
    graph, partition = AgentGraph.line(4), Partition.full(4)
    far = locality(Probe(GCNMixer(graph, partition, 3), graph, partition, 3, torch.randn(2, 4)))
    assert (far.n_pairs, far.passed) == (0, True)


def test_slopes_can_be_had_where_gradients_are_switched_off_and_leave_none_behind():
    graph, partition = AgentGraph.line(4), Partition.singletons(4)
    mixer, utilities = GCNMixer(graph, partition, 1), torch.randn(2, 4)
    with torch.no_grad():
        assert slopes(Probe(mixer, graph, partition, 1, utilities)).passed
    assert all(parameter.grad is None for parameter in mixer.parameters())
    assert not utilities.requires_grad


# --------------------------------------------------------------- broken mixers


def test_a_tiny_negative_weight_is_a_negative_slope():
    graph, partition = AgentGraph.line(6), Partition.singletons(6)
    mixer = MaskedMLPMixer(graph, partition, 1, 4, share="none", monotonicity="projection")
    with torch.no_grad():
        mixer.w1[3] = -1e-6
    found = slopes(Probe(mixer, graph, partition, 1, torch.randn(STATES, 6)))
    assert -1e-4 < found.smallest < 0
    assert found.n_negative == STATES
    assert not found.passed


@pytest.mark.parametrize("kind", KINDS)
def test_a_leak_from_two_hops_away_is_found_and_named(kind):
    graph, partition = AgentGraph.line(9), Partition.singletons(9)
    mixer = leaky(make(kind, graph, partition, 1), block=4, agent=6)
    probe = Probe(mixer, graph, partition, 1, *visited(graph))
    far = locality(probe)
    assert not far.passed
    assert (far.n_blocks_changed, far.worst_block, far.worst_agents) == (1, 4, (6,))
    assert 1e-4 < far.largest_change < 1e-2
    assert slopes(probe).passed  # monotone, only not local


def test_a_leak_is_told_with_the_name_of_the_agent():
    graph = AgentGraph.from_edges(9, [(i, i + 1) for i in range(8)], names=[f"A{i}" for i in range(9)])
    partition = Partition.singletons(9)
    mixer = leaky(make("gcn", graph, partition, 1), block=4, agent=6)
    found = locality(Probe(mixer, graph, partition, 1, *visited(graph)))
    assert found.line(1).endswith("; worst: block 4 depends on agent 6 (node 'A6')")


def test_a_leak_between_blocks_of_one_colour_is_found_and_named():
    graph, partition = AgentGraph.line(9), Partition.singletons(9)
    mixer = make("mlp-ego", graph, partition, 1)
    colours = Probe(mixer, graph, partition, 1, *visited(graph)).colours
    one, two = next(colour for colour in colours if len(colour.blocks) > 1).blocks[:2].tolist()
    far = locality(Probe(leaky(mixer, one, two), graph, partition, 1, *visited(graph)))
    assert (far.n_blocks_changed, far.worst_block, far.worst_agents) == (1, one, (two,))


@settings(max_examples=30, deadline=None)
@given(block=st.integers(0, 11), agent=st.integers(0, 11), kappa=st.integers(0, 2))
def test_a_leak_between_any_pair_is_found_and_one_within_kappa_is_none(block, agent, kappa):
    graph, partition = AgentGraph.grid(3, 4), Partition.singletons(12)
    mixer = leaky(lambda u, _: u, block, agent, size=1e-5)
    far = locality(Probe(mixer, graph, partition, kappa, *visited(graph)))
    beyond = agent not in graph.neighbourhood(block, kappa)
    assert far.passed == (not beyond)
    assert far.worst_agents == ((agent,) if beyond else ())


def test_a_leak_through_observations_alone_is_found():
    graph, partition = AgentGraph.line(9), Partition.singletons(9)
    mixer = make("mlp-local", graph, partition, 1)

    def mix(utilities, observations):
        values = mixer(utilities, observations).clone()
        values[..., 2] += 1e-3 * observations[..., 7, 1]
        return values

    far = locality(Probe(mix, graph, partition, 1, *visited(graph)))
    assert (far.passed, far.worst_block, far.worst_agents) == (False, 2, (7,))


def test_a_leak_that_needs_two_agents_names_both():
    graph, partition = AgentGraph.empty(4), Partition.singletons(4)

    def mix(utilities, _):
        together = (utilities[..., 1] != 0) & (utilities[..., 3] != 0)
        return torch.cat([utilities[..., :1] + together[..., None], utilities[..., 1:]], dim=-1)

    far = locality(Probe(mix, graph, partition, 0, torch.zeros(2, 4)))
    assert (far.worst_block, far.largest_change) == (0, 1.0)
    assert {1, 3} <= set(far.worst_agents)


def test_utilities_that_never_vary_are_replaced_all_the_same():
    graph, partition = AgentGraph.line(4), Partition.singletons(4)
    mixer = leaky(lambda u, _: u, block=0, agent=3)
    assert not locality(Probe(mixer, graph, partition, 1, torch.ones(1, 4))).passed


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_fail_both(poison):
    graph, partition = AgentGraph.line(5), Partition.singletons(5)
    probe = Probe(lambda u, _: u * poison, graph, partition, 1, torch.randn(2, 5))
    up, far = slopes(probe), locality(probe)
    assert (up.passed, far.passed) == (False, False)
    assert up.n_not_finite == up.n_slopes  # even 0 times infinity is NaN
    assert math.isnan(up.smallest)
    assert (far.n_blocks_changed, far.largest_change, far.worst_agents) == (5, math.inf, ())


def test_a_mixer_that_is_finite_only_at_the_visited_states_fails():
    graph, partition = AgentGraph.line(5), Partition.singletons(5)
    far = locality(
        Probe(lambda u, _: u + torch.where(u[..., 4:] == 1, 0.0, torch.nan), graph, partition, 1, torch.ones(2, 5))
    )
    assert (far.largest_change, far.worst_agents) == (math.inf, (4,))


def test_a_mixer_that_cannot_be_differentiated_is_refused():
    graph, partition = AgentGraph.line(3), Partition.singletons(3)
    with pytest.raises(InputError, match="mixer: expected block values that can be differentiated"):
        slopes(Probe(lambda u, _: u.detach(), graph, partition, 1, torch.zeros(1, 3)))
