"""Stored configurations are plain values, bounded, and changed without resolving anything."""

from __future__ import annotations

import datetime
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from lomaq.config import compose
from lomaq.errors import InputError
from lomaq.inputs.plain import MOST_LEVELS, changed, check_config, check_plain, read_config


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return compose(["env.n_agents=3"])


def test_a_composed_configuration_is_plain_and_comes_back_from_yaml(config, tmp_path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert read_config(tmp_path / "config.yaml") == config == check_config(config, "here")


def test_a_stored_configuration_has_the_settings_that_came_later(config) -> None:
    older = {name: value for name, value in config["evaluation"].items() if name != "sample"}
    assert check_config({**config, "evaluation": older}, "here") == config
    assert "sample" not in older


def test_a_reference_in_a_stored_configuration_stays_text(config) -> None:
    stored = changed(config, {"env.n_agents": 4})
    stored["env"]["name"] = "${oc.env:HOME}"
    assert changed(stored, {"seed": 1})["env"]["name"] == "${oc.env:HOME}"


@pytest.mark.parametrize("value", ["${oc.env:HOME}", ["a", "${seed}"], {"gamma": "${seed}"}])
def test_a_reference_for_a_stored_run_is_refused(config, value) -> None:
    with pytest.raises(InputError, match=r"env\.recommended: expected a plain value for a stored run.*HOME|seed"):
        changed(config, {"env.recommended": value})


def test_known_keys_are_changed_in_a_copy_and_dictionaries_are_merged(config) -> None:
    before = config["env"]["n_agents"]
    after = changed(config, {"env.n_agents": 7, "env.recommended": {"gamma": 0.5}, "agent.hidden": [8]})
    assert (after["env"]["n_agents"], after["agent"]["hidden"]) == (7, [8])
    assert after["env"]["recommended"] == {**config["env"]["recommended"], "gamma": 0.5}
    assert config["env"]["n_agents"] == before == 3


@pytest.mark.parametrize("key", ["env.agents", "nothing", "env.n_agents.more", "seed.0", "", ".", "env."])
def test_an_unknown_key_is_refused(config, key) -> None:
    with pytest.raises(InputError, match="a setting of the stored run"):
        changed(config, {key: 1})


def test_a_value_where_there_are_settings_is_refused(config) -> None:
    with pytest.raises(InputError, match=r"learner\.objective: expected a group of settings, got 3"):
        changed(config, {"learner.objective": 3})


@pytest.mark.parametrize(
    "value", [datetime.date(2026, 1, 1), b"x", {1, 2}, (1,), Path(), {("a",): 1}], ids=lambda x: type(x).__name__
)
def test_other_values_are_refused_by_their_type(value) -> None:
    with pytest.raises(InputError, match=r"here: expected plain values"):
        check_plain({"x": [value]}, "here")


def test_values_that_hold_themselves_or_double_at_every_level_are_refused_at_once() -> None:
    endless: list[Any] = []
    endless.append(endless)
    doubled: list[Any] = ["x"]
    for _ in range(MOST_LEVELS - 5):
        doubled = [doubled, doubled]
    for value in (endless, doubled):
        with pytest.raises(InputError, match="values that hold themselves"):
            check_plain({"x": value}, "here")


BOMBS = {
    "lists of aliases": "a0: &a0 [x, x]\n"
    + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)),
    "merged mappings": "a0: &a0 {x: 1}\n"
    + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40)),
    "an endless list": "a: &a [*a]\n",
    "deep brackets": "a: " + "[" * 100_000,
    "deep dashes": "- " * 100_000,
    "an object": "a: !!python/object/apply:os.system [touch executed]\n",
    "no settings": "[1, 2]\n",
    "a date": "a: 2026-01-01\n",
    "no yaml": "{",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_hostile_file_of_settings_ends_in_one_line_soon(tmp_path, monkeypatch, name) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(BOMBS[name])
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"config\.yaml: expected") as error:
        read_config(tmp_path / "config.yaml")
    assert time.monotonic() - begun < 10
    assert len(str(error.value)) < 1000
    assert os.listdir() == ["config.yaml"]


@pytest.mark.parametrize("key", ["env", "env.name", "learner.objective", "seed", "evaluation.thresholds_per_agent"])
def test_a_configuration_that_lacks_a_part_is_refused_by_its_name(config, key) -> None:
    broken = changed(config, {})
    group, _, last = key.rpartition(".")
    del (broken[group] if group else broken)[last]
    with pytest.raises(InputError, match=rf"here: expected the configuration of a run with .* as {key}\b"):
        check_config(broken, "here")
