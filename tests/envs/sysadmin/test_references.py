"""Baseline policies of SysAdmin, and what they are worth."""

import pytest
import torch

from lomaq.envs.sysadmin import SysAdmin, never, reboot_iff_failed


def test_all_states_are_the_bits_of_their_numbers():
    env = SysAdmin(3, n_envs=5).all_states()
    assert env.n_envs == 8
    assert env.up.long().tolist() == [[s & 1, s >> 1 & 1, s >> 2 & 1] for s in range(8)]
    assert env.failed_neighbours[1].tolist() == [2.0, 1.0, 1.0]  # only machine 0 works


@pytest.mark.parametrize(("n_agents", "graph"), [(6, "ring"), (5, "star"), (6, "grid")])
@pytest.mark.parametrize("actor", [SysAdmin.oracle, reboot_iff_failed, never], ids=["oracle", "iff failed", "never"])
def test_simulation_agrees_with_exact_values(n_agents, graph, actor):
    env = SysAdmin(n_agents, graph=graph)
    returns = env.simulate(actor, 2_000)
    assert (returns.shape, returns.dtype) == ((2_000,), torch.float64)
    assert float(returns.mean()) == pytest.approx(env.exact_return(actor), abs=4 * float(returns.std()) / 2_000**0.5)


def test_simulated_return_is_the_discounted_sum_of_the_steps():
    env = SysAdmin(4, discount=0.5, fail_alone=0.3, max_steps=7, n_envs=3, seed=11)
    expected = torch.zeros(3, dtype=torch.float64)
    env.reset()
    for t in range(7):
        expected += 0.5**t * env.step(env.oracle())[1].sum(dim=1)
    torch.testing.assert_close(env.simulate(SysAdmin.oracle, 3, seed=11), expected)


def test_simulation_leaves_the_environment_as_it_is():
    env = SysAdmin(4, n_envs=2)
    env.step(torch.ones(2, 4, dtype=torch.int64))
    before = env.state_dict()
    env.simulate(never, 10)
    assert all(torch.equal(value, before[name]) for name, value in env.state_dict().items())


@pytest.mark.parametrize(("cost", "expected"), [(4.0, 554), (5.0, 463)])
def test_best_threshold_policy_of_a_ring_of_fifty(cost, expected, put):
    env = SysAdmin(50, cost=cost)
    references = env.references()
    assert list(references) == ["best threshold policy", "reboot iff failed", "never"]
    assert references["best threshold policy"] == pytest.approx(expected, abs=1.5)
    assert references["best threshold policy"] > references["reboot iff failed"] > references["never"]
    put(env, [[1, 0, 1, 0] + [1] * 46])
    assert env.oracle().dtype == torch.int64
    assert env.oracle().nonzero()[:, 1].tolist() == [1, 2, 3]  # the failed, and the one between them
    assert env.exact_return(never) is None


def test_policies_that_are_simulated_together_have_the_returns_that_each_has_alone():
    env = SysAdmin(9, graph="grid", max_steps=20)
    policies = [*env._thresholds.values()]
    alone = [env.simulate(policy, 30, seed=5) for policy in policies]
    assert torch.equal(env._simulate(policies, 30, seed=5), torch.stack(alone))
    assert len({float(returns.sum()) for returns in alone}) == len(policies)


@pytest.mark.parametrize(("n_agents", "episodes"), [(9, 2_000), (50, 2_000), (100, 1_000), (1_000, 250), (5_000, 250)])
def test_large_networks_have_fewer_reference_episodes(n_agents, episodes, monkeypatch):
    asked = []
    monkeypatch.setattr(SysAdmin, "_simulate", lambda *given: asked.append(given[2]) or torch.zeros(4, 1))
    SysAdmin(n_agents).references()
    assert asked == [episodes]


def test_reboots_that_cost_too_much_leave_never_as_the_best(put):
    env = SysAdmin(9, cost=500.0, graph="grid")
    references = env.references()
    assert references["best threshold policy"] == references["never"]
    put(env, [[0] * 9])
    assert not bool(env.oracle().any())


def test_best_threshold_policy_of_two_costs_is_the_best_of_all_pairs_of_thresholds(two_types, put):
    env = SysAdmin(None, cost=[1, 40], graph=two_types, max_steps=40)
    names = list(env._thresholds)
    pairs = env._worths({(a, b): env._by_type((a, b)) for a in names for b in names})
    best = env.references()["best threshold policy"]
    assert best == max(pairs.values())
    assert best > max(env._simulated.values())
    put(env, [[0, 0] + [1] * 8])
    assert env.oracle().nonzero()[:, 1].tolist() == [0]  # of the two that failed, the cheap one
    assert env.references()["never"] == SysAdmin(None, cost=1, graph=two_types, max_steps=40).references()["never"]


def test_equal_costs_of_all_types_have_the_reference_of_one(two_types):
    one, two = (SysAdmin(None, cost, two_types, max_steps=40) for cost in (5, [5, 5]))
    assert two.references()["best threshold policy"] >= one.references()["best threshold policy"]
    assert two._simulated == one._simulated
