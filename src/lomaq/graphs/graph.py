"""The dependency graph of the agents, G = (V, E) of Section 2, as a PyG object.

Every transform, loader and convolution of PyTorch Geometric works on an :class:`AgentGraph`; what this room adds is
builders, files, validation and sparse kappa-hop neighbourhoods.
"""

from __future__ import annotations

import importlib
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
from lomaq.graphs.given import (
    MOST_AGENTS,
    as_pairs,
    as_positions,
    as_types,
    as_weights,
    check_names,
    circle,
    numbers,
    shown,
)

RegionShape = Literal["square", "circle"]
#: ``[N]`` types of the agents, 0 … types - 1; None where all are alike.
Types = Tensor | Sequence[int] | None


class AgentGraph(Data):
    """Undirected graph of agents without self loops; ``AgentGraph(...)`` itself is unchecked, use the builders.

    All builders take ``agent_type``, for agents that differ.

    Attributes:
        edge_index: ``[2, 2E]`` int64, each undirected edge in both directions, sorted.
        pos: optional ``[N, 2]`` float32, where each agent is drawn.
        agent_type: optional ``[N]`` int64, 0 … types - 1; agents of one type share their utility network.
        names: optional list of N names that differ.
        edge_weight: optional ``[2E]`` float32, a weight for each column of ``edge_index``, equal in both directions.
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
    def pair_weight(self) -> Tensor | None:
        """``[E]`` float32, the weight of each of ``pairs``; None where there are no weights."""
        return None if self.edge_weight is None else self.edge_weight[self.edge_index[0] < self.edge_index[1]]

    @property
    def labels(self) -> list[str]:
        """What each agent is called in pictures and tables: its name, or its number where there are no names."""
        return self.names if "names" in self else list(map(str, range(self.n_agents)))

    def name_of(self, agent: int) -> str:
        """What an agent is called in messages.

        Example:
            >>> AgentGraph.line(2).name_of(1), AgentGraph.from_edges(2, [[0, 1]], names=["A11", "A12"]).name_of(1)
            ('1', "1 (node 'A12')")
        """
        return f"{agent} (node {self.names[agent]!r})" if "names" in self else f"{agent}"

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
        agent_type: Types = None,
        names: Sequence[str] | None = None,
        edge_weight: Tensor | Sequence[float] | None = None,
    ) -> AgentGraph:
        """Build from pairs of agents; each edge may be given in either or both directions.

        Args:
            n_agents: Number of agents, 1 to 1,000,000.
            edges: Pairs of agent numbers 0 … n_agents - 1, no self loops.
            pos: ``[N, 2]`` positions for drawing.
            agent_type: ``[N]`` types, 0 … types - 1.
            names: ``[N]`` names that differ.
            edge_weight: A finite weight for each pair; an edge that is given several times gets their mean.

        Raises:
            InputError: If a pair names an unknown agent, loops, or is no pair of whole numbers.
        """
        more = {"pos": pos, "agent_type": agent_type, "names": names, "edge_weight": edge_weight}
        return cls._from_array(n_agents, as_pairs(edges), **more)

    @classmethod
    def _from_array(
        cls,
        n_agents: int,
        pairs: np.ndarray,
        *,
        pos: Any = None,
        agent_type: Any = None,
        names: Any = None,
        edge_weight: Any = None,
    ) -> AgentGraph:
        check_int("n_agents", n_agents, 1, MOST_AGENTS)
        both, edge = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0, return_inverse=True)
        graph = cls(edge_index=torch.from_numpy(np.ascontiguousarray(both.T)), num_nodes=n_agents)
        if edge_weight is not None:
            total = np.bincount(edge.ravel(), np.tile(as_weights(edge_weight, len(pairs)), 2), minlength=len(both))
            graph.edge_weight = torch.from_numpy(total / np.bincount(edge.ravel(), minlength=len(both))).float()
        if pos is not None:
            graph.pos = torch.from_numpy(as_positions(pos)).float()
        if agent_type is not None:
            graph.agent_type = as_types(agent_type)
        if names is not None:
            graph.names = names if isinstance(names, str) else list(map(str, names))
        graph._check("edges")
        return graph

    @classmethod
    def line(cls, n_agents: int, *, agent_type: Types = None) -> AgentGraph:
        """Agents in a row, each joined to the next."""
        agents = numbers(n_agents)
        pos = np.stack([agents, 0 * agents], axis=1)
        return cls._from_array(n_agents, np.stack([agents[:-1], agents[1:]], axis=1), pos=pos, agent_type=agent_type)

    @classmethod
    def ring(cls, n_agents: int, *, agent_type: Types = None) -> AgentGraph:
        """Agents in a circle; two agents make one edge, one makes none."""
        agents = numbers(n_agents)
        pairs = np.stack([agents, np.roll(agents, -1)], axis=1)
        pos = circle(agents, n_agents) * n_agents / (2 * math.pi)
        return cls._from_array(n_agents, pairs if n_agents > 1 else pairs[:0], pos=pos, agent_type=agent_type)

    @classmethod
    def star(cls, n_agents: int, *, agent_type: Types = None) -> AgentGraph:
        """Agent 0 in the middle, joined to all others."""
        leaves = numbers(n_agents)[1:]
        pos = np.concatenate([[[0.0, 0.0]], circle(leaves, n_agents - 1)])
        return cls._from_array(n_agents, np.stack([0 * leaves, leaves], axis=1), pos=pos, agent_type=agent_type)

    @classmethod
    def grid(cls, rows: int, columns: int, *, agent_type: Types = None) -> AgentGraph:
        """Agents on a rectangular grid, numbered row by row, joined to the four nearest."""
        number = numbers(check_int("rows", rows, 1) * check_int("columns", columns, 1)).reshape(rows, columns)
        right = np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], axis=1)
        down = np.stack([number[:-1].ravel(), number[1:].ravel()], axis=1)
        row, column = np.divmod(number.ravel(), columns)
        pairs, pos = np.concatenate([right, down]), np.stack([column, -row], axis=1)
        return cls._from_array(rows * columns, pairs, pos=pos, agent_type=agent_type)

    @classmethod
    def complete(cls, n_agents: int, *, agent_type: Types = None) -> AgentGraph:
        """Every agent joined to every other."""
        pairs = np.stack(np.triu_indices(len(numbers(n_agents)), 1), axis=1)
        return cls._from_array(n_agents, pairs, agent_type=agent_type)

    @classmethod
    def empty(cls, n_agents: int, *, agent_type: Types = None) -> AgentGraph:
        """No edges: every agent on its own."""
        return cls.from_edges(n_agents, [], agent_type=agent_type)

    @classmethod
    def radius(
        cls, pos: Tensor | np.ndarray | Sequence[Sequence[float]], radius: float, *, agent_type: Types = None
    ) -> AgentGraph:
        """Edge between agents at most ``radius`` apart.

        Args:
            pos: ``[N, 2]`` positions.
            radius: Largest distance of neighbours, in the units of ``pos``, above 0.
        """
        check_float("radius", radius, 0, above=True)
        points = as_positions(pos)
        near = cKDTree(points).query_pairs(radius, output_type="ndarray")
        return cls._from_array(len(points), near, pos=points, agent_type=agent_type)

    @classmethod
    def regions(
        cls,
        centres: Tensor | np.ndarray | Sequence[Sequence[float]],
        half_width: float,
        shape: RegionShape = "square",
        *,
        agent_type: Types = None,
    ) -> AgentGraph:
        """Edge where the regions of two agents overlap (bounded cooperative navigation, Section 5.1).

        Args:
            centres: ``[N, 2]`` middle of each region.
            half_width: Half the side of a square, or the radius of a circle, above 0.
            shape: ``square`` (sides along the axes) or ``circle``.
        """
        check_float("half_width", half_width, 0, above=True)
        check_choice("shape", shape, ("square", "circle"))
        points = as_positions(centres)
        norm = math.inf if shape == "square" else 2
        touching = cKDTree(points).query_pairs(2 * half_width, p=norm, output_type="ndarray")
        apart = np.linalg.norm(points[touching[:, 0]] - points[touching[:, 1]], ord=norm, axis=1)
        return cls._from_array(len(points), touching[apart < 2 * half_width - 1e-9], pos=points, agent_type=agent_type)

    @classmethod
    def from_networkx(cls, graph: nx.Graph) -> AgentGraph:
        """Build from a networkx graph.

        Nodes 0 … n-1 keep their numbers; any others are numbered in the graph's node order. Kept are the node
        attributes ``pos`` (or ``x``, ``y``) and ``agent_type`` where all nodes have them, ``names``, which are the
        nodes' ``name``, ``label`` or, where these do not differ, the nodes themselves, and the edges' weights (see
        :data:`lomaq.graphs.tables.WEIGHTS`; 1 where one has none) in ``edge_weight``. Loops, doubled edges and
        directions are dropped, and different weights of an edge become their mean; ``note`` says so.
        """
        return cls._from_content(files.from_networkx(graph), "graph")

    def to_networkx(self) -> nx.Graph:
        """For networkx: nodes 0 … n-1 with ``pos``, ``agent_type`` and ``name``, edges with ``weight``, where known."""
        return files.to_networkx(self._content())

    @classmethod
    def from_file(cls, path: str | Path) -> AgentGraph:
        """Read a graph file by its ending: see :data:`lomaq.inputs.endings.ENDINGS`, all also packed (``.gml.gz``).

        JSON is either ``{"n_agents": 3, "edges": [[0, 1], [1, 2]]}`` with any of ``pos``, ``agent_type``, ``names`` and
        ``edge_weight``, or networkx's node-link or adjacency form, or a matrix. Tables are edge lists or adjacency
        matrices, see :func:`lomaq.graphs.tables.read_table`. Where the graph is not all that the file holds, its
        ``note`` says so in one line. Names, weights and what is dropped are as in :meth:`from_networkx`.

        Raises:
            InputError: If the file is missing, of another kind or damaged.
        """
        with files.reading(path):
            return cls._from_content(files.read(path), Path(path).name)

    def to_file(self, path: str | Path) -> None:
        """Write as ``.json`` (keeps everything) or ``.graphml`` (positions as ``x`` and ``y``), over what is there."""
        files.write(path, self._content())

    @classmethod
    def _from_content(cls, content: dict[str, Any], name: str) -> AgentGraph:
        """The graph of what :mod:`lomaq.graphs.files` reads, without loops and doubled edges."""
        pairs, directed, weight = as_pairs(content["edges"]), content["directed"], content.get("edge_weight")
        if directed is False:
            pairs = np.sort(pairs, axis=1)
        proper = pairs[:, 0] != pairs[:, 1]
        if weight is not None:
            weight = as_weights(weight, len(pairs))[proper]
        known = {key: content.get(key) for key in files.ATTRIBUTES}
        graph = cls._from_array(content["n_agents"], pairs[proper], **known, edge_weight=weight)
        n_single, n_loops = len(np.unique(pairs[proper], axis=0)), int((~proper).sum())
        remarks = [*content.get("remarks", []), files.dropped(n_loops, len(pairs) - n_loops - n_single)]
        if directed and n_single < 2 * graph.n_edges:
            remarks.append("directed edges taken as undirected")
        if weight is not None:
            weighted = np.column_stack([np.sort(pairs[proper], axis=1), weight])
            remarks += ["different weights of an edge averaged"] * (len(np.unique(weighted, axis=0)) > graph.n_edges)
        note = files.note(name, graph, remarks)
        if note is not None:
            graph.note = note
        return graph

    def _content(self) -> dict[str, Any]:
        known = {name: self[name] for name in files.ATTRIBUTES if name in self}
        if (weight := self.pair_weight) is not None:
            known["edge_weight"] = weight
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

    def draw(self, where: Any, **shown: Any) -> Path | None:
        """Draw it with ``lomaq.draw_graph``, into a file or on axes; ``shown`` are arguments of ``lomaq.GraphView``."""
        front: Any = importlib.import_module("lomaq")  # pictures lie above graphs
        path: Path | None = front.draw_graph(where, front.GraphView(self, **shown))
        return path

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
        weight = self.edge_weight
        if weight is not None:
            if weight.shape != forward.shape or not bool(weight.isfinite().all()):
                raise InputError("edge_weight", f"finite numbers of shape [{len(forward)}]", shown(weight))
            if not torch.equal(weight[forward.argsort()], weight[backward.argsort()]):
                raise InputError("edge_weight", "the same weight in both directions", "different ones")
        if "names" in self:
            check_names(self.names, n)
        if self.pos is not None and (self.pos.shape != (n, 2) or not bool(self.pos.isfinite().all())):
            raise InputError("pos", f"finite positions of shape [{n}, 2]", shown(self.pos))
        if "agent_type" in self:
            types = self.agent_type
            whole = types.shape == (n,) and types.dtype == torch.int64 and int(types.min()) == 0
            if not whole or not torch.equal(types.unique(), torch.arange(int(types.max()) + 1)):
                raise InputError("agent_type", f"{n} int64 types numbered 0, 1, … without gaps", shown(types))
