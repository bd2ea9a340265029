"""Is a mixer monotone within kappa hops and exactly blind beyond: both by experiment, for any mixer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from lomaq.analysis.certificate.probe import Colour, Probe, like
from lomaq.errors import InputError


@dataclass(frozen=True)
class Slopes:
    """∂F_J/∂U_i for every block J, every agent i within kappa hops of it and every visited state.

    Attributes:
        smallest: Smallest finite slope; NaN where none is finite.
        n_slopes: Slopes examined, ``n_states`` times ``n_pairs``.
        n_pairs: Pairs (block, agent within kappa hops of it).
        n_states: States M.
        n_negative: Slopes below 0.
        share_negative: Their share of all.
        n_not_finite: Slopes that are NaN or infinite.
        smallest_by_hop: Smallest finite slope at each hop distance that occurs, from 0.
        mean_by_hop: Mean of the finite slopes, likewise.
        largest_by_hop: Largest finite slope, likewise.
    """

    smallest: float
    n_slopes: int
    n_pairs: int
    n_states: int
    n_negative: int
    share_negative: float
    n_not_finite: int
    smallest_by_hop: tuple[float, ...]
    mean_by_hop: tuple[float, ...]
    largest_by_hop: tuple[float, ...]

    @property
    def passed(self) -> bool:
        """Whether every slope is a finite number of at least 0."""
        return self.n_negative == 0 and self.n_not_finite == 0

    def line(self) -> str:
        """What was found, in words."""
        looked = f"{self.n_slopes:,} slopes ({self.n_pairs:,} pairs of block and agent at {self.n_states:,} states)"
        text = f"smallest slope {self.smallest:.2g} of {looked}"
        if self.smallest == max(self.largest_by_hop) == 0:
            text += ", all 0, so that nothing trains through the mixer"
        if self.n_negative:
            text += f"; {self.n_negative:,} negative ({self.share_negative:.2g} of all)"
        return text + (f"; {self.n_not_finite:,} not finite" if self.n_not_finite else "")


def slopes(probe: Probe) -> Slopes:
    """Differentiate every block (Assumption 2).

    Raises:
        InputError: If the mixer's values cannot be differentiated.
    """
    slope, hops = _gradients(probe), probe.pairs[2]
    by_hop = [_finite_span(slope[:, hops == hop]) for hop in range(int(hops.max()) + 1)]
    n_negative, n_not_finite = int((slope < 0).sum()), int((~slope.isfinite()).sum())
    counts = (slope.numel(), slope.size(1), slope.size(0), n_negative, n_negative / slope.numel(), n_not_finite)
    return Slopes(_finite_span(slope)[0], *counts, *map(tuple, zip(*by_hop, strict=True)))


def influence(probe: Probe) -> np.ndarray:
    """How much the two ends of each edge matter to each other's block.

    The weight of edge {a, b} is the mean of |∂F_J/∂U_i| over states and over both directions: the block J of one end
    and the agent i at the other.

    Returns:
        ``[E]`` float64, in the order of :attr:`lomaq.AgentGraph.pairs`.

    Raises:
        InputError: If the mixer's values cannot be differentiated.
    """
    graph, partition = probe.graph, probe.partition
    size, (block, agent, _) = _gradients(probe).abs().mean(dim=0), probe.pairs
    matrix = sp.csr_matrix((size.numpy(), (block.numpy(), agent.numpy())), (partition.n_blocks, graph.n_agents))
    pairs = graph.pairs.numpy()
    blocks = partition.block_of.numpy()[pairs]  # [E, 2]
    return np.asarray(matrix[blocks[:, 0], pairs[:, 1]] + matrix[blocks[:, 1], pairs[:, 0]]).reshape(-1) / 2


def _gradients(probe: Probe) -> Tensor:
    """∂F_J/∂U_i ``[M, pairs]`` float64 of ``probe.pairs``, one backward pass a colour.

    Blocks of a colour share no agent, so the slope of their sum in an agent is that of the one block that depends on
    it. A mixer that leaks breaks this, which :func:`locality` finds out.
    """
    with torch.enable_grad():
        inputs = probe.utilities.detach().clone().requires_grad_()
        values = probe.mix(inputs, probe.observations)
        if not values.requires_grad:
            raise InputError("mixer", "block values that can be differentiated by the utilities", "a constant")
        parts = []
        for colour in probe.colours:
            total = values[:, colour.blocks].sum()
            (slope,) = torch.autograd.grad(total, inputs, retain_graph=True, materialize_grads=True)
            parts.append(slope[:, colour.agents])
    return torch.cat(parts, dim=1).double()


def _finite_span(slope: Tensor) -> tuple[float, float, float]:
    finite = slope[slope.isfinite()]
    if not finite.numel():
        return math.nan, math.nan, math.nan
    return float(finite.amin()), float(finite.mean()), float(finite.amax())


@dataclass(frozen=True)
class Locality:
    """What became of the blocks' values when agents beyond kappa hops were replaced.

    Attributes:
        n_pairs: Pairs (block, agent beyond kappa hops of it); each was tested at every state.
        n_states: States M.
        n_blocks_changed: Blocks whose value changed.
        largest_change: Largest change of a value; infinite where a value is not finite.
        worst_block: The block of the largest change; None where nothing changed.
        worst_agents: Agents that change that block when replaced together: one, unless only several do it jointly.
        worst_names: What messages call them.
    """

    n_pairs: int
    n_states: int
    n_blocks_changed: int
    largest_change: float
    worst_block: int | None
    worst_agents: tuple[int, ...]
    worst_names: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether no value changed by a single bit."""
        return self.n_blocks_changed == 0

    def line(self, kappa: int) -> str:
        """What was found beyond ``kappa`` hops, in words."""
        hops = f"{kappa} hop" + ("" if kappa == 1 else "s")
        looked = f"{self.n_pairs:,} pairs of block and agent beyond {hops} at {self.n_states:,} states"
        if self.passed:
            return f"not one bit changed in {looked}" if self.n_pairs else f"no agent is beyond {hops} of any block"
        text = f"{self.n_blocks_changed:,} blocks changed, by up to {self.largest_change:.2g}, in {looked}"
        agents = ", ".join(self.worst_names[:5]) + (", …" if len(self.worst_names) > 5 else "")
        return f"{text}; worst: block {self.worst_block}" + (f" depends on agent {agents}" if agents else "")


@torch.no_grad()
def locality(probe: Probe, seed: int = 0) -> Locality:
    """Replace agents beyond kappa hops by random ones: no block's value may change by a single bit.

    All agents outside a colour's neighbourhoods are replaced at once. That leaves leaks from one block of a colour to
    another, so the blocks are numbered, and for each bit of the number and each of its values only the neighbourhoods
    of the blocks with that value are kept; any two blocks differ in some bit. So every pair of a block and an agent
    beyond is tested in 2 log₂(blocks) passes a colour.

    Args:
        probe: The mixer; utilities and observations are replaced together.
        seed: Of the replacements.
    """
    generator = torch.Generator().manual_seed(seed)
    changed = torch.zeros_like(probe.values[0])  # [P]
    largest, worst = 0.0, None
    for colour in probe.colours:
        others = (
            like(probe.utilities, generator),
            None if probe.observations is None else like(probe.observations, generator),
        )
        for blocks, kept in _rounds(colour):
            change = _change(probe, kept, others)[blocks]
            changed[blocks] = torch.maximum(changed[blocks], change)
            if float(change.amax()) > largest:
                largest, worst = float(change.amax()), (int(blocks[int(change.argmax())]), kept, others)
    n_pairs = probe.graph.n_agents * probe.partition.n_blocks - len(probe.pairs[0])
    if worst is None:
        return Locality(n_pairs, len(probe.values), 0, 0.0, None, (), ())
    culprits = _culprits(probe, *worst) if bool(probe.values[:, worst[0]].isfinite().all()) else ()
    names = tuple(map(probe.graph.name_of, culprits))
    return Locality(n_pairs, len(probe.values), int((changed > 0).sum()), largest, worst[0], culprits, names)


def _change(probe: Probe, kept: Tensor, others: tuple[Tensor, Tensor | None]) -> Tensor:
    """``[P]`` largest change over states when all agents but ``kept`` are replaced."""
    return (probe.replace(kept, others) - probe.values).abs().nan_to_num(nan=math.inf).amax(dim=0)


def _culprits(probe: Probe, block: int, kept: Tensor, others: tuple[Tensor, Tensor | None]) -> tuple[int, ...]:
    """The agents not in ``kept`` that change ``block``, halved as long as one half does it alone."""
    everyone = torch.arange(probe.graph.n_agents)
    suspects = everyone[~torch.isin(everyone, kept)]
    while len(suspects) > 1:
        for half in suspects.chunk(2):
            if float(_change(probe, everyone[~torch.isin(everyone, half)], others)[block]) > 0:
                suspects = half
                break
        else:
            break
    return tuple(suspects.tolist())


def _rounds(colour: Colour) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks to watch, and the agents to keep meanwhile: those of their neighbourhoods."""
    number = torch.arange(len(colour.blocks))
    if len(number) == 1:
        yield colour.blocks, colour.agents
    for bit in range((len(number) - 1).bit_length()):
        for value in (0, 1):
            watched = (number >> bit) & 1 == value
            yield colour.blocks[watched], colour.agents[watched[colour.owner]]
