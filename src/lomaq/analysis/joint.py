"""Do local greedy choices maximise together: QSM (Definition 1) and IGM, on learned values and on exact ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lomaq.analysis.probe import MixerFunction
from lomaq.errors import InputError, check_float, check_int
from lomaq.graphs import Partition

#: Most utilities that are mixed at once: states times joint actions times agents.
CHUNK = 2**18


@dataclass(frozen=True)
class JointMaximisation:
    """What joint actions do to the learned values, in units of the values.

    Attributes:
        exhaustive: Whether all joint actions were tried; else a sample, in which nothing found is no proof.
        n_joint_actions: Joint actions tried in each state, the greedy one besides.
        n_states: States M.
        igm_largest: Most that a joint action beats the greedy one by, max_a Σ_J F_J(a) - Σ_J F_J(greedy); at least 0.
        igm_mean: Mean of that over states.
        igm_share: Share of states where it is above ``threshold``.
        qsm_largest: Largest Σ_J max_a F_J - max_a Σ_J F_J over states, among the joint actions tried; at least 0.
        qsm_mean: Mean of that over states.
        qsm_share: Share of states where it is above ``threshold``.
        threshold: What counts as rounding: ``tolerance`` times the largest Σ_J max_a |F_J| of any state.
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
    mixer: MixerFunction,
    utilities: Tensor,
    observations: Tensor | None = None,
    action_mask: Tensor | None = None,
    *,
    limit: int = 4096,
    samples: int = 64,
    tolerance: float = 1e-5,
    seed: int = 0,
) -> JointMaximisation:
    """Try joint actions: all of them where there are at most ``limit``, else a sample.

    The sample is ``samples`` joint actions drawn uniformly and anew for every state, and all deviations of a single
    agent from the greedy joint action, or ``samples`` of these where there are more. Values are compared, not actions,
    so ties do no harm.

    Args:
        mixer: The mixer.
        utilities: ``[M, N, A]`` float, utilities of all actions at M states.
        observations: ``[M, N, O]`` float, for mixers with local state.
        action_mask: ``[M, N, A]`` bool, the actions allowed; None where all are.
        limit: Most joint actions a state to try them all, at least 1.
        samples: Size of the samples, at least 1.
        tolerance: Rounding relative to the values, at least 0.
        seed: Of the samples.

    Raises:
        InputError: If a number or a shape is impossible, or an agent has no action.
    """
    check_int("samples", samples, 1)
    check_float("tolerance", tolerance, 0)
    ranked, count = _rank(utilities, action_mask)
    n_states, n_agents, _ = ranked.shape
    sizes = count.amax(dim=0).tolist()
    total = math.prod(sizes)
    exhaustive = total <= check_int("limit", limit, 1)
    step = max(1, CHUNK // (n_states * n_agents))
    generator = torch.Generator().manual_seed(seed)
    batches = _all_ranks(sizes, total, step) if exhaustive else _sampled_ranks(count, sizes, samples, step, generator)
    greedy = mixer(ranked[..., 0], observations).double()  # [M, P]
    best, best_of_block, largest = greedy.sum(dim=1), greedy, greedy.abs()
    n_tried = 0
    for ranks in batches:  # [M or 1, c, N]
        spread = ranks.expand(n_states, -1, -1)
        chosen = ranked[:, None].expand(-1, spread.size(1), -1, -1).gather(3, spread[..., None])[..., 0]  # [M, c, N]
        seen = None if observations is None else observations[:, None].expand(-1, spread.size(1), -1, -1)
        values = mixer(chosen, seen).double()  # [M, c, P]
        best = torch.maximum(best, values.sum(dim=2).amax(dim=1))
        best_of_block = torch.maximum(best_of_block, values.amax(dim=1))
        largest = torch.maximum(largest, values.abs().amax(dim=1))
        n_tried += spread.size(1)
    igm = (best - greedy.sum(dim=1)).nan_to_num(nan=math.inf)
    qsm = (best_of_block.sum(dim=1) - best).nan_to_num(nan=math.inf).clamp(min=0)  # below 0 by rounding only
    threshold = tolerance * float(largest.sum(dim=1).nan_to_num(posinf=0.0).amax())
    return JointMaximisation(
        exhaustive, n_tried, n_states, *_summary(igm, threshold), *_summary(qsm, threshold), threshold
    )


def _summary(gap: Tensor, threshold: float) -> tuple[float, float, float]:
    return float(gap.amax()), float(gap.mean()), float((gap > threshold).double().mean())


def _rank(utilities: Tensor, action_mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Utilities ``[M, N, A]`` best first, the greedy one again in place of forbidden ones, and how many are allowed."""
    if utilities.dim() != 3 or 0 in utilities.shape:
        raise InputError("utilities", "shape [states, agents, actions], none of them 0", list(utilities.shape))
    if action_mask is None:
        action_mask = torch.ones_like(utilities, dtype=torch.bool)
    if action_mask.shape != utilities.shape:
        raise InputError("action_mask", f"shape {list(utilities.shape)}", list(action_mask.shape))
    count = action_mask.sum(dim=2)  # [M, N]
    if not bool(count.all()):
        raise InputError("action_mask", "at least one allowed action of every agent", "none")
    ranked = utilities.masked_fill(~action_mask, -torch.inf).sort(dim=2, descending=True).values
    allowed = torch.arange(utilities.size(2)) < count[..., None]
    if not bool(ranked[allowed].isfinite().all()):
        raise InputError("utilities", "finite numbers", "NaN or infinity", "the networks have diverged")
    return torch.where(allowed, ranked, ranked[..., :1]), count


def _all_ranks(sizes: list[int], total: int, step: int) -> Iterator[Tensor]:
    """Every joint action, as ranks ``[1, c, N]`` int64 below ``sizes``."""
    for numbers in torch.arange(total).split(step):
        yield torch.stack(torch.unravel_index(numbers, tuple(sizes)), dim=-1)[None]


def _sampled_ranks(
    count: Tensor, sizes: list[int], samples: int, step: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Single deviations ``[1, c, N]``, then joint actions drawn uniformly for each state ``[M, c, N]``."""
    agent, rank = (torch.arange(1, max(sizes)) < torch.tensor(sizes)[:, None]).nonzero().unbind(1)  # rank 1 is number 0
    if len(agent) > samples:
        drawn = torch.randperm(len(agent), generator=generator)[:samples]
        agent, rank = agent[drawn], rank[drawn]
    for agents, ranks in zip(agent.split(step), rank.split(step), strict=True):
        yield torch.zeros(len(agents), len(sizes), dtype=torch.int64).scatter_(1, agents[:, None], ranks[:, None] + 1)[
            None
        ]
    for begin in range(0, samples, step):
        shape = (len(count), min(step, samples - begin), len(sizes))
        yield (torch.rand(shape, generator=generator, dtype=torch.float64) * count[:, None]).long()


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
