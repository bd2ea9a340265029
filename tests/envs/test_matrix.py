import itertools
import math

import numpy as np
import pytest
import torch
from torch_geometric.utils import is_undirected

from lomaq.envs.matrix import MOST_AGENTS, MatrixGame
from lomaq.errors import InputError

FIGURE_7 = [[[0, 1], [1, 2]], [[2, 1], [1, 1]]]


def game_of(*sizes, seed=0):
    """Nested lists of random payoffs for agents with these numbers of actions."""
    return np.random.default_rng(seed).normal(size=(len(sizes), *sizes)).tolist()


def all_joint_actions(sizes):
    return torch.tensor(list(itertools.product(*map(range, sizes))))  # [joint actions, N]


# --------------------------------------------------------------------- payoffs


@pytest.mark.parametrize(
    "sizes", [(1,), (4,), (2, 2), (2, 3), (3, 1), (2, 3, 4), (4, 1, 2), (2, 2, 2, 2, 3)], ids=lambda sizes: str(sizes)
)
def test_every_joint_action_pays_what_the_tensors_hold(sizes):
    payoffs, joint = game_of(*sizes), all_joint_actions(sizes)
    env = MatrixGame(payoffs, n_envs=len(joint))
    env.reset()
    _, rewards, _, _ = env.step(joint)
    assert (rewards.shape, rewards.dtype) == ((len(joint), len(sizes)), torch.float32)
    for copy, actions in enumerate(joint.tolist()):
        for agent in range(len(sizes)):
            expected = payoffs[agent]
            for action in actions:
                expected = expected[action]
            assert float(rewards[copy, agent]) == pytest.approx(expected, rel=1e-6)
            assert float(rewards[copy, agent]) == float(env.payoffs[(agent, *actions)])


def test_figure_7_by_hand():
    env = MatrixGame(FIGURE_7, n_envs=4)
    _, rewards, _, _ = env.step(torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]))
    assert rewards.tolist() == [[0.0, 2.0], [1.0, 1.0], [1.0, 1.0], [2.0, 1.0]]
    assert env.best_return == 3.0


@pytest.mark.parametrize("sizes", [(3,), (2, 2), (2, 3, 4)], ids=lambda sizes: str(sizes))
def test_payoffs_can_be_read_back(sizes):
    payoffs = game_of(*sizes)
    env = MatrixGame(payoffs)
    assert env.payoffs.dtype == torch.float32
    assert torch.equal(env.payoffs, torch.tensor(payoffs))


@pytest.mark.parametrize("sizes", [(3,), (2, 2), (2, 3, 4)], ids=lambda sizes: str(sizes))
def test_best_return_is_the_largest_sum_over_agents_of_any_joint_action(sizes):
    payoffs = game_of(*sizes, seed=1)
    best = -math.inf
    for actions in itertools.product(*map(range, sizes)):
        best = max(best, sum(np.array(tensor)[actions] for tensor in payoffs))
    assert MatrixGame(payoffs).best_return == pytest.approx(best)


def test_best_return_of_a_game_of_losses_is_negative():
    assert MatrixGame([[-3, -1]]).best_return == -1.0


def test_tuples_are_as_good_as_lists():
    assert torch.equal(MatrixGame(((1, 2, 0.5),)).payoffs, torch.tensor([[1, 2, 0.5]]))


# ----------------------------------------------------------------------- masks


def test_agents_with_equal_numbers_of_actions_need_no_mask():
    env = MatrixGame(game_of(3, 3), n_envs=2)
    assert env.n_actions == 3
    assert env.action_mask() is None


def test_mask_allows_each_agent_its_own_actions():
    env = MatrixGame(game_of(2, 1, 3), n_envs=2)
    mask = env.action_mask()
    assert env.n_actions == 3
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[[True, True, False], [True, False, False], [True, True, True]]] * 2


# --------------------------------------------------------- episodes and state


def test_sizes_are_those_of_the_game():
    env = MatrixGame(game_of(2, 1, 3), n_envs=5)
    assert (env.n_agents, env.n_envs, env.n_actions, env.obs_size, env.max_steps) == (3, 5, 3, 1, 1)


def test_observation_is_always_one():
    env = MatrixGame(FIGURE_7, n_envs=3)
    expected = torch.ones(3, 2, 1)
    assert torch.equal(env.reset(), expected)
    assert torch.equal(env.step(torch.zeros(3, 2, dtype=torch.int64))[0], expected)
    assert torch.equal(env.reset(torch.tensor([True, False, True])), expected)


def test_one_step_ends_the_game_really_and_is_no_truncation():
    env = MatrixGame(FIGURE_7, n_envs=3)
    for _ in range(2):
        env.reset()
        _, _, terminated, truncated = env.step(torch.ones(3, 2, dtype=torch.int64))
        assert (terminated.dtype, truncated.dtype) == (torch.bool, torch.bool)
        assert terminated.tolist() == [True] * 3
        assert truncated.tolist() == [False] * 3


def test_masked_reset_starts_only_the_masked_environments():
    env = MatrixGame(FIGURE_7, n_envs=3)
    env.reset()
    env.step(torch.zeros(3, 2, dtype=torch.int64))
    env.reset(torch.tensor([True, False, True]))
    assert env.time.tolist() == [0, 1, 0]


def test_parallel_environments_do_not_feel_each_other():
    env = MatrixGame(game_of(2, 3), n_envs=3)
    first = env.step(torch.tensor([[0, 1], [1, 2], [1, 0]]))[1].clone()
    second = env.step(torch.tensor([[1, 1], [1, 2], [0, 2]]))[1]
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], second[0])


def test_changing_rewards_in_place_leaves_the_payoffs_alone():
    env = MatrixGame(FIGURE_7)
    env.step(torch.tensor([[1, 1]]))[1].zero_()
    assert env.payoffs.tolist() == FIGURE_7


def test_state_dict_lets_another_environment_continue_identically():
    env, other = (MatrixGame(FIGURE_7, n_envs=3, seed=seed) for seed in (1, 2))
    env.step(torch.zeros(3, 2, dtype=torch.int64))
    env.reset(torch.tensor([False, True, False]))
    other.load_state_dict(env.state_dict())
    assert other.time.tolist() == [1, 0, 1]
    assert torch.equal(other.generator.get_state(), env.generator.get_state())
    actions = torch.tensor([[0, 1], [1, 1], [0, 0]])
    assert all(torch.equal(a, b) for a, b in zip(other.step(actions), env.step(actions), strict=True))


def test_state_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"state of the environment \(time\): expected shape \[1\], got \[2\]"):
        MatrixGame(FIGURE_7).load_state_dict(MatrixGame(FIGURE_7, n_envs=2).state_dict())


# ----------------------------------------------------------------------- graph


def test_without_edges_all_are_joined_and_every_agent_is_of_its_own_type():
    graph = MatrixGame(game_of(2, 2, 2)).graph
    assert graph.edge_index.tolist() == [[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]
    assert graph.agent_type.tolist() == [0, 1, 2]


@pytest.mark.parametrize(("edges", "expected"), [([], 0), ([[0, 2]], 1), ([[1, 0], [0, 1], [1, 2]], 2)])
def test_edges_make_the_graph(edges, expected):
    graph = MatrixGame(game_of(2, 2, 2), edges=edges).graph
    assert graph.n_edges == expected
    assert is_undirected(graph.edge_index)


@pytest.mark.parametrize("edges", [[[0, 3]], [[1, 1]], [[0]], "ab", 3, [[0, 1.5]]])
def test_bad_edges_are_refused_by_name(edges):
    with pytest.raises(InputError, match=r"^env\.edges: expected "):
        MatrixGame(game_of(2, 2, 2), edges=edges)


# ------------------------------------------------------------------- bad input

TENSORS = r": expected a tensor of n dimensions for each of n agents \(at most 63\), all of one shape, got "
NUMBER = r": expected a number in \[-3\.40282e\+38, 3\.40282e\+38\], got "
BAD_PAYOFFS = {
    "nothing": (None, TENSORS + "None"),
    "a number": (3, TENSORS + "3"),
    "a word": ("abc", TENSORS + "'abc'"),
    "no agents": ([], TENSORS + r"lists of the common shape \[0\]"),
    "no actions": ([[]], TENSORS + r".* \[1, 0\]"),
    "no actions of one": ([[[], []], [[], []]], TENSORS + r".* \[2, 2, 0\]"),
    "numbers for tensors": ([1, 2], TENSORS + r".* \[2\]"),
    "ragged": ([[[0, 1], [1]], FIGURE_7[1]], TENSORS + r".* \[2, 2\]"),
    "ragged in depth": ([[[0, 1], 5], FIGURE_7[1]], TENSORS + r".* \[2, 2\]"),
    "a list for a number": ([[[0, 1], [1, [2]]], FIGURE_7[1]], r"\[0\]\[1\]\[1\]" + NUMBER + r"\[2\]"),
    "different shapes": ([FIGURE_7[0], [[1, 2], [3, 4], [5, 6]]], TENSORS + r".* \[2\]"),
    "a tensor too few": ([[[0, 1], [1, 2]]], TENSORS + r".* \[1, 2, 2\]"),
    "a tensor too many": ([*FIGURE_7, [[0, 0], [0, 0]]], TENSORS + r".* \[3, 2, 2\]"),
    "NaN": ([[0.0, math.nan]], r"\[0\]\[1\]" + NUMBER + "nan"),
    "infinity": ([[[0, 1], [1, -math.inf]], FIGURE_7[1]], r"\[0\]\[1\]\[1\]" + NUMBER + "-inf"),
    "too large for float32": ([[1e39]], r"\[0\]\[0\]" + NUMBER + r"1e\+39"),
    "too large to print": ([[10**5000]], r"\[0\]\[0\]" + NUMBER + "a number that no float can hold"),
    "a switch": ([[True, 1]], r"\[0\]\[0\]" + NUMBER + "True"),
    "a string for a number": ([[1, "2"]], r"\[0\]\[1\]" + NUMBER + "'2'"),
    "too many agents": ([[0]] * (MOST_AGENTS + 1), TENSORS + r".* \[64, 1\]"),
}


@pytest.mark.parametrize(("payoffs", "line"), BAD_PAYOFFS.values(), ids=BAD_PAYOFFS.keys())
def test_impossible_payoffs_are_refused_in_one_line(payoffs, line):
    with pytest.raises(InputError, match=rf"^env\.payoffs{line}$"):
        MatrixGame(payoffs)


def test_a_game_too_large_for_memory_is_refused():
    row = [0.0] * 3000
    half = [row] * 1700  # 2 agents, 2 · 1700 · 3000 = 10.2 million payoffs, of one shared row
    with pytest.raises(InputError, match=r"^env\.payoffs: expected at most 10,000,000 payoffs .*, got 10,200,000$"):
        MatrixGame([half, half])


def test_a_list_that_holds_itself_is_refused():
    endless: list = []
    endless.append(endless)
    with pytest.raises(InputError, match=r"^env\.payoffs: "):
        MatrixGame(endless)


def test_the_largest_number_of_agents_plays():
    tensor = 2.5
    for _ in range(MOST_AGENTS):
        tensor = [tensor]
    env = MatrixGame([tensor] * MOST_AGENTS)
    assert env.best_return == 2.5 * MOST_AGENTS
    assert env.payoffs.dim() == MOST_AGENTS + 1
    assert env.step(torch.zeros(1, MOST_AGENTS, dtype=torch.int64))[1].tolist() == [[2.5] * MOST_AGENTS]


@pytest.mark.parametrize("n_envs", [0, 1.5])
def test_impossible_numbers_of_parallel_environments_are_refused_by_name(n_envs):
    with pytest.raises(InputError, match=r"^env\.n_envs: expected "):
        MatrixGame(FIGURE_7, n_envs=n_envs)
