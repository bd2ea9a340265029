"""The truncation study of a policy gradient, against games whose gradient is known and against plain NumPy."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import torch

from lomaq.analysis.certificate.gradient import Gradient, episode_gradients, gradient, shells
from lomaq.graphs import AgentGraph, Partition
from lomaq.objectives.base import Ascent

#: Logits of three agents in a line, for two actions each: a one-step game in which nothing is observed.
LOGITS = np.array([[0.3, -0.2], [0.0, 0.5], [-0.4, 0.1]])
PAID = np.array([1.0, 2.0, -1.5])  # what action 1 of each agent pays


def own(actions):
    """Every agent's action pays the agent alone."""
    return actions * PAID


def neighbours(actions):
    """Agents 0 and 2 pay agent 1 alone, which pays agent 0."""
    return np.stack([2.0 * actions[..., 1], actions[..., 0] - 1.5 * actions[..., 2], 0.0 * actions[..., 2]], axis=-1)


def both(actions):
    return own(actions) + 0.5 * neighbours(actions)


def far(actions):
    """The ends of the line pay each other, at two hops, and agent 1 itself."""
    return actions[..., [2, 1, 0]] * PAID


def known(payoff) -> np.ndarray:
    """Exact g_d by the logits, per agent: ``[3 distances, 6]``, by enumeration of the joint actions."""
    policy = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    result = np.zeros((3, 3, 2))
    for joint in itertools.product((0, 1), repeat=3):
        chance = np.prod([policy[i, a] for i, a in enumerate(joint)])
        rewards = payoff(np.array(joint, dtype=float))
        for i, j in itertools.product(range(3), repeat=2):
            result[abs(i - j), i] += chance * rewards[j] * (np.eye(2)[joint[i]] - policy[i]) / 3
    return result.reshape(3, 6)


@functools.cache
def estimate(payoff, n_episodes=300, noise=0.5, kappa=0, seed=0, hops=2) -> Gradient:
    """Play the game; rewards are noisy."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.from_numpy(LOGITS).requires_grad_()
    policy = logits.softmax(dim=1)
    near = shells(AgentGraph.line(3), Partition.singletons(3), hops).double()
    rows = []
    for _ in range(n_episodes):
        actions = torch.multinomial(policy.detach(), 1, generator=generator)[None, None, :, 0]  # [1, 1, 3]
        rewards = torch.from_numpy(payoff(actions.double().numpy()))
        rewards = rewards + noise * torch.randn(rewards.shape, generator=generator, dtype=torch.float64)
        log_probs = policy.log().expand(1, 1, 3, 2).gather(3, actions[..., None])[..., 0]
        ascent = Ascent(kappa, lambda x: x, actions, rewards, log_probs)
        rows.append(episode_gradients(ascent, torch.ones(1, 1, dtype=torch.bool), near, [logits]))
    return gradient(rows, kappa, n_episodes, 3)


@pytest.mark.parametrize("payoff", [own, neighbours, both, far], ids=lambda payoff: payoff.__name__)
def test_shares_and_cosines_are_those_of_the_enumerated_game(payoff):
    exact = known(payoff)
    full = exact.sum(axis=0)
    share = exact @ full / (full @ full)
    truncated = exact.cumsum(axis=0)
    found = estimate(payoff)
    assert found.detected
    assert abs(found.squared_norm - full @ full) < 3.5 * found.squared_norm_error
    assert found.within[-1] == pytest.approx(1)
    for values, errors, true in (
        (found.share, found.share_error, share),
        (found.within, found.within_error, share.cumsum()),
    ):
        assert all(abs(v - t) <= 3.5 * e + 1e-9 for v, e, t in zip(values, errors, true, strict=True))
    for k, (value, error) in enumerate(zip(found.cosine, found.cosine_error, strict=True)):
        if value is not None:
            cosine = truncated[k] @ full / np.sqrt(truncated[k] @ truncated[k] * (full @ full))
            assert abs(value - cosine) <= 3.5 * error + 0.02  # its bias


def test_nothing_is_detected_beyond_an_agent_that_pays_itself_and_all_of_one_that_pays_its_neighbours():
    alone, given = estimate(own), estimate(neighbours)
    assert abs(alone.beyond) < 2 * alone.beyond_error
    assert "beyond κ=0: " in alone.line()
    assert ", undetected; cosine within κ and all " in alone.line()
    assert abs(given.beyond - 1) < 2 * given.beyond_error
    assert given.beyond > 5 * given.beyond_error
    assert given.cosine[0] is None  # no gradient within 0 hops was detected
    assert "undetected" not in given.line()


def test_beyond_begins_after_kappa_and_ends_with_the_graph_or_the_hops_that_were_asked_for():
    assert abs(estimate(neighbours, kappa=1).beyond) < 0.2
    last = estimate(neighbours, kappa=2)
    assert (last.beyond, last.beyond_error) == (None, None)
    nearest = "all of it within k=0, the only distance that was looked at, in 300 episodes"
    assert estimate(own, hops=0).line() == nearest
    assert " (± standard error; of all within 2 hops, in 300 episodes); none of it beyond κ=2, " in last.line()
    assert len(estimate(neighbours, n_episodes=8, hops=1).share) in (0, 2)


def test_estimates_are_means_over_pairs_of_different_episodes_and_errors_those_of_a_jackknife():
    each = np.random.default_rng(0).normal(1.0, 1, size=(7, 3, 4))  # episodes, distances, parameters

    def inner(some):
        pairs = [(a, b) for a in some for b in some if a != b]
        return np.mean([each[a] @ each[b].T for a, b in pairs], axis=0)

    def statistics(some):
        products = inner(some)
        norm = products.sum()
        share = products.sum(axis=1) / norm
        return np.array([norm, *share, *share.cumsum()])

    without = np.array([statistics([b for b in range(7) if b != out]) for out in range(7)])
    error = np.sqrt(6 / 7 * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    found = gradient(map(torch.from_numpy, each), 1, 7, 1)
    assert found.detected
    assert np.allclose([found.squared_norm, *found.share, *found.within], statistics(range(7)))
    assert np.allclose([found.squared_norm_error, *found.share_error, *found.within_error], error)
    assert found.beyond == pytest.approx(1 - found.within[1])
    assert found.beyond_error == pytest.approx(error[5])


def test_the_squared_norm_of_pure_noise_is_0_on_average_and_seldom_called_detected():
    generator = torch.Generator().manual_seed(0)
    found = [gradient(torch.randn(20, 2, 50, generator=generator), 0, 20, 1) for _ in range(200)]
    norms = np.array([one.squared_norm for one in found])
    assert abs(norms.mean()) < 3 * norms.std() / np.sqrt(200)  # of a mean's own squared norm it is 2 · 50 / 20
    assert np.mean([one.squared_norm_error for one in found]) > norms.std()
    assert np.mean([one.detected for one in found]) < 0.05
    unfound = next(one for one in found if not one.detected)
    assert (unfound.share, unfound.cosine, unfound.beyond) == ((), (), None)
    assert unfound.line().startswith("not detected in 20 episodes: squared norm ")


def test_shells_are_the_blocks_at_each_exact_distance():
    graph, partition = AgentGraph.line(4), Partition([[0, 1], [2], [3]], 4)
    near = shells(graph, partition, 9).to_dense().view(-1, 4, 3)  # distance, agent, block
    assert near.argmax(dim=0).tolist() == [[0, 2, 3], [0, 1, 2], [1, 0, 1], [2, 1, 0]]
    assert (near.sum(dim=0) == 1).all()
    assert shells(graph, partition, 1).shape == (2 * 4, 3)


def test_steps_that_are_no_transitions_do_not_count():
    logits = torch.zeros(2, requires_grad=True)
    log_probs = logits.log_softmax(dim=0)[0].expand(3, 1, 2)
    ascent = Ascent(0, lambda x: x, torch.empty(0), torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]], [[9.0, 9.0]]]), log_probs)
    near = shells(AgentGraph.line(2), Partition.singletons(2), 5)
    found = episode_gradients(ascent, torch.tensor([[True], [True], [False]]), near, [logits])
    assert torch.allclose(found, torch.tensor([[3.0, -3.0], [3.0, -3.0]]))  # 6 in both shells, times ±1/2
