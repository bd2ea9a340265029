"""Do local greedy choices maximise together: QSM (Definition 1) and IGM, on learned values and on exact ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lomaq.analysis.certificate.probe import CHUNK, Actions, Probe
from lomaq.errors import InputError, check_float, check_int
from lomaq.graphs import Partition, csr_matrix

#: Random joint actions of each state that coordinate ascent starts from, how often it passes over the agents, and most
#: utilities that it mixes; beyond it fewer states, and at last not all agents, are taken.
STARTS, SWEEPS, BUDGET = 4, 2, 2**20


@dataclass(frozen=True)
class JointMaximisation:
    """What joint actions do to the learned values, in units of the values.

    Attributes:
        exhaustive: Whether all joint actions were tried; else a sample, in which nothing found is no proof.
        n_joint_actions: Joint actions tried in each state, the greedy one besides.
        n_states: States M.
        igm_largest: Most that a joint action beats the greedy one by, max_a Σ_J F_J(a) - Σ_J F_J(greedy); at least 0.
        igm_mean: Mean of that over states.
        igm_share: Share of states where it is more than rounding of the blocks that differ.
        qsm_largest: Largest Σ_J max_a F_J - max_a Σ_J F_J over states, among the joint actions tried; at least 0.
        qsm_mean: Mean of that over states.
        qsm_share: Share of states where it is more than rounding of the blocks that do better than with greedy actions.
        threshold: Rounding of all blocks of a state together, the largest of any state.
    """

    exhaustive: bool
    n_joint_actions: int
    n_states: int
    igm_largest: float
    igm_mean: float
    igm_share: float
    qsm_largest: float
    qsm_mean: float
    qsm_share: float
    threshold: float

    @property
    def passed(self) -> bool:
        """Whether no violation of either was found."""
        return self.igm_share == 0 and self.qsm_share == 0

    def lines(self) -> tuple[str, str]:
        """What was found of IGM and of QSM, in words."""
        tried = f"{'all' if self.exhaustive else 'a sample of'} {self.n_joint_actions:,} joint actions"
        among = f"among {tried} in each of {self.n_states:,} states"
        igm = f"greedy is beaten by up to {self.igm_largest:.2g} in {self.igm_share:.1%} of states, {among}"
        qsm = f"the blocks' maxima add up to {self.qsm_largest:.2g} too much in {self.qsm_share:.1%} of states, {among}"
        return (
            f"greedy is best {among}" if self.igm_share == 0 else igm,
            f"the blocks' maxima add up to the maximum of their sum, {among}" if self.qsm_share == 0 else qsm,
        )


@torch.no_grad()
def joint_maximisation(
    probe: Probe, actions: Actions, *, limit: int = 4096, samples: int = 64, seed: int = 0
) -> JointMaximisation:
    """Try joint actions: all of them where there are at most ``limit``, else a sample.

    The sample is all deviations of a single agent from the greedy joint action, or ``samples`` of these where there are
    more; in every state anew, a quarter of ``samples`` deviations of a pair of agents that a block depends on, and
    ``samples`` joint actions drawn uniformly; and where coordinate ascent ends that starts from such ones. Values are
    compared, not actions, so ties do no harm.

    Args:
        probe: The mixer at M states.
        actions: All actions there.
        limit: Most joint actions a state to try them all, at least 1.
        samples: Size of the samples, at least 1.
        seed: Of the samples.

    Raises:
        InputError: If a number is impossible.
    """
    check_int("samples", samples, 1)
    n_states, n_agents, _ = actions.utilities.shape
    sizes = actions.n_allowed.amax(dim=0).tolist()
    total = math.prod(sizes)
    exhaustive = total <= check_int("limit", limit, 1)
    step = max(1, CHUNK // (n_states * n_agents))
    generator = torch.Generator().manual_seed(seed)
    batches = _all_ranks(sizes, total, step) if exhaustive else _sampled_ranks(probe, actions, samples, step, generator)
    greedy = probe.mix(actions.utilities[..., 0], probe.observations).double()  # [M, P]
    rounding = probe.rounding(greedy)
    gain, gain_of_block = torch.zeros(n_states, dtype=torch.float64), torch.zeros_like(greedy)
    beaten, n_tried = torch.zeros(n_states, dtype=torch.bool), 0
    for ranks in batches:  # [M or 1, c, N]
        chosen = actions.of(ranks.expand(n_states, -1, -1))  # [M, c, N]
        seen = None if probe.observations is None else probe.observations[:, None].expand(-1, ranks.size(1), -1, -1)
        change = probe.mix(chosen, seen).double() - greedy[:, None]  # [M, c, P]
        allowed = torch.where(change == 0, 0.0, rounding[:, None]).sum(dim=2)  # a block that does not differ has none
        beaten |= ~(change.sum(dim=2) <= allowed).all(dim=1)  # NaN beats all
        gain = torch.maximum(gain, change.sum(dim=2).amax(dim=1))
        gain_of_block = torch.maximum(gain_of_block, change.amax(dim=1))
        n_tried += ranks.size(1)
    gap = (gain_of_block.sum(dim=1) - gain).clamp(min=0)  # below 0 by rounding only
    unsatisfied = ~(gap <= torch.where(gain_of_block == 0, 0.0, rounding).sum(dim=1))
    threshold = float(rounding.sum(dim=1).nan_to_num(posinf=0.0).amax())
    sizes_of_gaps = *_summary(gain, beaten), *_summary(gap, unsatisfied)
    return JointMaximisation(exhaustive, n_tried, n_states, *sizes_of_gaps, threshold)


def _summary(gap: Tensor, violated: Tensor) -> tuple[float, float, float]:
    gap = gap.nan_to_num(nan=math.inf)
    return float(gap.amax()), float(gap.mean()), float(violated.double().mean())


def _all_ranks(sizes: list[int], total: int, step: int) -> Iterator[Tensor]:
    """Every joint action, as ranks ``[1, c, N]`` int64 below ``sizes``."""
    for numbers in torch.arange(total).split(step):
        yield torch.stack(torch.unravel_index(numbers, tuple(sizes)), dim=-1)[None]


def _sampled_ranks(
    probe: Probe, actions: Actions, samples: int, step: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Single deviations ``[1, c, N]``; for each state pairs, joint actions and ends of ascent ``[M, c, N]``."""
    most = actions.n_allowed.amax(dim=0)  # [N]
    agent, rank = (torch.arange(1, int(most.amax())) < most[:, None]).nonzero().unbind(1)  # rank 1 is number 0
    if len(agent) > samples:
        drawn = torch.randperm(len(agent), generator=generator)[:samples]
        agent, rank = agent[drawn], rank[drawn]
    for agents, ranks in zip(agent.split(step), rank.split(step), strict=True):
        single = torch.zeros(len(agents), len(most), dtype=torch.int64)
        yield single.scatter_(1, agents[:, None], ranks[:, None] + 1)[None]
    n_states, n_pairs = len(actions.n_allowed), -(-samples // 4)
    pairs = _neighbouring_pairs(probe, n_states * n_pairs, generator).view(n_states, n_pairs, 2)
    others = actions.n_allowed.gather(1, pairs.flatten(1)).view_as(pairs) - 1  # actions besides the greedy one
    ranks = (torch.rand(pairs.shape, generator=generator) * others).long() + (others > 0)
    for agents, drawn in zip(pairs.split(step, dim=1), ranks.split(step, dim=1), strict=True):
        yield torch.zeros(n_states, agents.size(1), len(most), dtype=torch.int64).scatter_(2, agents, drawn)
    for begin in range(0, samples, step):
        yield actions.draw(min(step, samples - begin), generator)
    yield from _ascend(probe, actions, generator).split(step, dim=1)


def _neighbouring_pairs(probe: Probe, number: int, generator: torch.Generator) -> Tensor:
    """Pairs ``[number, 2]`` int64 of agents that a block depends on; twice the same where it depends on one only."""
    start, agents = (torch.from_numpy(x).long() for x in (probe.reach.indptr, probe.reach.indices))
    place = torch.randint(len(agents), (number,), generator=generator)
    block = torch.searchsorted(start, place, right=True) - 1
    width = start[block + 1] - start[block]
    further = (torch.rand(number, generator=generator) * (width - 1)).long() + 1
    return agents[torch.stack([place, start[block] + (place - start[block] + further) % width], dim=1)]


def _ascend(probe: Probe, actions: Actions, generator: torch.Generator) -> Tensor:
    """Ranks ``[M, STARTS, N]`` where coordinate ascent ends; greedy in states that there was no budget for.

    Every agent in turn takes the action that maximises the sum of the blocks that depend on it, agents of which no
    block has two at once.
    """
    n_states, n_agents, n_actions = actions.utilities.shape
    colours = torch.randperm(int(probe.agent_colours.max()) + 1, generator=generator)
    colours = colours[: max(1, BUDGET // (SWEEPS * n_actions * n_agents))]
    n_rows = min(STARTS * n_states, max(1, BUDGET // (SWEEPS * n_actions * n_agents * len(colours))))
    result = torch.zeros(STARTS * n_states, n_agents, dtype=torch.int64)
    block, agent, _ = probe.pairs
    depends = csr_matrix(agent, block, torch.ones(len(block)), (n_agents, probe.partition.n_blocks)).double()
    starts = actions.draw(STARTS, generator).flatten(0, 1)
    for rows in torch.arange(len(result))[:: STARTS * n_states // n_rows][:n_rows].split(
        max(1, CHUNK // (n_actions * n_agents))
    ):
        state = rows // STARTS
        seen = None if probe.observations is None else probe.observations[state][:, None].expand(-1, n_actions, -1, -1)
        choices = actions.utilities[state].mT  # [R, A, N]
        ranks = starts[rows]
        for colour in colours.repeat(SWEEPS):
            moved = probe.agent_colours == colour
            now = choices.gather(1, ranks[:, None])  # [R, 1, N]
            values = probe.mix(torch.where(moved, choices, now), seen).double()  # [R, A, P]
            score = (depends @ values.flatten(0, 1).T).T.view_as(choices)
            ranks = torch.where(moved, score.argmax(dim=1), ranks)
        result[rows] = ranks
    return result.view(n_states, STARTS, n_agents)


@dataclass(frozen=True)
class ExactQSM:
    """The QSM condition on exact values.

    Attributes:
        n_states: States S.
        n_joint_actions: Joint actions.
        share_satisfied: Share of states whose gap is 0 within the tolerance.
        mean_gap: Mean over states of Σ_J max_a Σ_{i∈J} Q_i - max_a Σ_i Q_i.
        largest_gap: Largest of them.
        value_range: Largest less smallest Σ_i Q_i over states and joint actions.
        relative_mean_gap: ``mean_gap`` in units of ``value_range``; infinite where only that is 0.
        relative_largest_gap: ``largest_gap`` in the same units.
    """

    n_states: int
    n_joint_actions: int
    share_satisfied: float
    mean_gap: float
    largest_gap: float
    value_range: float
    relative_mean_gap: float
    relative_largest_gap: float

    def line(self) -> str:
        """What was found, in words."""
        return (
            f"holds in {self.share_satisfied:.1%} of {self.n_states:,} states with {self.n_joint_actions:,} joint "
            f"actions each; gap {self.relative_mean_gap:.2%} of the value range on average, "
            f"{self.relative_largest_gap:.2%} at most"
        )


def exact_qsm(q: Tensor, partition: Partition, tolerance: float = 1e-6) -> ExactQSM:
    """Definition 1 on a table: Σ_J max_a Σ_{i∈J} Q_i(s, a) against max_a Σ_i Q_i(s, a) in every state.

    Args:
        q: ``[N, S, joint actions]`` float, every agent's exact Q_i.
        partition: The blocks J.
        tolerance: What counts as 0, in units of the value range, at least 0.

    Raises:
        InputError: If the table is of other agents, empty or not finite, or the tolerance impossible.
    """
    check_float("tolerance", tolerance, 0)
    if q.dim() != 3 or q.size(0) != partition.n_agents or 0 in q.shape:
        raise InputError("q", f"shape [{partition.n_agents}, states, joint actions]", list(q.shape))
    if not bool(q.isfinite().all()):
        raise InputError("q", "finite numbers", "NaN or infinity")
    values = partition.block_sum(q.movedim(0, -1).double())  # [S, A, P]
    team = values.sum(dim=-1)
    gap = values.amax(dim=1).sum(dim=-1) - team.amax(dim=1)  # [S]
    span = float(team.amax() - team.amin())
    rounding = max(tolerance * span, 1e-12 * float(values.abs().amax()) * partition.n_blocks)
    share = float((gap <= rounding).double().mean())
    mean, largest = float(gap.clamp(min=0).mean()), float(gap.clamp(min=0).amax())
    relative = [0.0 if x == 0 else x / span if span > 0 else math.inf for x in (mean, largest)]
    return ExactQSM(q.size(1), q.size(2), share, mean, largest, span, *relative)
