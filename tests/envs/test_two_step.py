import itertools

import pytest
import torch

from lomaq.envs import TwoStep
from lomaq.errors import InputError

GAMES = {0: [[7, 7], [7, 7]], 1: [[0, 1], [1, 8]]}
EPISODES = list(itertools.product(range(2), repeat=4))  # first step's actions, then the second's


def one_hot(state):
    row = [0.0, 0.0, 0.0]
    row[state] = 1.0
    return [row, row]


def test_every_episode_pays_what_its_matrix_holds_split_equally():
    env = TwoStep(n_envs=len(EPISODES))
    episodes = torch.tensor(EPISODES)
    assert env.reset().tolist() == [one_hot(0)] * len(EPISODES)
    observations, rewards, terminated, truncated = env.step(episodes[:, :2])
    assert observations.tolist() == [one_hot(1 + first) for first, *_ in EPISODES]
    assert (rewards.shape, rewards.dtype) == ((len(EPISODES), 2), torch.float32)
    assert not any(x.any() for x in (rewards, terminated, truncated))
    observations, rewards, terminated, truncated = env.step(episodes[:, 2:])
    assert (observations.dtype, terminated.dtype) == (torch.float32, torch.bool)
    assert terminated.all()
    assert not truncated.any()
    for copy, (first, _, a, b) in enumerate(EPISODES):
        assert rewards[copy].tolist() == [GAMES[first][a][b] / 2] * 2


def test_agent_1_has_no_effect_in_the_first_step():
    env = TwoStep(n_envs=4)
    env.step(torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]))
    assert env.state.tolist() == [1, 1, 2, 2]


def test_sizes_are_those_of_the_game():
    env = TwoStep(n_envs=5)
    assert (env.n_agents, env.n_envs, env.n_actions, env.obs_size, env.max_steps) == (2, 5, 2, 3, 2)
    assert (env.best_return, env.discount) == (8.0, 1.0)
    assert env.action_mask() is None
    assert env.graph.edge_index.tolist() == [[0, 1], [1, 0]]
    assert env.graph.agent_type.tolist() == [0, 1]


def test_the_oracle_reaches_the_best_return():
    env = TwoStep(n_envs=3)
    env.reset()
    total = torch.zeros(3)
    for _ in range(2):
        actions = env.oracle()
        assert (actions.shape, actions.dtype) == ((3, 2), torch.int64)
        total += env.step(actions)[1].sum(dim=1)
    assert total.tolist() == [8.0] * 3
    assert env.references() == {"best possible": 8.0}


def test_the_best_return_is_that_of_the_best_episode():
    assert TwoStep().best_return == max(GAMES[first][a][b] for first, _, a, b in EPISODES)


def test_masked_reset_starts_only_the_masked_environments():
    env = TwoStep(n_envs=3)
    env.step(torch.tensor([[0, 0], [1, 0], [1, 0]]))
    observations = env.reset(torch.tensor([True, False, False]))
    assert observations.tolist() == [one_hot(0), one_hot(2), one_hot(2)]
    assert env.time.tolist() == [0, 1, 1]


def test_stepping_an_ended_copy_is_harmless():
    env = TwoStep(n_envs=2)
    for _ in range(3):
        env.step(torch.tensor([[1, 1], [1, 1]]))
    assert env.reset(torch.tensor([True, False])).tolist() == [one_hot(0), one_hot(2)]


def test_changing_what_is_returned_in_place_leaves_the_game_alone():
    env = TwoStep(n_envs=2)
    observations, rewards, *_ = env.step(torch.tensor([[0, 0], [1, 0]]))
    observations.zero_()
    rewards.add_(1)
    assert env.observe().tolist() == [one_hot(1), one_hot(2)]
    assert env.step(torch.tensor([[1, 0], [1, 1]]))[1].tolist() == [[3.5, 3.5], [4.0, 4.0]]


def test_state_dict_lets_another_environment_continue_identically():
    env, other = TwoStep(n_envs=2), TwoStep(n_envs=2)
    env.step(torch.tensor([[0, 0], [1, 0]]))
    state = env.state_dict()
    env.reset()
    other.load_state_dict(state)
    assert other.time.tolist() == [1, 1]
    assert other.observe().tolist() == [one_hot(1), one_hot(2)]


def test_state_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"state of the environment \(state\): expected shape \[1\], got \[2\]"):
        TwoStep().load_state_dict(TwoStep(n_envs=2).state_dict())


@pytest.mark.parametrize("n_envs", [0, 1.5])
def test_impossible_numbers_of_parallel_environments_are_refused_by_name(n_envs):
    with pytest.raises(InputError, match=r"^env\.n_envs: expected "):
        TwoStep(n_envs=n_envs)
