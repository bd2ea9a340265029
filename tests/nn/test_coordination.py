"""Max-plus against every joint action, and the networks whose terms it maximises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph
from lomaq.nn import CoordinationGraph, Utilities, max_plus

T, B, N, OBS, A = 3, 2, 4, 3, 3
CYCLE = [(0, 1), (1, 2), (2, 3), (0, 3)]


def joint(utilities, payoffs, edges, actions) -> float:
    """Σ u + Σ p of one joint action, one number after the other."""
    alone = sum(utilities[i, a] for i, a in enumerate(actions))
    return float(alone + sum(payoffs[e, actions[i], actions[j]] for e, (i, j) in enumerate(edges)))


def best_joint(utilities, payoffs, edges, mask) -> float:
    allowed = itertools.product(*(np.flatnonzero(row) for row in mask))
    return max(joint(utilities, payoffs, edges, actions) for actions in allowed)


def found(marginals, mask) -> list[int]:
    return np.where(mask, marginals, -np.inf).argmax(axis=-1).tolist()


def solve(utilities, payoffs, edges, rounds, mask=None):
    """``max_plus`` of arrays of one sample."""
    pairs = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T
    allowed = None if mask is None else torch.tensor(mask)
    return max_plus(torch.tensor(utilities), torch.tensor(payoffs), pairs, rounds, allowed).numpy()


@st.composite
def games(draw, tree: bool):
    """Utilities ``[n, A]``, payoffs ``[E, A, A]``, edges and a mask ``[n, A]`` of a random tree, or a ring."""
    n, n_actions = draw(st.integers(2 if tree else 3, 6)), draw(st.integers(2, 3))
    if tree:
        edges = [(draw(st.integers(0, i - 1)), i) for i in range(1, n)]
        edges = [pair[:: draw(st.sampled_from([1, -1]))] for pair in edges]
    else:
        edges = [(i, (i + 1) % n) for i in range(n)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    utilities, payoffs = rng.normal(size=(n, n_actions)), rng.normal(size=(len(edges), n_actions, n_actions))
    mask = rng.random((n, n_actions)) < 0.7
    mask[np.arange(n), rng.integers(n_actions, size=n)] = True
    return utilities, payoffs, edges, mask


@given(games(tree=True))
@settings(max_examples=60, deadline=None)
def test_on_a_tree_the_joint_action_is_the_best_of_all(game):
    utilities, payoffs, edges, mask = game
    everything = np.ones_like(mask)
    for allowed, given_mask in ((everything, None), (everything, everything), (mask, mask)):
        actions = found(solve(utilities, payoffs, edges, len(utilities) - 1, given_mask), allowed)
        best = best_joint(utilities, payoffs, edges, allowed)
        assert joint(utilities, payoffs, edges, actions) == pytest.approx(best)


@given(games(tree=False))
@settings(max_examples=40, deadline=None)
def test_more_rounds_never_find_less_and_none_find_what_each_wants_alone(game):
    utilities, payoffs, edges, mask = game
    alone = found(utilities, mask)
    values = [
        joint(utilities, payoffs, edges, found(solve(utilities, payoffs, edges, rounds, mask), mask))
        for rounds in range(6)
    ]
    assert values[0] == joint(utilities, payoffs, edges, alone)
    assert values == sorted(values)


@pytest.mark.parametrize("liked", [0, 1])
def test_on_a_ring_all_join_the_action_that_pays_when_all_take_it(liked):
    stag = np.array([[8.0, -7, -8], [-7, 2, 1], [-8, 1, 0]])
    payoffs = np.stack([stag] * 5)
    utilities = np.zeros((5, 3))
    utilities[:, liked] = 1.0  # may each for itself prefer hare
    edges = [(i, (i + 1) % 5) for i in range(5)]
    assert solve(utilities, payoffs, edges, 8).argmax(axis=-1).tolist() == [0] * 5


def test_forbidden_actions_of_a_neighbour_are_not_reckoned_with():
    payoffs = np.array([[[9.0, 0.0], [0.0, 1.0]]])
    utilities, mask = np.zeros((2, 2)), np.array([[False, True], [True, True]])
    marginals = solve(utilities, payoffs, [(0, 1)], 2, mask)
    assert np.isfinite(marginals).all()
    assert marginals[1].argmax() == 1
    assert solve(utilities, payoffs, [(0, 1)], 2).argmax(axis=-1).tolist() == [0, 0]


def test_messages_are_those_of_the_definition():
    """One round on the line 0 - 1 - 2, by hand."""
    utilities = np.array([[0.0, 2.0], [0.0, 0.0], [1.0, 0.0]])
    payoffs = np.array([[[4.0, 0.0], [0.0, 1.0]], [[0.0, 3.0], [0.0, 0.0]]])
    # 0 tells 1: max(0 + 4, 2 + 0) = 4, max(0 + 0, 2 + 1) = 3, less 3.5; 2 tells 1: max(1, 3) = 3, max(1, 0) = 1, less 2
    # 1 tells 0: 4, 1, less 2.5; 1 tells 2: max(0, 0) = 0, max(3, 0) = 3, less 1.5
    expected = [[1.5, 0.5], [1.5, -1.5], [-0.5, 1.5]]
    assert solve(utilities, payoffs, [(0, 1), (1, 2)], 1).tolist() == expected


def test_a_batch_gives_what_its_samples_give_one_by_one():
    torch.manual_seed(0)
    utilities, payoffs = torch.randn(5, 2, N, A), torch.randn(5, 2, len(CYCLE), A, A)
    mask = torch.rand(5, 2, N, A) < 0.7
    mask[..., 0] = True
    edges = torch.tensor(CYCLE).T
    together = max_plus(utilities, payoffs, edges, 4, mask)
    for t, b in itertools.product(range(5), range(2)):
        alone = max_plus(utilities[t, b], payoffs[t, b], edges, 4, mask[t, b])
        torch.testing.assert_close(alone, together[t, b])


def test_an_edge_may_be_written_in_either_direction():
    torch.manual_seed(0)
    utilities, payoffs, edges = torch.randn(6, N, A), torch.randn(6, len(CYCLE), A, A), torch.tensor(CYCLE).T
    expected = max_plus(utilities, payoffs, edges, 5)
    flipped, turned = edges.clone(), payoffs.clone()
    flipped[:, 2], turned[:, 2] = edges[:, 2].flip(0), payoffs[:, 2].transpose(-1, -2)
    torch.testing.assert_close(max_plus(utilities, turned, flipped, 5), expected)


def test_without_edges_every_agent_wants_what_it_wants_alone():
    utilities = torch.randn(2, N, A)
    none = torch.zeros(2, 0, dtype=torch.int64)
    assert torch.equal(max_plus(utilities, torch.zeros(2, 0, A, A), none, 3), utilities)


# -------------------------------------------------------------------- networks


def make(network="mlp", graph=None, **options) -> CoordinationGraph:
    torch.manual_seed(1)
    graph = AgentGraph.from_edges(N, CYCLE) if graph is None else graph
    return CoordinationGraph(graph, OBS, A, network, hidden=(8, 6), payoff_hidden=5, **options)


def inputs(graph: CoordinationGraph, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    observations = torch.randn(T, B, graph.n_agents, OBS, generator=generator)
    previous = torch.randint(A, (T, B, graph.n_agents), generator=generator)
    first = torch.zeros(T, B, dtype=torch.bool)
    first[0] = True
    return observations, previous, first, graph.initial_hidden(B, torch.device("cpu"))


@pytest.mark.parametrize("types", [None, [0, 1, 0, 1]])
@pytest.mark.parametrize(("network", "memory"), [("mlp", 0), ("gru", 6)])
@pytest.mark.parametrize("rank", [None, 2])
def test_terms_are_the_utilities_and_a_payoff_matrix_for_every_edge(network, memory, rank, types):
    where = AgentGraph.from_edges(N, CYCLE, agent_type=types)
    graph = make(network, where, payoff_rank=rank, last_action=True, agent_id=True)
    utilities, payoffs, state = graph.terms(*inputs(graph))
    assert (utilities.shape, payoffs.shape, state.shape) == ((T, B, N, A), (T, B, 4, A, A), (B, N, memory))
    plain = Utilities(where, OBS, A, network, hidden=(8, 6), last_action=True, agent_id=True)
    plain.load_state_dict({k: v for k, v in graph.state_dict().items() if not k.startswith("payoffs.")})
    expected, expected_state = plain(*inputs(graph))
    torch.testing.assert_close(utilities, expected)
    torch.testing.assert_close(state, expected_state)


@pytest.mark.parametrize("rank", [None, 1, 2])
def test_payoffs_are_one_network_on_both_agents_averaged_over_both_orders(rank):
    graph = make(payoff_rank=rank)
    features = torch.randn(N, 6)
    with torch.no_grad():
        got = graph.payoffs(features, graph._edges).numpy()
    weights = {name: value.double().numpy() for name, value in graph.payoffs.state_dict().items()}

    def one_way(i, j):
        x = weights["first.weight"] @ features[i].double().numpy() + weights["first.bias"]
        x = np.maximum(x + weights["second.weight"] @ features[j].double().numpy(), 0)
        out = weights["head.weight"] @ x + weights["head.bias"]
        if rank is None:
            return out.reshape(A, A)
        left, right = out.reshape(2, rank, A)
        return sum(np.outer(left[k], right[k]) for k in range(rank))

    for e, (i, j) in enumerate(graph._edges.T.tolist()):
        np.testing.assert_allclose(got[e], (one_way(i, j) + one_way(j, i).T) / 2, atol=1e-6)
    np.testing.assert_allclose(
        graph.payoffs(features, graph._edges.flip(0)).detach().numpy(), got.transpose(0, 2, 1), atol=1e-6
    )


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_joint_value_is_the_mean_or_sum_of_utilities_and_that_of_payoffs(reduction):
    graph, reduce = make(reduction=reduction), {"mean": np.mean, "sum": np.sum}[reduction]
    utilities, payoffs = torch.randn(T, B, N, A), torch.randn(T, B, 4, A, A)
    actions = torch.randint(A, (T, B, N))
    got = graph.joint_value(utilities, payoffs, actions)
    assert got.shape == (T, B)
    for t, b in itertools.product(range(T), range(B)):
        u, p, a = utilities[t, b].numpy(), payoffs[t, b].numpy(), actions[t, b].tolist()
        pairs = [p[e, a[i], a[j]] for e, (i, j) in enumerate(graph._edges.T.tolist())]
        assert got[t, b].item() == pytest.approx(reduce([u[i, a[i]] for i in range(N)]) + reduce(pairs), abs=1e-5)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("rank", [None, 2])
def test_what_acts_is_the_best_joint_action_on_a_tree(rank, reduction):
    graph = make(graph=AgentGraph.star(N), payoff_rank=rank, reduction=reduction)
    with torch.no_grad():
        marginals, _ = graph(*inputs(graph))
        utilities, payoffs, _ = graph.terms(*inputs(graph))
        every = torch.tensor(list(itertools.product(range(A), repeat=N)))  # [A^N, N]
        values = torch.stack([graph.joint_value(utilities, payoffs, a.expand(T, B, N)) for a in every])
        got = graph.joint_value(utilities, payoffs, marginals.argmax(dim=-1))
    torch.testing.assert_close(got, values.amax(dim=0))


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("network", ["mlp", "gru"])
def test_rescaling_multiplies_every_utility_and_payoff(network, rank):
    graph = make(network, payoff_rank=rank)
    before = graph.terms(*inputs(graph))
    graph.rescale_(0.25)
    after = graph.terms(*inputs(graph))
    torch.testing.assert_close(after[0], before[0] / 4)
    torch.testing.assert_close(after[1], before[1] / 4)
    assert torch.equal(after[2], before[2])


def test_renumbering_the_agents_renumbers_the_result():
    graph, order = make(), torch.tensor([2, 0, 3, 1])  # agent k of the other graph is agent order[k] of this one
    place = torch.argsort(order)
    other = make(graph=AgentGraph.from_edges(N, place[torch.tensor(CYCLE)].tolist()))
    observations, previous, first, hidden = inputs(graph)
    mask = torch.rand(T, B, N, A) < 0.7
    mask[..., 1] = True
    expected, _ = graph(observations, previous, first, hidden, mask)
    got, _ = other(observations[:, :, order], previous[:, :, order], first, hidden, mask[:, :, order])
    torch.testing.assert_close(got, expected[:, :, order])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weights_fit_any_number_of_agents_and_a_graph_without_edges(reduction):
    trained = make(reduction=reduction)
    for where in (AgentGraph.line(7), AgentGraph.empty(2), AgentGraph.empty(1)):
        graph = make(graph=where, reduction=reduction)
        graph.load_state_dict(trained.state_dict())
        values, _ = graph(*inputs(graph))
        assert values.shape == (T, B, where.n_agents, A)
        utilities, payoffs, _ = graph.terms(*inputs(graph))
        if where.n_edges == 0:
            chosen = torch.zeros(T, B, where.n_agents, dtype=torch.int64)
            expected = getattr(utilities[..., 0], reduction)(dim=-1)
            torch.testing.assert_close(graph.joint_value(utilities, payoffs, chosen), expected)


@pytest.mark.parametrize(
    ("options", "name"),
    [({"payoff_hidden": 0}, "payoff_hidden"), ({"payoff_rank": 0}, "payoff_rank"), ({"rounds": 0}, "rounds")],
)
def test_impossible_settings_are_refused(options, name):
    with pytest.raises(InputError, match=f"^agent.{name}: expected a whole number of at least 1, got 0"):
        CoordinationGraph(AgentGraph.line(2), OBS, A, **options)


def test_an_unknown_reduction_is_refused():
    with pytest.raises(InputError, match=r"^agent.reduction: expected one of mean, sum, got 'max'"):
        CoordinationGraph(AgentGraph.line(2), OBS, A, reduction="max")
