"""What a picture of a graph shows and in which colours, whoever draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import torch
from matplotlib.colors import hsv_to_rgb, to_hex
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


@dataclass(eq=False)
class GraphView:
    """What a picture of a graph shows, and where it lies in the units of the positions.

    Discs show values, else ego classes, else blocks: blocks that touch differ in colour, others may share one. Edges
    inside a block have its colour, or are dark where discs show ego classes.

    Args:
        graph: The N agents.
        partition: Blocks.
        agent: Agent whose neighbourhood is outlined, in 0 … N - 1. The outline is convex: others may lie inside, those
            that belong to it have a thick rim.
        kappa: Hops of the neighbourhood and of the ego classes, at least 0.
        values: ``[N]`` finite numbers, or ``[T, N]`` of T steps: a page plays them, a picture shows their mean.
        edge_weights: ``[E]`` finite numbers, in the order of :attr:`lomaq.AgentGraph.pairs`; widths are in proportion
            to their sizes.
        classes: Colour agents by their ego class (:func:`lomaq.graphs.ego_classes` of singletons).
        title: Heading.
        value_name: What ``values`` are, for their colour bar.
        edge_name: What ``edge_weights`` are, for a legend.

    Attributes:
        numbers: The values ``[T, N]`` float64, T = 1 where they are those of no steps; None without values.
        weights: The edges' weights ``[E]`` float64; ``widths`` are their sizes as shares of the largest, which
            ``weight_name`` tells a legend. None without weights.
        groups: Group of each agent ``[N]``, ``#rrggbb`` of each group, and its name where a legend tells it.
        members: ``[M]`` int64, agents within kappa hops of the chosen one, itself included; none where none is chosen.
        inside: ``[E]`` bool, both ends are in one block.
        edge_colours: ``#rrggbb`` of each edge: dark or the block's colour inside a block, light between blocks.
        pos: ``[N, 2]`` float64, see :func:`lomaq.graphs.layout.layout`; ``radius`` is that of an agent's disc there.
        lines: ``[E, S, 2]`` float64, the edges, see :func:`lomaq.plots.geometry.edge_lines`.
        hull: ``[K, 2]`` float64, outline around the members, with ``hull_name`` for a legend; None without members.
        box: Lower left and upper right corner ``[2]`` of all that is drawn, with a little air.

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
    edge_name: str = "weight"

    def __post_init__(self) -> None:
        n, pairs = self.graph.n_agents, self.graph.pairs.numpy()
        check_int("kappa", self.kappa, 0)
        if self.partition is not None and self.partition.n_agents != n:
            raise InputError("partition", f"blocks of the graph's {n} agents", f"{self.partition.n_agents} agents")
        self.numbers = self.weights = self.widths = self.weight_name = None
        if self.values is not None:
            self.numbers = _check_numbers("values", self.values, n, f"[{n}] or [T, {n}]", (1, 2)).reshape(-1, n)
        if self.edge_weights is not None:
            self.weights = _check_numbers("edge_weights", self.edge_weights, len(pairs), f"[{len(pairs)}]", (1,))
            sizes = np.abs(self.weights)
            self.widths = sizes / (sizes.max(initial=0) or 1.0)
            signed = "±" if (self.weights < 0).any() else ""
            self.weight_name = f"largest {self.edge_name} {signed}{sizes.max(initial=0):.3g}"
        members = [] if self.agent is None else self.graph.neighbourhood(self.agent, self.kappa)
        self.members = np.array(members, dtype=np.int64)
        by_class = self.classes and self.values is None
        self.groups = _class_colours(self.graph, self.kappa) if by_class else _block_colours(self.graph, self.partition)
        block = np.arange(n) if self.partition is None else self.partition.block_of.numpy()
        self.inside = np.equal(*block[pairs].T)
        of_block = [DARK if by_class else self.groups[1][group] for group in self.groups[0][pairs[:, 0]]]
        self.edge_colours = [colour if same else LIGHT for colour, same in zip(of_block, self.inside, strict=True)]
        self._place(pairs)

    def _place(self, pairs: np.ndarray) -> None:
        self.pos = layout(self.graph)
        self.radius = radius = disc_radius(self.pos)
        self.lines = edge_lines(self.pos, pairs, radius)
        self.hull = hull(self.pos[self.members], 1.6 * radius) if len(self.members) else None
        named = self.agent is not None and "names" in self.graph
        chosen = self.graph.names[self.agent] if named else f"agent {self.agent}"
        hops = f"{self.kappa} hop{'s' * (self.kappa != 1)}"
        self.hull_name = f"within {hops} of {chosen} ({len(self.members):,})"
        outline = self.pos if self.hull is None else self.hull
        drawn = np.concatenate([self.pos - radius, self.pos + radius, self.lines.reshape(-1, 2), outline])
        self.box = drawn.min(axis=0) - 0.3 * radius, drawn.max(axis=0) + 0.3 * radius


def block_colours(graph: AgentGraph, partition: Partition) -> np.ndarray:
    """``[P]`` int64, few colours such that blocks joined by an edge differ (greedy, DSATUR).

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


def _block_colours(graph: AgentGraph, partition: Partition | None) -> tuple[np.ndarray, list[str], list[str]]:
    """As :attr:`GraphView.groups`; hues at equal distances where very many blocks all touch."""
    if partition is None:
        return np.zeros(graph.n_agents, dtype=np.int64), [PLAIN], []
    group = block_colours(graph, partition)[partition.block_of.numpy()]
    count = int(group.max()) + 1
    hues = [to_hex(tuple(hsv_to_rgb((i / count, 0.5, 0.95)))) for i in range(count)]
    return group, hues if count > len(PALETTE) else list(PALETTE[:count]), []


def classes_of(graph: AgentGraph, kappa: int) -> np.ndarray | None:
    """``[N]`` int64, the ego class of each agent; None where the neighbourhoods have too many edges to compare."""
    if int(graph.degree.cpu().numpy()[graph.khop(kappa).indices].sum()) > MOST_SURROUNDINGS:
        return None
    return ego_classes(graph, [[i] for i in range(graph.n_agents)], kappa).class_of


def _class_colours(graph: AgentGraph, kappa: int) -> tuple[np.ndarray, list[str], list[str]]:
    """As :attr:`GraphView.groups`; the largest classes are groups of their own."""
    found = classes_of(graph, kappa)
    if found is None:
        expected = f"at most {MOST_SURROUNDINGS:,} edges in all neighbourhoods together"
        raise InputError("classes", expected, f"more at kappa={kappa}", "take a smaller kappa or another colour")
    size = np.bincount(found)
    order = np.argsort(-size, kind="stable")
    shown = len(order) if len(order) <= len(PALETTE) else len(PALETTE) - 1
    rank = np.empty(len(size), dtype=np.int64)
    rank[order] = np.minimum(np.arange(len(order)), shown)
    parts = [(f"class {number}", size[number]) for number in order[:shown]]
    parts += [(f"{len(order) - shown} others", size[order[shown:]].sum())] if shown < len(order) else []
    names = [f"{name}: {count:,} agent{'s' * int(count > 1)}" for name, count in parts]
    return rank[found], [*PALETTE[:shown], OTHER], names


def _check_numbers(name: str, values: Any, size: int, shapes: str, dims: tuple[int, ...]) -> np.ndarray:
    """``values`` as float64, when they are finite, of one of these numbers of dimensions, and the last of this size."""
    array: np.ndarray = torch.as_tensor(values).detach().cpu().double().numpy()
    if array.ndim not in dims or array.shape[-1] != size or len(array) == 0 < size:
        raise InputError(name, f"numbers of shape {shapes}", list(array.shape))
    if not np.isfinite(array).all():
        raise InputError(name, "finite numbers", "NaN or infinity")
    return array


def value_span(values: np.ndarray) -> tuple[float, float]:
    """Ends of a colour scale: the smallest and largest value, apart even where all are equal."""
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)
