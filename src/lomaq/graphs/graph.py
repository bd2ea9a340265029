"""The dependency graph of the agents, G = (V, E) of Section 2, as a PyG object.

Every transform, loader and convolution of PyTorch Geometric works on an :class:`AgentGraph`; what this room adds is
builders, files, validation and sparse kappa-hop neighbourhoods.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import networkx as nx
import numpy as np
import scipy.sparse as sp
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch_geometric.data import Data

from lomaq.errors import InputError, check_choice, check_float, check_int
from lomaq.graphs import files

RegionShape = Literal["square", "circle"]
#: Most agents of a graph: what is made of it has a size, and a slip in a file must not fill the memory.
MOST_AGENTS = 1_000_000


class AgentGraph(Data):
    """Undirected graph of agents without self loops; ``AgentGraph(...)`` itself is unchecked, use the builders.

    Attributes:
        edge_index: ``[2, 2E]`` int64, each undirected edge in both directions, sorted.
        pos: optional ``[N, 2]`` float32, where each agent is drawn.
        agent_type: optional ``[N]`` int64, 0 … types - 1; agents of one type share their utility network.
        agent_name: optional list of N names.
        note: optional line on what a file or a networkx graph holds and this does not.

    Example:
        >>> graph = AgentGraph.line(4)
        >>> graph.n_agents, graph.n_edges
        (4, 3)
        >>> graph.neighbourhood(0, kappa=2)
        [0, 1, 2]
    """

    def __init__(self, edge_index: Tensor | None = None, **kwargs: Any) -> None:  # PyG's batching needs **kwargs
        super().__init__(edge_index=edge_index, **kwargs)

    @property
    def n_agents(self) -> int:
        """Number of agents N."""
        assert self.num_nodes is not None
        return self.num_nodes

    @property
    def n_edges(self) -> int:
        """Number of undirected edges."""
        return int(self.edge_index.size(1)) // 2

    @property
    def degree(self) -> Tensor:
        """``[N]`` int64, neighbours of each agent, itself not counted."""
        return torch.bincount(self.edge_index[0], minlength=self.n_agents)

    @property
    def pairs(self) -> Tensor:
        """``[E, 2]`` int64, each undirected edge once, the lower agent first, in rising order."""
        return self.edge_index.T[self.edge_index[0] < self.edge_index[1]].contiguous()

    @property
    def types(self) -> Tensor:
        """``[N]`` int64, the type of each agent; all 0 where there is no ``agent_type``."""
        return self.agent_type if "agent_type" in self else torch.zeros(self.n_agents, dtype=torch.int64)

    @property
    def adjacency(self) -> sp.csr_array:
        """``[N, N]`` int32, 1 where two agents are joined."""
        ends = tuple(self.edge_index.cpu().numpy().astype(np.int32))  # older SciPy walks no wider ones
        return sp.csr_array((np.ones(len(ends[0]), dtype=np.int32), ends), shape=(self.n_agents, self.n_agents))

    @classmethod
    def from_edges(
        cls,
        n_agents: int,
        edges: Iterable[Sequence[int]],
        *,
        pos: Tensor | Sequence[Sequence[float]] | None = None,
        agent_type: Tensor | Sequence[int] | None = None,
    ) -> AgentGraph:
        """Build from pairs of agents; each edge may be given in either or both directions.

        Args:
            n_agents: Number of agents, 1 to 1,000,000.
            edges: Pairs of agent numbers 0 … n_agents - 1, no self loops.
            pos: ``[N, 2]`` positions for drawing.
            agent_type: ``[N]`` types, 0 … types - 1.

        Raises:
            InputError: If a pair names an unknown agent, loops, or is no pair of whole numbers.
        """
        return cls._from_array(n_agents, _pairs(edges), pos=pos, agent_type=agent_type)

    @classmethod
    def _from_array(cls, n_agents: int, pairs: np.ndarray, *, pos: Any = None, agent_type: Any = None) -> AgentGraph:
        check_int("n_agents", n_agents, 1, MOST_AGENTS)
        both = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
        graph = cls(edge_index=torch.from_numpy(np.ascontiguousarray(both.T)), num_nodes=n_agents)
        if pos is not None:
            graph.pos = torch.from_numpy(_positions(pos)).float()
        if agent_type is not None:
            graph.agent_type = _types(agent_type)
        graph._check("edges")
        return graph

    @classmethod
    def line(cls, n_agents: int) -> AgentGraph:
        """Agents in a row, each joined to the next."""
        agents = _numbers(n_agents)
        pos = np.stack([agents, 0 * agents], axis=1)
        return cls._from_array(n_agents, np.stack([agents[:-1], agents[1:]], axis=1), pos=pos)

    @classmethod
    def ring(cls, n_agents: int) -> AgentGraph:
        """Agents in a circle; two agents make one edge, one makes none."""
        agents = _numbers(n_agents)
        pairs = np.stack([agents, np.roll(agents, -1)], axis=1)
        pos = _circle(agents, n_agents) * n_agents / (2 * math.pi)
        return cls._from_array(n_agents, pairs if n_agents > 1 else pairs[:0], pos=pos)

    @classmethod
    def star(cls, n_agents: int) -> AgentGraph:
        """Agent 0 in the middle, joined to all others."""
        leaves = _numbers(n_agents)[1:]
        pos = np.concatenate([[[0.0, 0.0]], _circle(leaves, n_agents - 1)])
        return cls._from_array(n_agents, np.stack([0 * leaves, leaves], axis=1), pos=pos)

    @classmethod
    def grid(cls, rows: int, columns: int) -> AgentGraph:
        """Agents on a rectangular grid, numbered row by row, joined to the four nearest."""
        number = _numbers(check_int("rows", rows, 1) * check_int("columns", columns, 1)).reshape(rows, columns)
        right = np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], axis=1)
        down = np.stack([number[:-1].ravel(), number[1:].ravel()], axis=1)
        row, column = np.divmod(number.ravel(), columns)
        return cls._from_array(rows * columns, np.concatenate([right, down]), pos=np.stack([column, -row], axis=1))

    @classmethod
    def complete(cls, n_agents: int) -> AgentGraph:
        """Every agent joined to every other."""
        return cls._from_array(n_agents, np.stack(np.triu_indices(len(_numbers(n_agents)), 1), axis=1))

    @classmethod
    def empty(cls, n_agents: int) -> AgentGraph:
        """No edges: every agent on its own."""
        return cls.from_edges(n_agents, [])

    @classmethod
    def radius(cls, pos: Tensor | np.ndarray | Sequence[Sequence[float]], radius: float) -> AgentGraph:
        """Edge between agents at most ``radius`` apart.

        Args:
            pos: ``[N, 2]`` positions.
            radius: Largest distance of neighbours, in the units of ``pos``, above 0.
        """
        check_float("radius", radius, 0, above=True)
        points = _positions(pos)
        return cls._from_array(len(points), cKDTree(points).query_pairs(radius, output_type="ndarray"), pos=points)

    @classmethod
    def regions(
        cls, centres: Tensor | np.ndarray | Sequence[Sequence[float]], half_width: float, shape: RegionShape = "square"
    ) -> AgentGraph:
        """Edge where the regions of two agents overlap (bounded cooperative navigation, Section 5.1).

        Args:
            centres: ``[N, 2]`` middle of each region.
            half_width: Half the side of a square, or the radius of a circle, above 0.
            shape: ``square`` (sides along the axes) or ``circle``.
        """
        check_float("half_width", half_width, 0, above=True)
        check_choice("shape", shape, ("square", "circle"))
        points = _positions(centres)
        norm = math.inf if shape == "square" else 2
        touching = cKDTree(points).query_pairs(2 * half_width, p=norm, output_type="ndarray")
        apart = np.linalg.norm(points[touching[:, 0]] - points[touching[:, 1]], ord=norm, axis=1)
        return cls._from_array(len(points), touching[apart < 2 * half_width - 1e-9], pos=points)

    @classmethod
    def from_networkx(cls, graph: nx.Graph) -> AgentGraph:
        """Build from a networkx graph; node attributes ``pos`` (or ``x``, ``y``) and ``agent_type`` are kept.

        Nodes 0 … n-1 keep their numbers; any others are numbered in the graph's node order and keep their names in
        ``agent_name``, or their labels where all have different ones. Loops, doubled edges, directions and weights are
        dropped; ``note`` says so.
        """
        return cls._from_content(files.from_networkx(graph), "graph")

    def to_networkx(self) -> nx.Graph:
        """The same graph for networkx, nodes 0 … n-1 with ``pos``, ``agent_type`` and ``agent_name`` where known."""
        return files.to_networkx(self._content())

    @classmethod
    def from_file(cls, path: str | Path) -> AgentGraph:
        """Read a graph file by its ending: ``.json``, ``.graphml``, ``.gexf``, ``.gml``, or a table.

        JSON is either ``{"n_agents": 3, "edges": [[0, 1], [1, 2]], "pos": …, "agent_type": …}`` or networkx's
        node-link or adjacency form. Tables (``.csv``, ``.tsv``, ``.txt``, ``.edges``, ``.edgelist``) are edge lists or
        adjacency matrices, see :func:`lomaq.graphs.tables.read_table`. Where the graph is not all that the file holds,
        its ``note`` says so in one line.

        Raises:
            InputError: If the file is missing, of another kind or damaged.
        """
        with files.reading(path):
            return cls._from_content(files.read(path), Path(path).name)

    def to_file(self, path: str | Path) -> None:
        """Write as ``.json`` (keeps everything) or ``.graphml`` (positions as ``x`` and ``y``)."""
        files.write(Path(path), self._content())

    @classmethod
    def _from_content(cls, content: dict[str, Any], name: str) -> AgentGraph:
        """The graph of what :mod:`lomaq.graphs.files` reads, without loops and doubled edges."""
        pairs, directed = _pairs(content["edges"]), content["directed"]
        if directed is False:
            pairs = np.sort(pairs, axis=1)
        single = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
        graph = cls._from_array(
            content["n_agents"], single, pos=content.get("pos"), agent_type=content.get("agent_type")
        )
        names = content.get("agent_name")
        if names is not None:
            if not isinstance(names, list) or len(names) != graph.n_agents:
                raise InputError("agent_name", f"a list of {graph.n_agents} names", type(names).__name__)
            graph.agent_name = [str(one) for one in names]
        loops = int((pairs[:, 0] == pairs[:, 1]).sum())
        one_way = bool(directed) and len(single) < 2 * graph.n_edges
        note = files.note(name, content, graph.n_edges, loops, len(pairs) - loops - len(single), one_way)
        if note is not None:
            graph.note = note
        return graph

    def _content(self) -> dict[str, Any]:
        known = {name: self[name] for name in files.ATTRIBUTES if name in self}
        plain = {name: value.tolist() if isinstance(value, Tensor) else value for name, value in known.items()}
        return {"n_agents": self.n_agents, "edges": self.pairs.tolist(), **plain}

    def khop(self, kappa: int, blocks: Sequence[Sequence[int]] | None = None) -> sp.csr_array:
        """Kappa-hop neighbourhoods, sparse: ``[P, N]`` int32, entry 1 + hop distance, absent beyond ``kappa``.

        Args:
            kappa: Number of hops, at least 0.
            blocks: Agents of each block; without, one block an agent (P = N).

        Returns:
            Row J holds the agents of the union of N_j^kappa over j in J, with the distance to the nearest j.
        """
        check_int("kappa", kappa, 0)
        n = self.n_agents
        if blocks is None:
            reach = sp.eye_array(n, dtype=np.int32, format="csr")
        else:
            rows = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
            columns = np.fromiter((i for block in blocks for i in block), dtype=np.int64)
            reach = sp.csr_array((np.ones(len(rows), dtype=np.int32), (rows, columns)), shape=(len(blocks), n))
        adjacency, distance, frontier = self.adjacency, reach.copy(), reach
        for hop in range(1, kappa + 1):
            frontier = (frontier @ adjacency).sign()
            frontier = frontier - frontier.multiply(distance.sign())  # only agents not reached before
            frontier.eliminate_zeros()
            if frontier.nnz == 0:
                break
            distance = distance + frontier * (hop + 1)
        distance = sp.csr_array(distance)
        distance.sort_indices()
        return distance

    def neighbourhood(self, agent: int, kappa: int) -> list[int]:
        """Agents at most ``kappa`` edges from ``agent``, itself included, in rising order."""
        check_int("agent", agent, 0, self.n_agents - 1)
        return self.khop(kappa, [[agent]]).indices.tolist()

    def validate(self, raise_on_error: bool = True) -> bool:
        """Check that the graph is what its docstring says.

        Raises:
            InputError: If it is not and ``raise_on_error``.
        """
        try:
            self._check()
        except InputError:
            if raise_on_error:
                raise
            return False
        return super().validate(raise_on_error=raise_on_error)

    def _check(self, name: str = "edge_index") -> None:
        """Raise where something does not fit; ``name`` is what the edges are called."""
        n, edges = self.n_agents, self.edge_index
        if edges is None:
            raise InputError(name, "int64 of shape [2, E]", None, "AgentGraph.empty(n) has no edges")
        if edges.dtype != torch.int64 or edges.dim() != 2 or edges.size(0) != 2:
            raise InputError(name, "int64 of shape [2, E]", f"{edges.dtype} of shape {list(edges.shape)}")
        unknown, loops = edges[:, ((edges < 0) | (edges >= n)).any(dim=0)], edges[:, edges[0] == edges[1]]
        if unknown.numel():
            raise InputError(name, f"agent numbers 0 … {n - 1}", unknown[:, 0].tolist(), "number agents from zero")
        if loops.numel():
            raise InputError(
                name, "no self loops", loops[:, 0].tolist(), "leave it out, an agent always depends on itself"
            )
        forward, backward = edges[0] * n + edges[1], edges[1] * n + edges[0]
        if not torch.equal(forward.unique(), backward.unique()) or len(forward.unique()) != len(forward):
            raise InputError(name, "each edge once in both directions", "a one-way or repeated edge")
        if self.pos is not None and (self.pos.shape != (n, 2) or not bool(self.pos.isfinite().all())):
            raise InputError("pos", f"finite positions of shape [{n}, 2]", _shown(self.pos))
        if "agent_type" in self:
            types = self.agent_type
            whole = types.shape == (n,) and types.dtype == torch.int64 and int(types.min()) == 0
            if not whole or not torch.equal(types.unique(), torch.arange(int(types.max()) + 1)):
                raise InputError("agent_type", f"{n} int64 types numbered 0, 1, … without gaps", _shown(types))


def _numbers(n_agents: int) -> np.ndarray:
    """``[N]`` int64, the numbers of so many agents."""
    return np.arange(check_int("n_agents", n_agents, 1, MOST_AGENTS))


def _circle(places: np.ndarray, n_places: int) -> np.ndarray:
    """Positions of the given ones of ``n_places`` places on a circle of radius 1."""
    angle = 2 * math.pi * places / n_places
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _pairs(edges: Iterable[Sequence[int]]) -> np.ndarray:
    """``[E, 2]`` int64."""
    if isinstance(edges, np.ndarray) and edges.dtype == np.int64:
        return edges.reshape(-1, 2)
    try:
        return np.array([(_whole(a), _whole(b)) for a, b in edges], dtype=np.int64).reshape(-1, 2)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("edges", "pairs of agent numbers such as [[0, 1], [1, 2]]", error) from error


def _positions(pos: Tensor | np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
    try:
        points = np.asarray(pos, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("pos", "finite positions of shape [N, 2]", error) from error
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0 or not np.isfinite(points).all():
        raise InputError("pos", "finite positions of shape [N, 2]", _shown(torch.from_numpy(points)))
    return points


def _types(agent_type: Tensor | Sequence[int]) -> Tensor:
    try:
        return torch.as_tensor(agent_type)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError("agent_type", "whole numbers 0, 1, …", error) from error


def _shown(values: Tensor) -> str:
    """A tensor in a line: its shape, and a value that is not finite or the values of a few."""
    odd = values[~values.isfinite()] if values.is_floating_point() else values[:0]
    shown = f"{odd[0].item()} among them" if odd.numel() else f"{values.tolist()}" if values.numel() <= 20 else ""
    return f"{values.dtype} of shape {list(values.shape)} {shown}"


def _whole(agent: object) -> int:
    if isinstance(agent, bool) or not isinstance(agent, (int, np.integer)):
        raise TypeError(f"{str(agent)[:50]!r} is no agent number")
    return int(agent)
