"""A mixer under examination: a black box at visited states, its blocks in colours."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from lomaq.errors import InputError, check_int
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import Mixer

#: Most utilities that are mixed at once: states times joint actions times agents.
CHUNK = 2**18
#: Nudges by which rounding is measured, how many times its largest effect is allowed for, and units in the last place.
NUDGES, SAFETY, LAST_PLACES = 4, 8, 64

#: Utilities ``[..., N]`` and observations ``[..., N, O]`` or None → block values ``[..., P]``; nothing else is assumed.
MixerFunction = Callable[[Tensor, Tensor | None], Tensor]


class Colour(NamedTuple):
    """Blocks whose kappa-hop neighbourhoods are disjoint, and those neighbourhoods concatenated; all int64.

    Attributes:
        blocks: ``[m]``, the blocks J, rising.
        agents: ``[a]``, the agents of their neighbourhoods, each once.
        owner: ``[a]``, whose neighbourhood each agent is in, as a place in ``blocks``.
        distance: ``[a]``, hops from that block to the agent, 0 … kappa.
    """

    blocks: Tensor
    agents: Tensor
    owner: Tensor
    distance: Tensor


class Probe:
    """A mixer at M visited states; one pass through it examines all blocks of a colour.

    Blocks are coloured by first fit, those with large neighbourhoods first. Time and memory grow with the
    neighbourhoods' sizes. A line of singletons needs 2 kappa + 1 colours whatever its length; where all neighbourhoods
    meet, as in a star, every block has its own colour.

    Args:
        mixer: The mixer, in evaluation mode.
        graph: The N agents.
        partition: The P blocks that the mixer values.
        kappa: Hops within which a block may depend on agents, at least 0.
        utilities: ``[M, N]`` float, of the actions chosen at the states.
        observations: ``[M, N, O]`` float there, for mixers with local state.

    Attributes:
        colours: Every block is in exactly one.
        reach: Sparse ``[P, N]``, the agents within kappa hops of each block, as :meth:`lomaq.AgentGraph.khop` gives it.
        pairs: All pairs of a block and an agent within kappa hops, ``[pairs]`` int64 each: block, agent, hops.
        values: ``[M, P]`` block values.

    Raises:
        InputError: If kappa or a shape is impossible, the partition is of other agents, a number is not finite, or the
            mixer returns something else than block values or changes its inputs.
    """

    def __init__(
        self,
        mixer: MixerFunction,
        graph: AgentGraph,
        partition: Partition,
        kappa: int,
        utilities: Tensor,
        observations: Tensor | None = None,
    ) -> None:
        self.mixer, self.graph, self.partition, self.kappa = mixer, graph, partition, check_int("kappa", kappa, 0)
        self.utilities, self.observations = utilities, observations
        self._check()
        self.reach = graph.khop(kappa, partition.blocks)
        colour_of = _first_fit(self.reach)
        self.colours = [_gather(self.reach, np.flatnonzero(colour_of == c)) for c in range(int(colour_of.max()) + 1)]
        columns = ((colour.blocks[colour.owner], colour.agents, colour.distance) for colour in self.colours)
        self.pairs = tuple(torch.cat(column) for column in zip(*columns, strict=True))
        before = [None if x is None else x.clone() for x in (utilities, observations)]
        with torch.no_grad():
            self.values = self.mix(utilities, observations)
        for name, x, old in zip(("utilities", "observations"), (utilities, observations), before, strict=True):
            if x is not None and not torch.equal(x, old):  # type: ignore[arg-type]
                raise InputError("mixer", "a function that leaves its inputs alone", f"one that changes the {name}")

    def mix(self, utilities: Tensor, observations: Tensor | None) -> Tensor:
        """Block values ``[..., P]`` of utilities ``[..., N]`` and observations ``[..., N, O]``.

        Raises:
            InputError: If the mixer returns something else.
        """
        values = self.mixer(utilities, observations)
        shape = [*utilities.shape[:-1], self.partition.n_blocks]
        fits = isinstance(values, Tensor) and list(values.shape) == shape and values.is_floating_point()
        if not fits:
            got = f"{values.dtype} {list(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
            expected = f"block values, floating-point {shape}, of utilities {list(utilities.shape)}"
            raise InputError("mixer", expected, got)
        return values

    @property
    def hard(self) -> bool:
        """Whether the mixer promises to be monotone everywhere: all do but those that say that they are soft."""
        return self.mixer.hard if isinstance(self.mixer, Mixer) else True

    def proof(self) -> str | None:
        """Why the mixer is monotone for all values, see :meth:`lomaq.mixers.Mixer.proof`; None of other functions."""
        return self.mixer.proof() if isinstance(self.mixer, Mixer) else None

    @cached_property
    def agent_colours(self) -> Tensor:
        """``[N]`` int64: no block has two agents of one colour within kappa hops, so that they can move at once."""
        return torch.from_numpy(_first_fit(self.reach.T.tocsr()))

    def rounding(self, values: Tensor) -> Tensor:
        """How far rounding may move block values ``[..., P]``: float64 of the same shape."""
        share, size = self._noise
        return share * torch.maximum(size, values.double().abs())

    @cached_property
    @torch.no_grad()
    def _noise(self) -> tuple[Tensor, Tensor]:
        """Rounding of each block as a share of the block's size, and that size, ``[P]`` each.

        It is measured at random utilities, where a staircase has no edge: they, and the observations, are nudged by a
        unit in the last place.
        """
        generator = torch.Generator().manual_seed(0)
        at, seen = like(self.utilities, generator), self.observations

        def nudged(x: Tensor) -> Tensor:
            return x * (1 + torch.randint(-1, 2, x.shape, generator=generator) * torch.finfo(x.dtype).eps)

        values, moved = self.mix(at, seen), torch.zeros(self.partition.n_blocks, dtype=torch.float64)
        for _ in range(NUDGES):
            change = self.mix(nudged(at), None if seen is None else nudged(seen)).double() - values.double()
            moved = torch.maximum(moved, change.abs().nan_to_num(posinf=0.0).amax(dim=0))
        size = torch.maximum(values.abs().amax(dim=0), self.values.abs().amax(dim=0)).double().nan_to_num(posinf=0.0)
        share = torch.where(size > 0, SAFETY * moved / size, 0.0)
        return share + LAST_PLACES * torch.finfo(values.dtype).eps, size

    def _check(self) -> None:
        shape, n_agents = list(self.utilities.shape), self.graph.n_agents
        if self.partition.n_agents != n_agents:
            raise InputError("partition", f"blocks of the graph's {n_agents} agents", self.partition.n_agents)
        if len(shape) != 2 or shape[0] == 0 or shape[1] != n_agents:
            raise InputError("utilities", f"shape [states, {n_agents}], at least one state", shape)
        if self.observations is not None and (
            self.observations.dim() != 3 or list(self.observations.shape[:2]) != shape
        ):
            raise InputError("observations", f"shape [{shape[0]}, {shape[1]}, O]", list(self.observations.shape))
        for name in ("utilities", "observations"):
            tensor = vars(self)[name]
            if tensor is not None and not bool(tensor.isfinite().all()):
                raise InputError(name, "finite numbers", "NaN or infinity", "the networks have diverged")

    def replace(self, kept: Tensor, others: tuple[Tensor, Tensor | None]) -> Tensor:
        """Block values ``[M, P]`` when all agents but ``kept`` have the utilities and observations of ``others``."""
        keep = torch.zeros(self.graph.n_agents, dtype=torch.bool)
        keep[kept] = True
        utilities, observations = torch.where(keep, self.utilities, others[0]), None
        if self.observations is not None:
            assert others[1] is not None
            observations = torch.where(keep[:, None], self.observations, others[1])
        return self.mix(utilities, observations)


class Actions(NamedTuple):
    """The allowed actions of all agents at the M states, by their utilities.

    Attributes:
        utilities: ``[M, N, A]``, best first, so that rank 0 is the greedy one, which also stands for forbidden ones.
        n_allowed: ``[M, N]`` int64.
    """

    utilities: Tensor
    n_allowed: Tensor

    def of(self, ranks: Tensor) -> Tensor:
        """Utilities ``[M, c, N]`` of joint actions, given as ranks ``[M, c, N]`` int64."""
        return self.utilities[:, None].expand(-1, ranks.size(1), -1, -1).gather(3, ranks[..., None])[..., 0]

    def draw(self, samples: int, generator: torch.Generator) -> Tensor:
        """Ranks ``[M, samples, N]`` int64 of joint actions, drawn uniformly and anew for every state."""
        shape = (len(self.n_allowed), samples, self.n_allowed.size(1))
        return (torch.rand(shape, generator=generator, dtype=torch.float64) * self.n_allowed[:, None]).long()


def rank_actions(utilities: Tensor, action_mask: Tensor | None = None) -> Actions:
    """Sort the utilities ``[M, N, A]`` of all actions; ``action_mask`` ``[M, N, A]`` bool names the allowed ones.

    Raises:
        InputError: If a shape is impossible, a number is not finite, or an agent has no action.
    """
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
    return Actions(torch.where(allowed, ranked, ranked[..., :1]), count)


def like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Normal numbers of the mean and twice the spread of ``x``; of spread 2 where ``x`` does not vary."""
    spread = x.std(correction=0)
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return x.mean() + 2 * torch.where(spread > 0, spread, 1.0) * noise


def _first_fit(reach: sp.csr_array) -> np.ndarray:
    """``[P]`` int64 colour of each row, a block: the first that no block with a common agent has."""
    colours_at: list[set[int]] = [set() for _ in range(reach.shape[1])]  # of the blocks that depend on each agent
    result = np.empty(reach.shape[0], dtype=np.int64)
    for block in np.argsort(-np.diff(reach.indptr), kind="stable").tolist():  # once per examination, no hot path
        near = reach.indices[reach.indptr[block] : reach.indptr[block + 1]].tolist()
        taken = set[int]().union(*(colours_at[agent] for agent in near))
        result[block] = next(c for c in itertools.count() if c not in taken)
        for agent in near:
            colours_at[agent].add(int(result[block]))
    return result


def _gather(reach: sp.csr_array, blocks: np.ndarray) -> Colour:
    rows = reach[blocks]
    owner = np.repeat(np.arange(len(blocks)), np.diff(rows.indptr))
    arrays = (blocks, rows.indices, owner, rows.data - 1)
    return Colour(*(torch.from_numpy(array.astype(np.int64)) for array in arrays))
