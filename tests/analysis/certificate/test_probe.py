import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.analysis.certificate.probe import Probe
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition


@st.composite
def problems(draw):
    """A random graph, a random partition of its agents and kappa."""
    n, kappa = draw(st.integers(1, 12)), draw(st.integers(0, 3))
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    pairs = [(a, b) for a in range(n) for b in range(a) if generator.random() < 0.2]
    owner = generator.integers(0, n, size=n)
    blocks = [np.flatnonzero(owner == k).tolist() for k in np.unique(owner)]
    return AgentGraph.from_edges(n, pairs), Partition(blocks, n), kappa


def silent(graph, partition, kappa):
    """A probe of which only the blocks matter."""
    return Probe(lambda u, _: partition.block_sum(u), graph, partition, kappa, torch.zeros(1, graph.n_agents))


@settings(max_examples=40, deadline=None)
@given(problem=problems())
def test_colours_hold_every_neighbourhood_once_and_those_of_one_colour_are_disjoint(problem):
    graph, partition, kappa = problem
    probe = silent(graph, partition, kappa)
    found = np.zeros((partition.n_blocks, graph.n_agents), dtype=int)
    for colour in probe.colours:
        assert len(colour.agents.unique()) == len(colour.agents)
        found[colour.blocks[colour.owner].numpy(), colour.agents.numpy()] += 1 + colour.distance.numpy()
    assert (found == graph.khop(kappa, partition.blocks).toarray()).all()
    assert sorted(int(b) for colour in probe.colours for b in colour.blocks) == list(range(partition.n_blocks))
    block, agent, hops = (column.numpy() for column in probe.pairs)
    assert len(block) == (found > 0).sum()
    assert (found[block, agent] == 1 + hops).all()


@pytest.mark.parametrize("kappa", [0, 1, 2, 4])
def test_a_line_needs_2_kappa_plus_1_colours_however_long(kappa):
    for n in (20, 200):
        assert len(silent(AgentGraph.line(n), Partition.singletons(n), kappa).colours) == 2 * kappa + 1


def test_in_a_star_every_block_has_its_own_colour_and_with_kappa_0_all_share_one():
    star, partition = AgentGraph.star(6), Partition.singletons(6)
    assert len(silent(star, partition, 1).colours) == 6
    assert len(silent(star, partition, 0).colours) == 1


def test_all_agents_but_the_kept_ones_get_other_utilities_and_observations():
    graph, partition, ones = AgentGraph.line(3), Partition.singletons(3), torch.ones(2, 3)
    both = Probe(lambda u, o: u + 10 * o[..., 3], graph, partition, 1, ones, torch.ones(2, 3, 4))
    assert both.values.tolist() == [[11, 11, 11]] * 2
    others = torch.zeros(2, 3), torch.zeros(2, 3, 4)
    assert both.replace(torch.tensor([2]), others).tolist() == [[0, 0, 11]] * 2
    alone = Probe(lambda u, o: u if o is None else -u, graph, partition, 1, ones)
    assert alone.replace(torch.tensor([2]), (others[0], None)).tolist() == [[0, 0, 1]] * 2


@pytest.mark.parametrize(
    ("utilities", "observations", "line"),
    [
        (torch.zeros(2, 4), None, r"utilities: expected shape \[states, 3\], .* got \[2, 4\]"),
        (torch.zeros(0, 3), None, r"utilities: expected .* at least one state, got \[0, 3\]"),
        (torch.zeros(3), None, r"utilities: expected .* got \[3\]"),
        (torch.zeros(2, 3), torch.zeros(1, 3, 4), r"observations: expected shape \[2, 3, O\], got \[1, 3, 4\]"),
        (torch.zeros(2, 3), torch.zeros(2, 3), r"observations: expected shape \[2, 3, O\], got \[2, 3\]"),
        (torch.full((2, 3), torch.nan), None, "utilities: expected finite numbers, got NaN"),
        (torch.zeros(2, 3), torch.full((2, 3, 1), torch.inf), "observations: expected finite numbers"),
    ],
)
def test_what_cannot_be_mixed_is_refused_by_name(utilities, observations, line):
    with pytest.raises(InputError, match=line):
        Probe(lambda u, _: u, AgentGraph.line(3), Partition.singletons(3), 1, utilities, observations)


def test_a_partition_of_other_agents_is_refused():
    with pytest.raises(InputError, match="partition: expected blocks of the graph's 3 agents, got 4"):
        silent(AgentGraph.line(3), Partition.singletons(4), 1)
