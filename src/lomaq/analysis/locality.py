"""Is a mixer monotone within kappa hops and exactly blind beyond: both by experiment, for any mixer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lomaq.analysis.colouring import Colour, Colouring, MixerFunction
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


def slopes(mixer: MixerFunction, colouring: Colouring, utilities: Tensor, observations: Tensor | None = None) -> Slopes:
    """Differentiate every block (Assumption 2): one backward pass yields all slopes of a colour's blocks.

    Blocks of a colour share no agent, so the slope of their sum in an agent is that of the one block that sees it. A
    mixer that leaks breaks this, which :func:`locality` finds out.

    Args:
        mixer: The mixer.
        colouring: The blocks.
        utilities: ``[M, N]`` float, of the actions chosen at M visited states.
        observations: ``[M, N, O]`` float, for mixers with local state.

    Raises:
        InputError: If a shape is impossible, or the mixer's values cannot be differentiated.
    """
    colouring.check(utilities, observations)
    with torch.enable_grad():
        inputs = utilities.detach().clone().requires_grad_()
        values = mixer(inputs, observations)
        if not values.requires_grad:
            raise InputError("mixer", "block values that can be differentiated by the utilities", "a constant")
        parts = []
        for colour in colouring.colours:
            total = values[:, colour.blocks].sum()
            (slope,) = torch.autograd.grad(total, inputs, retain_graph=True, materialize_grads=True)
            parts.append(slope[:, colour.agents])
    slope = torch.cat(parts, dim=1).double()  # [M, pairs]
    distance = torch.cat([colour.distance for colour in colouring.colours])
    by_hop = [_finite_span(slope[:, distance == hop]) for hop in range(int(distance.max()) + 1)]
    n_negative = int((slope < 0).sum())
    return Slopes(
        _finite_span(slope)[0],
        slope.numel(),
        slope.size(1),
        slope.size(0),
        n_negative,
        n_negative / slope.numel(),
        int((~slope.isfinite()).sum()),
        *(tuple(values) for values in zip(*by_hop, strict=True)),
    )


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
    """

    n_pairs: int
    n_states: int
    n_blocks_changed: int
    largest_change: float
    worst_block: int | None
    worst_agents: tuple[int, ...]

    @property
    def passed(self) -> bool:
        """Whether no value changed by a single bit."""
        return self.n_blocks_changed == 0


@dataclass(frozen=True, eq=False)
class _Examination:
    """A mixer, what it sees, and what the agents that must not matter are replaced by."""

    mixer: MixerFunction
    colouring: Colouring
    utilities: Tensor
    observations: Tensor | None
    others: tuple[Tensor, Tensor | None]
    values: Tensor  # [M, P] nothing replaced

    def change(self, kept: Tensor) -> Tensor:
        """``[P]`` largest change over states when all agents but ``kept`` are replaced."""
        mixed = self.colouring.keep(kept, self.utilities, self.observations, self.others)
        return (self.mixer(*mixed) - self.values).abs().nan_to_num(nan=math.inf).amax(dim=0)

    def culprits(self, block: int, kept: Tensor) -> tuple[int, ...]:
        """The agents not in ``kept`` that change ``block``, halved as long as one half does it alone."""
        replaced = torch.ones(self.colouring.n_agents, dtype=torch.bool)
        replaced[kept] = False
        suspects = replaced.nonzero()[:, 0]
        everyone = torch.arange(self.colouring.n_agents)
        while len(suspects) > 1:
            halves = suspects.chunk(2)
            guilty = [h for h in halves if float(self.change(everyone[~torch.isin(everyone, h)])[block]) > 0]
            if not guilty:
                break
            suspects = guilty[0]
        return tuple(suspects.tolist())


@torch.no_grad()
def locality(
    mixer: MixerFunction,
    colouring: Colouring,
    utilities: Tensor,
    observations: Tensor | None = None,
    seed: int = 0,
) -> Locality:
    """Replace agents beyond kappa hops by random ones: no block's value may change by a single bit.

    All agents outside a colour's neighbourhoods are replaced at once. That leaves leaks from one block of a colour to
    another, so the blocks are numbered, and for each bit of the number and each of its values only the neighbourhoods
    of the blocks with that value are kept; any two blocks differ in some bit. So every pair of a block and an agent
    beyond is tested in 2 log₂(blocks) passes a colour.

    Args:
        mixer: The mixer.
        colouring: The blocks.
        utilities: ``[M, N]`` float, of the actions chosen at M visited states.
        observations: ``[M, N, O]`` float, for mixers with local state; replaced together with the utilities.
        seed: Of the replacements.

    Raises:
        InputError: If a shape is impossible.
    """
    colouring.check(utilities, observations)
    generator = torch.Generator(utilities.device).manual_seed(seed)
    values = mixer(utilities, observations)
    changed = torch.zeros_like(values[0])  # [P]
    largest, worst = 0.0, None
    for colour in colouring.colours:
        others = _like(utilities, generator), None if observations is None else _like(observations, generator)
        examination = _Examination(mixer, colouring, utilities, observations, others, values)
        for blocks, kept in _rounds(colour):
            change = examination.change(kept)[blocks]
            changed[blocks] = torch.maximum(changed[blocks], change)
            if float(change.amax()) > largest:
                largest, worst = float(change.amax()), (int(blocks[int(change.argmax())]), kept, examination)
    n_pairs = colouring.n_agents * colouring.n_blocks - colouring.n_pairs
    if worst is None:
        return Locality(n_pairs, len(utilities), 0, 0.0, None, ())
    block, kept, examination = worst
    culprits = examination.culprits(block, kept) if bool(values[:, block].isfinite().all()) else ()
    return Locality(n_pairs, len(utilities), int((changed > 0).sum()), largest, block, culprits)


def _rounds(colour: Colour) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks to watch, and the agents to keep meanwhile: those of their neighbourhoods."""
    number = torch.arange(len(colour.blocks))
    if len(number) == 1:
        yield colour.blocks, colour.agents
    for bit in range((len(number) - 1).bit_length()):
        for value in (0, 1):
            watched = (number >> bit) & 1 == value
            yield colour.blocks[watched], colour.agents[watched[colour.owner]]


def _like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Normal numbers of the mean and twice the spread of ``x``; of spread 2 where ``x`` does not vary."""
    spread = x.std(correction=0)
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return x.mean() + 2 * torch.where(spread > 0, spread, 1.0) * noise
