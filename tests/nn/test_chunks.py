import pytest
import torch

from lomaq.envs import CartPole
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import GCNMixer, MaskedMLPMixer, QMIXMixer
from lomaq.nn import CoordinationGraph, Utilities
from lomaq.nn import chunks as module
from lomaq.nn.chunks import chunks, in_chunks
from lomaq.objectives import PartitionTD, ValueNetworks
from lomaq.objectives.base import Batch
from lomaq.rewards.returns import Returns
from lomaq.training.experience.collector import Collector

N, OBS, A = 5, 4, 2
LINE = AgentGraph.line(N)


def test_parts_hold_every_entry_once_and_differ_by_few():
    assert [(part.start, part.stop) for part in chunks(10, 4)] == [(0, 4), (4, 8), (8, 10)]
    assert [(part.start, part.stop) for part in chunks(3, 8)] == [(0, 3)]
    assert chunks(0, 8) == []


@pytest.mark.parametrize(("numbers", "calls"), [(1, [6]), (4, [3, 3]), (12, [1] * 6), (100, [1] * 6)])
def test_as_many_entries_as_have_the_allowed_numbers_run_together(monkeypatch, numbers, calls):
    monkeypatch.setattr(module, "MOST_NUMBERS", 12)
    made = []

    def double(x, none):
        made.append(x.size(1))
        return (2 * x,)

    x = torch.arange(12.0).view(2, 6)
    with torch.no_grad():
        (result,) = in_chunks(double, (x, None), (1, 0), (1,), numbers)
    assert made == calls
    assert torch.equal(result, 2 * x)


def networks(kind):
    torch.manual_seed(0)
    if kind == "dcg":
        return CoordinationGraph(LINE, OBS, A, hidden=(8,))
    return Utilities(LINE, OBS, A, kind, hidden=(8, 8), last_action=True)


def sequences():
    generator = torch.Generator().manual_seed(0)
    observations = torch.randn(4, 6, N, OBS, generator=generator)
    first = torch.rand(4, 6, generator=generator) < 0.3
    previous = torch.randint(A, (4, 6, N), generator=generator).masked_fill(first[..., None], -1)
    return observations, previous, first


def with_gradients(function, parameters):
    results = function()
    sum(result.square().sum() for result in results).backward()
    gradients = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    return [*(result.detach() for result in results), *(x for x in gradients if x is not None)]


@pytest.mark.parametrize("kind", ["mlp", "gru", "dcg"])
def test_utilities_in_parts_have_the_same_results_and_gradients(monkeypatch, kind):
    utilities = networks(kind)
    hidden = torch.randn(6, N, utilities.memory_size)
    parameters = list(utilities.parameters())
    whole = with_gradients(lambda: utilities(*sequences(), hidden), parameters)
    monkeypatch.setattr(module, "MOST_NUMBERS", 2 * 4 * N * 8)
    torch.testing.assert_close(with_gradients(lambda: utilities(*sequences(), hidden), parameters), whole)


@pytest.mark.parametrize("make", [MaskedMLPMixer, GCNMixer, QMIXMixer])
def test_mixers_in_parts_have_the_same_results_and_gradients(monkeypatch, make):
    torch.manual_seed(0)
    full = make is QMIXMixer
    mixer = make(LINE, Partition.full(N), OBS) if full else make(LINE, Partition.singletons(N), 1)
    utilities, observations = torch.randn(4, 6, N, requires_grad=True), torch.randn(4, 6, N, OBS)
    parameters = [*mixer.parameters(), utilities]
    whole = with_gradients(lambda: [mixer(utilities, observations)], parameters)
    monkeypatch.setattr(module, "MOST_NUMBERS", 7 * mixer.numbers)
    torch.testing.assert_close(with_gradients(lambda: [mixer(utilities, observations)], parameters), whole)


def test_targets_in_parts_are_those_of_one_pass(monkeypatch):
    torch.manual_seed(0)
    env = CartPole(N, n_envs=6)
    learned = ValueNetworks(
        Utilities(env.graph, 4, 2, hidden=(8,)), MaskedMLPMixer(env.graph, Partition.singletons(N), 1)
    )
    rollout = Collector(env, learned.utilities, seed=0, steps=7).collect(0.5)
    batch, objective = Batch(learned, learned, rollout, rollout.rewards), PartitionTD(Returns(0.9, 0.8))
    whole = objective.targets(batch).returns
    monkeypatch.setattr(module, "MOST_NUMBERS", 1)  # each sequence, and each sample of a mixer, by itself
    torch.testing.assert_close(objective.targets(batch).returns, whole)
