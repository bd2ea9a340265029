"""Feeders: the exact power flow, their tree, and where they come from."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lomaq.envs.voltage import Feeder
from lomaq.envs.voltage.flow import TOLERANCE, Flow, products_needed
from lomaq.errors import InputError

SOLUTIONS = json.loads((Path(__file__).parent / "voltage_solutions.json").read_text(encoding="utf-8"))
CSV = "# kv: 10\nbus,parent,r_ohm,x_ohm,p_kw,q_kvar\nb,a,1,2,100,50\nd,b,1,1,0,0\nc,b,2,1,200,100\n"


def flow(feeder: Feeder, power: np.ndarray, products: int):
    return Flow(feeder.shared, products)(torch.tensor(power.real), torch.tensor(power.imag))


def voltages(feeder: Feeder, power: np.ndarray) -> np.ndarray:
    """Magnitudes ``[K, N]`` where ``power [K, N]`` is drawn."""
    needed = products_needed(power, feeder.shared)
    assert needed is not None
    return flow(feeder, power, needed)[0].numpy()


def line(resistance: float = 0.02, reactance: float = 0.04, load: complex = 0.5 + 0.3j) -> Feeder:
    """One bus behind one line, per unit."""
    return Feeder(("a",), np.array([-1]), np.array([complex(resistance, reactance)]), np.array([load]))


# ----------------------------------------------------------------- power flow


@pytest.mark.parametrize("name", ["bus33", "bus69"])
def test_the_feeders_of_the_literature_have_their_stored_voltages(name):
    feeder = Feeder.named(name)
    found = dict(zip(feeder.names, voltages(feeder, feeder.load[None])[0], strict=True))
    stored = {str(number): value for number, value in enumerate(SOLUTIONS[name], start=2)}
    assert {*found} == {*stored}
    assert max(abs(found[bus] - stored[bus]) for bus in stored) < 1e-8


def test_pandapower_finds_the_same_voltages_in_the_file_that_it_writes(tmp_path):
    pandapower = pytest.importorskip("pandapower")
    network = pytest.importorskip("pandapower.networks").case33bw()
    pandapower.to_json(network, tmp_path / "net.json")
    pandapower.runpp(network, tolerance_mva=1e-10)
    feeder = Feeder.named(str(tmp_path / "net.json"))
    theirs = network.res_bus.vm_pu.loc[[int(name) for name in feeder.names]].to_numpy()
    assert np.abs(voltages(feeder, feeder.load[None])[0] - theirs).max() < 1e-8


def test_two_buses_have_the_voltage_of_the_quadratic_equation():
    feeder = line()
    z, s = feeder.impedance[0], feeder.load[0]
    half = 0.5 - (z.real * s.real + z.imag * s.imag)
    square = half + math.sqrt(half**2 - abs(z) ** 2 * abs(s) ** 2)
    assert abs(voltages(feeder, feeder.load[None])[0, 0] - math.sqrt(square)) < 1e-12


def test_voltages_solve_the_flow_also_where_much_is_drawn_or_fed():
    feeder, random = Feeder.named("bus69"), np.random.default_rng(0)
    power = feeder.load * random.uniform(-2.5, 1.4, size=(20, 1)) * random.uniform(0.5, 1.2, size=(20, feeder.n_buses))
    expected = np.ones_like(power)
    for _ in range(300):  # the plain fixed point
        expected = 1 - (power / expected).conj() @ feeder.shared
    assert np.abs(voltages(feeder, power) - np.abs(expected)).max() < TOLERANCE


def test_losses_are_what_lines_turn_into_heat():
    feeder = Feeder.named("bus33")
    _, losses = flow(feeder, feeder.load[None], 20)
    voltage = np.ones_like(feeder.load)
    for _ in range(100):
        voltage = 1 - (feeder.load / voltage).conj() @ feeder.shared
    current = (feeder.load / voltage).conj() @ feeder.paths  # of the line above each bus
    heat = float((np.abs(current) ** 2 * feeder.impedance.real).sum())
    assert abs(float(losses[0]) - heat) < 1e-9
    assert abs(heat - 0.20268) < 1e-5  # MW, as the literature has it


def test_a_load_that_no_line_can_carry_needs_endless_products():
    assert products_needed(np.array([[20.0 + 0j]]), line().shared) is None


# ------------------------------------------------------------------------ tree


def tree() -> Feeder:
    """Substation - 0 - 1 - 2, with 3 and 4 below 1."""
    parent = np.array([-1, 0, 1, 1, 3])
    return Feeder(tuple("abcde"), parent, np.array([1, 2, 1, 1, 3]) * (0.01 + 0.01j), np.ones(5, dtype=complex))


def test_shared_impedance_is_that_of_the_common_way():
    shared = tree().shared / (0.01 + 0.01j)
    np.testing.assert_allclose(
        shared.real, [[1, 1, 1, 1, 1], [1, 3, 3, 3, 3], [1, 3, 4, 3, 3], [1, 3, 3, 4, 4], [1, 3, 3, 4, 7]]
    )


def test_inverters_are_neighbours_where_no_other_one_is_between():
    feeder = tree()
    assert feeder.neighbours(range(5)) == [(0, 1), (1, 2), (1, 3), (3, 4)]
    assert feeder.neighbours([0, 2, 4]) == [(0, 1), (0, 2), (1, 2)]  # across 1, which has none
    assert feeder.neighbours([4]) == []


def test_branches_at_the_substation_are_no_neighbours():
    feeder = Feeder(("a", "b"), np.array([-1, -1]), np.full(2, 0.01 + 0.01j), np.ones(2, dtype=complex))
    assert feeder.neighbours([0, 1]) == []


def test_a_bus_without_an_inverter_belongs_to_the_nearest():
    assert tree().nearest([2, 4]).tolist() == [0, 0, 0, 0, 1]


def test_no_two_buses_are_drawn_in_one_place():
    for name in ("bus33", "bus69"):
        place = Feeder.named(name).place()
        assert len({*map(tuple, place.tolist())}) == len(place)


# --------------------------------------------------------------------- sources


def test_csv_gives_lines_and_loads_per_unit(tmp_path):
    (tmp_path / "own.csv").write_text(CSV)
    feeder = Feeder.named(str(tmp_path / "own.csv"))
    assert feeder.names == ("b", "d", "c")
    assert feeder.parent.tolist() == [-1, 0, 0]
    np.testing.assert_allclose(feeder.impedance, [0.01 + 0.02j, 0.01 + 0.01j, 0.02 + 0.01j])
    np.testing.assert_allclose(feeder.load, [0.1 + 0.05j, 0, 0.2 + 0.1j])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "kv"),
        (CSV.replace("# kv: 10\n", ""), "kv"),
        (CSV.replace("10", "ten", 1), "readable"),
        (CSV.replace("10", "0", 1), "kv"),
        (CSV.replace("r_ohm", "ohm"), "columns"),
        (CSV.replace("b,a,1,2", "b,a,one,2"), "readable"),
        (CSV.replace("b,a,1,2", "b,a,nan,2"), "finite"),
        (CSV.replace("b,a,1,2", "b,a,-1,2"), "above 0"),
        (CSV.replace("c,b,2", "c,b"), "readable"),
        (CSV.replace("c,b", "b,a"), "tree"),
        (CSV.replace("b,a", "b,c"), "tree"),
        (CSV.replace("d,b", "d,e"), "tree"),
    ],
)
def test_a_damaged_csv_is_one_line(tmp_path, text, expected):
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(InputError, match=expected) as error:
        Feeder.named(str(tmp_path / "own.csv"))
    assert "\n" not in str(error.value)


def frame(columns: str, *rows: list) -> dict:
    content = {"columns": columns.split(), "index": [*range(len(rows))], "data": [*rows]}
    return {"_module": "pandas.core.frame", "_class": "DataFrame", "_object": json.dumps(content)}


def network(**changed: dict) -> dict:
    """Buses 0 (external grid) - 1 - 2 at 20 kV, as pandapower writes them; the line 0 - 2 is open."""
    tables = {
        "bus": frame("name vn_kv in_service", ["x", 20.0, True], ["y", 20.0, True], [None, 20.0, True]),
        "ext_grid": frame("bus in_service", [0, True]),
        "line": frame(
            "from_bus to_bus length_km r_ohm_per_km x_ohm_per_km parallel in_service",
            *([0, 1, 2.0, 0.4, 0.2, 1, True], [2, 1, 1.0, 0.8, 0.4, 2, True], [0, 2, 1.0, 0.4, 0.4, 1, True]),
        ),
        "load": frame(
            "bus p_mw q_mvar scaling in_service",
            [2, 0.3, 0.1, 1.0, True],
            [2, 0.1, 0.1, 0.5, True],
            [1, 9.0, 9.0, 1.0, False],
        ),
        "switch": frame("bus element et closed", [2, 2, "l", False]),
        **changed,
    }
    return {"_module": "pandapower.auxiliary", "_class": "pandapowerNet", "_object": tables}


def test_a_file_of_pandapower_gives_lines_and_loads_in_service(tmp_path):
    (tmp_path / "net.json").write_text(json.dumps(network()))
    feeder = Feeder.named(str(tmp_path / "net.json"))
    assert feeder.names == ("1", "2")
    assert feeder.parent.tolist() == [-1, 0]
    np.testing.assert_allclose(feeder.impedance, np.array([0.8 + 0.4j, 0.4 + 0.2j]) / 400)
    np.testing.assert_allclose(feeder.load, [0, 0.35 + 0.15j])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "readable"),
        ("[]", "readable"),
        ("{}", "readable"),
        (json.dumps(network(ext_grid=frame("bus", [0], [1]))), "one external grid"),
        (json.dumps(network(bus=frame("vn_kv", [20.0], [10.0], [20.0]))), "one voltage level"),
        (json.dumps(network(trafo=frame("hv_bus lv_bus", [0, 1]))), "transformers"),
        (json.dumps(network(switch=frame("bus element et closed"))), "tree"),
        (json.dumps(network(load=frame("bus p_mw", [2, 1.0]))), "readable"),
        (json.dumps(network(line=frame("from_bus", [0]))), "readable"),
    ],
)
def test_a_damaged_file_of_pandapower_is_one_line(tmp_path, content, expected):
    (tmp_path / "net.json").write_text(content)
    with pytest.raises(InputError, match=expected) as error:
        Feeder.named(str(tmp_path / "net.json"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("feeder", ["bus34", "missing.csv", "feeder.txt", 33, None])
def test_an_unknown_feeder_is_refused(feeder):
    with pytest.raises(InputError, match=r"bus33, bus69, generated"):
        Feeder.named(feeder)


@pytest.mark.parametrize("n_buses", [3, 34, 300, pytest.param(1001, marks=pytest.mark.slow)])
def test_generated_feeders_are_as_weak_as_the_33_buses(n_buses):
    feeder = Feeder.named("generated", n_buses, seed=2)
    assert feeder.n_buses == n_buses - 1
    assert abs(voltages(feeder, feeder.load[None]).min() - 0.9131) < 1e-3
    again = Feeder.named("generated", n_buses, seed=2)
    assert np.array_equal(again.shared, feeder.shared)


@pytest.mark.parametrize("n_buses", [None, 2, 1002, 3.5])
def test_a_generated_feeder_has_between_3_and_1001_buses(n_buses):
    with pytest.raises(InputError, match=r"env\.n_buses"):
        Feeder.named("generated", n_buses)


def test_only_a_generated_feeder_has_a_number_of_buses():
    with pytest.raises(InputError, match="generated"):
        Feeder.named("bus33", 50)
