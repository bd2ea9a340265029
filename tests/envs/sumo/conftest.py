"""A network written for the tests: two signals in a row on one-way roads W → A → B → E, crossed from the north."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_NODES = {"W": (0, 0), "A": (200, 0), "B": (400, 0), "E": (600, 0)} | {
    side + name: (x, y) for name, x in (("A", 200), ("B", 400)) for side, y in (("N", 150), ("S", -150))
}
_EDGES = [("W", "A"), ("A", "B"), ("B", "E"), ("NA", "A"), ("A", "SA"), ("NB", "B"), ("B", "SB")]
#: Links of each signal, in their order: edge before and edge after.
_LINKS = {"A": [("NA_A", "A_SA"), ("W_A", "A_B")], "B": [("NB_B", "B_SB"), ("A_B", "B_E")]}
_PHASES = (("Gr", 20), ("yr", 3), ("rG", 20), ("ry", 3))


def _write_net(folder: Path) -> Path:
    """Write the network; 10 m/s everywhere."""
    edges, junctions = [], []
    for one, two in _EDGES:
        (x0, y0), (x1, y1) = _NODES[one], _NODES[two]
        name, length = f"{one}_{two}", abs(x1 - x0) + abs(y1 - y0)
        lane = f'<lane id="{name}_0" index="0" speed="10" length="{length}" shape="{x0},{y0} {x1},{y1}"/>'
        edges.append(f'<edge id="{name}" from="{one}" to="{two}" priority="1">{lane}</edge>')
    for name, (x, y) in _NODES.items():
        before = " ".join(f"{a}_{b}_0" for a, b in _EDGES if b == name)
        kind, requests, lanes = "dead_end", "", before
        if name in _LINKS:
            kind, lanes = "traffic_light", " ".join(f"{edge}_0" for edge, _ in _LINKS[name])
            requests = '<request index="0" response="00" foes="10" cont="0"/>'
            requests += '<request index="1" response="01" foes="01" cont="0"/>'
        junctions.append(
            f'<junction id="{name}" type="{kind}" x="{x}" y="{y}" incLanes="{lanes}" intLanes="" '
            f'shape="{x - 4},{y - 4} {x + 4},{y - 4} {x + 4},{y + 4} {x - 4},{y + 4}">{requests}</junction>'
        )
    phases = "".join(f'<phase duration="{seconds}" state="{state}"/>' for state, seconds in _PHASES)
    logics = [f'<tlLogic id="{name}" type="static" programID="0" offset="0">{phases}</tlLogic>' for name in _LINKS]
    connections = [
        f'<connection from="{a}" to="{b}" fromLane="0" toLane="0" tl="{name}" linkIndex="{i}" dir="s" state="o"/>'
        for name, links in _LINKS.items()
        for i, (a, b) in enumerate(links)
    ]
    area = "0,-150,600,150"
    location = f'<location netOffset="0,0" convBoundary="{area}" origBoundary="{area}" projParameter="!"/>'
    file = folder / "tiny.net.xml"
    file.write_text(f'<net version="1.16">{"".join([location, *edges, *logics, *junctions, *connections])}</net>')
    return file


def _write_routes(folder: Path, seconds: int = 300, first: int = 5) -> Path:
    """Write the traffic: a vehicle every five seconds along the row, every ten along each crossing road."""
    routes = {"row": "W_A A_B B_E", "a": "NA_A A_SA", "b": "NB_B B_SB"}
    text = "".join(f'<route id="{name}" edges="{edges}"/>' for name, edges in routes.items())
    for depart in range(first, seconds, 5):
        for name in routes if depart % 10 == 0 else ("row",):
            text += f'<vehicle id="{name}{depart}" depart="{depart}" route="{name}"/>'
    file = folder / "tiny.rou.xml"
    file.write_text(f"<routes>{text}</routes>")
    return file


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> dict[str, Any]:
    """Settings of the network, for five minutes from second 5 on; skips the test where there is no simulator."""
    for package in ("libsumo", "sumolib", "gymnasium"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("tiny")
    return {"net": str(_write_net(folder)), "routes": str(_write_routes(folder)), "seconds": 300}


@pytest.fixture
def signals(tiny) -> Iterator[Any]:
    """Makes traffic signals in this process and closes them: ``signals(delta=5)`` on the network of two."""
    from lomaq.envs.sumo.signals import TrafficSignals

    made = []

    def make(**settings: Any) -> TrafficSignals:
        named = settings.get("net") is not None
        made.append(TrafficSignals(**(settings if named else {**tiny, **settings})))
        return made[-1]

    yield make
    for env in made:
        env.close()
