"""What a picture of a graph shows and in which colours, whoever draws it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from lomaq.errors import InputError, check_int
from lomaq.graphs import AgentGraph, Partition, ego_classes
from lomaq.graphs.layout import layout
from lomaq.plots.geometry import disc_radius, edge_lines, hull

#: Most edges in all neighbourhoods together whose ego classes are sought.
MOST_SURROUNDINGS = 3 * 10**7
#: Colours that differ for people with any colour vision (Okabe and Ito).
PALETTE = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#0072B2", "#D55E00")
#: Where all are alike, of the classes too small for a colour of their own, and of edges inside and between blocks.
PLAIN, OTHER, DARK, LIGHT = "#9ECAE1", "#BDBDBD", "#404040", "#B8B8B8"


@dataclass(frozen=True, eq=False)
class GraphView:
    """What a picture of a graph shows, and where it lies in the units of the positions.

    Discs show values, else ego classes, else blocks: blocks that touch differ in colour, others may share one. Edges
    inside a block have its colour, or are dark beside ego classes.

    Args:
        graph: The N agents.
        partition: Blocks.
        agent: Agent whose neighbourhood is outlined, in 0 … N - 1. The outline is convex: others may lie inside, those
            that belong to it have a thick rim.
        kappa: Hops of the neighbourhood and of the ego classes, at least 0.
        values: ``[N]`` finite numbers, or ``[T, N]`` of T steps: a page plays them, a picture shows their mean.
        edge_weights: ``[E]`` finite numbers of at least 0, in the order of :attr:`lomaq.AgentGraph.pairs`; widths are
            in proportion.
        classes: Colour agents by their ego class (:func:`lomaq.graphs.ego_classes` of singletons).
        title: Heading.
        value_name: What ``values`` are, for their colour bar.

    Raises:
        InputError: If something does not fit the graph, or there are too many agents around each for ego classes.
    """

    graph: AgentGraph
    partition: Partition | None = None
    agent: int | None = None
    kappa: int = 1
    values: np.ndarray | Tensor | None = None
    edge_weights: np.ndarray | Tensor | Sequence[float] | None = None
    classes: bool = False
    title: str = ""
    value_name: str = "value"

    def __post_init__(self) -> None:
        n = self.graph.n_agents
        check_int("kappa", self.kappa, 0)
        if self.partition is not None and self.partition.n_agents != n:
            raise InputError("partition", f"blocks of the graph's {n} agents", f"{self.partition.n_agents} agents")
        _ = self.numbers, self.weights, self.members, self.groups  # refuse before anything is drawn

    @cached_property
    def numbers(self) -> np.ndarray | None:
        """The values ``[T, N]`` float64, T = 1 where they are those of no steps."""
        if self.values is None:
            return None
        n = self.graph.n_agents
        return _check_numbers("values", self.values, n, "[{0}] or [T, {0}]", (1, 2)).reshape(-1, n)

    @cached_property
    def weights(self) -> np.ndarray | None:
        """The edges' weights ``[E]`` float64."""
        if self.edge_weights is None:
            return None
        weights = _check_numbers("edge_weights", self.edge_weights, self.graph.n_edges, "[{}]")
        if (weights < 0).any():
            raise InputError("edge_weights", "numbers of at least 0", float(weights.min()), "a width shows no sign")
        return weights

    @cached_property
    def widths(self) -> np.ndarray | None:
        """``[E]`` share of the largest weight in [0, 1]; None where edges have no weights."""
        return None if self.weights is None else self.weights / (self.weights.max(initial=0) or 1.0)

    @cached_property
    def pos(self) -> np.ndarray:
        """``[N, 2]`` float64, see :func:`lomaq.graphs.layout.layout`."""
        return layout(self.graph)

    @cached_property
    def radius(self) -> float:
        """Of a disc that stands for an agent."""
        return disc_radius(self.pos)

    @cached_property
    def lines(self) -> np.ndarray:
        """``[E, S, 2]`` float64, the edges, see :func:`lomaq.plots.geometry.edge_lines`."""
        return edge_lines(self.pos, self.graph.pairs.numpy(), self.radius)

    @cached_property
    def inside(self) -> np.ndarray:
        """``[E]`` bool, both ends are in one block."""
        block = np.arange(self.graph.n_agents) if self.partition is None else self.partition.block_of.numpy()
        return np.equal(*block[self.graph.pairs.numpy()].T)

    @cached_property
    def groups(self) -> tuple[np.ndarray, list[str], list[str]]:
        """Group of each agent ``[N]``, ``#rrggbb`` of each group, and its name where a legend tells it."""
        if self.by_class:
            return _class_colours(self.graph, self.kappa)
        if self.partition is None:
            return np.zeros(self.graph.n_agents, dtype=np.int64), [PLAIN], []
        group = block_colours(self.graph, self.partition)[self.partition.block_of.numpy()]
        return group, _palette(int(group.max()) + 1), []

    @property
    def by_class(self) -> bool:
        """Whether colours show ego classes."""
        return self.classes and self.values is None

    @cached_property
    def edge_colours(self) -> list[str]:
        """``#rrggbb`` of each edge: dark or the block's colour inside a block, light between blocks."""
        group, colours, _ = self.groups
        of_block = [DARK if self.by_class else colours[g] for g in group[self.graph.pairs.numpy()[:, 0]]]
        return [colour if same else LIGHT for colour, same in zip(of_block, self.inside, strict=True)]

    @cached_property
    def members(self) -> np.ndarray:
        """``[M]`` int64, agents within kappa hops of the chosen one, itself included; none where none is chosen."""
        found = [] if self.agent is None else self.graph.neighbourhood(self.agent, self.kappa)
        return np.array(found, dtype=np.int64)

    @cached_property
    def hull(self) -> np.ndarray | None:
        """``[K, 2]`` float64, outline around the members; None where there are none."""
        return hull(self.pos[self.members], 1.6 * self.radius) if len(self.members) else None

    @property
    def hull_name(self) -> str:
        """What the outline is, for a legend."""
        return f"within {self.kappa} hop{'s' * (self.kappa != 1)} of agent {self.agent} ({len(self.members):,})"

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower left and upper right corner ``[2]`` of all that is drawn, with a little air."""
        outline = self.pos if self.hull is None else self.hull
        points = np.concatenate([self.pos - self.radius, self.pos + self.radius, self.lines.reshape(-1, 2), outline])
        air = 0.3 * self.radius
        return points.min(axis=0) - air, points.max(axis=0) + air


def block_colours(graph: AgentGraph, partition: Partition) -> np.ndarray:
    """``[P]`` int64, few colours such that blocks joined by an edge differ (greedy, DSATUR).

    Args:
        graph: The agents.
        partition: The P blocks.

    Example:
        >>> block_colours(AgentGraph.line(5), Partition([[0, 1], [2, 3], [4]], 5)).tolist()
        [1, 0, 1]
    """
    ends = partition.block_of.numpy()[graph.pairs.numpy()]  # [E, 2]
    blocks = nx.Graph()
    blocks.add_nodes_from(range(partition.n_blocks))
    blocks.add_edges_from(np.unique(ends[ends[:, 0] != ends[:, 1]], axis=0).tolist())
    colour = nx.greedy_color(blocks, strategy="DSATUR")
    return np.array([colour[block] for block in range(partition.n_blocks)])


def _palette(count: int) -> list[str]:
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    turns = np.arange(count) / count  # many blocks that all touch: hues at equal distances
    channels = 0.55 + 0.4 * np.cos(2 * math.pi * (turns[:, None] - np.arange(3) / 3))
    return ["#" + "".join(f"{round(255 * c):02x}" for c in colour) for colour in channels.tolist()]


def classes_of(graph: AgentGraph, kappa: int) -> np.ndarray | None:
    """``[N]`` int64, the ego class of each agent; None where the neighbourhoods have too many edges to compare.

    Args:
        graph: The agents.
        kappa: Number of hops, at least 0.
    """
    reach = graph.khop(kappa)
    if int(graph.degree.cpu().numpy()[reach.indices].sum()) > MOST_SURROUNDINGS:
        return None
    return ego_classes(graph, [[i] for i in range(graph.n_agents)], kappa).class_of


def _class_colours(graph: AgentGraph, kappa: int) -> tuple[np.ndarray, list[str], list[str]]:
    """Group of each agent, and each group's colour and name; the largest classes are groups of their own."""
    found = classes_of(graph, kappa)
    if found is None:
        expected = f"at most {MOST_SURROUNDINGS:,} edges in all neighbourhoods together"
        raise InputError("classes", expected, f"more at kappa={kappa}", "take a smaller kappa or another colour")
    size = np.bincount(found)
    order = np.argsort(-size, kind="stable")
    own = order if len(order) <= len(PALETTE) else order[: len(PALETTE) - 1]
    rank = np.full(len(size), len(own))
    rank[own] = np.arange(len(own))
    colours = list(PALETTE[: len(own)])
    names = [f"class {number}: {_agents(size[number])}" for number in own]
    if len(own) < len(order):
        colours.append(OTHER)
        names.append(f"{len(order) - len(own)} others: {_agents(size[order[len(own) :]].sum())}")
    return rank[found], colours, names


def _agents(count: int) -> str:
    return f"{count:,} agent" + ("s" if count > 1 else "")


def _check_numbers(name: str, values: Any, size: int, shapes: str, dims: tuple[int, ...] = (1,)) -> np.ndarray:
    """``values`` as float64, when they are finite, of one of these numbers of dimensions, and the last of this size."""
    array = torch.as_tensor(values).detach().cpu().double().numpy()
    if array.ndim not in dims or array.shape[-1] != size or len(array) == 0 < size:
        raise InputError(name, f"numbers of shape {shapes.format(size)}", list(array.shape))
    if not np.isfinite(array).all():
        raise InputError(name, "finite numbers", "NaN or infinity")
    return array


def value_span(values: np.ndarray) -> tuple[float, float]:
    """Ends of a colour scale: the smallest and largest value, apart even where all are equal."""
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)
