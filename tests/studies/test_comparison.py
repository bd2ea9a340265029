"""The comparison of methods, and the settings that the searches chose for them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from lomaq.config import CONF, compose, methods
from lomaq.runs.files import read_returns
from lomaq.studies.runner import run_study

SMALL = (
    "env.n_agents=3",
    "total_env_steps=400",
    "evaluation.every_env_steps=200",
    "learner.n_envs=4",
    "learner.minibatches=2",
)


def study(name: str, folder: Path, **grid) -> dict:
    words = [f"experiment={name}", *SMALL]
    settings = compose(words)["study"]
    settings = {**settings, "jobs": 1, "grid": {**settings["grid"], **grid}}
    return run_study(settings, lambda more: compose([*words, *more]), folder, Console(file=io.StringIO()))


@pytest.mark.slow
@pytest.mark.parametrize("env", ["cartpole", "nav"])
def test_a_comparison_draws_every_method_and_replays_its_best_checkpoint(tmp_path: Path, env: str) -> None:
    result = study(f"fig5_{env}", tmp_path / "comparison", algo=["vdn", "lomaq"], seed=[0, 1])
    assert list(result["methods"]) == ["lomaq", "vdn"]  # in the order of the legend
    assert [row["reads"] for row in result["methods"].values()] == ["local rewards", "the team reward"]
    assert [row["label"] for row in result["methods"].values()] == ["LOMAQ", "VDN"]
    assert (tmp_path / "comparison" / "comparison.png").stat().st_size > 10_000
    for name, row in result["methods"].items():
        folders = [tmp_path / "comparison" / f"algo={name},seed={seed}" for seed in (0, 1)]
        assert row["last"] == [read_returns(folder)[-1].mean for folder in folders]
        fresh = [json.loads((folder / "fresh.json").read_text()) for folder in folders]
        assert row["best_checkpoint_on_fresh_episodes"] == [f["test_return_mean"] for f in fresh]
        assert {f["episodes"] for f in fresh} == {result["fresh_episodes"]} == {200}  # ten times those of a test
        assert not any(str(tmp_path) in (folder / "fresh.json").read_text() for folder in folders)


def test_the_kept_results_hold_no_path_of_the_machine_that_made_them() -> None:
    files = [*(Path(__file__).parents[2] / "results").rglob("*.json")]
    assert files
    assert [file for file in files if '"/' in file.read_text()] == []


def test_every_method_that_learns_is_compared_and_searched_with_as_many_tries() -> None:
    learned = {*(file.stem for file in (CONF / "algo").glob("*.yaml"))} - {"baseline", "oracle", "random"}
    assert learned == set(methods())
    for env in ("cartpole", "nav"):
        compared = compose([f"experiment=fig5_{env}"])["study"]["grid"]
        assert set(compared["algo"]) == learned
        assert set(compared["seed"]) == {0, 1, 2}
    for env in ("cartpole", "nav", "sysadmin"):
        searched = compose([f"experiment=tune_{env}"])["study"]["grid"]
        assert set(searched["algo"]) == learned
        assert searched["seed"] == [100, 101, 102]


@pytest.mark.slow
def test_the_chosen_settings_are_used_with_the_method_they_were_chosen_for() -> None:
    for number, env in enumerate(("cartpole", "nav", "sysadmin")):
        table = {name: method["searched"][env] for name, method in methods().items()}
        for name, chosen in list(table.items())[number::3]:  # each method once, since it takes a good part of a second
            config = compose([f"env={env}", f"algo={name}", "learner=searched"])
            learner, fast = config["learner"], compose([f"env={env}", f"algo={name}"])["learner"]
            assert config["method"] == name
            assert (learner["lr"], learner["objective"]["returns"]["lam"]) == (chosen["lr"], chosen["lam"])
            for node in (learner, fast):
                del node["name"], node["lr"], node["recommended"]["lam"], node["objective"]["returns"]["lam"]
            assert learner == fast


def test_the_searched_values_are_those_that_the_kept_searches_found() -> None:
    for env in ("cartpole", "nav", "sysadmin"):
        folder = Path(__file__).parents[2] / "results"
        searches = [json.loads((folder / f"tune_{kind}{env}" / "summary.json").read_text()) for kind in ("ac_", "")]
        found = searches[0] | searches[1]  # LOMAQ is in both; what it uses is that of the search of all methods
        for name, method in methods().items():
            words = (word.partition("=") for word in found[name]["chosen"].split())
            chosen = {key.rpartition(".")[2]: float(value) for key, _, value in words}
            assert chosen == method["searched"][env], (env, name)
