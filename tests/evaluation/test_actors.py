"""Actors that draw: shares against the softmax by hand, masks, seeds, and what they are never taken for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lomaq.envs import MatrixGame, SysAdmin
from lomaq.evaluation import GreedyActor, RandomActor, SampleActor, evaluate
from lomaq.nn import Utilities

SIZES = [[[[0], [1]], [[1], [2]]], [[[2], [1]], [[1], [1]]], [[[0], [1]], [[0], [3]]]]  # 2, 2 and 1 actions
LOGITS = torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.0, 50.0]])  # the last agent's second action does not exist


@pytest.fixture
def game() -> MatrixGame:
    """Three agents, each of a type of its own, in 4,000 parallel environments."""
    return MatrixGame(SIZES, n_envs=4000)


@pytest.fixture
def utilities(game) -> Utilities:
    """Networks that output ``LOGITS`` whatever they observe."""
    made = Utilities(game.graph, game.obs_size, game.n_actions, hidden=[2])
    with torch.no_grad():
        for network, logits in zip(made.networks, LOGITS, strict=True):
            head = network.get_submodule("head")
            head.weight.zero_()
            head.bias.copy_(logits)
    return made


def first_actions(actor, env) -> torch.Tensor:
    actor.reset(env)
    with torch.no_grad():
        return actor.act(env, env.reset())


def test_draws_follow_the_softmax_of_the_logits_of_allowed_actions(game, utilities) -> None:
    actions = first_actions(SampleActor(utilities, 0), game).numpy()  # [B, N]
    allowed = np.array([[1, 1], [1, 1], [1, 0]])
    weights = np.exp(LOGITS.double().numpy()) * allowed
    expected = weights / weights.sum(axis=1, keepdims=True)
    counted = np.stack([(actions == action).mean(axis=0) for action in range(2)], axis=1)
    spread = np.sqrt(expected * (1 - expected) / len(actions))
    assert (abs(counted - expected) <= 4 * spread).all()
    assert counted[2].tolist() == [1, 0]


def test_a_certain_policy_acts_as_the_greedy_one(game, utilities) -> None:
    utilities.rescale_(1000.0)
    actions = first_actions(SampleActor(utilities, 0), game)
    assert torch.equal(actions, first_actions(GreedyActor(utilities), game))
    assert actions[0].tolist() == [1, 0, 0]


def test_equal_seeds_draw_equal_actions_and_others_do_not(game, utilities) -> None:
    first, again, other = (first_actions(SampleActor(utilities, seed), game) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_draws_of_a_batch_of_episodes_are_not_those_of_the_batch_before(game, utilities) -> None:
    actor = SampleActor(utilities, 0)
    assert not torch.equal(first_actions(actor, game), first_actions(actor, game))


def test_draws_leave_the_generators_of_the_process_and_of_the_environment_alone(game, utilities) -> None:
    before = torch.get_rng_state(), game.generator.get_state()
    actor = SampleActor(utilities, 0)
    actor.reset(game)
    actor.act(game, game.observe())
    assert torch.equal(before[0], torch.get_rng_state())
    assert torch.equal(before[1], game.generator.get_state())


def test_the_action_that_was_drawn_is_the_last_action_of_the_next_step() -> None:
    env = SysAdmin(3, n_envs=64)
    actor = SampleActor(Utilities(env.graph, env.obs_size, env.n_actions, hidden=[4], last_action=True), 0)
    actions = first_actions(actor, env)
    assert actions.unique().tolist() == [0, 1]
    assert torch.equal(actor.state.previous, actions)


@pytest.mark.parametrize("kind", [SampleActor, RandomActor])
def test_chance_is_played_and_never_valued_exactly(kind) -> None:
    env = SysAdmin(3, n_envs=5, max_steps=5)
    made = Utilities(env.graph, env.obs_size, env.n_actions, hidden=[4])
    actor = kind(made, 0) if kind is SampleActor else kind(0)
    assert evaluate(actor, env, 5, seed=0).returns.shape == (5,)
    assert evaluate(GreedyActor(made), env, 5, seed=0).returns.shape == (1,)


def test_equal_seeds_play_equal_episodes() -> None:
    env = SysAdmin(9, n_envs=4, max_steps=10)
    made = Utilities(env.graph, env.obs_size, env.n_actions, hidden=[4])
    first, again, other = (evaluate(SampleActor(made, seed), env, 8, seed).returns for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
