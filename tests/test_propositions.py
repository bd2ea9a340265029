"""Every proposition of the paper's appendix that computation can check."""

from __future__ import annotations

import itertools

import pytest
import torch

from lomaq import AgentGraph, Partition
from lomaq.mixers import GCNMixer, MaskedMLPMixer, Mixer, SumMixer

GRAPHS = {"line": AgentGraph.line(4), "star": AgentGraph.star(4), "ring": AgentGraph.ring(5)}


def random_mixer(kind: type[Mixer], graph: AgentGraph, partition: Partition, kappa: int = 1) -> Mixer:
    torch.manual_seed(0)
    options = {} if kind is SumMixer else {"monotonicity": "projection", "init": "normal"}
    mixer = kind(graph, partition, kappa, **options)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(torch.randn_like(parameter))
    mixer.project_()
    return mixer.double()


def joint_actions(n_agents: int, n_actions: int) -> torch.Tensor:
    """``[K, N]`` int64."""
    return torch.tensor(list(itertools.product(range(n_actions), repeat=n_agents)))


@pytest.mark.parametrize("kind", [MaskedMLPMixer, GCNMixer])
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())
def test_proposition_1_merging_blocks_keeps_every_merged_value_monotone(kind, graph: AgentGraph) -> None:
    n = graph.n_agents
    fine, coarse = Partition.singletons(n), Partition([[0, 1], list(range(2, n))], n)
    assert fine.refinement_breaker(coarse) is None
    mixer = random_mixer(kind, graph, fine)
    utilities = torch.randn(20, n, dtype=torch.float64, requires_grad=True)
    merged = coarse.block_sum(mixer(utilities))  # F_J = Σ F_J′ over the blocks J′ inside J
    for j in range(coarse.n_blocks):
        (slope,) = torch.autograd.grad(merged[:, j].sum(), utilities, retain_graph=True)
        assert (slope >= 0).all()
        assert (slope > 0).any()


@pytest.mark.parametrize("kind", [MaskedMLPMixer, GCNMixer])
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())
def test_proposition_2_the_global_value_is_monotone_in_every_utility(kind, graph: AgentGraph) -> None:
    mixer = random_mixer(kind, graph, Partition.pairs(graph))
    utilities = torch.randn(20, graph.n_agents, dtype=torch.float64)
    before = mixer(utilities).sum(dim=-1)
    for agent in range(graph.n_agents):
        raised = utilities.clone()
        raised[:, agent] += torch.rand(20, dtype=torch.float64)
        assert (mixer(raised).sum(dim=-1) >= before).all()


NO_EDGES = pytest.mark.parametrize("spec", ["singletons", "pairs", "full", [[0, 2], [1, 3]]])


@NO_EDGES
def test_proposition_3_without_edges_sums_of_the_agents_values_are_the_blocks_values(spec) -> None:
    graph = AgentGraph.empty(4)
    partition = Partition.from_spec(spec, graph)
    mixer = SumMixer(graph, partition, kappa=3)
    values = torch.randn(4, 3, dtype=torch.float64)  # U_i = Q_i(s_i, a_i), each agent for itself
    chosen = values.gather(1, joint_actions(4, 3).T).T  # [K, N]
    true = torch.stack([sum(chosen[:, agent] for agent in block) for block in partition.blocks], dim=1)  # Q_J
    mixed = mixer.double()(chosen)
    torch.testing.assert_close(mixed, true)
    torch.testing.assert_close(mixer(values.amax(dim=1)), true.amax(dim=0))  # the best of every block at once


@NO_EDGES
@pytest.mark.parametrize("kind", [MaskedMLPMixer, GCNMixer, SumMixer])
def test_proposition_3_without_edges_a_block_depends_on_its_own_agents_alone(kind, spec) -> None:
    graph = AgentGraph.empty(4)
    partition = Partition.from_spec(spec, graph)
    mixer = random_mixer(kind, graph, partition, kappa=3)
    slopes = torch.autograd.functional.jacobian(mixer, torch.randn(4, dtype=torch.float64))  # [P, N]
    for block, row in zip(partition.blocks, slopes, strict=True):
        assert {agent for agent in range(4) if row[agent] != 0} == set(block)
        assert (row >= 0).all()


def test_proposition_4_redistribution_keeps_the_sum_and_a_refinement_monotone() -> None:
    graph = AgentGraph.line(5)
    parent, fine = Partition([[0, 1, 2], [3, 4]], 5), Partition([[0], [1, 2], [3, 4]], 5)
    rewards = torch.randn(7, 5, dtype=torch.float64)
    new = parent.redistribute(rewards)
    assert torch.allclose(new.sum(dim=-1), rewards.sum(dim=-1))
    assert torch.allclose(parent.block_sum(new), parent.block_sum(rewards))
    # F′_J′ = |J′| / |A(J′)| F_A(J′), a positive multiple of a monotone function
    mixer = random_mixer(MaskedMLPMixer, graph, parent)
    utilities = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    values = mixer(utilities)
    for block in fine.blocks:
        a = int(parent.block_of[block[0]])
        share = len(block) / len(parent.blocks[a])
        (slope,) = torch.autograd.grad(share * values[:, a].sum(), utilities, retain_graph=True)
        assert (slope >= 0).all()
    shares = torch.stack([new[:, list(block)].sum(dim=-1) for block in fine.blocks], dim=-1)
    true = parent.block_sum(rewards)
    assert torch.allclose(shares, torch.stack([true[:, 0] / 3, true[:, 0] * 2 / 3, true[:, 1]], dim=-1))


def test_proposition_4_in_the_extreme_case_every_agent_gets_the_mean_of_the_team() -> None:
    rewards = torch.tensor([[3.0, 0.0, 0.0]])
    assert Partition.full(3).redistribute(rewards).tolist() == [[1.0, 1.0, 1.0]]


@pytest.mark.parametrize("kind", [MaskedMLPMixer, GCNMixer])
@pytest.mark.parametrize("spec", ["singletons", "pairs", "full"])
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())
def test_theorem_2_local_greedy_actions_maximise_every_block_and_the_sum(kind, spec: str, graph: AgentGraph) -> None:
    mixer = random_mixer(kind, graph, Partition.from_spec(spec, graph))
    torch.manual_seed(1)
    utilities = torch.randn(graph.n_agents, 3, dtype=torch.float64)
    actions = joint_actions(graph.n_agents, 3)
    values = mixer(utilities.gather(1, actions.T).T)  # [K, P]
    greedy = mixer(utilities.amax(dim=1)[None])[0]
    assert torch.allclose(greedy, values.amax(dim=0))  # each block at once: the QSM condition
    assert torch.isclose(greedy.sum(), values.sum(dim=1).max())  # and their sum: IGM


def test_theorem_2_fails_for_a_mixer_that_falls() -> None:
    graph = AgentGraph.line(3)
    mixer = random_mixer(MaskedMLPMixer, graph, Partition.singletons(3))
    with torch.no_grad():
        mixer.w1.neg_()  # type: ignore[union-attr]
    utilities = torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]], dtype=torch.float64)
    values = mixer(utilities.gather(1, joint_actions(3, 2).T).T).sum(dim=1)
    assert mixer(utilities.amax(dim=1)[None]).sum() < values.max()
