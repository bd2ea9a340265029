"""Plain sums of utilities."""

import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import SumMixer

UTILITIES = torch.tensor([[1.0, 10.0, 100.0, 1000.0], [2.0, 0.0, -1.0, 0.5]])


def test_a_block_is_the_sum_of_what_it_sees():
    line = AgentGraph.line(4)
    mixer = SumMixer(line, Partition([[0, 1], [2], [3]], 4), kappa=1)
    assert mixer(UTILITIES).tolist() == [[111.0, 1110.0, 1100.0], [1.0, -0.5, -0.5]]


@pytest.mark.parametrize("kappa", [0, 1, 3])
def test_one_block_of_all_is_the_sum_of_all(kappa):
    mixer = SumMixer(AgentGraph.line(4), Partition.full(4), kappa)
    assert mixer(UTILITIES).tolist() == [[1111.0], [1.5]]


def test_own_sums_are_deaf_to_other_agents_whatever_kappa():
    star = AgentGraph.star(4)
    assert torch.equal(SumMixer(star, Partition.singletons(4), kappa=2, independent=True)(UTILITIES), UTILITIES)
    pairs = SumMixer(star, Partition([[0, 1], [2, 3]], 4), kappa=2, independent=True)
    assert pairs(UTILITIES).tolist() == [[11.0, 1100.0], [2.0, -0.5]]


def test_gradients_are_one_for_each_agent_seen():
    utilities = UTILITIES.clone().requires_grad_()
    SumMixer(AgentGraph.line(4), Partition.singletons(4), kappa=1)(utilities)[:, 0].sum().backward()
    assert utilities.grad is not None
    assert utilities.grad.tolist() == [[1.0, 1.0, 0.0, 0.0]] * 2


def test_there_is_nothing_to_learn_in_a_sum():
    mixer = SumMixer(AgentGraph.line(4), Partition.singletons(4), kappa=1)
    assert not list(mixer.parameters())
    assert mixer.head() == []


def test_independent_must_be_true_or_false():
    with pytest.raises(InputError, match=r"mixer\.independent"):
        SumMixer(AgentGraph.line(4), Partition.singletons(4), kappa=1, independent="yes")  # type: ignore[arg-type]
