import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.envs.polymatrix import MOST_JOINT_ACTIONS, STAG_HUNT, PolymatrixGame
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph

GRAPHS = "line, ring, star, grid, complete"
ANTI = [[0, 3], [1, 0]]  # neighbours do better unlike: M = [[0, 4], [4, 0]]
KITE = [(0, 1), (1, 2), (0, 2), (2, 3)]


@pytest.fixture(scope="module")
def kite(tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "kite.json"
    AgentGraph.from_edges(4, KITE).to_file(path)
    return str(path)


def undirected(graph):
    return [(a, b) for a, b in graph.edge_index.T.tolist() if a < b]


def paid(payoff, edges, actions):
    """What each agent gets, edge by edge."""
    rewards = [0.0] * len(actions)
    for i, j in edges:
        rewards[i] += payoff[actions[i]][actions[j]]
        rewards[j] += payoff[actions[j]][actions[i]]
    return rewards


def best_by_trying(payoff, edges, n_agents):
    return max(sum(paid(payoff, edges, a)) for a in itertools.product(range(len(payoff)), repeat=n_agents))


# --------------------------------------------------------------------- rewards


def test_stag_hunt_on_a_line_by_hand():
    env = PolymatrixGame(4, graph="line", n_envs=4)
    actions = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 2], [2, 0, 2, 2]])
    _, rewards, _, _ = env.step(actions)
    assert rewards.tolist() == [[4, 8, 8, 4], [1, 2, 2, 1], [4, -4, 2, 0], [0, -16, 0, 0]]


def test_the_own_action_is_the_row_and_the_neighbours_the_column():
    env = PolymatrixGame(2, graph="line", payoff=[[1, 2], [3, 4]])
    assert env.step(torch.tensor([[0, 1]]))[1].tolist() == [[2.0, 3.0]]
    assert env.payoff.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@settings(max_examples=40, deadline=None)
@given(
    n_agents=st.integers(1, 7),
    graph=st.sampled_from(["line", "ring", "star", "grid"]),
    n_actions=st.integers(1, 4),
    seed=st.integers(0, 10**6),
)
def test_every_agent_is_paid_the_sum_over_its_edges(n_agents, graph, n_actions, seed):
    random = np.random.default_rng(seed)
    payoff = random.normal(size=(n_actions, n_actions)).tolist()
    actions = random.integers(n_actions, size=(3, n_agents))
    env = PolymatrixGame(n_agents, graph=graph, payoff=payoff, n_envs=3)
    rewards = env.step(torch.from_numpy(actions))[1]
    assert (rewards.shape, rewards.dtype) == ((3, n_agents), torch.float32)
    expected = [paid(payoff, undirected(env.graph), row) for row in actions.tolist()]
    np.testing.assert_allclose(rewards.numpy(), expected, atol=1e-5)


def test_renaming_the_agents_renames_their_rewards(kite, tmp_path):
    name = [2, 0, 3, 1]  # of each agent
    AgentGraph.from_edges(4, [(name[a], name[b]) for a, b in KITE]).to_file(tmp_path / "renamed.json")
    env, renamed = (PolymatrixGame(None, graph=str(path), n_envs=81) for path in (kite, tmp_path / "renamed.json"))
    actions = torch.tensor(list(itertools.product(range(3), repeat=4)))
    moved = torch.empty_like(actions)
    moved[:, name] = actions
    assert torch.equal(renamed.step(moved)[1][:, name], env.step(actions)[1])


def test_a_thousand_agents_play():
    env = PolymatrixGame(1000, n_envs=2)
    rewards = env.step(torch.stack([torch.zeros(1000), torch.ones(1000)]).long())[1]
    assert rewards.sum(dim=1).tolist() == [env.best_return, 2000.0] == [8000.0, 2000.0]


def test_an_agent_without_neighbours_is_paid_nothing():
    env = PolymatrixGame(1)
    assert env.step(torch.tensor([[0]]))[1].tolist() == [[0.0]]
    assert env.best_return == 0.0


# --------------------------------------------------------- episodes and state


def test_sizes_are_those_of_the_game():
    env = PolymatrixGame(6, n_envs=5)
    assert (env.n_agents, env.n_envs, env.n_actions, env.obs_size, env.max_steps) == (6, 5, 3, 1, 1)
    assert env.action_mask() is None
    assert "agent_type" not in env.graph


def test_observation_is_always_one():
    env = PolymatrixGame(3, n_envs=2)
    expected = torch.ones(2, 3, 1)
    assert torch.equal(env.reset(), expected)
    assert torch.equal(env.step(torch.zeros(2, 3, dtype=torch.int64))[0], expected)


def test_one_step_ends_the_game_really_and_is_no_truncation():
    env = PolymatrixGame(3, n_envs=2)
    for _ in range(2):
        env.reset()
        _, _, terminated, truncated = env.step(torch.ones(2, 3, dtype=torch.int64))
        assert (terminated.dtype, truncated.dtype) == (torch.bool, torch.bool)
        assert terminated.tolist() == [True] * 2
        assert truncated.tolist() == [False] * 2


def test_changing_rewards_and_oracle_in_place_leaves_the_game_alone():
    env = PolymatrixGame(3)
    env.step(env.oracle())[1].zero_()
    env.oracle().add_(1)
    assert env.step(env.oracle())[1].tolist() == [[8.0] * 3]


def test_state_dict_lets_another_environment_continue_identically():
    env, other = (PolymatrixGame(3, n_envs=2, seed=seed) for seed in (1, 2))
    env.step(torch.zeros(2, 3, dtype=torch.int64))
    env.reset(torch.tensor([False, True]))
    other.load_state_dict(env.state_dict())
    assert other.time.tolist() == [1, 0]
    assert torch.equal(other.generator.get_state(), env.generator.get_state())


# ------------------------------------------------------------------ baseline policy


def test_stag_looks_worst_next_to_random_neighbours_although_all_stag_is_best():
    pay = np.array(STAG_HUNT) + np.array(STAG_HUNT).T
    np.testing.assert_allclose(3 * pay.mean(axis=1), [-7, -4, -7])
    assert pay.max() == pay[0, 0] == 8


def test_references_of_the_stag_hunt():
    assert PolymatrixGame(15).references() == {"best possible": 120.0, "all play 0": 120.0, "all play 1": 30.0}
    assert PolymatrixGame(15, graph="line").references()["all play 1"] == 28.0


def test_an_action_that_is_best_in_both_ways_is_named_once():
    assert PolymatrixGame(3, payoff=[[1, 0], [0, 0]]).references() == {"best possible": 6.0, "all play 0": 6.0}


@settings(max_examples=40, deadline=None)
@given(
    n_agents=st.integers(1, 6),
    graph=st.sampled_from(["line", "ring", "star", "grid"]),
    n_actions=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
def test_best_return_is_the_best_of_all_joint_actions_and_the_oracle_gets_it(n_agents, graph, n_actions, seed):
    payoff = np.random.default_rng(seed).normal(size=(n_actions, n_actions)).tolist()
    env = PolymatrixGame(n_agents, graph=graph, payoff=payoff, n_envs=2)
    actions = env.oracle()
    assert (actions.shape, actions.dtype) == ((2, n_agents), torch.int64)
    best = best_by_trying(payoff, undirected(env.graph), n_agents)
    assert env.best_return == pytest.approx(best, abs=1e-9)
    assert env.step(actions)[1].sum(dim=1).tolist() == pytest.approx([best] * 2, abs=1e-4)


def test_unlike_neighbours_are_found_where_they_are_best(kite):
    assert PolymatrixGame(4, payoff=ANTI).best_return == 16.0  # two and two around the ring
    assert PolymatrixGame(None, graph=kite, payoff=ANTI).best_return == 12.0  # one edge of the triangle is lost


def test_the_best_return_is_left_open_where_there_are_too_many_joint_actions():
    assert 2**19 <= MOST_JOINT_ACTIONS < 2**20
    assert PolymatrixGame(19, graph="line", payoff=ANTI).best_return == 72.0
    env = PolymatrixGame(20, graph="line", payoff=ANTI)
    assert env.best_return is None
    assert env.references() == {"all play 0": 0.0}
    with pytest.raises(
        InputError, match=r"^algo: expected an environment with a baseline policy, got oracle for Polymatrix"
    ):
        env.oracle()


# ----------------------------------------------------------------------- graph


@pytest.mark.parametrize(
    ("n_agents", "graph", "expected"),
    [
        (5, "line", AgentGraph.line(5)),
        (5, "ring", AgentGraph.ring(5)),
        (5, "star", AgentGraph.star(5)),
        (12, "grid", AgentGraph.grid(3, 4)),
        (7, "grid", AgentGraph.line(7)),
    ],
)
def test_names_of_graphs(n_agents, graph, expected):
    assert torch.equal(PolymatrixGame(n_agents, graph=graph).graph.edge_index, expected.edge_index)


def test_a_graph_file_gives_the_number_of_agents_and_their_types(kite, tmp_path):
    assert undirected(PolymatrixGame(None, graph=kite).graph) == sorted(KITE)
    AgentGraph.from_edges(2, [(0, 1)], agent_type=[0, 1]).to_file(tmp_path / "types.json")
    assert PolymatrixGame(2, graph=str(tmp_path / "types.json")).graph.agent_type.tolist() == [0, 1]
    with pytest.raises(InputError, match=r"^env\.n_agents: expected null or the 4 of .*, got 6; set env.n_agents=null"):
        PolymatrixGame(6, graph=kite)


# ------------------------------------------------------------------- bad input

SQUARE, NUMBER = r": expected A rows of A numbers, got ", r": expected a number in \[-3\.4.*e\+38\], got "
BAD_PAYOFFS = {
    "nothing": (None, SQUARE + "None"),
    "a number": (3, SQUARE + "3"),
    "no actions": ([], SQUARE + r"lists of the common shape \[0\]"),
    "a list of numbers": ([1, 2], SQUARE + r".* \[2\]"),
    "too short a row": ([[1, 2], [3]], SQUARE + r".* \[2\]"),
    "more columns than rows": ([[1, 2]], SQUARE + r".* \[1, 2\]"),
    "a string for a number": ([["1"]], r"\[0\]\[0\]" + NUMBER + "'1'"),
    "a list for a number": ([[1, 2], [3, [4]]], r"\[1\]\[1\]" + NUMBER + r"\[4\]"),
    "NaN": ([[0, 1], [math.nan, 2]], r"\[1\]\[0\]" + NUMBER + "nan"),
}


@pytest.mark.parametrize(("payoff", "line"), BAD_PAYOFFS.values(), ids=BAD_PAYOFFS.keys())
def test_impossible_payoffs_are_refused_in_one_line(payoff, line):
    with pytest.raises(InputError, match=rf"^env\.payoff{line}$"):
        PolymatrixGame(3, payoff=payoff)


@pytest.mark.parametrize(
    ("argument", "value", "line"),
    [
        (
            "graph",
            "torus",
            r"env\.graph: expected line, ring, star, grid, complete, .* or an existing graph file, got 'torus'",
        ),
        ("graph", 3, r"env\.graph: expected line, ring, star, grid, complete, .* or an existing graph file, got 3"),
        ("n_agents", 0, r"env\.n_agents: expected a whole number of at least 1, got 0"),
        ("n_agents", None, r"env\.n_agents: expected a whole number of at least 1, got None"),
        ("n_envs", 0, r"env\.n_envs: expected a whole number of at least 1, got 0"),
    ],
)
def test_impossible_arguments_are_refused_by_name(argument, value, line):
    with pytest.raises(InputError, match=rf"^{line}$"):
        PolymatrixGame(**{"n_agents": 3, argument: value})
