import copy
import itertools

import pytest
import torch
from torch import nn

from lomaq.errors import InputError
from lomaq.nn import gru as gru_module
from lomaq.nn.gru import GRU, blocks

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


def gradients(network, x, state, *lengths):
    return torch.autograd.grad(loss(*network(x, state, *lengths)), [x, state, *network.parameters()])


def alone(network, x, state, lengths):
    """Each sequence on its own by torch's GRU: zero behind its end, and the memory at its end."""
    outputs, last = [], []
    for row, steps in enumerate(lengths.tolist()):
        output, end = torch.zeros_like(x[:, :1, :1]).expand(-1, -1, HIDDEN), state[:, row : row + 1]
        if steps:
            real, end = network(x[:steps, row : row + 1], end.contiguous())
            output = torch.cat([real, output[steps:]])
        outputs.append(output)
        last.append(end)
    return torch.cat(outputs, dim=1), torch.cat(last, dim=1)


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


def test_sizes_of_the_learner_agree_with_torch_in_single_precision():
    ours, theirs = pair(torch.float32, 64, 64)
    x, state = sequence(40, 2 * gru_module._ROWS - 1, torch.float32, 64, 64)
    with torch.no_grad():
        for mine, expected in zip(ours(x, state), theirs(x, state), strict=True):
            torch.testing.assert_close(mine, expected, **CLOSE[torch.float32])
    for mine, expected in zip(gradients(ours, x, state), gradients(theirs, x, state), strict=True):
        scale = expected.abs().max()
        torch.testing.assert_close(mine / scale, expected / scale, **CLOSE[torch.float32])


@pytest.mark.usefixtures("small_chunks")
def test_cutting_the_sequences_into_chunks_changes_nothing():
    ours, theirs = pair()
    x, state = sequence(6, 5)
    assert len(blocks([6] * 5, 6)) == 3
    for mine, expected in zip(ours(x, state), theirs(x, state), strict=True):
        torch.testing.assert_close(mine, expected, **CLOSE[torch.float64])
    for mine, expected in zip(gradients(ours, x, state), gradients(theirs, x, state), strict=True):
        torch.testing.assert_close(mine, expected, **CLOSE[torch.float64])


@pytest.mark.parametrize("lengths", [None, [4, 2, 1]])
def test_gradients_are_those_of_finite_differences(lengths):
    ours, _ = pair()
    x, state = sequence(4, 3)
    names = [name for name, _ in ours.named_parameters()]

    def run(x, state, *parameters):
        ends = None if lengths is None else torch.tensor(lengths)
        return torch.func.functional_call(ours, dict(zip(names, parameters, strict=True)), (x, state, ends))

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


@pytest.mark.parametrize("lengths", [None, [5, 5, 3], [2, 5, 4]])
@pytest.mark.parametrize("steps", [1, 5])
def test_results_without_gradients_are_exactly_those_with_gradients(steps, lengths):
    ours, _ = pair(torch.float32)
    x, state = sequence(steps, 3, torch.float32)
    ends = None if lengths is None else torch.tensor(lengths).clamp(max=steps)
    with torch.no_grad():
        output, last = ours(x, state, ends)
    assert not output.requires_grad
    assert not last.requires_grad
    for mine, expected in zip((output, last), ours(x, state, ends), strict=True):
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


# ------------------------------------------------------------------ lengths


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("lengths", [[6, 6, 4, 4, 1], [1, 6, 4, 6, 2], [5, 3, 3, 2, 0], [0, 0, 2, 0, 6], [6] * 5])
def test_a_padded_batch_equals_each_sequence_alone(lengths):
    ours, theirs = pair()
    x, state = sequence(6, 5)
    ends = torch.tensor(lengths)
    for mine, expected in zip(ours(x, state, ends), alone(theirs, x, state, ends), strict=True):
        torch.testing.assert_close(mine, expected, **CLOSE[torch.float64])
    wanted = gradients(ours, x, state, ends)
    expected = torch.autograd.grad(loss(*alone(theirs, x, state, ends)), [x, state, *theirs.parameters()])
    for a, b in zip(wanted, expected, strict=True):
        torch.testing.assert_close(a, b, **CLOSE[torch.float64])


def test_what_lies_behind_the_end_of_a_sequence_does_not_matter():
    ours, _ = pair()
    x, state = sequence(5, 3)
    ends = torch.tensor([2, 5, 3])
    noisy = x.detach().clone()
    noisy[2:, 0] = torch.nan
    noisy[3:, 2] = torch.inf
    noisy.requires_grad_()
    assert all(torch.equal(a, b) for a, b in zip(ours(x, state, ends), ours(noisy, state, ends), strict=True))
    mine = gradients(ours, noisy, state, ends)
    assert all(torch.equal(a, b) for a, b in zip(mine, gradients(ours, x, state, ends), strict=True))
    assert not mine[0][2:, 0].any()
    assert not mine[0][3:, 2].any()


def test_full_lengths_change_nothing():
    ours, _ = pair()
    x, state = sequence(5, 3)
    for steps in (1, 5):
        full = ours(x[:steps], state, torch.full((3,), steps))
        torch.testing.assert_close(full, ours(x[:steps], state))


def test_blocks_cover_every_step_of_every_sequence_once():
    torch.manual_seed(0)
    lengths = sorted(torch.randint(0, 21, (2 * gru_module._ROWS + 3,)).tolist(), reverse=True)
    running, seen = (torch.zeros(20, len(lengths), dtype=torch.int64) for _ in range(2))
    for block in blocks(lengths, 20):
        running[block.times, block.running] += 1
        seen[block.times, block.running] += 1
        seen[block.times, block.ended] += 1
    assert (seen == 1).all()
    assert running.sum(dim=0).tolist() == lengths


@pytest.mark.parametrize("lengths", [[3, 3], [3, 3, 6], [-1, 2, 3], [[1, 2, 3]]])
def test_lengths_that_do_not_fit_are_refused(lengths):
    ours, _ = pair()
    x, state = sequence(5, 3)
    with pytest.raises(InputError, match="lengths: expected 3 numbers from 0 to 5"):
        ours(x, state, torch.tensor(lengths))


@pytest.mark.parametrize("shape", [(3, HIDDEN), (1, 1, HIDDEN), (1, 3, HIDDEN + 1), (2, 3, HIDDEN)])
def test_a_memory_of_another_shape_is_refused(shape):
    ours, _ = pair()
    with pytest.raises(InputError, match=r"state: expected shape \[1, 3, 4\]"):
        ours(sequence(5, 3)[0], torch.zeros(shape, dtype=torch.float64))
