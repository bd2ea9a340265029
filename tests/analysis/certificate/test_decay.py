"""Exponential decay of exact action values: tables made by hand, and machines on a graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lomaq.analysis.certificate.decay import exact_decay
from lomaq.envs import SysAdmin
from lomaq.envs.sysadmin.env import never, reboot_iff_failed
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph

LINE = AgentGraph.line(4)


def digits(n, base):
    """``[base^n, n]``, the digits of all numbers, lowest first."""
    return np.arange(base**n)[:, None] // base ** np.arange(n) % base


def table_of(weights, k=2, n_actions=3):
    """Q_i = max_j weights[|i - j|] x_j on a line; x_j = 1 where agent j has its last state or action."""
    n = len(weights)
    state, action = digits(n, k) == k - 1, digits(n, n_actions) == n_actions - 1
    x = state[:, None] | action  # [S, joint actions, N]
    strength = np.array(weights)[abs(np.subtract.outer(np.arange(n), np.arange(n)))]
    return torch.from_numpy((strength[:, None, None] * x).max(axis=-1))


def by_brute_force(q, hops, k, n_actions, kappa):
    """Over all pairs of states and joint actions."""
    n = len(q)
    state, action = digits(n, k), digits(n, n_actions)
    both = np.concatenate(
        [state.repeat(len(action), axis=0), np.tile(action, (len(state), 1))], axis=1
    )  # [states and actions, 2 N]
    largest = 0.0
    for values, distance in zip(q.reshape(n, -1), hops, strict=True):
        near = np.tile(distance <= kappa, 2)
        equal = (both[:, None, near] == both[None][..., near]).all(axis=-1)
        largest = max(largest, abs(np.subtract.outer(values, values))[equal].max())
    return largest


# --------------------------------------------------------------------- by hand


@pytest.mark.parametrize(("k", "n_actions"), [(2, 3), (3, 2)])
def test_what_depends_on_distance_d_with_strength_half_to_the_d_decays_with_rho_one_half(k, n_actions):
    found = exact_decay(table_of([1.0, 0.5, 0.25, 0.125], k, n_actions), LINE, k)
    assert found.largest == (0.5, 0.25, 0.125, 0.0)
    assert found.value_range == 1
    assert (found.c, found.rho) == (pytest.approx(1.0), pytest.approx(0.5))
    # (1/2)^(κ+1) ≤ 0.05 from κ = 4 on, though in this graph nothing is beyond κ = 3
    assert (found.smallest_kappa, found.implied_kappa) == (3, 4)


def test_the_tolerance_is_a_share_of_the_range_and_includes_equality():
    found = exact_decay(100 * table_of([1.0, 0.5, 0.25, 0.125]), LINE, 2, tolerance=0.25)
    assert found.value_range == 100
    assert (found.smallest_kappa, found.implied_kappa) == (1, 1)
    assert found.c == pytest.approx(100)


def test_the_bound_is_exact_at_kappa_0_and_as_low_as_the_others_allow():
    found = exact_decay(table_of([1.0, 0.8, 0.6, 0.1]), LINE, 2)
    assert found.largest == (0.8, 0.6, 0.1, 0.0)
    assert found.rho == pytest.approx(0.75)  # which the step from 0.8 to 0.6 asks for
    bound = found.c * found.rho ** np.arange(1, 5)
    assert bound[0] == pytest.approx(0.8)
    assert (bound >= np.array(found.largest) - 1e-12).all()


def test_values_that_do_not_decay_imply_no_kappa():
    found = exact_decay(table_of([1.0, 0.5, 0.5, 0.5]), LINE, 2)
    assert (found.rho, found.implied_kappa, found.smallest_kappa) == (1, None, 3)
    assert found.line().endswith("which implies no κ")


def test_a_random_table_is_as_all_pairs_of_states_and_actions_say():
    q = np.random.default_rng(0).normal(size=(3, 3**3, 2**3))
    found = exact_decay(torch.from_numpy(q), AgentGraph.line(3), 3)
    hops = abs(np.subtract.outer(np.arange(3), np.arange(3)))
    expected = [by_brute_force(q, hops, 3, 2, kappa) for kappa in (-1, 0, 1, 2)]
    np.testing.assert_allclose([found.value_range, *found.largest], expected)
    assert found.largest[0] > found.largest[1] > found.largest[2] == 0


def test_agents_that_are_not_connected_are_beyond_every_kappa():
    found = exact_decay(table_of([1.0, 0.5]), AgentGraph.empty(2), 2)
    assert found.largest == (0.5,)
    assert (found.smallest_kappa, found.c, found.rho, found.implied_kappa) == (None, None, None, None)
    assert found.line() == (
        "agents beyond κ = 0, 1, … hops change Q_i by up to 0.5, of its range of 1; below 5% at no κ; "
        "no decay rate from one number"
    )


def test_the_line_has_what_was_measured_the_bound_and_both_kappas():
    assert exact_decay(table_of([10.0, 5.0, 2.5, 1.25]), LINE, 2).line() == (
        "agents beyond κ = 0, 1, … hops change Q_i by up to 5, 2.5, 1.25, 0, of its range of 10; below 5% from κ=3; "
        "at most 10 · 0.5^(κ+1), which implies κ=4"
    )


def test_one_agent_depends_on_itself_alone():
    found = exact_decay(torch.tensor([[[0.0, 1.0], [2.0, 3.0]]]), AgentGraph.empty(1), 2)
    assert (found.largest, found.value_range, found.smallest_kappa) == ((0.0,), 3.0, 0)


# -------------------------------------------------------------------- machines


@pytest.mark.parametrize("policy", [never, reboot_iff_failed])
def test_machines_that_do_not_bring_each_other_down_depend_on_nothing_beyond_themselves(policy):
    env = SysAdmin(5, cost=5.0, fail_per_neighbour=0.0)
    found = exact_decay(env.exact_q(policy), env.graph, env.agent_states)
    assert found.largest == (0.0, 0.0, 0.0)
    assert (found.smallest_kappa, found.rho) == (0, None)
    assert found.line() == "Q_i depends on agent i alone"


@pytest.mark.parametrize("discount", [0.0, 0.3, 0.9])
def test_a_failure_needs_a_step_a_hop_and_so_decays_at_least_as_the_discount_does(discount):
    env = SysAdmin(6, cost=5.0, graph="line", discount=discount)
    found = exact_decay(env.exact_q(reboot_iff_failed), env.graph, env.agent_states)
    bound = [(1 + 5) / (1 - discount) * discount ** (kappa + 1) for kappa in range(6)]
    assert (np.array(found.largest) <= bound).all()
    assert (found.largest[0] > 0) == (discount > 0)


def test_hops_are_counted_on_the_graph_that_is_given():
    env = SysAdmin(6, cost=5.0, permute=True)
    q = env.exact_q(reboot_iff_failed)
    true, shuffled = (exact_decay(q, graph, 2) for graph in (env.true_graph, env.graph))
    assert shuffled.largest[1] > 2 * true.largest[1]


# ----------------------------------------------------------------------- errors


@pytest.mark.parametrize("shape", [(4, 16, 15), (4, 15, 16), (3, 16, 16), (4, 16, 0)])
def test_a_table_of_another_shape_is_refused(shape):
    with pytest.raises(InputError, match=r"^q: expected shape \[4, 2\^4, actions\^4\]"):
        exact_decay(torch.zeros(shape), LINE, 2)


def test_numbers_that_are_not_finite_and_impossible_tolerances_are_refused():
    with pytest.raises(InputError, match=r"^q: expected finite"):
        exact_decay(torch.full((4, 16, 16), torch.nan), LINE, 2)
    with pytest.raises(InputError, match=r"^tolerance: "):
        exact_decay(torch.zeros(4, 16, 16), LINE, 2, tolerance=0.0)
