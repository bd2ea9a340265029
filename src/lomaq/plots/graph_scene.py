"""What a picture of a graph shows and in which colours, whoever draws it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from lomaq.errors import InputError, check_int
from lomaq.graphs import AgentGraph, Partition, ego_classes
from lomaq.plots.graph_layout import disc_radius, edge_lines, hull, layout

#: Most edges in all neighbourhoods together whose ego classes are sought.
MOST_SURROUNDINGS = 3 * 10**7
#: Colours that differ for people with any colour vision (Okabe and Ito).
PALETTE = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#0072B2", "#D55E00")
#: Where all are alike, of the classes too small for a colour of their own, and of edges inside and between blocks.
PLAIN, OTHER, DARK, LIGHT = "#9ECAE1", "#BDBDBD", "#404040", "#B8B8B8"


@dataclass(frozen=True, eq=False)
class Scene:
    """All that a picture of a graph shows, in the units of its positions.

    Attributes:
        pos: ``[N, 2]`` float64, see :func:`lomaq.plots.graph_layout.layout`.
        radius: Of a disc that stands for an agent.
        lines: ``[E, S, 2]`` float64, the edges, see :func:`lomaq.plots.graph_layout.edge_lines`.
        inside: ``[E]`` bool, both ends are in one block.
        widths: ``[E]`` share of the largest weight in [0, 1]; None where edges have no weights.
        heaviest: The largest weight.
        group: ``[N]`` int64, agents with equal colours.
        colours: ``#rrggbb`` of each group.
        names: What each group is, for a legend; empty where colours only tell neighbours apart.
        edge_colours: ``#rrggbb`` of each edge.
        members: ``[M]`` int64, agents within kappa hops of the chosen one, itself included; none where none is.
        hull: ``[K, 2]`` float64, outline around the members; None where there are none.
        hull_name: What it is, for a legend.
    """

    pos: np.ndarray
    radius: float
    lines: np.ndarray
    inside: np.ndarray
    widths: np.ndarray | None
    heaviest: float
    group: np.ndarray
    colours: list[str]
    names: list[str]
    edge_colours: list[str]
    members: np.ndarray
    hull: np.ndarray | None
    hull_name: str

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower left and upper right corner ``[2]`` of all that is drawn, with a little air."""
        outline = self.pos if self.hull is None else self.hull
        points = np.concatenate([self.pos - self.radius, self.pos + self.radius, self.lines.reshape(-1, 2), outline])
        air = 0.3 * self.radius
        return points.min(axis=0) - air, points.max(axis=0) + air


def make_scene(
    graph: AgentGraph,
    partition: Partition | None,
    agent: int | None,
    kappa: int,
    edge_weights: np.ndarray | Tensor | None,
    classes: bool,
) -> Scene:
    """Lay everything out; the arguments are those of :func:`lomaq.plots.graph_plot.draw_graph`.

    Raises:
        InputError: If the partition is of other agents, the agent unknown, a weight none, or there are too many agents
            around each for their ego classes.
    """
    check_int("kappa", kappa, 0)
    if partition is not None and partition.n_agents != graph.n_agents:
        raise InputError("partition", f"blocks of the graph's {graph.n_agents} agents", f"{partition.n_agents} agents")
    pos, pairs = layout(graph), graph.pairs.numpy()
    radius = disc_radius(pos)
    block = np.arange(graph.n_agents) if partition is None else partition.block_of.numpy()
    inside = block[pairs[:, 0]] == block[pairs[:, 1]]
    group, colours, names = np.zeros(graph.n_agents, dtype=np.int64), [PLAIN], list[str]()
    if classes:
        group, colours, names = _class_colours(graph, kappa)
    elif partition is not None:
        group = block_colours(graph, partition)[block]
        colours = _palette(int(group.max()) + 1)
    within = np.where(inside, 0 if classes else 1, 2)  # dark, the block's colour, light
    edge_colours = [(DARK, colours[g], LIGHT)[k] for k, g in zip(within, group[pairs[:, 0]], strict=True)]
    weights = None if edge_weights is None else _check_weights(edge_weights, graph.n_edges)
    heaviest = 0.0 if weights is None else float(weights.max(initial=0))
    members = np.array([] if agent is None else graph.neighbourhood(agent, kappa), dtype=np.int64)
    return Scene(
        pos=pos,
        radius=radius,
        lines=edge_lines(pos, pairs, radius),
        inside=inside,
        widths=None if weights is None else weights / (heaviest or 1.0),
        heaviest=heaviest,
        group=group,
        colours=colours,
        names=names,
        edge_colours=edge_colours,
        members=members,
        hull=None if agent is None else hull(pos[members], 1.6 * radius),
        hull_name=f"within {kappa} hop{'s' * (kappa != 1)} of agent {agent} ({len(members):,})",
    )


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


def check_numbers(
    name: str, values: np.ndarray | Tensor, size: int, shapes: str, dims: tuple[int, ...] = (1,)
) -> np.ndarray:
    """``values`` as float64, when they are finite, of one of these numbers of dimensions, and the last of this size.

    Raises:
        InputError: If they are not.
    """
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


def _check_weights(edge_weights: np.ndarray | Tensor, n_edges: int) -> np.ndarray:
    weights = check_numbers("edge_weights", edge_weights, n_edges, "[{}]")
    if (weights < 0).any():
        raise InputError("edge_weights", "numbers of at least 0", float(weights.min()), "a width shows no sign")
    return weights
