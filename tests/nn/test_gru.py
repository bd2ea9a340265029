import copy
import itertools

import pytest
import torch
from torch import nn

from lomaq.errors import InputError
from lomaq.nn import gru as gru_module
from lomaq.nn.chunks import chunks
from lomaq.nn.gru import GRU

INPUTS, HIDDEN = 3, 4
CLOSE = {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, torch.float64: {"rtol": 1e-12, "atol": 1e-12}}


def pair(dtype=torch.float64, inputs=INPUTS, hidden=HIDDEN):
    """Ours and torch's, with the same parameters."""
    torch.manual_seed(0)
    theirs = nn.GRU(inputs, hidden).to(dtype)
    ours = GRU(inputs, hidden).to(dtype)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def sequence(steps, rows, dtype=torch.float64, inputs=INPUTS, hidden=HIDDEN):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(steps, rows, inputs, generator=generator, dtype=dtype)
    return x.requires_grad_(), torch.randn(1, rows, hidden, generator=generator, dtype=dtype).requires_grad_()


def loss(output, state):
    """A number that depends on every entry of both results differently."""
    weight = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return (output * weight).sum() + state.square().sum()


def gradients(network, x, state):
    return torch.autograd.grad(loss(*network(x, state)), [x, state, *network.parameters()])


@pytest.fixture
def small_chunks(monkeypatch):
    """So that five sequences need more than one chunk."""
    monkeypatch.setattr(gru_module, "_ROWS", 2)


# ------------------------------------------------------------------ torch's GRU


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("steps", "rows"), [(1, 5), (2, 1), (7, 5), (30, 11)])
def test_results_and_gradients_are_those_of_torch(steps, rows, dtype):
    ours, theirs = pair(dtype)
    x, state = sequence(steps, rows, dtype)
    for mine, expected in zip(ours(x, state), theirs(x, state), strict=True):
        torch.testing.assert_close(mine, expected, **CLOSE[dtype])
    for mine, expected in zip(gradients(ours, x, state), gradients(theirs, x, state), strict=True):
        torch.testing.assert_close(mine, expected, **CLOSE[dtype])


def test_sizes_of_the_learner_agree_with_torch_up_to_the_rounding_of_sums():
    """Gradients of parameters are sums of T · M terms in float32, each off by about √(T · M) ε from that in float64."""
    steps, rows = 40, 2 * gru_module._ROWS - 1
    ours, theirs = pair(torch.float32, 64, 64)
    x, state = sequence(steps, rows, torch.float32, 64, 64)
    with torch.no_grad():
        for mine, expected in zip(ours(x, state), theirs(x, state), strict=True):
            torch.testing.assert_close(mine, expected, **CLOSE[torch.float32])
    mine = gradients(ours, x, state)
    exact = gradients(theirs.double(), *(tensor.detach().double().requires_grad_() for tensor in (x, state)))
    rounding = 2 * (steps * rows) ** 0.5 * torch.finfo(torch.float32).eps
    for number, (found, expected) in enumerate(zip(mine, exact, strict=True)):
        error = float((found - expected).abs().max() / expected.abs().max())
        assert error < (2e-6 if number < 2 else rounding)  # those of the inputs are no such sums


@pytest.mark.usefixtures("small_chunks")
def test_cutting_the_sequences_into_chunks_changes_nothing():
    ours, theirs = pair()
    x, state = sequence(6, 5)
    assert len(chunks(5, gru_module._ROWS)) == 3
    for mine, expected in zip(ours(x, state), theirs(x, state), strict=True):
        torch.testing.assert_close(mine, expected, **CLOSE[torch.float64])
    for mine, expected in zip(gradients(ours, x, state), gradients(theirs, x, state), strict=True):
        torch.testing.assert_close(mine, expected, **CLOSE[torch.float64])


def test_gradients_are_those_of_finite_differences():
    ours, _ = pair()
    x, state = sequence(4, 3)
    names = [name for name, _ in ours.named_parameters()]

    def run(x, state, *parameters):
        return torch.func.functional_call(ours, dict(zip(names, parameters, strict=True)), (x, state))

    assert torch.autograd.gradcheck(run, (x, state, *ours.parameters()))


def test_state_dicts_interchange_and_the_same_seed_starts_the_same():
    torch.manual_seed(3)
    theirs = nn.GRU(INPUTS, HIDDEN)
    torch.manual_seed(3)
    ours = GRU(INPUTS, HIDDEN)
    assert list(ours.state_dict()) == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)
    ours.load_state_dict(nn.GRU(INPUTS, HIDDEN).state_dict())
    theirs.load_state_dict(ours.state_dict())
    x, state = sequence(5, 2, torch.float32)
    torch.testing.assert_close(ours(x, state), theirs(x, state))


def test_a_copy_of_the_module_is_independent():
    ours, _ = pair()
    x, state = sequence(5, 2)
    before = ours(x, state)[0]
    copied = copy.deepcopy(ours)
    with torch.no_grad():
        ours.weight_hh_l0.zero_()
    assert torch.equal(copied(x, state)[0], before)
    assert not torch.equal(ours(x, state)[0], before)


# ------------------------------------------------------------------ how it is called


@pytest.mark.parametrize("steps", [1, 5])
def test_results_without_gradients_are_exactly_those_with_gradients(steps):
    ours, _ = pair(torch.float32)
    x, state = sequence(steps, 3, torch.float32)
    with torch.no_grad():
        output, last = ours(x, state)
    assert not output.requires_grad
    assert not last.requires_grad
    for mine, expected in zip((output, last), ours(x, state), strict=True):
        assert expected.requires_grad
        assert torch.equal(mine, expected)


def test_gates_are_kept_only_where_something_asks_for_gradients(monkeypatch):
    kept = []
    monkeypatch.setattr(gru_module._Gates, "keep", lambda self, place: kept.append(place))
    ours, _ = pair()
    x, state = (tensor.detach() for tensor in sequence(5, 2))
    with torch.no_grad():
        ours(x, state)
    ours.requires_grad_(False)
    ours(x, state)
    assert not kept
    ours(x.requires_grad_(), state)
    assert len(kept) == 5


def test_steps_in_one_call_equal_steps_in_several():
    ours, _ = pair()
    x, state = sequence(6, 3)
    output, last = ours(x, state)
    parts = []
    for begin, end in itertools.pairwise((0, 1, 4, 6)):
        part, state = ours(x[begin:end], state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts), output)
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("steps", [1, 4])
def test_inputs_and_memory_may_lie_in_memory_as_they_like(steps):
    ours, theirs = pair()
    x = sequence(3, steps)[0].transpose(0, 1)  # [T, 3, I], not contiguous
    start = torch.randn(1, 1, HIDDEN, dtype=torch.float64, requires_grad=True)
    expected = theirs(x.contiguous(), start.expand(1, 3, HIDDEN).contiguous())
    results = ours(x, start.expand(1, 3, HIDDEN))
    for mine, value in zip(results, expected, strict=True):
        torch.testing.assert_close(mine, value, **CLOSE[torch.float64])
    wanted = [start, *ours.parameters()]
    for mine, value in zip(
        torch.autograd.grad(loss(*results), wanted),
        torch.autograd.grad(loss(*expected), [start, *theirs.parameters()]),
        strict=True,
    ):
        torch.testing.assert_close(mine, value, **CLOSE[torch.float64])


@pytest.mark.parametrize("part", ["output", "state"])
def test_either_result_alone_can_be_differentiated(part):
    ours, theirs = pair()
    x, state = sequence(5, 3)
    index = ("output", "state").index(part)
    mine, expected = (
        torch.autograd.grad(network(x, state)[index].square().sum(), [x, state, *network.parameters()])
        for network in (ours, theirs)
    )
    for a, b in zip(mine, expected, strict=True):
        torch.testing.assert_close(a, b, **CLOSE[torch.float64])


@pytest.mark.parametrize("wanted", range(6))
def test_what_needs_no_gradient_gets_none_and_the_rest_is_the_same(wanted):
    ours, _ = pair()
    x, state = sequence(5, 3)
    everything = [x, state, *ours.parameters()]
    expected = gradients(ours, x, state)[wanted]
    for tensor in everything:
        tensor.requires_grad_(False)
    everything[wanted].requires_grad_()
    loss(*ours(x, state)).backward()
    assert torch.equal(everything[wanted].grad, expected)
    assert all(tensor.grad is None for i, tensor in enumerate(everything) if i != wanted)


def test_a_kept_graph_gives_the_same_gradients_twice():
    ours, _ = pair()
    x, state = sequence(5, 3)
    value = loss(*ours(x, state))
    first = torch.autograd.grad(value, [x, state, *ours.parameters()], retain_graph=True)
    second = torch.autograd.grad(value, [x, state, *ours.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_permuting_the_sequences_permutes_the_results():
    ours, _ = pair()
    x, state = sequence(5, 4)
    order = torch.tensor([2, 0, 3, 1])
    output, last = ours(x, state)
    permuted, permuted_last = ours(x[:, order], state[:, order])
    torch.testing.assert_close(permuted, output[:, order])
    torch.testing.assert_close(permuted_last, last[:, order])


@pytest.mark.parametrize("rows", [1, 383, 384, 385, 1000])
def test_chunks_hold_every_sequence_once_and_differ_by_few(rows):
    found = chunks(rows, gru_module._ROWS)
    assert [row for chunk in found for row in range(rows)[chunk]] == list(range(rows))
    assert max(chunk.stop - chunk.start for chunk in found) <= gru_module._ROWS


@pytest.mark.parametrize("shape", [(3, HIDDEN), (1, 1, HIDDEN), (1, 3, HIDDEN + 1), (2, 3, HIDDEN)])
def test_a_memory_of_another_shape_is_refused(shape):
    ours, _ = pair()
    with pytest.raises(InputError, match=r"state: expected shape \[1, 3, 4\]"):
        ours(sequence(5, 3)[0], torch.zeros(shape, dtype=torch.float64))
