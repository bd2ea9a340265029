"""The masked MLP mixer made softly monotone: its violation, the blocks that it is enforced on, and its settings."""

import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import MaskedMLPMixer

SHARES = ("ego", "all", "none")


def soft_mixer(graph, partition, kappa=1, **options):
    torch.manual_seed(0)
    mixer = MaskedMLPMixer(graph, partition, kappa, 4, monotonicity="soft", **options)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.normal_()
    mixer.project_()
    return mixer


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("activation", ["elu", "split"])
@pytest.mark.parametrize(
    ("partition", "enforce", "blocks_of_parents"),
    [
        ("singletons", None, [[0], [1], [2], [3], [4], [5]]),
        ("singletons", "full", [[0, 1, 2, 3, 4, 5]]),
        ("singletons", [[0, 2], [1, 3, 4, 5]], [[0, 2], [1, 3, 4, 5]]),
        ([[0, 1], [2], [3, 5], [4]], [[0, 1, 2], [3, 4, 5]], [[0, 1], [2, 3]]),
    ],
)
def test_violation_is_what_falls_in_the_slopes_of_the_enforced_blocks(
    slow_violation, partition, enforce, blocks_of_parents, activation, share
):
    graph = AgentGraph.star(6)  # a hub, so that there are two buckets
    partition = Partition.from_spec(partition, graph)
    enforce = None if enforce is None else Partition.from_spec(enforce, graph)
    mixer = soft_mixer(graph, partition, share=share, activation=activation, enforce=enforce)
    utilities = torch.randn(3, 6)
    values, violation = mixer.forward_with_violation(utilities[:, None].clone().requires_grad_())
    assert violation.shape == (3, 1)
    torch.testing.assert_close(values[:, 0], mixer(utilities))
    expected = slow_violation(mixer, utilities, blocks_of_parents)
    assert (expected > 0).any()
    torch.testing.assert_close(violation[:, 0], expected, rtol=1e-4, atol=1e-4)


def test_a_sum_may_be_monotone_though_its_parts_are_not():
    graph, partition = AgentGraph.line(2), Partition.singletons(2)
    parts, whole = (
        MaskedMLPMixer(graph, partition, 1, 2, "none", "soft", enforce=enforce) for enforce in (None, Partition.full(2))
    )
    with torch.no_grad():  # all numbers stay positive, where ELU is the identity
        for parameter in parts.parameters():
            parameter.zero_()
        parts.b1.fill_(100.0)
        parts.w1[:, 0] = torch.tensor([2.0, -1.0, 3.0, 0.5])  # of F_0 in agents 0 and 1, of F_1 in agents 1 and 0
        parts.w2[:, 0, 0] = parts.w3[:, 0] = 1.0
    whole.load_state_dict(parts.state_dict())
    utilities = torch.zeros(2, requires_grad=True)
    assert parts.forward_with_violation(utilities)[1].item() == 1.0
    assert whole.forward_with_violation(utilities)[1].item() == 0.0


@pytest.mark.parametrize("monotonicity", ["projection", "reparametrisation"])
def test_a_mixer_with_lawful_weights_violates_nothing(monotonicity):
    torch.manual_seed(0)
    mixer = MaskedMLPMixer(AgentGraph.line(4), Partition.singletons(4), 1, 4, monotonicity=monotonicity)
    assert not mixer.forward_with_violation(torch.randn(3, 4, requires_grad=True))[1].any()
    assert mixer.penalty == 0


def test_soft_weights_are_not_projected_and_the_mixer_stays_local():
    mixer = soft_mixer(AgentGraph.line(4), Partition.singletons(4))
    assert any((weight < 0).any() for weight in mixer.weights())
    slope = torch.autograd.functional.jacobian(mixer, torch.randn(4))
    assert (slope < 0).any()
    assert slope[0, 2] == slope[0, 3] == slope[1, 3] == slope[2, 0] == slope[3, 0] == slope[3, 1] == 0


def test_descending_the_violation_makes_a_mixer_monotone():
    mixer = soft_mixer(AgentGraph.line(3), Partition.singletons(3))
    optimizer = torch.optim.Adam(mixer.parameters(), lr=0.05)
    utilities = torch.randn(16, 3, requires_grad=True)
    before = mixer.forward_with_violation(utilities)[1].mean().item()
    for _ in range(100):
        violation = mixer.forward_with_violation(utilities)[1].mean()
        optimizer.zero_grad()
        violation.backward()
        optimizer.step()
    assert before > 0.1
    assert mixer.forward_with_violation(utilities)[1].mean() < 0.01 * before


def test_only_a_coarser_partition_can_be_enforced():
    with pytest.raises(InputError, match=r"mixer\.enforce: .* got block \[0, 1\] in several of its blocks"):
        MaskedMLPMixer(
            AgentGraph.line(3), Partition([[0, 1], [2]], 3), 1, monotonicity="soft", enforce=Partition.singletons(3)
        )


def test_an_impossible_penalty_is_named():
    with pytest.raises(InputError, match=r"mixer\.penalty: .* got -1"):
        MaskedMLPMixer(AgentGraph.line(3), Partition.singletons(3), 1, monotonicity="soft", penalty=-1)
