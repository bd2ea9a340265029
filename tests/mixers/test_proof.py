"""What weights prove about a mixer."""

import pytest
import torch

from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import GCNMixer, GraphMIXMixer, MaskedMLPMixer, QMIXMixer, SumMixer

LINE, SINGLETONS, FULL = AgentGraph.line(5), Partition.singletons(5), Partition.full(5)
NETWORKS = [MaskedMLPMixer, GCNMixer]
PROOF = "no weight is negative, no activation falls"


def negative_(mixer, number):
    """One weight of one tensor of those that must not be negative."""
    with torch.no_grad():
        mixer.weights()[number].view(-1)[0] = -1e-3
    return mixer


@pytest.mark.parametrize("monotonicity", ["projection", "reparametrisation"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_with_hard_constraints_are_proved(kind, monotonicity):
    mixer = kind(LINE, SINGLETONS, 2, 4, monotonicity=monotonicity, activation="split", weight_sharing=0.3)
    assert mixer.proof() == PROOF


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("kind", NETWORKS)
def test_any_negative_weight_that_is_used_ends_the_proof(kind, number):
    assert negative_(kind(LINE, SINGLETONS, 2, 4, monotonicity="projection"), number).proof() is None
    assert negative_(kind(LINE, SINGLETONS, 2, 4), number).proof() == PROOF  # its absolute value is used


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_prove_nothing(kind, poison):
    mixer = kind(LINE, SINGLETONS, 1, 4)
    with torch.no_grad():
        mixer.b1.view(-1)[0] = poison
    assert mixer.proof() is None


def test_a_soft_mixer_is_proved_as_long_as_its_weights_show_it():
    mixer = MaskedMLPMixer(LINE, SINGLETONS, 1, 4, monotonicity="soft")
    assert (mixer.hard, mixer.proof()) == (False, PROOF)
    assert negative_(mixer, 0).proof() is None


def test_local_state_sums_and_hypernetworks_are_proved():
    local = MaskedMLPMixer(LINE, SINGLETONS, 1, 4, state="local", obs_size=2)
    plain = [SumMixer(LINE, SINGLETONS, 1), QMIXMixer(LINE, FULL, 2), GraphMIXMixer(LINE, FULL, 2)]
    assert [mixer.proof() for mixer in (local, *plain)] == [PROOF] * 4


def test_a_subclass_proves_nothing_unless_it_says_so_itself():
    class Own(MaskedMLPMixer):
        def _mix(self, utilities, observations):
            return super()._mix(utilities, observations) - 2 * utilities

    assert Own(LINE, SINGLETONS, 1).proof() is None
