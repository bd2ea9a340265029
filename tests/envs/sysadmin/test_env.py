import inspect
import json
import math
from pathlib import Path

import networkx as nx
import pytest
import torch
import yaml

from lomaq.envs.sysadmin import SysAdmin, never
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph

FOUR = {"ring": [(0, 1), (1, 2), (2, 3), (0, 3)], "star": [(0, 1), (0, 2), (0, 3)], "kite": [(0, 1), (0, 2), (1, 2)]}


@pytest.fixture
def kite(tmp_path):
    """A file of a triangle and an agent on its own."""
    AgentGraph.from_edges(4, FOUR["kite"]).to_file(tmp_path / "kite.json")
    return str(tmp_path / "kite.json")


def undirected(graph):
    return {(a, b) for a, b in graph.edge_index.T.tolist() if a < b}


def neighbours_of(name):
    return [[a + b - i for a, b in FOUR[name] if i in (a, b)] for i in range(4)]


# -------------------------------------------------------------------- dynamics


@pytest.mark.parametrize("name", FOUR)
def test_rewards_and_next_states_are_those_of_a_plain_loop(name, kite, put):
    env = SysAdmin(4, 2.5, kite if name == "kite" else name, 0.1, 0.35, n_envs=64, seed=3)
    random, draws = torch.Generator().manual_seed(0), torch.Generator().manual_seed(3)
    neighbours = neighbours_of(name)
    for _ in range(10):
        up = torch.rand(64, 4, generator=random) < 0.5
        actions = (torch.rand(64, 4, generator=random) < 0.3).long()
        put(env, up.tolist())
        draws.set_state(env.generator.get_state())
        noise = torch.rand(64, 4, generator=draws)
        _, rewards, _, _ = env.step(actions)
        for b in range(64):
            for i in range(4):
                failed = sum(not up[b, j] for j in neighbours[i])
                risk = min(1.0, 0.1 + 0.35 * failed)
                works = bool(actions[b, i]) or (bool(up[b, i]) and float(noise[b, i]) >= risk)
                assert bool(env.up[b, i]) == works
                assert float(rewards[b, i]) == pytest.approx(float(up[b, i]) - 2.5 * float(actions[b, i]))


def test_rewards_by_hand(put):
    env = SysAdmin(4, cost=4.0)
    put(env, [[1, 1, 0, 0]])
    _, rewards, terminated, truncated = env.step(torch.tensor([[0, 1, 0, 1]]))
    assert rewards.dtype == torch.float32
    assert rewards.tolist() == [[1.0, -3.0, 0.0, -4.0]]
    assert (terminated.dtype, truncated.dtype) == (torch.bool, torch.bool)
    assert env.up[0, 1:].tolist() == [True, False, True]  # rebooted works, failed stays failed, rebooted works


def test_rewards_by_hand_where_costs_are_by_type(two_types, put):
    env = SysAdmin(None, cost=[5, 40], graph=two_types)
    put(env, [[1, 1, 0, 0] + [1] * 6])
    _, rewards, _, _ = env.step(torch.tensor([[1, 1, 1, 1] + [0] * 6]))
    assert rewards.tolist() == [[-4.0, -39.0, -5.0, -40.0] + [1.0] * 6]
    assert env.cost == (5.0, 40.0)


def test_one_number_is_the_cost_of_every_type(two_types):
    one, two = SysAdmin(None, 4.3, two_types, n_envs=8), SysAdmin(None, [4.3, 4.3], two_types, n_envs=8)
    actions = torch.randint(2, (8, 10), generator=torch.Generator().manual_seed(0))
    assert one.cost == 4.3
    assert torch.equal(one.step(actions)[1], two.step(actions)[1])
    assert (one.observe().shape, two.observe().shape) == ((8, 10, 4), (8, 10, 5))


def test_two_failed_neighbours_are_certain_where_the_probabilities_add_up_to_one(put):
    env = SysAdmin(5, fail_alone=0.0, fail_per_neighbour=0.5, n_envs=200)
    put(env, [[0, 1, 0, 1, 1]] * 200)
    env.step(torch.zeros(200, 5, dtype=torch.int64))
    assert not bool(env.up[:, :3].any())
    assert 60 < int(env.up[:, 3].sum()) < 140
    assert env.up[:, 4].sum() < 140


def test_without_failures_all_work_for_ever():
    env = SysAdmin(3, fail_alone=0.0, n_envs=2)
    env.reset()
    for _ in range(5):
        _, rewards, _, _ = env.step(torch.zeros(2, 3, dtype=torch.int64))
        assert torch.equal(rewards, torch.ones(2, 3))


def test_episodes_start_working_and_only_time_ends_them():
    env = SysAdmin(4, fail_alone=1.0, max_steps=3, n_envs=2)
    env.reset()
    assert bool(env.up.all())
    for step in (1, 2, 3):
        _, _, terminated, truncated = env.step(torch.zeros(2, 4, dtype=torch.int64))
        assert terminated.tolist() == [False, False]
        assert truncated.tolist() == [step == 3] * 2
    assert not bool(env.up.any())


def test_masked_reset_starts_only_the_masked_environments():
    env = SysAdmin(3, fail_alone=1.0, n_envs=3)
    env.reset()
    env.step(torch.zeros(3, 3, dtype=torch.int64))
    observation = env.reset(torch.tensor([True, False, True]))
    assert env.up.all(dim=1).tolist() == [True, False, True]
    assert env.time.tolist() == [0, 1, 0]
    assert observation[:, 0, 1].tolist() == [0.0, 1.0, 0.0]


def test_frequencies_of_next_states_are_the_exact_transition(put):
    env = SysAdmin(3, graph="star", n_envs=20_000, seed=1)
    put(env, [[1, 0, 1]] * 20_000)
    env.step(torch.tensor([[0, 0, 1]]).expand(20_000, -1))
    counts = torch.bincount((env.up.long() << torch.arange(3)).sum(dim=1), minlength=8) / 20_000
    expected = torch.tensor([0, 0, 0, 0, 0.35, 0.65, 0, 0])  # machine 0: 0.05 + 0.3; 1 stays failed; 2 is rebooted
    torch.testing.assert_close(counts, expected, atol=4 * math.sqrt(0.25 / 20_000), rtol=0)


def test_state_dict_lets_another_environment_continue_identically():
    env, other = (SysAdmin(5, n_envs=8, seed=seed) for seed in (1, 2))
    for _ in range(10):
        env.step(torch.zeros(8, 5, dtype=torch.int64))
    other.load_state_dict(env.state_dict())
    assert torch.equal(other.observe(), env.observe())
    for _ in range(5):
        actions = other.oracle()
        assert all(torch.equal(a, b) for a, b in zip(other.step(actions), env.step(actions), strict=True))


def test_equal_seeds_give_equal_episodes():
    first, second, third = (SysAdmin(6, n_envs=16, seed=seed) for seed in (5, 5, 6))
    for env in (first, second, third):
        for _ in range(10):
            env.step(env.oracle())
    assert torch.equal(first.up, second.up)
    assert not torch.equal(first.up, third.up)


# ---------------------------------------------------------------- observations


def test_observations_by_hand(kite, put):
    env = SysAdmin(4, graph="star")
    put(env, [[1, 0, 1, 0]])
    expected = [[1, 2 / 3, 0.65, 1 / 4], [0, 0, 0.05, 1 / 2], [1, 0, 0.05, 1 / 2], [0, 0, 0.05, 1 / 2]]
    torch.testing.assert_close(env.observe(), torch.tensor([expected]))
    env = SysAdmin(None, graph=kite, fail_per_neighbour=0.6)
    put(env, [[0, 0, 1, 0]])
    expected = [[0, 1 / 2, 0.65, 1 / 3], [0, 1 / 2, 0.65, 1 / 3], [1, 1, 1, 1 / 3], [0, 0, 0.05, 1]]
    torch.testing.assert_close(env.observe(), torch.tensor([expected]))


def test_agents_observe_their_own_cost_where_there_are_several(two_types):
    env = SysAdmin(None, cost=[5, 40], graph=two_types, n_envs=3)
    plain = SysAdmin(None, cost=5, graph=two_types, n_envs=3)
    assert torch.equal(env.observe()[..., :4], plain.observe())
    assert env.observe()[..., 4].tolist() == [[0.125, 1.0] * 5] * 3
    assert SysAdmin(None, cost=[0, 0], graph=two_types).observe()[..., 4].tolist() == [[0.0] * 10]


@pytest.mark.parametrize(("n_agents", "graph"), [(1, "ring"), (7, "ring"), (8, "star"), (8, "grid")])
def test_observations_lie_between_zero_and_one_in_every_state(n_agents, graph):
    observation = SysAdmin(n_agents, graph=graph, fail_per_neighbour=1.0).all_states().observe()
    assert (observation.shape, observation.dtype) == ((2**n_agents, n_agents, 4), torch.float32)
    assert float(observation.min()) >= 0
    assert float(observation.max()) <= 1


def test_handed_out_tensors_do_not_change_with_the_next_step():
    env = SysAdmin(4, fail_alone=1.0)
    observation, rewards, _, _ = env.step(torch.zeros(1, 4, dtype=torch.int64))
    before = observation.clone(), rewards.clone()
    env.step(torch.ones(1, 4, dtype=torch.int64))
    assert torch.equal(observation, before[0])
    assert torch.equal(rewards, before[1])


# ----------------------------------------------------------------------- graph


@pytest.mark.parametrize(
    ("n_agents", "graph", "expected"),
    [
        (12, "grid", AgentGraph.grid(3, 4)),
        (9, "grid", AgentGraph.grid(3, 3)),
        (7, "grid", AgentGraph.line(7)),
        (5, "ring", AgentGraph.ring(5)),
        (5, "star", AgentGraph.star(5)),
    ],
)
def test_names_of_graphs(n_agents, graph, expected):
    env = SysAdmin(n_agents, graph=graph)
    assert env.graph is env.true_graph
    assert undirected(env.graph) == undirected(expected)


def test_a_graph_file_gives_the_number_of_agents(kite):
    assert SysAdmin(None, graph=kite).n_agents == 4
    assert undirected(SysAdmin(4, graph=kite).graph) == set(FOUR["kite"])
    with pytest.raises(InputError, match=r"^env\.n_agents: expected null or the 4 of .*, got 6; set env.n_agents=null"):
        SysAdmin(6, graph=kite)


@pytest.mark.parametrize(
    ("n_agents", "graph", "most_shared"),
    [(6, "ring", 0), (50, "ring", 0), (1000, "ring", 0), (49, "grid", 3), (9, "star", 1)],
)
def test_permuted_graph_is_isomorphic_and_shares_few_edges(n_agents, graph, most_shared):
    env = SysAdmin(n_agents, graph=graph, permute=True)
    assert undirected(env.true_graph) == undirected(SysAdmin(n_agents, graph=graph).graph)
    assert len(undirected(env.graph) & undirected(env.true_graph)) <= most_shared
    assert env.graph.validate()
    assert nx.faster_could_be_isomorphic(env.graph.to_networkx(), env.true_graph.to_networkx())
    if n_agents < 100:
        assert nx.is_isomorphic(env.graph.to_networkx(), env.true_graph.to_networkx())


def test_positions_of_a_permuted_graph_stay_with_the_places():
    env = SysAdmin(12, graph="grid", permute=True)
    a, b = env.graph.edge_index
    torch.testing.assert_close((env.graph.pos[a] - env.graph.pos[b]).norm(dim=1), torch.ones(len(a)))


def test_shuffles_of_different_seeds_differ_and_true_is_seed_0():
    graphs = [SysAdmin(30, permute=seed).graph for seed in (True, *range(10))]
    assert torch.equal(graphs[0].edge_index, graphs[1].edge_index)
    assert len({frozenset(undirected(graph)) for graph in graphs[1:]}) == 10
    assert all(len(undirected(graph) & undirected(AgentGraph.ring(30))) <= 1 for graph in graphs)
    assert torch.equal(graphs[2].edge_index, SysAdmin(30, permute=1).graph.edge_index)


def test_costs_stay_with_the_machines_when_the_graph_is_shuffled(two_types):
    env = SysAdmin(None, cost=[5, 40], graph=two_types, permute=3)
    assert env.step(torch.ones(1, 10, dtype=torch.int64))[1].tolist() == [[-4.0, -39.0] * 5]


def test_permutation_changes_the_mixers_graph_and_nothing_else():
    plain, permuted = (SysAdmin(8, permute=permute, n_envs=16, seed=4) for permute in (False, True))
    random = torch.Generator().manual_seed(0)
    for _ in range(10):
        actions = torch.randint(2, (16, 8), generator=random)
        assert all(torch.equal(a, b) for a, b in zip(plain.step(actions), permuted.step(actions), strict=True))
    assert torch.equal(permuted.graph.edge_index, SysAdmin(8, permute=True, seed=9).graph.edge_index)


def test_types_of_agents_stay_with_them(tmp_path):
    graph = AgentGraph.from_edges(4, [(0, 1), (1, 2), (2, 3)], agent_type=[0, 1, 1, 1])
    graph.to_file(tmp_path / "line.json")
    env = SysAdmin(None, graph=str(tmp_path / "line.json"), permute=True)
    assert undirected(env.graph) == {(0, 2), (0, 3), (1, 3)}  # the only line of the three absent edges
    assert env.graph.agent_type.tolist() == [0, 1, 1, 1]


def test_weights_follow_their_edges_when_the_agents_are_permuted(tmp_path):
    edges = [(0, 1), (1, 2), (2, 3), (3, 4)]
    AgentGraph.from_edges(5, edges, edge_weight=[1, 2, 3, 4], names=list("abcde")).to_file(tmp_path / "weights.json")
    env = SysAdmin(graph=str(tmp_path / "weights.json"), n_agents=None, permute=True)
    assert env.graph.validate()
    degree = env.graph.degree[env.graph.pairs].tolist()
    ends = sorted(weight for weight, pair in zip(env.graph.pair_weight.tolist(), degree, strict=True) if 1 in pair)
    assert ends == [1.0, 4.0]  # those at the two ends of the line
    assert env.graph.names == list("abcde")


@pytest.mark.parametrize(("n_agents", "graph"), [(1, "ring"), (2, "ring"), (3, "ring"), (2, "star")])
def test_a_permutation_that_changes_nothing_is_refused(n_agents, graph):
    with pytest.raises(InputError, match=r"^env\.permute: expected false on a graph that is the same"):
        SysAdmin(n_agents, graph=graph, permute=True)


# ----------------------------------------------------------- settings and input


def test_yaml_holds_the_defaults_of_the_constructor():
    config = yaml.safe_load((Path(__file__).parents[3] / "conf" / "env" / "sysadmin.yaml").read_text())
    defaults = {
        name: p.default for name, p in inspect.signature(SysAdmin).parameters.items() if p.kind != p.KEYWORD_ONLY
    }
    assert {name: config[name] for name in defaults} == defaults
    assert set(config) - set(defaults) == {"_target_", "name", "recommended"}


def test_discount_is_an_attribute():
    assert SysAdmin(3).discount == 0.95
    assert SysAdmin(3, discount=0.5).all_states().discount == 0.5


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("cost", -1.0),
        ("cost", math.nan),
        ("cost", "4"),
        ("fail_alone", 1.5),
        ("fail_alone", -0.1),
        ("fail_per_neighbour", 2),
        ("discount", 1.0),
        ("discount", -0.5),
        ("max_steps", 0),
        ("n_envs", 0),
        ("n_agents", 0),
        ("n_agents", None),
        ("n_agents", 2.5),
        ("graph", "torus"),
        ("graph", 3),
        ("permute", -1),
        ("permute", 1.5),
        ("permute", "yes"),
        ("cost", True),
        ("cost", []),
        ("cost", [4.0, 5.0]),
        ("cost", ["4"]),
        ("cost", [-1.0]),
        ("cost", [math.nan]),
    ],
)
def test_impossible_settings_are_refused_by_name(setting, value):
    with pytest.raises(InputError, match=rf"^env\.{setting}: expected ") as error:
        SysAdmin(**{setting: value})
    assert "\n" not in str(error.value)


def test_a_list_of_costs_of_another_length_is_refused_in_one_line(two_types):
    expected = (
        r"^env\.cost: expected a number, or a list of one for each of the 2 types of agents in the graph, got \[1\]$"
    )
    with pytest.raises(InputError, match=expected):
        SysAdmin(None, cost=[1], graph=two_types)
    with pytest.raises(InputError, match=r"for each of the one type of agents in the graph, got \[1, 2\]$"):
        SysAdmin(6, cost=[1, 2])


def test_a_damaged_graph_file_is_refused_by_name(tmp_path):
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps({"n_agents": 2, "edges": [[0, 5]]}))
    with pytest.raises(InputError, match=r"^env\.graph: .*damaged\.json.*agent numbers 0 … 1"):
        SysAdmin(None, graph=str(path))


@pytest.mark.parametrize("episodes", [0, 1.5])
def test_impossible_numbers_of_episodes_are_refused_by_name(episodes):
    with pytest.raises(InputError, match=r"^episodes: expected "):
        SysAdmin(3).simulate(never, episodes)
