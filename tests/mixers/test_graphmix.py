"""GraphMIX's mixer: against plain NumPy, monotone, symmetric, and for one block only."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from lomaq.config import compose
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import GraphMIXMixer
from lomaq.mixers.graphmix import edge_attention, pair_attention
from lomaq.training.run import train

N, OBS, M, H = 4, 2, 5, 5
SETTINGS = settings(max_examples=10, deadline=None)

every_kind_of_edges = pytest.mark.parametrize("edges", ["complete", "graph"])


def mixer(edges="complete", graph=None, **options) -> GraphMIXMixer:
    torch.manual_seed(0)
    graph = AgentGraph.line(N) if graph is None else graph
    sizes = {"obs_size": OBS, "hidden": H, "hyper_hidden": 6, "attention": 3}
    return GraphMIXMixer(graph, Partition.full(graph.n_agents), **{**sizes, **options}, edges=edges)


def seen(n=N, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(M, n, generator=generator), torch.randn(M, n, OBS, generator=generator)


def randomise_(network, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))


# --------------------------------------------------------------------- equations


def linear(layer, x):
    offset = 0 if layer.bias is None else layer.bias.detach().double().numpy()
    return layer.weight.detach().double().numpy() @ x + offset


def two_layers(network, x):
    return linear(network[2], np.maximum(linear(network[0], x), 0))


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def slow(graphmix, listens, utilities, observations):
    """Value and fractions of one sample, agent by agent; ``listens[i]`` are the agents that i listens to."""
    state = observations.reshape(-1)
    embedded = [np.maximum(linear(graphmix.embed[0], o), 0) for o in observations]
    w1, w2 = np.abs(two_layers(graphmix.w1, state)), np.abs(two_layers(graphmix.w2, state)).reshape(3, H)
    features = []
    for i, others in enumerate(listens):
        query = linear(graphmix.query, embedded[i])
        weights = softmax(np.array([query @ linear(graphmix.key, embedded[j]) / np.sqrt(3) for j in others]))
        x = sum(w * utilities[j] for w, j in zip(weights, others, strict=True)) * w1 + linear(graphmix.b1, state)
        x = np.where(x > 0, x, 0.01 * x) @ w2 + linear(graphmix.b2, state)
        features.append(np.where(x > 0, x, np.expm1(np.minimum(x, 0))))
    value = np.mean(features, axis=0) @ np.abs(two_layers(graphmix.w3, state)) + two_layers(graphmix.value, state)[0]
    return value, softmax(np.stack(features) @ two_layers(graphmix.fraction, state))


@pytest.mark.parametrize(
    ("edges", "listens"),
    [("complete", [[0, 1, 2, 3]] * N), ("graph", [[0, 1], [0, 1, 2], [1, 2, 3], [2, 3]])],
)
def test_values_and_fractions_equal_a_plain_loop(edges, listens):
    utilities, observations = seen()
    graphmix = mixer(edges, observation_scale=[2.0, 0.5])
    values, fractions = graphmix.forward_with_fractions(utilities, observations)
    for m in range(M):
        scaled = observations[m].double().numpy() * [2.0, 0.5]
        value, shares = slow(graphmix, listens, utilities[m].double().numpy(), scaled)
        assert values[m, 0].item() == pytest.approx(value, abs=1e-5)
        np.testing.assert_allclose(fractions[m].detach(), shares, atol=1e-5)
    assert torch.equal(graphmix(utilities, observations), values)


def test_attention_by_hand():
    query = torch.tensor([[[2.0, 0.0], [0.0, 0.0]]])  # agent 0 asks for the first number, agent 1 for nothing
    key = torch.tensor([[[1.0, 5.0], [0.0, 7.0]]])
    liking = np.exp(2 / np.sqrt(2))
    expected = [[liking / (liking + 1), 1 / (liking + 1)], [0.5, 0.5]]
    np.testing.assert_allclose(pair_attention(query, key)[0], expected, rtol=1e-6)
    edges = torch.tensor([[0, 1, 1, 0], [1, 1, 0, 0]])
    got = edge_attention(query, key, edges)[0]
    np.testing.assert_allclose(got, [expected[i][j] for i, j in edges.T.tolist()], rtol=1e-6)


@SETTINGS
@given(n=st.integers(1, 6), seed=st.integers(0, 1000), factor=st.sampled_from([0.1, 1.0, 30.0]))
def test_every_row_of_attention_sums_to_1(n, seed, factor):
    generator = torch.Generator().manual_seed(seed)
    query, key = (torch.randn(3, n, 4, generator=generator) * factor for _ in range(2))
    torch.testing.assert_close(pair_attention(query, key).sum(dim=-1), torch.ones(3, n))
    some = torch.rand(n, n, generator=generator) < 0.5
    edges = (some | torch.eye(n, dtype=torch.bool)).nonzero().T
    rows = torch.zeros(3, n).index_add(1, edges[0], edge_attention(query, key, edges))
    torch.testing.assert_close(rows, torch.ones(3, n))


def test_on_a_complete_graph_both_kinds_of_edges_are_alike():
    graph, (utilities, observations) = AgentGraph.complete(N), (x.double() for x in seen())
    one, two = mixer("complete", graph).double(), mixer("graph", graph).double()
    randomise_(one, 0)
    two.load_state_dict(one.state_dict())
    for a, b in zip(*(m.forward_with_fractions(utilities, observations) for m in (one, two)), strict=True):
        torch.testing.assert_close(a, b)


# -------------------------------------------------------------------- properties


@every_kind_of_edges
@SETTINGS
@given(n=st.integers(1, 6), seed=st.integers(0, 1000))
def test_the_value_never_falls_with_any_utility(edges, n, seed):
    graphmix = mixer(edges, AgentGraph.ring(n))
    randomise_(graphmix, seed)
    utilities, observations = seen(n, seed)
    utilities.requires_grad_()
    (slope,) = torch.autograd.grad(graphmix(utilities, observations).sum(), utilities)
    assert slope.min() >= 0


@every_kind_of_edges
def test_a_new_mixer_rises_with_every_utility_in_every_state(edges):
    utilities, observations = seen()
    utilities.requires_grad_()
    (slope,) = torch.autograd.grad(mixer(edges)(utilities, observations).sum(), utilities)
    assert slope.min() > 0


@SETTINGS
@given(order=st.permutations(range(N)), seed=st.integers(0, 1000))
def test_among_agents_that_see_the_same_it_does_not_matter_who_has_which_utility(order, seed):
    graphmix = mixer().double()
    randomise_(graphmix, seed)
    utilities, observations = (x.double() for x in seen(seed=seed))
    alike = observations[:, :1].expand(-1, N, -1)
    value, fractions = graphmix.forward_with_fractions(utilities, alike)
    torch.testing.assert_close(graphmix(utilities[:, order], alike), value)
    torch.testing.assert_close(fractions, torch.full_like(fractions, 1 / N))  # all hear the same


@every_kind_of_edges
def test_fractions_are_shares_that_depend_on_the_state(edges):
    utilities, observations = seen()
    graphmix = mixer(edges)
    randomise_(graphmix, 0)
    same = utilities[:1].expand(M, -1)
    _, fractions = graphmix.forward_with_fractions(same, observations)
    assert fractions.shape == (M, N)
    assert (fractions >= 0).all()
    torch.testing.assert_close(fractions.sum(dim=-1), torch.ones(M))
    assert (fractions - fractions[:1]).abs().amax() > 1e-3


@every_kind_of_edges
def test_leading_dimensions_are_kept(edges):
    utilities, observations = seen()
    graphmix = mixer(edges)
    value, fractions = graphmix.forward_with_fractions(utilities, observations)
    assert (value.shape, fractions.shape) == ((M, 1), (M, N))
    more = graphmix.forward_with_fractions(utilities[:, None], observations[:, None])
    torch.testing.assert_close(more, (value[:, None], fractions[:, None]))
    torch.testing.assert_close(graphmix(utilities[0], observations[0]), value[0])


def test_rescaling_multiplies_the_value_and_leaves_the_fractions():
    utilities, observations = seen()
    graphmix = mixer()
    value, fractions = graphmix.forward_with_fractions(utilities, observations)
    graphmix.rescale_(0.25)
    after = graphmix.forward_with_fractions(utilities, observations)
    torch.testing.assert_close(after, (value * 0.25, fractions))


@every_kind_of_edges
def test_every_parameter_learns_and_only_parameters_are_stored(edges):
    utilities, observations = seen()
    graphmix = mixer(edges).requires_grad_()
    value, fractions = graphmix.forward_with_fractions(utilities, observations)
    (value.square().sum() + fractions.square().sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in graphmix.parameters())
    assert set(graphmix.state_dict()) == {name for name, _ in graphmix.named_parameters()}


# ---------------------------------------------------------------------- mistakes


def test_several_blocks_are_refused_with_the_remedy():
    with pytest.raises(InputError, match=r"partition: expected full for GraphMIXMixer, got 4 blocks; .*partition=full"):
        GraphMIXMixer(AgentGraph.line(N), Partition.singletons(N), obs_size=OBS)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"edges": "some"}, r"mixer\.edges: expected one of complete, graph, got 'some'"),
        ({"hidden": 0}, r"mixer\.hidden: .*at least 1, got 0"),
        ({"hyper_hidden": 0}, r"mixer\.hyper_hidden: .*at least 1, got 0"),
        ({"attention": 0}, r"mixer\.attention: .*at least 1, got 0"),
        ({"observation_scale": [1.0]}, r"mixer\.observation_scale: expected 2 numbers"),
    ],
)
def test_impossible_settings_are_named(options, line):
    with pytest.raises(InputError, match=line):
        mixer(**options)


# -------------------------------------------------------------------------- cost


def test_quadratic_cost_is_told_only_where_it_matters():
    assert mixer("complete", AgentGraph.line(100)).note is None
    assert "all pairs of 101 agents" in mixer("complete", AgentGraph.line(101)).note
    assert mixer("graph", AgentGraph.line(101)).note is None


@pytest.mark.parametrize(("edges", "told"), [("complete", 1), ("graph", 0)])
def test_a_run_warns_before_it_starts_that_its_cost_is_quadratic(small, tmp_path, edges, told):
    words = ["algo=graphmix", "env.n_agents=101", f"mixer.edges={edges}", "total_env_steps=40"]
    output = io.StringIO()
    train(compose([*small, *words, "evaluation.references=false"]), tmp_path / "run", Console(file=output))
    lines = [line for line in output.getvalue().splitlines() if line.strip()]
    assert sum("mixer.edges=graph" in line for line in lines) == told
    assert ("mixer.edges=graph" in lines[0]) == bool(told)
