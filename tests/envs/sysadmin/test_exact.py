import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.envs import CartPole
from lomaq.envs.sysadmin import SysAdmin, exact, never, reboot_iff_failed
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph

#: cost: optimum, reboot iff failed, never, agent's own gain from rebooting a lone failure; a ring of 6.
RING_OF_SIX = {
    3.0: (77.43, 74.83, 33.78, 0.20),
    4.0: (66.48, 63.54, 33.78, -0.004),
    5.0: (55.53, 52.24, 33.78, -0.28),
}
GRAPHS = ("ring", "star", "grid")


def plain_model(env, costs=None):
    """Transition [S][joint action][S'] and local rewards [S][joint action][N] of plain loops."""
    n = env.n_agents
    costs = [env.cost] * n if costs is None else costs
    neighbours = [[j for j in env.true_graph.neighbourhood(i, 1) if j != i] for i in range(n)]
    chance, reward = np.ones((2**n, 2**n, 2**n)), np.zeros((2**n, 2**n, n))
    for s, a in itertools.product(range(2**n), repeat=2):
        for i in range(n):
            up, reboot = s >> i & 1, a >> i & 1
            risk = min(1.0, env.fail_alone + env.fail_per_neighbour * sum(1 - (s >> j & 1) for j in neighbours[i]))
            works = 1.0 if reboot else up * (1 - risk)
            reward[s, a, i] = up - costs[i] * reboot
            for after in range(2**n):
                chance[s, a, after] *= works if after >> i & 1 else 1 - works
    return chance, reward


def some_policy(env, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 2, size=(2**env.n_agents, env.n_agents)))


def plain_numbers(actions):
    return [sum(int(a) << i for i, a in enumerate(row)) for row in actions]


# --------------------------------------------------------------- known answers


@pytest.mark.parametrize("cost", RING_OF_SIX)
def test_ring_of_six_has_its_known_returns(cost):
    env, (optimum, iff_failed, left_alone, _) = SysAdmin(6, cost=cost), RING_OF_SIX[cost]
    references = env.references()
    assert references["optimum"] == pytest.approx(optimum, abs=0.01)
    assert references["reboot iff failed"] == pytest.approx(iff_failed, abs=0.01)
    assert references["never"] == pytest.approx(left_alone, abs=0.01)
    assert env.exact_return(reboot_iff_failed) == references["reboot iff failed"]
    assert env.exact_return(never) == references["never"]
    assert env.exact_return(SysAdmin.oracle) == references["optimum"]


@pytest.mark.parametrize("cost", [2.0, 3.0, 4.0, 5.0])
def test_optimum_of_the_ring_is_local(cost):
    env = SysAdmin(6, cost=cost)
    best = env.machines.optimal()
    local = env.machines.best_symmetric_local_policy(env.all_states().observe())
    every = env.all_states()
    assert torch.equal(best.actions.bool(), ~every.up | (every.failed_neighbours == 2))
    assert torch.equal(local.actions, best.actions)
    assert local.test_return == best.test_return == env.references()["best local policy"]


@pytest.mark.parametrize("cost", RING_OF_SIX)
def test_a_lone_failure_is_a_gain_then_a_knife_edge_then_a_dilemma(cost):
    env, lone = SysAdmin(6, cost=cost), 2**6 - 2  # only machine 0 is failed
    policy = env.machines.optimal().actions
    assert policy[lone].tolist() == [1, 0, 0, 0, 0, 0]
    for _ in range(10):  # agent 0 turns to its best response, all others stay with the optimum
        own = env.machines.block_q(policy)[0]  # [S, joint actions]
        others = exact.number_of(policy) & ~1
        gain = own.gather(1, (others | 1)[:, None]) - own.gather(1, others[:, None])
        policy[:, 0] = gain.squeeze(1) > 0
    assert float(gain[lone]) == pytest.approx(RING_OF_SIX[cost][3], abs=0.003)


# ----------------------------------------------------------------- plain loops


@pytest.mark.parametrize("graph", GRAPHS)
def test_transition_is_that_of_plain_loops(graph):
    env = SysAdmin(4, graph=graph, fail_alone=0.1, fail_per_neighbour=0.4)  # three failed neighbours: certain to fail
    actions, (chance, _) = some_policy(env), plain_model(env)
    matrix = env.machines.transition(actions)
    assert matrix.dtype == torch.float64
    np.testing.assert_allclose(matrix, chance[np.arange(16), plain_numbers(actions)], atol=1e-15)
    np.testing.assert_allclose(matrix.sum(dim=1), 1)


def test_transition_takes_batches_of_policies():
    env = SysAdmin(3)
    batch = torch.stack([some_policy(env, seed) for seed in range(4)]).view(2, 2, 8, 3)
    both = env.machines.transition(batch)
    assert torch.equal(both[1, 0], env.machines.transition(batch[1, 0]))


def test_policy_values_are_those_of_plain_backward_induction():
    env = SysAdmin(3, cost=1.5, graph="star", discount=0.8)
    actions, (chance, reward) = some_policy(env), plain_model(env)
    numbers = plain_numbers(actions)
    values = np.zeros((3, 8))
    for step in range(1, 301):
        values = np.array(
            [[reward[s, numbers[s], i] + 0.8 * chance[s, numbers[s]] @ values[i] for s in range(8)] for i in range(3)]
        )
        if step in (1, 2, 7):
            np.testing.assert_allclose(env.machines.policy_values(actions, horizon=step), values, atol=1e-12)
    np.testing.assert_allclose(env.machines.policy_values(actions), values, atol=1e-12)


def test_block_q_is_that_of_plain_loops():
    env = SysAdmin(3, cost=2.0, graph="star")
    actions, (chance, reward) = some_policy(env), plain_model(env)
    values = env.machines.policy_values(actions).numpy()
    expected = np.array(
        [[[reward[s, a, i] + 0.95 * chance[s, a] @ values[i] for a in range(8)] for s in range(8)] for i in range(3)]
    )
    q = env.machines.block_q(actions)
    assert (q.shape, q.dtype) == ((3, 8, 8), torch.float64)
    np.testing.assert_allclose(q, expected, atol=1e-12)
    np.testing.assert_allclose(q[:, range(8), plain_numbers(actions)], values, atol=1e-12)


@pytest.mark.parametrize("graph", ["ring", "star"])
def test_optimum_is_that_of_plain_value_iteration(graph):
    env = SysAdmin(3, cost=3.0, graph=graph, discount=0.7)
    chance, reward = plain_model(env)
    values = np.zeros(8)
    for _ in range(200):
        values = (reward.sum(axis=2) + 0.7 * chance @ values).max(axis=1)
    np.testing.assert_allclose(env.machines.optimal().values, values, atol=1e-12)


def test_best_local_policy_is_the_best_of_all_tables_tried_one_by_one():
    env = SysAdmin(3, cost=2.5, graph="star")
    observations = [[tuple(o) for o in copy] for copy in env.all_states().observe().tolist()]
    kinds = sorted({kind for copy in observations for kind in copy})
    best = -np.inf
    for table in itertools.product((0, 1), repeat=len(kinds)):
        act = dict(zip(kinds, table, strict=True))
        actions = torch.tensor([[act[kind] for kind in copy] for copy in observations])
        best = max(best, float(env.machines.policy_values(actions).sum(dim=0)[-1]))
    found = env.machines.best_symmetric_local_policy(env.all_states().observe())
    assert len(kinds) == 10
    assert float(found.values[-1]) == pytest.approx(best)
    assert found.test_return == pytest.approx(float(env.machines.policy_values(found.actions, 200).sum(dim=0)[-1]))


# --------------------------------------------------------------- costs by type


@pytest.fixture
def pair(tmp_path):
    """Two joined machines; a reboot of the first costs 0.2, one of the second 8."""
    AgentGraph.from_edges(2, [(0, 1)], agent_type=[0, 1]).to_file(tmp_path / "pair.json")
    return SysAdmin(None, [0.2, 8.0], str(tmp_path / "pair.json"), 0.1, 0.6, 0.5, max_steps=60)


def test_values_of_two_costs_by_hand(pair):
    always = torch.ones(4, 2, dtype=torch.int64)
    values = pair.machines.policy_values(always)  # both work from the second step on
    np.testing.assert_allclose(values[:, 0], [-0.2 + 0.8, -8 - 7], atol=1e-12)
    np.testing.assert_allclose(values[:, 3], [0.8 / 0.5, -7 / 0.5], atol=1e-12)
    q = pair.machines.block_q(always)  # [agent, state, joint action]
    assert float(q[0, 3, 0]) == pytest.approx(1 + 0.5 * (0.9 * 1.6 + 0.1 * 0.6))
    assert float(q[1, 3, 2]) == pytest.approx(1 - 8 + 0.5 * -14)


def test_optimum_of_two_costs_reboots_the_cheap_machine_alone(pair):
    chance, reward = plain_model(pair, costs=[0.2, 8.0])
    values = np.zeros(4)
    for _ in range(200):
        values = (reward.sum(axis=2) + 0.5 * chance @ values).max(axis=1)
    best = pair.machines.optimal()
    np.testing.assert_allclose(best.values, values, atol=1e-12)
    assert best.actions.tolist() == [[1, 0], [1, 0], [1, 0], [0, 0]]  # the first also where the second is failed


def test_simulation_of_two_costs_agrees_with_exact_values(pair):
    for policy in (SysAdmin.oracle, reboot_iff_failed):
        returns = pair.simulate(policy, 4_000)
        assert float(returns.mean()) == pytest.approx(pair.exact_return(policy), abs=4 * float(returns.std()) / 63)
    assert pair.references()["optimum"] >= pair.references()["best local policy"]


# ------------------------------------------------------------------ properties


@settings(max_examples=25, deadline=None)
@given(
    n_agents=st.integers(1, 6),
    graph=st.sampled_from(GRAPHS),
    cost=st.floats(0, 20),
    fail_alone=st.floats(0, 1),
    fail_per_neighbour=st.floats(0, 1),
    discount=st.floats(0, 0.99),
)
def test_no_single_deviation_improves_the_optimum(n_agents, graph, cost, fail_alone, fail_per_neighbour, discount):
    env = SysAdmin(n_agents, cost, graph, fail_alone, fail_per_neighbour, discount)
    best = env.machines.optimal()
    q = env.machines.block_q(best.actions).sum(dim=0)
    np.testing.assert_allclose(q.amax(dim=1), best.values, rtol=1e-9, atol=1e-9)
    for policy in (never, reboot_iff_failed):
        actions = policy(env.all_states()).long()
        assert bool((env.machines.policy_values(actions).sum(dim=0) <= best.values + 1e-6).all())


def test_optimum_of_eight_machines_meets_its_bellman_equation():
    env = SysAdmin(8, graph="grid")
    best = env.machines.optimal()
    assert best.actions.shape == (256, 8)
    np.testing.assert_allclose(env.machines.block_q(best.actions).sum(dim=0).amax(dim=1), best.values)


def test_a_permuted_graph_changes_no_exact_value():
    plain, permuted = (SysAdmin(6, permute=permute).references() for permute in (False, True))
    assert plain == permuted


def test_without_a_future_nobody_reboots():
    best = SysAdmin(4, discount=0.0).machines.optimal()
    assert not bool(best.actions[best.values > 0].any())
    assert best.test_return == 4.0


# ---------------------------------------------------------------------- limits


def test_a_search_over_too_many_tables_is_left_out():
    env = SysAdmin(8, graph="star")  # 16 observations of the hub, 4 of the leaves
    assert env.machines.best_symmetric_local_policy(env.all_states().observe()) is None
    assert list(env.references()) == ["optimum", "reboot iff failed", "never"]


@pytest.mark.parametrize(
    "compute",
    [lambda env: env.machines.optimal(), SysAdmin.all_states, lambda env: exact.all_bits(env.n_agents)],
)
def test_more_than_eight_machines_are_refused(compute):
    with pytest.raises(InputError, match=r"^env\.n_agents: expected at most 8 for exact values, got 9; simulate"):
        compute(SysAdmin(9))


def test_an_environment_gives_action_values_of_a_policy_up_to_eight_machines():
    env = SysAdmin(8, cost=5.0)
    expected = env.machines.block_q(reboot_iff_failed(env.all_states()))
    assert expected.shape == (8, 256, 256)
    assert torch.equal(env.exact_q(reboot_iff_failed), expected)
    assert SysAdmin(9).exact_q(never) is None
    assert CartPole(2).exact_q(CartPole.up) is None


def test_bits_and_numbers_are_inverse():
    bits = exact.all_bits(5)
    assert exact.number_of(bits).tolist() == list(range(32))
    assert bits[6].tolist() == [False, True, True, False, False]
