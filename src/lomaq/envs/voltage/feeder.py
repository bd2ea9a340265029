"""Radial feeders: their data, their exact AC power flow, and who of their inverters are neighbours."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from lomaq.envs.voltage.flow import lowest
from lomaq.errors import InputError, check_int

#: Feeders of the literature, in files beside this one.
STORED = {"bus33": "bus33.csv", "bus69": "bus69.csv"}
COLUMNS = ("bus", "parent", "r_ohm", "x_ohm", "p_kw", "q_kvar")
#: Largest feeder; its impedances are one dense matrix.
MOST_BUSES = 1_000


@dataclass(frozen=True)
class Feeder:
    """A tree of N buses below a substation that holds its voltage at 1; all numbers per unit of 1 MVA.

    Attributes:
        names: Of the N buses, parents before children; the substation is none of them.
        parent: ``[N]`` int64, the bus that feeds each, -1 for the substation.
        impedance: ``[N]`` complex128, of the line from there.
        load: ``[N]`` complex128, nominal load P + jQ.
    """

    names: tuple[str, ...]
    parent: np.ndarray
    impedance: np.ndarray
    load: np.ndarray

    @property
    def n_buses(self) -> int:
        """Number of buses N."""
        return len(self.names)

    @cached_property
    def paths(self) -> np.ndarray:
        """``[N, N]`` float64, 1 where a line, named by the bus below it, is on the way to a bus."""
        paths = np.zeros((self.n_buses, self.n_buses))
        for bus, parent in enumerate(self.parent):  # built once
            if parent >= 0:
                paths[bus] = paths[parent]
            paths[bus, bus] = 1.0
        return paths

    @cached_property
    def shared(self) -> np.ndarray:
        """``[N, N]`` complex128, the impedance that the ways from the substation to two buses share."""
        return (self.paths * self.impedance) @ self.paths.T

    def neighbours(self, buses: Sequence[int]) -> list[tuple[int, int]]:
        """Pairs of positions in ``buses`` that are joined by lines without another of them between.

        The substation holds its voltage, so the ways through it join nobody.
        """
        position = {bus: i for i, bus in enumerate(buses)}
        tree = nx.Graph((int(parent), bus) for bus, parent in enumerate(self.parent) if parent >= 0)
        tree.add_nodes_from(range(self.n_buses))
        pairs = {
            (min(position[a], position[b]), max(position[a], position[b]))
            for a, b in tree.edges
            if a in position and b in position
        }
        for between in nx.connected_components(tree.subgraph(set(tree) - set(buses))):
            around = sorted({position[bus] for inner in between for bus in tree[inner] if bus in position})
            pairs |= {(a, b) for k, a in enumerate(around) for b in around[k + 1 :]}
        return sorted(pairs)

    def nearest(self, buses: Sequence[int]) -> np.ndarray:
        """``[N]`` int64, for each bus the position in ``buses`` of the nearest, by impedance along the lines."""
        shared = (self.paths * np.abs(self.impedance)) @ self.paths.T
        far, chosen = np.diag(shared), list(buses)
        return np.argmin(far[:, None] + far[chosen] - 2 * shared[:, chosen], axis=1)

    def place(self) -> np.ndarray:
        """``[N, 2]``: distance from the substation in lines, and a row of its own for each branch."""
        children: list[list[int]] = [[] for _ in range(self.n_buses)]
        depth = np.zeros(self.n_buses)
        reach = np.zeros(self.n_buses)  # lines to the farthest bus below
        for bus, parent in enumerate(self.parent):
            depth[bus] = 0 if parent < 0 else depth[parent] + 1
        for bus in reversed(range(self.n_buses)):
            if (parent := self.parent[bus]) >= 0:
                children[parent].append(bus)
                reach[parent] = max(reach[parent], reach[bus] + 1)
        row, rows, waiting = np.zeros(self.n_buses), 0, [int(b) for b in np.flatnonzero(self.parent < 0)[::-1]]
        starts = set(waiting)
        while waiting:  # depth first, the longest way straight on
            bus = waiting.pop()
            if bus in starts:
                row[bus], rows = rows, rows + 1
            below = sorted(children[bus], key=lambda b: reach[b])
            starts.update(below[:-1])
            row[below[-1:]] = row[bus]
            waiting += below
        return np.stack([depth, -row], axis=1)

    # ----------------------------------------------------------------- sources

    @classmethod
    def named(cls, feeder: str, n_buses: int | None = None, seed: int = 0) -> Feeder:
        """What ``env.feeder`` names.

        Args:
            feeder: ``bus33`` or ``bus69`` of the literature; ``generated``; or the path of a CSV file, or of a JSON
                file that pandapower's ``to_json`` wrote.
            n_buses: Buses of a generated feeder, the substation among them; None for any other.
            seed: What a generated feeder is drawn from.

        Raises:
            InputError: If it is unknown, damaged, no tree, or too large.
        """
        if feeder == "generated":
            return cls.generated(n_buses, seed)
        if n_buses is not None:
            raise InputError("env.n_buses", "null, but for env.feeder=generated", n_buses)
        if feeder in STORED:
            return cls._read_csv(Path(__file__).parent / STORED[feeder])
        path = Path(feeder) if isinstance(feeder, str) else Path()
        if path.suffix not in (".csv", ".json") or not path.is_file():
            expected = f"{', '.join(STORED)}, generated or an existing .csv or .json file"
            raise InputError("env.feeder", expected, repr(feeder))
        try:
            return cls._read_csv(path) if path.suffix == ".csv" else cls._read_pandapower(path)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"env.feeder: {path}", "a readable feeder", f"{type(error).__name__}: {error}") from error

    @classmethod
    def generated(cls, n_buses: int | None, seed: int = 0) -> Feeder:
        """A random feeder whose lines, loads and branching are like those of the 33 buses.

        Buses join the last one, or with probability 0.15 one of those before. Loads are drawn from those of the 33
        buses and lines from theirs, r and x together; all lines are then scaled so that the lowest voltage at nominal
        load is the same, 0.913.

        Args:
            n_buses: Buses with the substation, from 3.
            seed: Seed of what is drawn.
        """
        count = check_int("env.n_buses", n_buses, 3, MOST_BUSES + 1) - 1
        like, draw = cls.named("bus33"), np.random.default_rng(check_int("env.feeder_seed", seed, 0))
        parent = np.arange(-1, count - 1)
        branches = (draw.random(count) < 0.15) & (np.arange(count) > 1)
        parent[branches] = (draw.random(branches.sum()) * (np.flatnonzero(branches) - 1)).astype(np.int64)
        impedance, load = draw.choice(like.impedance, count), draw.choice(like.load, count)
        drawn = cls(tuple(str(bus + 2) for bus in range(count)), parent, impedance, load)
        low, high = 0.0, 1.0
        while lowest(load, drawn.shared * high) > lowest(like.load, like.shared):
            high *= 2
        for _ in range(16):  # bisection: the lowest voltage falls with the length of the lines
            middle = (low + high) / 2
            longer = lowest(load, drawn.shared * middle) > lowest(like.load, like.shared)
            low, high = (middle, high) if longer else (low, middle)
        return replace(drawn, impedance=impedance * low)

    @classmethod
    def _read_csv(cls, path: Path) -> Feeder:
        """A table of lines; a comment ``# kv: 12.66`` has the nominal voltage."""
        text = path.read_text(encoding="utf-8-sig").splitlines()
        kv = next((float(line.partition("kv:")[2]) for line in text if line.startswith("#") and "kv:" in line), None)
        rows = list(csv.DictReader(line for line in text if line.strip() and not line.startswith("#")))
        if not kv or kv < 0 or not rows or not {*COLUMNS} <= {*rows[0]}:
            expected = f"a comment '# kv: NUMBER' and columns {', '.join(COLUMNS)}"
            raise InputError(f"env.feeder: {path}", expected, "others")
        return cls._of_lines(
            str(path),
            [(row["bus"], row["parent"], complex(float(row["r_ohm"]), float(row["x_ohm"])) / kv**2) for row in rows],
            {row["bus"]: complex(float(row["p_kw"]), float(row["q_kvar"])) / 1000 for row in rows},
        )

    @classmethod
    def _read_pandapower(cls, path: Path) -> Feeder:
        """The lines and loads in service of a network with one voltage level and one external grid."""
        content = json.loads(path.read_text(encoding="utf-8"))["_object"]

        def table(name: str) -> list[dict[str, Any]]:
            stored = content[name]["_object"]
            stored = json.loads(stored) if isinstance(stored, str) else stored
            rows = [
                {"index": index, **dict(zip(stored["columns"], row, strict=True))}
                for index, row in zip(stored["index"], stored["data"], strict=True)
            ]
            return [row for row in rows if row.get("in_service", True)]

        levels = {row["vn_kv"] for row in table("bus")}
        grids = [row["bus"] for row in table("ext_grid")]
        if len(levels) != 1 or len(grids) != 1 or any(table(name) for name in ("trafo", "gen") if name in content):
            expected = "one voltage level, one external grid, no transformers or generators"
            raise InputError(f"env.feeder: {path}", expected, f"{len(levels)} levels, {len(grids)} external grids")
        open_lines = {row["element"] for row in table("switch") if row["et"] == "l" and not row["closed"]}
        lines = nx.Graph()
        for row in table("line"):
            if row["index"] not in open_lines:
                ohm = complex(row["r_ohm_per_km"], row["x_ohm_per_km"]) * row["length_km"] / row.get("parallel", 1)
                if lines.has_edge(row["from_bus"], row["to_bus"]):
                    raise InputError(f"env.feeder: {path}", "one line between two buses", "several")
                lines.add_edge(row["from_bus"], row["to_bus"], impedance=ohm / next(iter(levels)) ** 2)
        load: dict[str, complex] = {}
        for row in table("load"):
            power = complex(row["p_mw"], row["q_mvar"]) * row.get("scaling", 1.0)
            load[str(row["bus"])] = load.get(str(row["bus"]), 0) + power
        if grids[0] not in lines or not nx.is_tree(lines):
            raise InputError(f"env.feeder: {path}", "lines that form a tree", "loops, or parts that are not connected")
        ways = [(str(b), str(a), lines.edges[a, b]["impedance"]) for a, b in nx.bfs_edges(lines, grids[0])]
        return cls._of_lines(str(path), ways, load)

    @classmethod
    def _of_lines(cls, source: str, lines: Iterable[tuple[str, str, complex]], load: dict[str, complex]) -> Feeder:
        """From (bus, parent, impedance), in any order; the one bus that is no child is the substation."""
        lines = list(lines)
        feeds = {bus: (parent, impedance) for bus, parent, impedance in lines}
        roots = {parent for parent, _ in feeds.values()} - {*feeds}
        tree = nx.Graph((parent, bus) for bus, (parent, _) in feeds.items())
        if len(feeds) != len(lines) or len(roots) != 1 or not nx.is_tree(tree):
            raise InputError(f"env.feeder: {source}", "a tree: one parent for each bus, one substation", "another")
        if len(feeds) > MOST_BUSES:
            raise InputError(f"env.feeder: {source}", f"at most {MOST_BUSES} buses", len(feeds))
        order = [bus for _, bus in nx.bfs_edges(tree, roots.pop())]
        number = {bus: i for i, bus in enumerate(order)}
        impedance = np.array([feeds[bus][1] for bus in order])
        power = np.array([load.get(bus, 0) for bus in order], dtype=np.complex128)
        if not (np.isfinite(impedance).all() and np.isfinite(power).all() and (impedance.real > 0).all()):
            raise InputError(f"env.feeder: {source}", "finite numbers, and resistances above 0", "others")
        parent = np.array([number.get(feeds[bus][0], -1) for bus in order])
        return cls(tuple(order), parent, impedance, power)
