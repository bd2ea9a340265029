import math

import numpy as np
import pytest
import torch

from lomaq.analysis.certificate.probe import Probe
from lomaq.analysis.certificate.truncation import truncation
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import GCNMixer, MaskedMLPMixer


def distances(graph, kappa):
    """``[N, N]`` hops, -1 beyond kappa."""
    return torch.from_numpy(graph.khop(kappa).toarray()) - 1


def decaying(graph, kappa, rho):
    """Linear mixer of weights ρ^distance; the last holds the rest of the series, so that what is beyond k hops
    weighs ρ^(k+1) / (1 - ρ) on either side of a ring exactly."""
    hops = distances(graph, kappa)
    weight = torch.where(hops == kappa, rho**kappa / (1 - rho), rho ** hops.double()) * (hops >= 0)
    return lambda utilities, _: utilities @ weight.T


@pytest.mark.parametrize("rho", [0.2, 0.5, 0.9])
def test_weights_of_rho_to_the_distance_give_rho_back(rho):
    graph, kappa = AgentGraph.ring(16), 5
    rise = torch.randn(40, 1, dtype=torch.float64)
    utilities = rise.expand(40, 16)  # all agents alike, so that errors add up without chance
    probe = Probe(decaying(graph, kappa, rho), graph, Partition.singletons(16), kappa, utilities)
    found = truncation(probe, tolerance=0.5)
    off = (rise - rise.mean()).abs()
    beyond = [2 * rho ** (k + 1) / (1 - rho) for k in range(kappa)]
    whole = 1 + 2 * rho / (1 - rho)
    expected = [float(off.mean() / rise.std(correction=0)) * x / whole for x in beyond]
    assert found.mean_error[:-1] == pytest.approx(expected, rel=1e-9)
    assert found.mean_error[-1] == 0
    assert found.max_error[0] == pytest.approx(float(off.max() / rise.std(correction=0)) * beyond[0] / whole)
    assert found.rho == pytest.approx(rho, rel=1e-9)
    assert found.c == pytest.approx(expected[0] / rho, rel=1e-9)
    assert found.r_squared == pytest.approx(1)
    assert (found.n_points, found.n_states, found.n_blocks, found.reason) == (kappa, 40, 16, None)
    assert found.smallest_k == next(k for k, error in enumerate([*expected, 0]) if error < 0.5)


@pytest.mark.parametrize("spec", ["singletons", "pairs", [[0, 4], [1, 2, 3], [5]]])
def test_errors_are_those_of_hiding_one_block_and_k_at_a_time(spec):
    graph, kappa = AgentGraph.grid(2, 3), 2
    partition = Partition.from_spec(spec, graph)
    mixer = MaskedMLPMixer(graph, partition, kappa, 6, state="local", obs_size=2).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    utilities, observations = torch.randn(9, 6).double(), torch.randn(9, 6, 2).double()
    found = truncation(Probe(mixer, graph, partition, kappa, utilities, observations))
    values = mixer(utilities, observations).detach().numpy()
    for k in range(kappa + 1):
        errors = []
        for number, block in enumerate(partition.blocks):
            near = set.union(*(set(graph.neighbourhood(agent, k)) for agent in block))
            seen, shown = utilities.clone(), observations.clone()
            for agent in set(range(6)) - near:
                seen[:, agent] = utilities[:, agent].mean()
                shown[:, agent] = observations[:, agent].mean(dim=0)
            hidden = mixer(seen, shown)[:, number].detach().numpy()
            errors.append(np.abs(hidden - values[:, number]) / values[:, number].std())
        assert found.mean_error[k] == pytest.approx(np.mean(errors), abs=1e-12)
        assert found.max_error[k] == pytest.approx(np.max(errors), abs=1e-12)
    assert found.mean_error[kappa] == 0


@pytest.mark.parametrize("kind", [GCNMixer, MaskedMLPMixer])
def test_one_hop_leaves_one_error_and_no_rate(kind):
    graph, partition = AgentGraph.line(6), Partition.singletons(6)
    found = truncation(Probe(kind(graph, partition, 1), graph, partition, 1, torch.randn(20, 6)))
    assert found.mean_error[0] > 0
    assert found.mean_error[1] == 0
    assert (found.rho, found.c, found.r_squared, found.n_points) == (None, None, None, 1)
    assert "two or more k, got 1" in found.reason
    assert found.smallest_k == 1


def test_changes_that_are_rounding_of_large_values_are_not_fitted():
    graph, partition = AgentGraph.line(9), Partition.singletons(9)
    weight = torch.tensor([1.0, 1e-1, 1e-2, 1e-4])[distances(graph, 3).clamp(min=0)] * (distances(graph, 3) >= 0)
    utilities = torch.randn(30, 9, dtype=torch.float64)
    small, large = (
        truncation(Probe(lambda u, _, at=at: u @ weight.double() + at, graph, partition, 3, utilities))
        for at in (0, 1000)
    )
    assert small.mean_error == pytest.approx(large.mean_error)
    assert (small.n_points, large.n_points) == (3, 2)  # an error of 1e-4 in values of 1000 is lost in float32


def test_no_k_is_enough_for_a_mixer_that_sees_more_than_it_may():
    graph, partition = AgentGraph.line(6), Partition.singletons(6)
    found = truncation(
        Probe(lambda u, _: u.sum(-1, keepdim=True).expand(-1, 6), graph, partition, 1, torch.randn(9, 6))
    )
    assert found.smallest_k is None
    assert found.n_points == 2
    assert found.r_squared == pytest.approx(1)  # two points, whatever they are


def test_blocks_whose_value_never_varies_are_left_out():
    graph, partition = AgentGraph.line(3), Partition.singletons(3)
    weight = torch.tensor([1.0, 0.0, 1.0])
    found = truncation(Probe(lambda u, _: u * weight + 5, graph, partition, 1, torch.randn(9, 3)))
    assert (found.n_blocks, found.mean_error, found.smallest_k) == (2, (0.0, 0.0), 0)


@pytest.mark.parametrize("states", [1, 4])
def test_states_that_are_all_alike_have_no_unit(states):
    graph, partition = AgentGraph.line(3), Partition.singletons(3)
    found = truncation(Probe(GCNMixer(graph, partition, 1), graph, partition, 1, torch.ones(states, 3)))
    assert (found.mean_error, found.max_error, found.smallest_k, found.rho) == ((), (), None, None)
    assert found.reason == "no block's value varies over the visited states"


def test_values_that_are_not_finite_have_no_error():
    graph, partition = AgentGraph.line(3), Partition.singletons(3)
    found = truncation(Probe(lambda u, _: u * math.nan, graph, partition, 1, torch.randn(2, 3)))
    assert (found.mean_error, found.reason) == ((), "a block's value is not finite")


def test_an_impossible_tolerance_is_refused():
    probe = Probe(lambda u, _: u, AgentGraph.line(3), Partition.singletons(3), 1, torch.randn(2, 3))
    with pytest.raises(InputError, match="tolerance: expected a number"):
        truncation(probe, tolerance=0)
