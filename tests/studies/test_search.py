"""The search for settings, and learning rates beyond its grid."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from lomaq.analysis.statistics import area
from lomaq.config import CONF, compose
from lomaq.runs import Curve, RunRecord
from lomaq.runs.files import read_returns
from lomaq.studies.runner import run_study
from lomaq.studies.search import beyond, report


def record(algo: str, lr: float, seed: int, means: list[float], **settings: Any) -> RunRecord:
    """A run that was tested every 100 env steps, and before them with a return that must not count."""
    steps = [0, *range(100, 100 * len(means) + 100, 100)]
    curve = Curve(steps, [1e6, *means], [0.0] * len(steps), [0.0] * len(steps))
    return RunRecord(Path(), {}, {}, curve, 0, 0.0, {"algo": algo, "learner.lr": lr, **settings, "seed": seed})


def test_the_search_averages_over_seeds_and_leaves_out_the_untrained_networks(tmp_path: Path) -> None:
    runs = [
        record("a", 0.1, 0, [0.0, 10.0]),  # 5
        record("a", 0.1, 1, [20.0, 40.0]),  # 30: the best seed of all, but the mean is 17.5
        record("a", 0.2, 0, [20.0]),
        record("a", 0.2, 1, [16.0, 18.0, 14.0]),  # 16: every seed counts as much, however many tests it has
        record("b", 0.1, 0, [-3.0]),
    ]
    assert report(tmp_path, runs) == {
        "a": {"chosen": "learner.lr=0.2", "tried": {"learner.lr=0.1": 17.5, "learner.lr=0.2": 18.0}},
        "b": {"chosen": "learner.lr=0.1", "tried": {"learner.lr=0.1": -3.0}},
    }


def test_a_grid_goes_on_by_the_same_factor_where_the_best_rate_is_on_its_edge() -> None:
    def tried(algo: str, scores: dict[float, float]) -> list[RunRecord]:
        return [record(algo, lr, seed, [score, score]) for lr, score in scores.items() for seed in (100, 101)]

    runs = tried("high", {0.001: 1, 0.003: 2, 0.01: 3}) + tried("middle", {0.001: 1, 0.003: 3, 0.01: 2})
    runs += tried("low", {0.002: 3, 0.005: 2, 0.01: 1}) + tried("alone", {0.01: 1})
    assert beyond(runs) == [
        {"algo": "high", "learner.lr": 0.033, "seed": 100},
        {"algo": "high", "learner.lr": 0.033, "seed": 101},
        {"algo": "low", "learner.lr": 0.0008, "seed": 100},
        {"algo": "low", "learner.lr": 0.0008, "seed": 101},
    ]


def test_other_settings_beyond_the_grid_are_those_of_the_best() -> None:
    runs = [record("a", lr, 100, [lr + lam], lam=lam) for lr in (0.1, 0.2) for lam in (0.5, 0.8)]
    assert beyond(runs) == [{"algo": "a", "learner.lr": 0.4, "lam": 0.8, "seed": 100}]


def test_a_search_goes_on_beyond_its_grid_at_most_twice_and_keeps_its_runs(tmp_path: Path) -> None:
    words = ["experiment=tune_cartpole", "env.n_agents=3", "total_env_steps=100", "evaluation.every_env_steps=50"]
    words += ["learner.n_envs=2", "learner.minibatches=1", "evaluation.episodes=1", "learner.rollout_steps=20"]
    study = compose(words)["study"]
    rates, lam = [0.001, 0.01], "learner.objective.returns.lam"
    study |= {"jobs": 1, "grid": {"algo": ["iql_local"], "learner.lr": rates, lam: [0.8], "seed": [100]}}

    def run() -> dict[str, Any]:
        return run_study(study, lambda more: compose([*words, *more]), tmp_path, Console(file=io.StringIO()))

    (found,) = run().values()
    scores = {}
    for words_of, score in found["tried"].items():
        (folder,) = tmp_path.glob(f"*{words_of.split()[0]},*")
        tests = read_returns(folder)
        scores[words_of] = area([test.env_steps for test in tests], [test.mean for test in tests])
        assert score == pytest.approx(scores[words_of])
    assert scores[found["chosen"]] == max(scores.values())
    first = [scores[f"learner.lr={rate} {lam}=0.8"] for rate in rates]
    third = 0.0001 if first[0] >= first[1] else 0.1
    assert len(scores) in (3, 4)
    assert f"learner.lr={third} {lam}=0.8" in scores
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("metrics.csv")}
    assert [*run().values()] == [found]
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("metrics.csv")} == stamps


def test_no_seed_of_a_search_is_reported_by_another_experiment() -> None:
    seeds: dict[bool, set[int]] = {True: set(), False: set()}
    for file in (CONF / "experiment").glob("*.yaml"):
        study = yaml.safe_load(file.read_text()).get("study") or {}
        grids = study.get("grid", [])
        for grid in grids if isinstance(grids, list) else [grids]:
            seeds[study["report"] == "lomaq.studies.search.report"] |= {*grid["seed"]}
    assert seeds[True] == {100, 101, 102}
    assert seeds[True] & seeds[False] == set()
