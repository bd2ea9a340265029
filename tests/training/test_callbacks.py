"""What happens between iterations: tests, checkpoints, metrics, the progress line."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from lomaq.analysis.stored import open_checkpoint
from lomaq.config import compose
from lomaq.evaluation import GreedyActor, Played, evaluate
from lomaq.runs import Evaluation
from lomaq.training import LomaqModule
from lomaq.training.build import env_maker
from lomaq.training.callbacks import EVALUATION_SEED, EvaluationCallback, Recorder, metrics_line
from lomaq.training.checkpoint import load_checkpoint
from lomaq.training.run import train


def evaluations_of(folder: Path) -> list[tuple[int, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["test_return_mean"]]
    return [(int(row["env_steps"]), float(row["test_return_mean"])) for row in rows]


def test_tests_come_at_the_start_at_the_first_iteration_after_each_multiple_and_at_the_end(run_small) -> None:
    # iterations of 40 env steps: 120 is the first after 100, 200 after 200, 320 after 300, 400 the end
    folder, _ = run_small("run", "evaluation.every_env_steps=100", "env.max_steps=200")
    steps = [step for step, _ in evaluations_of(folder)]
    assert steps[0] == 0
    for at in (100, 200, 300):
        assert min(step for step in steps if step >= at) < at + 40
    assert len(steps) == 5
    late, _ = run_small("late", "evaluation.every_env_steps=100000", "evaluation.at_start=false")
    assert [step >= 400 for step, _ in evaluations_of(late)] == [True]


def test_the_best_checkpoint_is_that_of_the_highest_test_and_the_last_that_of_the_end(run_small, monkeypatch) -> None:
    returns = iter([3.0, 7.0, 5.0, 6.0, 1.0, 2.0, 0.0])
    monkeypatch.setattr(
        "lomaq.training.callbacks.evaluate", lambda *given: Played(torch.tensor([next(returns)], dtype=torch.float64))
    )
    folder, summary = run_small("run", "evaluation.every_env_steps=100")
    best = load_checkpoint(folder / "checkpoints" / "best.ckpt")
    last = load_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert best["lomaq"]["test_return_mean"] == 7.0
    assert best["lomaq"]["env_steps"] == evaluations_of(folder)[1][0]
    assert last["lomaq"]["env_steps"] == summary["env_steps"] == evaluations_of(folder)[-1][0]
    assert summary["best_test_return_mean"] == 7.0
    assert "optimizer_states" not in best  # it is for playing only


def test_a_test_return_is_that_of_the_networks_in_its_checkpoint(run_small) -> None:
    folder, _ = run_small("run", "seed=3")
    stored = open_checkpoint(folder, resume=False)
    env = env_maker(stored.config)(2, 0, torch.device("cpu"))
    played = evaluate(GreedyActor(stored.utilities(env)), env, 2, EVALUATION_SEED + 3).returns
    assert float(played.mean()) == stored.state["lomaq"]["test_return_mean"]


def test_training_stops_at_its_budget(run_small) -> None:
    _, summary = run_small("run", "total_env_steps=90")
    assert 90 <= summary["env_steps"] < 90 + 40


def test_seconds_of_tests_are_not_counted_as_training(run_small, monkeypatch) -> None:
    clock = iter(range(0, 10**6, 10))  # every look at the clock is ten seconds later

    def slow(*given: Any) -> Played:
        for _ in range(100):
            next(clock)
        return Played(torch.zeros(1, dtype=torch.float64))

    monkeypatch.setattr("lomaq.training.callbacks.evaluate", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    _, summary = run_small("run")
    iterations = -(-summary["env_steps"] // 30)
    assert summary["wall_seconds"] <= 10 * (iterations + 20)  # five tests alone would be 5,000


def test_callbacks_are_told_of_every_test_after_its_checkpoint(small, tmp_path) -> None:
    told: list[tuple[int, bool]] = []

    class Told(EvaluationCallback):
        def on_evaluation(self, trainer: Any, module: LomaqModule) -> None:
            told.append((module.env_steps, (folder / "checkpoints" / "last.ckpt").is_file()))

    folder = tmp_path / "run"
    train(compose(small), folder, Console(file=io.StringIO()), callbacks=[Told()])
    assert [step for step, _ in told] == [step for step, _ in evaluations_of(folder)]
    assert all(saved for _, saved in told)


@pytest.mark.parametrize("episodes", [0, "many"])
def test_impossible_numbers_of_episodes_are_refused(episodes: Any, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"evaluation\.episodes"):
        Recorder(None, None, episodes, 100)  # type: ignore[arg-type]


def test_the_progress_line_names_every_metric_of_objective_and_reward() -> None:
    metrics = {"epsilon": 0.5, "lr": 0.01, "grad_norm": 2.0, "loss": 0.125, "td_error": 3.0, "mine": 1234.5}
    test = Evaluation(0, 0.0, [1.0, 2.0], {"mean_delay": [20.0, 21.0]})
    line = metrics_line(metrics, [asdict(test)])
    assert line == "ε 0.50  loss 0.125  td_error 3  mine 1.23e+03  test return 1.5  mean_delay 20.5"
    assert metrics_line({"epsilon": 1.0}, []) == "ε 1.00"
