"""Does a block's value fall as one utility rises: finite differences, which a detached gradient does not deceive."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lomaq.analysis.certificate.probe import CHUNK, Actions, Probe

#: Utilities that are mixed altogether: beyond the first number fewer rows are drawn, as long as every agent is moved;
#: beyond the second some agents are not.
BUDGET, MOST = 2**22, 2**24
#: Values that each utility takes in a row besides those of its actions: in the box of visited values, as many close to
#: these, and far outside on either side where the mixer promises to be monotone there.
IN_BOX, OUTSIDE = 6, 1
#: Smallest distance to a close value and largest to one outside, in widths of the box, as powers of ten.
CLOSE, FAR = -4.0, 3.0


@dataclass(frozen=True)
class Differences:
    """F_J at rising values of one utility U_i, the other utilities fixed.

    Attributes:
        n_steps: Pairs (block, agent within kappa hops of it) times neighbouring values of the agent's utility.
        n_agents: Agents whose utility was moved; all but on graphs where too many must be moved alone.
        n_rows: Rows of rising values: a state, utilities of the other agents, and agents that move at once.
        n_falls: Values that lie below one of a smaller utility by more than rounding.
        n_not_finite: Values that are NaN or infinite.
        largest: Largest fall; 0 where nothing falls, infinite where a value is not finite.
        block: The block of the largest fall; None where nothing falls.
        agent: Its agent; None where nothing falls, or where the block must not depend on any that moved.
        fell_from: Utility of that agent before the fall; None without an agent.
        fell_to: Its utility after it; None without an agent.
        agent_name: What messages call it; None without an agent.
    """

    n_steps: int
    n_agents: int
    n_rows: int
    n_falls: int
    n_not_finite: int
    largest: float
    block: int | None
    agent: int | None
    fell_from: float | None
    fell_to: float | None
    agent_name: str | None

    @property
    def passed(self) -> bool:
        """Whether no value fell and all are finite."""
        return self.n_falls == 0 and self.n_not_finite == 0

    def line(self) -> str:
        """What was found, in words."""
        looked = f"{self.n_steps:,} steps along the utility of one of {self.n_agents:,} agents"
        if self.passed:
            return f"no fall in {looked}"
        if self.block is None:
            return f"{self.n_not_finite:,} values are not finite in {looked}"
        text = f"{self.n_falls:,} falls by up to {self.largest:.2g} in {looked}; worst: block {self.block}"
        if self.agent is None:
            return text
        rises = f"rises from {self.fell_from:.4g} to {self.fell_to:.4g}"
        return f"{text} where the utility of agent {self.agent_name} {rises}"


@torch.no_grad()
def differences(probe: Probe, actions: Actions, seed: int = 0) -> Differences:
    """Move utilities up and watch for falls.

    In every visited state the other agents have the utilities of the actions taken, of random actions, or random ones.
    Agents that no block depends on together move at once, each through the utilities of all its actions, random values
    in the box of visited values, values close to these, and, where the mixer promises to be monotone everywhere, far
    outside. A box reaches from the smallest to the largest utility of an agent's actions in all states.

    Args:
        probe: The mixer.
        actions: All actions at its states.
        seed: Of all random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    colour_of = probe.agent_colours
    n_states, n_agents, _ = actions.utilities.shape
    low, width = _box(actions.utilities)
    bases = torch.stack(
        [
            probe.utilities,
            actions.of(actions.draw(1, generator))[:, 0],
            low + width * torch.rand(n_states, n_agents, generator=generator, dtype=low.dtype),
        ]
    )  # [3, M, N]
    n_values = actions.utilities.size(2) + 2 * IN_BOX + 2 * OUTSIDE * probe.hard
    n_colours, size = int(colour_of.max()) + 1, n_agents * n_values
    most = max(1, BUDGET // size, min(n_colours, MOST // size))
    rows = _rows(n_colours, 3 * n_states, most, generator)
    per_agent = torch.from_numpy((probe.reach > 0).sum(axis=0)).flatten().long()  # [N] blocks that depend on each
    n_steps, worst = 0, _Worst()
    for some in rows.split(max(1, CHUNK // size)):
        colour, state = some[:, 0], some[:, 1] % n_states
        moved = colour_of == colour[:, None]  # [R, N]
        values = _rising(actions.utilities[state], low, width, probe.hard, generator)  # [R, N, V]
        inputs = torch.where(moved[..., None], values, bases.flatten(0, 1)[some[:, 1], :, None]).mT.contiguous()
        seen = None if probe.observations is None else probe.observations[state][:, None].expand(-1, n_values, -1, -1)
        worst.look(probe, probe.mix(inputs, seen), inputs, moved)
        n_steps += int((moved * per_agent).sum()) * (n_values - 1)
    n_moved = int(torch.isin(colour_of, rows[:, 0]).sum())
    agent = worst.where[1]
    name = None if agent is None else probe.graph.name_of(agent)
    return Differences(n_steps, n_moved, len(rows), *worst.found(), name)


class _Worst:
    """Counts falls and keeps the largest."""

    def __init__(self) -> None:
        self.n_falls = self.n_not_finite = 0
        self.largest = 0.0
        self.where: tuple[int | None, int | None, float | None, float | None] = (None, None, None, None)

    def look(self, probe: Probe, values: Tensor, inputs: Tensor, moved: Tensor) -> None:
        """Look at block values ``[R, V, P]`` of utilities ``[R, V, N]``; those of ``moved`` ``[R, N]`` rise."""
        bad = ~values.isfinite()
        self.n_not_finite += int(bad.sum())
        values = values.double().masked_fill(bad, -math.inf)
        highest, place = values.cummax(dim=1)
        fall = (highest - values).nan_to_num(nan=0.0, posinf=0.0)
        fell = fall > torch.maximum(probe.rounding(highest), probe.rounding(values)).nan_to_num(posinf=0.0)
        self.n_falls += int(fell.sum())
        fall = fall * fell
        if self.n_falls == 0 or float(fall.amax()) <= self.largest:
            return
        self.largest = float(fall.amax())
        row, step, block = (int(x) for x in torch.unravel_index(fall.argmax(), fall.shape))
        near = torch.from_numpy(probe.reach[[block]].indices).long()
        agent = near[moved[row, near]]
        if not len(agent):
            self.where = block, None, None, None
            return
        one = int(agent[0])
        before = int(place[row, step, block])
        self.where = block, one, float(inputs[row, before, one]), float(inputs[row, step, one])

    def found(self) -> tuple[int, int, float, int | None, int | None, float | None, float | None]:
        return self.n_falls, self.n_not_finite, math.inf if self.n_not_finite else self.largest, *self.where


def _box(utilities: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest value and width ``[N]`` of each agent's box; of an agent with one value the width of all, or 1."""
    low, high = utilities.amin(dim=(0, 2)), utilities.amax(dim=(0, 2))
    overall = high.amax() - low.amin()
    width = torch.where(high > low, high - low, torch.where(overall > 0, overall, 1.0))
    return low, width


def _rows(n_colours: int, n_bases: int, most: int, generator: torch.Generator) -> Tensor:
    """Pairs ``[R, 2]`` int64 of a colour and a base: all, or at most ``most``, evenly among colours."""
    colours = torch.randperm(n_colours, generator=generator)[:most]
    each = min(n_bases, most // len(colours))
    bases = torch.rand(len(colours), n_bases, generator=generator).argsort(dim=1)[:, :each]
    return torch.stack([colours[:, None].expand_as(bases), bases], dim=-1).flatten(0, 1)


def _rising(utilities: Tensor, low: Tensor, width: Tensor, outside: bool, generator: torch.Generator) -> Tensor:
    """Sorted values ``[R, N, V]`` that each utility takes, of the utilities ``[R, N, A]`` of the actions."""

    def uniform(count: int) -> Tensor:
        return torch.rand(*utilities.shape[:2], count, generator=generator, dtype=utilities.dtype)

    low, width = low[:, None], width[:, None]
    inside = low + width * uniform(IN_BOX)
    parts = [utilities, inside, inside + width * 10 ** (CLOSE * uniform(IN_BOX))]
    if outside:
        far = width * 10 ** (FAR * uniform(2 * OUTSIDE))
        parts += [low - far[..., :OUTSIDE], low + width + far[..., OUTSIDE:]]
    return torch.cat(parts, dim=-1).sort(dim=-1).values
