import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.analysis.certificate.joint import exact_qsm, joint_maximisation
from lomaq.analysis.certificate.probe import Probe, rank_actions
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import GCNMixer, MaskedMLPMixer


def random_mixer(kind, graph, partition, **options):
    torch.manual_seed(0)
    mixer = kind(graph, partition, 1, 6, activation="split", **options)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return mixer


def tried(mixer, utilities, observations=None, action_mask=None, graph=None, partition=None, **options):
    """What joint actions do; in a graph where every agent sees every other, if it does not matter."""
    actions, n = rank_actions(utilities, action_mask), utilities.size(1)
    graph = AgentGraph.complete(n) if graph is None else graph
    partition = Partition.singletons(n) if partition is None else partition
    return joint_maximisation(
        Probe(mixer, graph, partition, 1, actions.utilities[..., 0], observations), actions, **options
    )


def falling(utilities, _):
    """Not monotone: block J falls with the agent after it, faster than that agent's own block rises."""
    return utilities - 2 * utilities.roll(-1, dims=-1)


def brute_force(mixer, utilities, mask):
    """Largest IGM and QSM gaps of each state, one joint action at a time."""
    igm, qsm = [], []
    for u, allowed in zip(utilities, mask, strict=True):
        choices = [np.flatnonzero(row) for row in allowed.numpy()]
        values = [
            mixer(torch.stack([u[i, a] for i, a in enumerate(joint)])[None], None)[0].double().numpy()
            for joint in itertools.product(*choices)
        ]
        greedy = torch.stack([u[i, row].max() for i, row in enumerate(allowed)])
        best = max(value.sum() for value in values)
        igm.append(best - float(mixer(greedy[None], None).double().sum()))
        qsm.append(np.max(values, axis=0).sum() - best)
    return igm, qsm


# -------------------------------------------------------------- learned values


@pytest.mark.parametrize("spec", ["singletons", "pairs", "full"])
@pytest.mark.parametrize("kind", [GCNMixer, MaskedMLPMixer])
def test_monotone_mixers_satisfy_qsm_and_igm_over_all_joint_actions(kind, spec):
    graph = AgentGraph.ring(5)
    mixer = random_mixer(kind, graph, Partition.from_spec(spec, graph))
    found = tried(mixer, torch.randn(6, 5, 3), graph=graph, partition=Partition.from_spec(spec, graph))
    assert found.passed
    assert (found.exhaustive, found.n_joint_actions, found.n_states) == (True, 3**5, 6)
    assert max(found.igm_largest, found.qsm_largest) <= found.threshold


def test_mixers_with_local_state_see_the_observations_of_the_state():
    graph = AgentGraph.line(4)
    mixer = random_mixer(MaskedMLPMixer, graph, Partition.singletons(4), state="local", obs_size=2)
    utilities, observations = torch.randn(3, 4, 2), torch.randn(3, 4, 2)
    assert tried(mixer, utilities, observations).passed
    assert tried(mixer, utilities, observations, limit=1).passed


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_violations_are_those_of_brute_force_also_with_forbidden_actions(seed):
    generator = torch.Generator().manual_seed(seed)
    utilities = torch.randn(4, 3, 3, generator=generator)
    mask = torch.rand(4, 3, 3, generator=generator) < 0.6
    mask[..., 1] = True
    utilities[~mask] = 100.0  # better than all, but forbidden
    found = tried(falling, utilities, action_mask=mask)
    igm, qsm = brute_force(falling, utilities, mask)
    assert found.exhaustive
    assert found.igm_largest == pytest.approx(max(igm), abs=1e-5)
    assert found.igm_mean == pytest.approx(np.mean(igm), abs=1e-5)
    assert found.igm_share == np.mean([gap > 1e-4 for gap in igm])
    assert found.qsm_largest == pytest.approx(max(qsm), abs=1e-5)
    assert found.qsm_mean == pytest.approx(np.mean(qsm), abs=1e-5)
    assert found.qsm_share == np.mean([gap > 1e-4 for gap in qsm])


def test_violations_of_a_falling_mixer_by_hand():
    # F = (U_0 - 2 U_1, U_1 - 2 U_0), utilities 0 or 1: the sum is -(U_0 + U_1), best 0, greedy -2; maxima 1 and 1
    found = tried(falling, torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]))
    assert (found.igm_largest, found.igm_mean, found.igm_share) == (2.0, 2.0, 1.0)
    assert (found.qsm_largest, found.qsm_mean, found.qsm_share) == (2.0, 2.0, 1.0)
    assert 0 < found.threshold < 1e-4
    assert not found.passed


def test_qsm_can_fail_where_igm_holds():
    # F = (U_0 - U_1 / 2, U_1 - U_0 / 2): greedy is best with 1, but each block alone would have 1
    found = tried(lambda u, _: u - u.roll(-1, dims=-1) / 2, torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]))
    assert (found.igm_largest, found.igm_share) == (0.0, 0.0)
    assert (found.qsm_largest, found.qsm_share) == (1.0, 1.0)


def test_ties_do_no_harm():
    found = tried(lambda u, _: 1000 * u, torch.full((2, 4, 3), 0.1))
    assert (found.passed, found.igm_largest, found.qsm_largest) == (True, 0.0, 0.0)


def test_actions_that_agents_never_have_are_not_counted():
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]]).expand(2, -1, -1)
    found = tried(lambda u, _: u, torch.randn(2, 3, 3), action_mask=mask)
    assert (found.exhaustive, found.n_joint_actions) == (True, 2 * 1 * 3)


def test_thirty_agents_are_sampled_with_all_single_deviations():
    graph = AgentGraph.line(30)
    mixer = random_mixer(GCNMixer, graph, Partition.singletons(30))
    found = tried(mixer, torch.randn(4, 30, 3), graph=graph, samples=60)
    assert (found.exhaustive, found.n_joint_actions) == (False, 2 * 30 + 15 + 60 + 4)  # singles, pairs, drawn, ascents
    assert found.passed
    assert tried(mixer, torch.randn(4, 30, 3), graph=graph, samples=50).n_joint_actions == 50 + 13 + 50 + 4


def test_a_sample_finds_the_one_agent_whose_deviation_pays():
    def mix(utilities, _):
        sign = torch.ones(30)
        sign[17] = -1
        return utilities * sign

    utilities = torch.arange(3.0).expand(4, 30, 3)
    found = tried(mix, utilities, samples=60)  # 2 · 30 single deviations, so all of them
    assert found.igm_largest == 2.0
    assert found.igm_share == 1.0


def test_a_pair_of_neighbours_whose_deviations_pay_together_is_found():
    # one action less of both 16 and 17 pays, of one alone it costs, and ascent stays where it starts
    def mix(utilities, _):
        both = (utilities[..., 16] < 0.5) & (utilities[..., 17] < 0.5)
        return utilities + torch.where(both, 3.0, 0.0)[..., None] * torch.eye(30)[16]

    utilities = torch.arange(2.0).expand(64, 30, 2)
    found = tried(mix, utilities, graph=AgentGraph.line(30), samples=64)
    assert found.igm_largest == 1.0  # 3, less what both give up
    assert found.igm_share > 0


@pytest.mark.parametrize("spec", ["singletons", "full"])
def test_coordinate_ascent_finds_the_summit_that_no_small_step_from_greedy_reaches(spec):
    # greedy is 1 everywhere; 0 is worth more to each agent once many others have it, as in some random starts
    weight = torch.linspace(1, 2, 16)

    def mix(utilities, _):
        low = (utilities < 0.5).to(utilities.dtype)
        value = (low * weight).sum(dim=-1, keepdim=True).pow(2) + 20 * utilities.sum(dim=-1, keepdim=True)
        return value if spec == "full" else torch.cat([value, torch.zeros_like(utilities[..., 1:])], dim=-1)

    graph = AgentGraph.complete(16)
    found = tried(mix, torch.arange(2.0).expand(8, 16, 2), graph=graph, partition=Partition.from_spec(spec, graph))
    assert found.igm_largest == pytest.approx(24**2 - 20 * 16)
    assert found.igm_share > 0.5


def test_samples_keep_to_allowed_actions_and_to_their_seed():
    seen = []

    def mix(utilities, _):
        seen.append(utilities.clone())
        return utilities

    generator = torch.Generator().manual_seed(0)
    utilities = torch.rand(3, 40, 4, generator=generator)
    mask = torch.rand(3, 40, 4, generator=generator) < 0.5
    mask[..., 0] = True
    utilities[~mask] = 100.0
    one, two = (tried(mix, utilities, action_mask=mask, seed=5) for _ in range(2))
    assert one == two
    assert all(float(u.max()) <= 1 for u in seen[1:] if u.dim() == 3)
    _, drawn, _, again = (
        u.flatten(0, -2) for u in seen if u.shape == (3, 64, 40)
    )  # twice single deviations, then these
    assert len(drawn.unique(dim=0)) == len(drawn) == 3 * 64  # uniform joint actions
    assert torch.equal(drawn, again)


def test_values_that_are_not_finite_are_violations():
    found = tried(lambda u, _: u * torch.nan, torch.randn(2, 2, 2))
    assert (found.passed, found.igm_largest, found.igm_share) == (False, math.inf, 1.0)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"utilities": torch.zeros(2, 3)}, r"utilities: expected shape \[states, agents, actions\]"),
        ({"utilities": torch.full((1, 2, 2), torch.nan)}, "utilities: expected finite numbers"),
        ({"action_mask": torch.ones(1, 2, 3, dtype=torch.bool)}, r"action_mask: expected shape \[1, 2, 2\]"),
        ({"action_mask": torch.zeros(1, 2, 2, dtype=torch.bool)}, "action_mask: expected at least one allowed"),
        ({"limit": 0}, "limit: expected a whole number of at least 1"),
        ({"samples": 0}, "samples: expected a whole number of at least 1"),
    ],
)
def test_impossible_inputs_are_refused_by_name(options, line):
    with pytest.raises(InputError, match=line):
        tried(lambda u, _: u, **{"utilities": torch.zeros(1, 2, 2), **options})


# ---------------------------------------------------------------- exact values


def test_exact_gaps_of_a_two_agent_table_by_hand():
    # joint actions (0,0) (0,1) (1,0) (1,1); state 0: 3 and 2 are apart, sum 4 at most; state 1: both best at (1,1)
    q = torch.tensor([[[3.0, 1.0, 0.0, 2.0], [0.0, 0.0, 1.0, 5.0]], [[1.0, 2.0, 0.0, 2.0], [0.0, 1.0, 0.0, 1.0]]])
    found = exact_qsm(q, Partition.singletons(2))
    assert (found.n_states, found.n_joint_actions, found.share_satisfied) == (2, 4, 0.5)
    assert (found.mean_gap, found.largest_gap) == (0.5, 1.0)
    assert found.value_range == 6.0
    assert (found.relative_mean_gap, found.relative_largest_gap) == (0.5 / 6, 1 / 6)


def test_the_full_partition_always_satisfies_qsm():
    found = exact_qsm(torch.randn(3, 20, 8), Partition.full(3))
    assert (found.share_satisfied, found.largest_gap) == (1.0, 0.0)


def test_independent_agents_satisfy_qsm_with_singletons():
    a, b = torch.randn(7, 3, 1), torch.randn(7, 1, 3)
    q = torch.stack([a.expand(7, 3, 3), b.expand(7, 3, 3)]).flatten(2)
    found = exact_qsm(q, Partition.singletons(2))
    assert found.share_satisfied == 1.0
    assert found.relative_largest_gap < 1e-6


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_gaps_are_those_of_a_plain_loop_and_merging_blocks_never_widens_them(seed):
    q = np.random.default_rng(seed).normal(size=(4, 3, 5))
    fine, coarse = Partition([[0, 2], [1], [3]], 4), Partition([[0, 2], [1, 3]], 4)
    gaps = [
        sum(max(q[list(block), s].sum(axis=0)) for block in fine.blocks) - max(q[:, s].sum(axis=0)) for s in range(3)
    ]
    found = exact_qsm(torch.from_numpy(q), fine)
    assert found.largest_gap == pytest.approx(max(gaps))
    assert found.mean_gap == pytest.approx(np.mean(gaps))
    assert exact_qsm(torch.from_numpy(q), coarse).largest_gap <= found.largest_gap + 1e-12


def test_a_gap_without_a_range_is_relatively_infinite():
    found = exact_qsm(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), Partition.singletons(2))  # the sum is always 1
    assert (found.largest_gap, found.value_range, found.relative_largest_gap) == (1.0, 0.0, math.inf)
    assert found.share_satisfied == 0.0


@pytest.mark.parametrize("q", [torch.zeros(3, 2, 2), torch.zeros(2, 2), torch.zeros(2, 0, 2)])
def test_tables_of_another_shape_are_refused(q):
    with pytest.raises(InputError, match=r"q: expected shape \[2, states, joint actions\]"):
        exact_qsm(q, Partition.singletons(2))


def test_tables_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="q: expected finite numbers"):
        exact_qsm(torch.full((2, 1, 1), torch.nan), Partition.singletons(2))
