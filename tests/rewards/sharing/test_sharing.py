"""Rewards that travel: shares that keep the sum, and what moves them, against plain loops."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
import torch

from lomaq.errors import NonFiniteLossError
from lomaq.graphs import AgentGraph, Partition
from lomaq.rewards import LearnedSharing, ShareMatrix, SharingSettings
from lomaq.rewards.sharing import NETWORKS, Conflicts, drawn_states, nearest_distribution
from lomaq.rewards.sharing.effects import ActionEffects

A, M, SEEN = 3, 4, 2
#: A triangle with a tail, and one agent alone: no two agents are alike but 0 and 1.
TADPOLE = AgentGraph.from_edges(5, [(0, 1), (1, 2), (0, 2), (2, 3)])
GRAPHS = {
    "line": AgentGraph.line(5),
    "star": AgentGraph.star(5),
    "tadpole": TADPOLE,
    "scale-free": AgentGraph.from_networkx(nx.barabasi_albert_graph(30, 2, seed=1)),
}


def shaken(matrix, steps=20, rate=0.5, seed=0):
    """The same shares after random steps."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        matrix.step_(torch.randn(matrix.shares.shape, generator=generator), rate, 0.0)
    return matrix


# --------------------------------------------------------------------- the matrix


@pytest.mark.parametrize("share", ["ego", "none"])
@pytest.mark.parametrize("hops", [0, 1, 2])
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())
def test_no_reward_is_lost_or_travels_too_far(graph, hops, share):
    near = torch.from_numpy(graph.khop(hops).toarray() > 0)
    rewards = torch.randn(7, 3, graph.n_agents)
    for matrix in (
        ShareMatrix(graph, hops, equal=True, share=share),
        ShareMatrix(graph, hops, equal=False, share=share),
        shaken(ShareMatrix(graph, hops, equal=False, share=share)),
        shaken(ShareMatrix(graph, hops, equal=True, share=share), steps=1, rate=10.0),
    ):
        w = matrix.matrix().to_dense()
        assert w.min() >= 0
        assert not w[~near].any()
        torch.testing.assert_close(w.sum(dim=0), torch.ones(graph.n_agents))
        shared = matrix(rewards)
        torch.testing.assert_close(shared, rewards @ w.T)
        torch.testing.assert_close(shared.sum(dim=-1), rewards.sum(dim=-1), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(matrix.passed_on, 1 - w.diagonal())


def test_equal_shares_on_a_star_by_hand():
    matrix = ShareMatrix(AgentGraph.star(4), 1, equal=True)
    # the centre's reward goes to all four, that of a leaf to itself and the centre
    expected = [[0.25, 0.5, 0.5, 0.5], [0.25, 0.5, 0, 0], [0.25, 0, 0.5, 0], [0.25, 0, 0, 0.5]]
    assert matrix.matrix().to_dense().tolist() == expected
    assert matrix(torch.tensor([4.0, 2.0, 0.0, 10.0])).tolist() == [7, 2, 1, 6]
    assert matrix.passed_on.tolist() == [0.75, 0.5, 0.5, 0.5]


def test_at_first_every_reward_is_its_agents_own():
    matrix = ShareMatrix(TADPOLE, 2, equal=False)
    assert matrix.matrix().to_dense().equal(torch.eye(5))
    assert matrix.passed_on.tolist() == [0.0] * 5


def test_agents_with_isomorphic_surroundings_have_the_same_shares():
    w = shaken(ShareMatrix(AgentGraph.star(4), 1, equal=False)).matrix().to_dense()
    for leaf in (2, 3):
        assert w[leaf, leaf] == w[1, 1]
        assert w[0, leaf] == w[0, 1]
    assert 0 < w[1, 1] < 1
    own = shaken(ShareMatrix(AgentGraph.star(4), 1, equal=False, share="none")).matrix().to_dense()
    assert own[1, 1] != own[2, 2]


def test_shares_of_a_ring_suit_a_larger_one():
    small = shaken(ShareMatrix(AgentGraph.ring(6), 1, equal=False, learned=True))
    large = ShareMatrix(AgentGraph.ring(9), 1, equal=False, learned=True)
    large.load_state_dict(small.state_dict())
    assert list(small.state_dict()) == ["shares"]
    assert large.passed_on.tolist() == pytest.approx([float(small.passed_on[0])] * 9)
    assert not ShareMatrix(AgentGraph.ring(6), 1, equal=True).state_dict()


def test_a_step_goes_down_and_pays_for_each_hop():
    matrix = ShareMatrix(AgentGraph.line(3), 2, equal=False, share="none")
    place = {(int(k), int(j)): int(row) for k, j, row in zip(*matrix.pairs[:3], strict=True)}
    slopes = torch.zeros(len(matrix.shares))
    slopes[place[0, 0]], slopes[place[0, 1]], slopes[place[0, 2]] = 0.5, -0.5, -1.0
    matrix.step_(slopes, rate=0.5, price=0.2)
    # 1 - 0.25, 0.25 - 0.1, 0.5 - 0.2 add up to 1.2, 1/15 each too much; nothing pulls at the others' rewards
    expected = torch.tensor([0.75 - 0.2 / 3, 0.15 - 0.2 / 3, 0.3 - 0.2 / 3])
    torch.testing.assert_close(matrix.matrix().to_dense()[:, 0], expected)
    torch.testing.assert_close(matrix.matrix().to_dense()[:, 1:], torch.eye(3)[:, 1:])


def test_without_slopes_the_price_brings_rewards_home():
    matrix = ShareMatrix(AgentGraph.ring(5), 2, equal=True)
    for _ in range(100):
        matrix.step_(torch.zeros(len(matrix.shares)), rate=0.5, price=0.02)
    torch.testing.assert_close(matrix.matrix().to_dense(), torch.eye(5), rtol=0, atol=1e-6)


def nearest_by_trying(x):
    """On every set of numbers above 0 the nearest with sum 1; the nearest of those that are allowed."""
    real, found = [k for k in range(len(x)) if np.isfinite(x[k])], []
    for size in range(1, len(real) + 1):
        for kept in combinations(real, size):
            y = np.zeros(len(x))
            y[list(kept)] = x[list(kept)] - (x[list(kept)].sum() - 1) / size
            if y.min() >= 0:
                found.append((np.square((y - x)[real]).sum(), tuple(y)))
    return min(found)[1]


def test_the_nearest_distribution_is_the_nearest():
    x = np.random.default_rng(0).normal(scale=[[0.1], [1.0], [10.0]] * 4, size=(12, 5))
    x[3, 4] = x[4, 1:4] = x[5, :4] = -np.inf
    x[6] = 0.3
    expected = [nearest_by_trying(row) for row in x]
    np.testing.assert_allclose(nearest_distribution(torch.from_numpy(x)), expected, atol=1e-12)
    allowed = nearest_distribution(torch.tensor(expected))
    np.testing.assert_allclose(allowed, expected, atol=1e-12)


# ---------------------------------------------------------------------- conflicts


def random_effects(graph, kappa, share="none", twins=False):
    """Effects by chance, the same of all networks or three."""
    torch.manual_seed(3)
    effects = ActionEffects(graph, kappa, SEEN, A, hidden=5, share=share)
    for parameter in effects.parameters():
        torch.nn.init.normal_(parameter)
        if twins:
            parameter.data[1:] = parameter.data[0]
    return effects


def table(effects, observations):
    """q of each network, ``[3][k, i, M, A]`` float64, 0 where k is not near i."""
    q = np.zeros((NETWORKS, effects.n_agents, effects.n_agents, M, A))
    values = effects(observations.expand(NETWORKS, *observations.shape)).detach().double().numpy()[..., :-1]
    for s, (k, i) in enumerate(zip(effects.of.tolist(), effects.by.tolist(), strict=True)):
        q[:, k, i] = values[:, s]
    return q


def what_is_short(decides, w, choosing, weighing, measuring, mean_size, blocks, sees, allowed, margin):
    """The documented sum by loops, Σ |d_k|, what is lost, and the least and largest gains of any block.

    One network chooses a*, who loses and who is short by the shares ``decides``, another says how much those lose, a
    third measures with the shares ``w``.
    """
    n, short, size, lost, extremes = len(w), 0.0, 0.0, 0.0, []
    for i in range(n):
        seeing = [number for number in range(len(blocks)) if sees[number, i]]
        for m in range(M):
            team = choosing[:, i, m].sum(axis=0)
            best = max((a for a in range(A) if allowed[m, i, a]), key=lambda a, team=team: team[a])
            for a in range(A):
                d, weighed, other = (q[:, i, m, best] - q[:, i, m, a] for q in (choosing, weighing, measuring))
                total, whole = d.sum() * allowed[m, i, a], np.abs(d).sum() * allowed[m, i, a]
                size += whole
                if total <= 0:
                    continue
                disputed = -2 * weighed[d < 0].sum() / (whole + 0.1 * mean_size)  # 1 - ρ, weighed
                weight = 4 * total / (whole + 0.1 * mean_size) * disputed
                gains = [sum(decides[j] @ d for j in blocks[number]) for number in seeing]
                measured = [sum(w[j] @ other for j in blocks[number]) for number in seeing]
                fair = margin * total / len(seeing)
                short += sum(weight * (fair - y) for x, y in zip(gains, measured, strict=True) if x < fair)
                lost -= sum(y for x, y in zip(gains, measured, strict=True) if x < 0)
                extremes.append((min(gains), max(gains)))
    return np.array([short, size, lost]), extremes


CASES = {
    "line": (AgentGraph.line(4), [[0], [1], [2], [3]], 1, 1, 0.5, "none"),
    "pairs": (AgentGraph.line(4), [[0, 1], [2, 3]], 1, 1, 1.0, "none"),
    "two hops": (TADPOLE, [[0], [1], [2], [3], [4]], 2, 1, 0.3, "none"),
    "further than seen": (AgentGraph.line(4), [[0], [1], [2], [3]], 1, 2, 0.5, "none"),
    "classes": (AgentGraph.star(4), [[0], [1], [2], [3]], 1, 1, 0.5, "ego"),
}


@pytest.mark.parametrize("masked", [False, True], ids=["all actions", "masked"])
@pytest.mark.parametrize("twins", [True, False], ids=["twins", "three networks"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_slopes_are_those_of_the_documented_sum(case, twins, masked):
    graph, blocks, kappa, hops, margin, share = case
    n, partition = graph.n_agents, Partition(blocks, graph.n_agents)
    effects = random_effects(graph, kappa, share, twins)
    matrix = shaken(ShareMatrix(graph, hops, equal=True, share=share), steps=3, rate=0.1)
    observations = torch.randn(M, n, SEEN)
    mask = torch.rand(M, n, A) > 0.3 if masked else torch.ones(M, n, A, dtype=torch.bool)
    mask[..., 0] |= ~mask.any(dim=-1)
    found = Conflicts(effects, matrix, graph, partition, kappa, margin)(observations, mask if masked else None)

    q, allowed, sees = table(effects, observations), mask.numpy(), graph.khop(kappa, partition.blocks).toarray() > 0
    given, receiver, row = (index.numpy() for index in matrix.pairs[:3])

    def dense(shares):
        w = np.zeros((n, n))
        w[receiver, given] = shares[row]
        return w

    now, common = matrix.shares.double().numpy(), (blocks, sees, allowed, margin)

    def all_parts(shares, decides=None):
        w = dense(shares)
        by = w if decides is None else dense(decides)
        total, extremes = np.zeros(3), []
        for x in range(NETWORKS):
            weighing, measuring = q[(x + 1) % NETWORKS], q[(x + 2) % NETWORKS]
            part, more = what_is_short(by, w, q[x], weighing, measuring, mean_size, *common)
            total, extremes = total + part, extremes + more
        return total, extremes

    mean_size = 0.0
    mean_size = all_parts(now)[0][1] / (NETWORKS * n * M * A)
    ((_, size, lost), extremes), step = all_parts(now), 1e-5
    members = matrix.pairs.class_of.bincount()[matrix.pairs.row_class].numpy()
    for number in range(len(now)):
        nudge = step * np.eye(len(now))[number]
        decides = None if twins else now  # of three networks, who is short is no function of what another measures
        change = (all_parts(now + nudge, decides)[0] - all_parts(now - nudge, decides)[0])[0]
        expected = change / (2 * step) / size * n / members[number]
        assert float(found.slopes[number]) == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert found.opposed == pytest.approx(lost / size, abs=1e-5)
    least = 1e-3 * mean_size  # smaller gains have no sign
    torn = [low < -least and high > least for low, high in extremes]
    assert found.conflict == pytest.approx(np.mean(torn), abs=1e-6)
    assert found.slopes.abs().max() > 0.01


def test_for_given_effects_the_sum_is_convex_and_steps_go_down():
    effects, observations = random_effects(AgentGraph.ring(5), 1, twins=True), torch.randn(M, 5, SEEN)
    matrix = ShareMatrix(AgentGraph.ring(5), 1, equal=False, share="none")
    conflicts = Conflicts(effects, matrix, AgentGraph.ring(5), Partition.singletons(5), 1, 0.5)
    before = conflicts(observations)
    for _ in range(50):
        matrix.step_(conflicts(observations).slopes, 0.1, 0.0)
    after = conflicts(observations)
    assert before.opposed > 0.05
    assert after.opposed < before.opposed / 2
    assert after.conflict < before.conflict


def test_nothing_moves_where_all_agents_gain():
    effects = random_effects(AgentGraph.line(3), 1, twins=True)
    q = torch.arange(A).float()
    with torch.no_grad():
        effects.heads.zero_()
        effects.heads[:, :, -1, :A] = q  # of any observation, and good for all
    matrix = shaken(ShareMatrix(AgentGraph.line(3), 1, equal=True))
    conflicts = Conflicts(effects, matrix, AgentGraph.line(3), Partition.singletons(3), 1, 0.0)
    found = conflicts(torch.randn(M, 3, SEEN))
    assert not found.slopes.any()
    assert (found.conflict, found.opposed) == (0.0, 0.0)


def test_where_actions_change_nothing_there_is_no_conflict():
    effects = ActionEffects(AgentGraph.line(3), 1, SEEN, A)
    matrix = ShareMatrix(AgentGraph.line(3), 1, equal=False)
    conflicts = Conflicts(effects, matrix, AgentGraph.line(3), Partition.singletons(3), 1, 0.5)
    found = conflicts(torch.randn(M, 3, SEEN))
    assert not found.slopes.any()
    assert (found.conflict, found.opposed) == (0.0, 0.0)


def test_the_unit_of_the_rewards_does_not_count():
    effects, observations = random_effects(AgentGraph.line(4), 1), torch.randn(M, 4, SEEN)
    matrix = ShareMatrix(AgentGraph.line(4), 1, equal=False)
    conflicts = Conflicts(effects, matrix, AgentGraph.line(4), Partition.singletons(4), 1, 0.5)
    small = conflicts(observations)
    effects.heads.data *= 1000.0
    large = conflicts(observations)
    torch.testing.assert_close(large.slopes, small.slopes)
    assert (large.conflict, large.opposed) == pytest.approx((small.conflict, small.opposed))


# ---------------------------------------------------------------- learned sharing


def dilemma(make_rollout, graph, seed, steps=8, batch=48):
    """Action 1 costs its agent 1 and gives each neighbour 2, at once; observations are noise."""
    generator, n = torch.Generator().manual_seed(seed), graph.n_agents
    actions = torch.randint(2, (steps, batch, n), generator=generator)
    rewards = actions.float() @ (torch.from_numpy(graph.khop(1).toarray()).float() - 2 * torch.eye(n))
    rollout = make_rollout(valid=("1" * steps,) * batch, n_agents=n, obs_size=SEEN)
    observations = torch.randn(steps + 1, batch, n, SEEN, generator=generator)
    return replace(rollout, observations=observations, actions=actions, rewards=rewards)


def learner_of(graph, partition=None, hops=1, **settings):
    torch.manual_seed(0)
    partition = partition or Partition.singletons(graph.n_agents)
    settings = SharingSettings(**{"every": 1, "gamma": 0.0, **settings})
    return LearnedSharing(graph, partition, 1, hops, SEEN, 2, None, settings)


def learn(sharing, rollouts):
    optimizer, generator = torch.optim.Adam(sharing.parameters(), lr=0.02), torch.Generator().manual_seed(0)
    return [sharing.learn(rollout, optimizer, generator) for rollout in rollouts]


def test_rewards_go_to_those_who_cause_them_until_nobody_opposes(make_rollout):
    graph = AgentGraph.ring(6)
    sharing = learner_of(graph, margin=0.5)
    metrics = learn(sharing, (dilemma(make_rollout, graph, seed) for seed in range(25)))
    assert metrics[0]["passed_on"] < 0.25
    assert all(m.keys() == {"effect_loss", "conflict", "opposed", "passed_on"} for m in metrics)
    assert max(m["opposed"] for m in metrics[:5]) > 0.1
    assert metrics[-1]["conflict"] == 0.0
    assert metrics[-1]["opposed"] == pytest.approx(0.0, abs=0.01)
    # who acts loses its own share and gains what neighbours give it: -w + 2 (1 - w) ≥ 3 / 3 / 2 wants w ≤ 1/2
    w = sharing.matrix.matrix().to_dense()
    assert 0.2 < w[0, 0] < 0.55
    torch.testing.assert_close(w.sum(dim=0), torch.ones(6))


def test_noise_alone_passes_nothing_on(make_rollout):
    graph = AgentGraph.ring(6)
    sharing = learner_of(graph)
    played = (dilemma(make_rollout, graph, seed) for seed in range(40))
    metrics = learn(sharing, (replace(rollout, rewards=rollout.actions.float()) for rollout in played))
    assert metrics[-1]["passed_on"] < 0.02


def test_one_block_of_all_agents_opposes_nothing(make_rollout):
    graph = AgentGraph.ring(6)
    sharing = learner_of(graph, Partition.full(6))
    metrics = learn(sharing, [dilemma(make_rollout, graph, seed) for seed in range(4)])
    assert metrics[-1]["passed_on"] == metrics[-1]["conflict"] == 0.0


def test_shares_move_in_every_few_iterations_and_counting_is_stored(make_rollout):
    graph = AgentGraph.ring(6)
    rollout = dilemma(make_rollout, graph, 0)
    sharing = learner_of(graph, every=3)
    assert [bool(m) for m in learn(sharing, [rollout] * 7)] == [False, False, True, False, False, True, False]
    other = learner_of(AgentGraph.ring(9), every=3)
    other.load_state_dict(sharing.state_dict())
    larger = dilemma(make_rollout, AgentGraph.ring(9), 1)
    assert [bool(m) for m in learn(other, [larger] * 2)] == [False, True]


def test_padding_is_no_state(make_rollout):
    rollout = make_rollout(valid=("1100", "0000", "1011"))
    rows = drawn_states(rollout, torch.Generator())
    assert sorted(rows.tolist()) == [0, 2, 3, 8, 11]  # step · 3 + sequence
    many = make_rollout(valid=("1" * 50,) * 20)
    assert len(drawn_states(many, torch.Generator())) == len(set(drawn_states(many, torch.Generator()).tolist())) == 256


def test_effects_out_of_bounds_say_what_to_lower(make_rollout):
    graph = AgentGraph.ring(6)
    sharing = learner_of(graph)
    optimizer = torch.optim.Adam(sharing.parameters(), lr=1e30)
    with pytest.raises(NonFiniteLossError, match=r"effects of actions became (nan|inf); lower reward\.sharing\.lr"):
        sharing.learn(dilemma(make_rollout, graph, 0), optimizer, torch.Generator())
    assert sharing.matrix.matrix().to_dense().equal(torch.eye(6))
