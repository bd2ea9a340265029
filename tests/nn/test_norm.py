"""Running mean and standard deviation of observations, against NumPy."""

import numpy as np
import torch

from lomaq.graphs import AgentGraph
from lomaq.nn import Utilities
from lomaq.nn.norm import LARGEST, Norm

TYPES = torch.tensor([0, 1, 0])


def test_mean_and_variance_are_those_of_all_observations_of_a_type_that_count() -> None:
    torch.manual_seed(0)
    norm, parts = Norm(TYPES, 2), []
    for steps in (4, 7, 1):
        seen = 1e3 + torch.randn(steps, 5, 3, 2) * torch.tensor([1.0, 20.0])
        mask = torch.rand(steps, 5) < 0.7
        norm.add(norm.sums(seen, mask))
        parts.append(seen[mask].double().numpy())
    seen = np.concatenate(parts)
    for kind, agents in enumerate([[0, 2], [1]]):
        mine = seen[:, agents].reshape(-1, 2)
        np.testing.assert_allclose(norm.mean[kind], mine.mean(axis=0), rtol=1e-10)
        np.testing.assert_allclose(norm.variance[kind], mine.var(axis=0), rtol=1e-8)
        assert norm.count[kind] == len(mine)


def test_the_sums_of_two_processes_add_up_to_those_of_one() -> None:
    seen, mask = torch.randn(6, 4, 3, 2), torch.ones(6, 4, dtype=torch.bool)
    one, two = Norm(TYPES, 2), Norm(TYPES, 2)
    one.add(one.sums(seen, mask))
    two.add(two.sums(seen[:, :1], mask[:, :1]) + two.sums(seen[:, 1:], mask[:, 1:]))
    torch.testing.assert_close(one.variance, two.variance)


def test_what_was_never_seen_stays_and_what_never_varied_becomes_zero() -> None:
    norm, seen = Norm(TYPES, 2), torch.randn(1, 2, 3, 2)
    assert torch.equal(norm(seen), seen)
    norm.add(norm.sums(torch.full((3, 2, 3, 2), 7.0), torch.ones(3, 2, dtype=torch.bool)))
    assert torch.equal(norm(torch.full((1, 1, 3, 2), 7.0)), torch.zeros(1, 1, 3, 2))
    norm.add(norm.sums(torch.full((3, 2, 3, 2), 8.0), torch.ones(3, 2, dtype=torch.bool)))
    assert norm(torch.full((1, 1, 3, 2), 1e9)).max() == LARGEST


def test_utilities_carry_the_numbers_in_their_weights() -> None:
    graph = AgentGraph.line(3)
    one, two = (Utilities(graph, 2, 2, hidden=[4], normalise=True) for _ in range(2))
    assert one.norm is not None
    one.norm.add(one.norm.sums(torch.randn(9, 2, 3, 2) * 5 + 2, torch.ones(9, 2, dtype=torch.bool)))
    two.load_state_dict(one.state_dict())
    seen = torch.randn(1, 2, 3, 2)
    previous, first, hidden = torch.full((1, 2, 3), -1), torch.ones(1, 2, dtype=torch.bool), torch.zeros(2, 3, 0)
    assert torch.equal(one(seen, previous, first, hidden)[0], two(seen, previous, first, hidden)[0])
