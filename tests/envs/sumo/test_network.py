from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("sumolib")
from lomaq.envs.sumo.nets import NAMES, find_files
from lomaq.envs.sumo.network import read_network


@pytest.fixture(scope="module")
def named():
    """The road network of a name, with a cutoff in metres."""
    if find_spec("sumo_rl") is None:
        pytest.skip("the networks come with sumo-rl")
    return lambda name, cutoff=600.0: read_network(find_files(name).net, cutoff)


def test_a_grid_has_the_edges_of_a_grid(named):
    network = named("grid4x4")
    names = [signal.name for signal in network.signals]
    expected = {
        (a, b) for a in names for b in names if a < b and abs(ord(a[0]) - ord(b[0])) + abs(int(a[1]) - int(b[1])) == 1
    }
    assert {(names[i], names[j]) for i, j in network.neighbours} == expected
    assert len(expected) == 24


def test_distant_signals_are_no_neighbours(named):
    assert len(named("cologne8", 1e9).neighbours) == 18
    assert len(named("cologne8").neighbours) == 9
    assert not named("cologne8", 1.0).neighbours


def test_signals_that_look_alike_have_one_signature(named):
    kinds = {name: len({s.signature for s in named(name).signals}) for name in ("grid4x4", "arterial4x4", "cologne8")}
    assert kinds == {"grid4x4": 1, "arterial4x4": 1, "cologne8": 7}


def test_every_named_network_has_its_files(named):
    for name, agents in zip(NAMES, (3, 8, 7, 21, 16, 16), strict=True):
        assert len(named(name).signals) == agents
    assert find_files("cologne8").begin == 25200  # not the first departure in the file


def test_a_signal_knows_its_lanes_phases_and_roads(tiny):
    network = read_network(Path(tiny["net"]), 600.0)
    assert [signal.name for signal in network.signals] == ["A", "B"]
    assert network.neighbours == ((0, 1),)
    a, b = network.signals
    assert a.position == (200, 0)
    assert (a.lanes, a.greens, a.served) == (("NA_A_0", "W_A_0"), ("Gr", "rG"), ((0,), (1,)))
    assert b.roads == (("NB_B",), ("A_B",))
    assert a.signature == b.signature
    assert read_network(Path(tiny["net"]), 199.0).neighbours == ()
    assert network.speed_limits["A_B"] == {"A_B_0": 10.0}
