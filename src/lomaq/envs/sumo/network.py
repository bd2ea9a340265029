"""A road network as its signals see it: lanes, green phases, the roads that drain through each, and neighbours."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lomaq.envs.sumo.nets import require
from lomaq.errors import InputError


@dataclass(frozen=True)
class Signal:
    """A traffic light.

    Attributes:
        name: Its id in the network.
        position: Metres east and north, the mean of the ends of its lanes.
        lanes: The lanes that end at it, in the order of its links.
        greens: The states of its green phases, in the order of its program: a letter for each link.
        served: For each green phase, the positions in ``lanes`` of those with a green link.
        links: Lane before, lane after and position in ``greens`` of each connection that it controls.
        approaches: The edges that end at it.
        roads: For each approach, the edges whose traffic reaches it before any other signal; itself the first.
    """

    name: str
    position: tuple[float, float]
    lanes: tuple[str, ...]
    greens: tuple[str, ...]
    served: tuple[tuple[int, ...], ...]
    links: tuple[tuple[str, str, int], ...]
    approaches: tuple[str, ...]
    roads: tuple[tuple[str, ...], ...]

    @property
    def signature(self) -> tuple[object, ...]:
        """What it looks like but for its surroundings; signals with equal ones can share a network."""
        lane_approach = tuple(self.approaches.index(_edge(lane)) for lane in self.lanes)
        return lane_approach, self.served


@dataclass(frozen=True)
class RoadNetwork:
    """The signals of a network.

    Attributes:
        signals: Those with two green phases or more, by name.
        speed_limits: m/s of each lane of the roads that drain through a signal, by edge and name.
        neighbours: Pairs of positions in ``signals``: a road leads from one to the other without a third between them.
        shapes: Points in metres of each edge, for pictures.
    """

    signals: tuple[Signal, ...]
    speed_limits: dict[str, dict[str, float]]
    neighbours: tuple[tuple[int, int], ...]
    shapes: dict[str, tuple[tuple[float, float], ...]]


def read_network(file: Path, cutoff: float) -> RoadNetwork:
    """Read a ``.net.xml`` file.

    Args:
        file: The network, with the programs of its signals.
        cutoff: Longest road between neighbours in metres.

    Raises:
        InputError: If it cannot be read, has no signal to control, or the package sumolib is missing.
    """
    require("sumolib", "env=sumo")
    return _read(file, cutoff, file.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read(file: Path, cutoff: float, changed_at: int) -> RoadNetwork:
    """A run makes several environments of one network, and reading a large one takes seconds."""
    from sumolib.net import readNet

    try:
        net = readNet(str(file), withPrograms=True)
    except Exception as error:
        raise InputError("env.net", "a .net.xml file", f"{file}: {error}") from error
    lights = [light for light in net.getTrafficLights() if len(_greens(light)) > 1]
    if not lights:
        raise InputError("env.net", "a network with a signal of two green phases or more", f"none in {file}")
    first = {edge: light.getID() for light in lights for edge in _approaches(light)}  # edge → the signal at its end
    roads: dict[Any, list[str]] = defaultdict(list)
    for edge, approach in _drained(first).items():
        roads[approach].append(edge.getID())
    signals = tuple(_signal(light, roads) for light in sorted(lights, key=lambda light: light.getID()))
    number = {signal.name: i for i, signal in enumerate(signals)}
    pairs = {
        (min(i, j), max(i, j))
        for light in lights
        for i, j in ((number[light.getID()], number[name]) for name in _followers(light, first, cutoff))
        if i != j
    }
    limits = {
        edge: {lane.getID(): lane.getSpeed() for lane in net.getEdge(edge).getLanes()}
        for signal in signals
        for roads_of in signal.roads
        for edge in roads_of
    }
    shapes = {edge.getID(): tuple((x, y) for x, y, *_ in edge.getShape()) for edge in net.getEdges()}
    return RoadNetwork(signals, limits, tuple(sorted(pairs)), shapes)


def _greens(light: Any) -> tuple[str, ...]:
    """The different phases with a green and no yellow, of the program that is loaded last and thereby runs."""
    programs = [*light.getPrograms().values()]
    phases = [phase.state for phase in programs[-1].getPhases()] if programs else []
    return tuple(dict.fromkeys(p for p in phases if "y" not in p.lower() and "g" in p.lower()))


def _approaches(light: Any) -> list[Any]:
    """The edges that end at a signal, in the order of its links."""
    return [*dict.fromkeys(before.getEdge() for before, _, _ in _connections(light))]


def _connections(light: Any) -> list[Any]:
    """Lane before, lane after and number of each link, in the order of the numbers."""
    return sorted(light.getConnections(), key=lambda connection: connection[2])


def _signal(light: Any, roads: dict[Any, list[str]]) -> Signal:
    connections = _connections(light)
    lanes = [*dict.fromkeys(before for before, _, _ in connections)]
    ends = [lane.getShape()[-1] for lane in lanes]
    greens = _greens(light)
    served = [{before for before, _, link in connections if state[link] in "Gg"} for state in greens]
    return Signal(
        name=light.getID(),
        position=(sum(x for x, *_ in ends) / len(ends), sum(y for _, y, *_ in ends) / len(ends)),
        lanes=tuple(lane.getID() for lane in lanes),
        greens=greens,
        served=tuple(tuple(i for i, lane in enumerate(lanes) if lane in green) for green in served),
        links=tuple((before.getID(), after.getID(), link) for before, after, link in connections),
        approaches=tuple(edge.getID() for edge in _approaches(light)),
        roads=tuple(tuple(roads[edge]) for edge in _approaches(light)),
    )


def _drained(first: dict[Any, str]) -> dict[Any, Any]:
    """For each edge with a signal downstream, the edge that ends at the first one: the nearest where roads branch."""
    return {
        edge: approach
        for approach, edge, _ in _nearest(((approach, approach, 0.0) for approach in first), first, upstream=True)
    }


def _followers(light: Any, first: dict[Any, str], cutoff: float) -> set[str]:
    """The first signals on all roads that leave a signal, as far as ``cutoff`` metres."""
    leaving = {after.getEdge() for _, after, _ in light.getConnections()}
    starts = ((edge, edge, edge.getLength()) for edge in leaving)
    return {first[edge] for _, edge, metres in _nearest(starts, first) if edge in first and metres <= cutoff}


def _nearest(starts: Iterable[tuple[Any, Any, float]], first: dict[Any, str], upstream: bool = False) -> Any:
    """Walk from edge to edge without passing a signal, shortest roads first: start, edge and metres, once each."""
    queue = [(metres, edge.getID(), start, edge) for start, edge, metres in starts]
    heapq.heapify(queue)
    seen = set()
    while queue:
        metres, name, start, edge = heapq.heappop(queue)
        if name in seen:
            continue
        seen.add(name)
        yield start, edge, metres
        for other in edge.getIncoming() if upstream else () if edge in first else edge.getOutgoing():
            if not (upstream and other in first):
                heapq.heappush(queue, (metres + other.getLength(), other.getID(), start, other))


def _edge(lane: str) -> str:
    return lane.rpartition("_")[0]
