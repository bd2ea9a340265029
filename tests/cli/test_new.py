"""``lomaq new env``: what it writes works as it is, and nothing is overwritten."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from lomaq import cli
from lomaq.config import compose
from lomaq.testing import checks
from lomaq.training.build import build_run


@pytest.fixture
def written(command, tmp_path, monkeypatch):
    """The lines of ``lomaq new env traffic_lamps``, whose modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    status, out, err = command(cli.main, "new", "env", "traffic_lamps")
    assert (status, err) == (0, "")
    yield out.splitlines()
    for name in ("traffic_lamps", "test_traffic_lamps"):
        sys.modules.pop(name, None)


def test_the_template_keeps_the_contract_passes_its_test_and_can_be_trained(written, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(checks, "SECONDS", 0.0)
    assert len((tmp_path / "traffic_lamps.py").read_text().splitlines()) <= 45
    tests = vars(importlib.import_module("test_traffic_lamps"))
    found = [test for name, test in tests.items() if name.startswith("test_")]
    assert len(found) == 2
    for test in found:
        test()
    config = compose(["env=traffic_lamps", "--config-dir=my_conf", "env.n_agents=5"])
    assert build_run(config).module.networks.utilities.n_agents == 5


def test_it_says_what_to_do_next(written) -> None:
    files = ["traffic_lamps.py", "test_traffic_lamps.py", "my_conf/env/traffic_lamps.yaml"]
    assert written[:3] == [f"written    {file}" for file in files]
    assert written[3:] == [
        "check      lomaq check-env traffic_lamps.TrafficLamps",
        "test       python -m pytest test_traffic_lamps.py",
        "train      lomaq train --config-dir my_conf env=traffic_lamps run_dir=runs/traffic_lamps",
        "play       lomaq evaluate runs/traffic_lamps modules=traffic_lamps",
    ]


@pytest.mark.parametrize("taken", ["lamps.py", "test_lamps.py", "my_conf/env/lamps.yaml"])
def test_nothing_is_overwritten(command, tmp_path, taken) -> None:
    (tmp_path / taken).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / taken).write_text("mine")
    status, out, err = command(cli.main, "new", "env", "lamps")
    assert (status, out) == (2, "")
    assert err == f"error: name: expected one that is not taken, got lamps, of {taken}; choose another\n"
    assert [p.read_text() for p in tmp_path.rglob("*") if p.is_file()] == ["mine"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "name: expected NAME, got none; usage: lomaq new env NAME"),
        (["my-env"], "name: expected a name such as my_env, of letters, digits and _, got 'my-env'"),
        (["class"], "got 'class'"),
        (["nav"], "nav, an environment of lomaq; choose another"),
        (["torch"], "torch, a module that is installed; choose another"),
    ],
)
def test_a_name_that_does_not_do_is_one_line(command, tmp_path: Path, words, line) -> None:
    status, out, err = command(cli.main, "new", "env", *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert line in err
    assert [*tmp_path.iterdir()] == []
