"""Parameters in one vector."""

import pytest
import torch
from torch import nn

from lomaq.nn.flat import FlatParameters


def test_parameters_are_views_of_the_vector_and_keep_their_numbers() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    before = [p.detach().clone() for p in net.parameters()]
    flat = FlatParameters(net.parameters())
    assert flat.vector.shape == (3 * 2 + 2 + 2 + 1,)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    with torch.no_grad():
        flat.vector.zero_()
    assert all(bool((p == 0).all()) for p in net.parameters())
    net.load_state_dict({name: torch.ones_like(value) for name, value in net.state_dict().items()})
    assert bool((flat.vector == 1).all())


def test_an_optimiser_of_the_vector_steps_as_one_of_the_parameters_does() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    flat = FlatParameters(ours.parameters())
    one, other = torch.optim.RAdam([flat.vector], lr=0.1), torch.optim.RAdam(theirs.parameters(), lr=0.1)
    for _ in range(10):
        x = torch.randn(5, 4)
        flat.zero_grad()
        ours(x).square().sum().backward()
        flat.gather()
        norm = flat.clip_(1.0)
        other.zero_grad()
        theirs(x).square().sum().backward()
        torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(theirs.parameters(), 1.0))
        one.step()
        other.step()
        torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()))


def test_a_parameter_without_a_gradient_counts_as_zero() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    flat = FlatParameters([used, unused])
    (3 * used).sum().backward()
    flat.gather()
    assert flat.vector.grad is not None
    assert flat.vector.grad.tolist() == [3, 3, 0, 0, 0]
    assert float(flat.clip_(100.0)) == pytest.approx(18**0.5)
    assert flat.vector.grad.tolist() == [3, 3, 0, 0, 0]
