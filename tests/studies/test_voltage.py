"""The study of voltage control, on a handful of steps, and the voltages that it draws."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from lomaq.config import compose
from lomaq.envs import Voltage
from lomaq.envs.voltage import baselines
from lomaq.inputs.text import read_checked
from lomaq.plots.voltage import draw_profiles, hardest, voltage_profiles
from lomaq.studies import figures, voltage
from lomaq.studies.runner import run_study


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A study of one method and two seeds, with few days on a larger feeder of 6 buses."""
    monkeypatch.setattr(baselines, "TUNING_DAYS", 2)
    monkeypatch.setattr(voltage, "DAYS", 3)
    monkeypatch.setattr(voltage, "LARGER_DAYS", 2)
    monkeypatch.setattr(voltage, "LARGER", {"env.feeder": "generated", "env.n_buses": 6})
    steps = ["total_env_steps=100", "evaluation.every_env_steps=100", "evaluation.episodes=2"]
    return ["experiment=voltage", "env.max_steps=4", "env.sun=9", *steps, "learner.n_envs=4"]


def test_the_study_measures_methods_and_baselines_on_the_same_days(tiny: list[str], tmp_path: Path) -> None:
    study = {**compose(tiny)["study"], "grid": {"algo": ["lomaq"], "seed": [0, 1]}}
    result = run_study(study, lambda more: compose([*tiny, *more]), tmp_path, Console(file=io.StringIO()))
    assert read_checked(tmp_path / "summary.json") == result
    assert [*result["methods"]] == ["lomaq"]
    assert [*result["baselines"]] == [*Voltage().baselines(), "central optimum"]
    lomaq = result["methods"]["lomaq"]
    for kind in ("last", "best", "larger"):
        assert {*lomaq[kind]} == {*result["baselines"]["droop"]}
        assert all(len(values) == 2 for values in lomaq[kind].values())
    stored = read_checked(tmp_path / "algo=lomaq,seed=1" / "found.json")
    assert stored["last"]["mean_violation"] == lomaq["last"]["mean_violation"][1]
    (tmp_path / "voltage.png").unlink()
    assert figures.DRAWERS["voltage"](tmp_path, result).stat().st_size > 10_000


def test_profiles_are_of_the_same_day_at_its_hardest_moments(tmp_path: Path) -> None:
    env = Voltage(feeder="generated", n_buses=6, max_steps=60)
    rules = env.baselines()
    days = voltage_profiles(env, {name: rules[name] for name in ("no_control", "droop_ieee1547")}, seed=1)
    (again,) = voltage_profiles(env, {"one": rules["no_control"]}, seed=1).values()
    np.testing.assert_array_equal(days["no_control"], again)
    assert again.shape == (60, 5)
    highest, lowest = hardest(again)
    assert again[highest].max() == again.max()
    assert again[lowest].min() == again.min()
    draw_profiles(tmp_path / "profiles.png", env.feeder, days)
    assert (tmp_path / "profiles.png").stat().st_size > 10_000
