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
from lomaq.runs.files import read_returns
from lomaq.training import LomaqModule
from lomaq.training.build import env_maker
from lomaq.training.callbacks import EVALUATION_SEED, EvaluationCallback, metrics_line
from lomaq.training.checkpoint import load_checkpoint
from lomaq.training.run import train
from lomaq.training.settings import TestSettings


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


FEW = ("evaluation.episodes=7", "evaluation.episodes_while_training=3")


def test_tests_while_training_have_fewer_episodes_which_are_the_first_of_the_last_test(run_small) -> None:
    few, summary = run_small("few", *FEW, "total_env_steps=160")
    all_of_them, other = run_small("all", "evaluation.episodes=7", "total_env_steps=160")
    tests, full = (read_returns(folder) for folder in (few, all_of_them))
    assert [len(test.returns) for test in tests] == [3, 3, 7]
    assert [len(test.returns) for test in full] == [7, 7, 7]
    assert summary["test_episodes"] == 7
    assert summary["test_return_mean"] == tests[-1].mean
    assert evaluations_of(few)[-1][1] == pytest.approx(sum(tests[-1].returns[:3]) / 3, rel=1e-5)  # as the tests before
    assert summary["best_test_return_mean"] == max(sum(test.returns[:3]) / 3 for test in tests)
    states = [load_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"] for folder in (few, all_of_them)]
    assert all(torch.equal(a, b) for a, b in zip(*(state.values() for state in states), strict=True))
    assert summary["env_steps"] == other["env_steps"]


def test_more_episodes_while_training_than_at_the_end_are_as_many_as_at_the_end() -> None:
    assert TestSettings(5, 1, episodes_while_training=9).few == TestSettings(5, 1).few == 5
    assert TestSettings(5, 1, episodes_while_training=2).few == 2


def test_the_best_checkpoint_goes_by_as_many_episodes_in_every_test(run_small, monkeypatch) -> None:
    """The last test's further episodes are poor, which those of the others might have been, too."""
    returns = iter([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0, 0.0, 0.0]])
    monkeypatch.setattr(
        "lomaq.training.callbacks.evaluate", lambda *_: Played(torch.tensor(next(returns), dtype=torch.float64))
    )
    words = ("evaluation.episodes=4", "evaluation.episodes_while_training=2", "total_env_steps=160")
    folder, summary = run_small("run", *words)
    assert load_checkpoint(folder / "checkpoints" / "best.ckpt")["lomaq"]["env_steps"] == summary["env_steps"]
    assert (summary["test_return_mean"], summary["best_test_return_mean"]) == (1.5, 3.0)


def scripted(monkeypatch, *means: float) -> list[int]:
    """Tests with these mean returns; how many episodes each was asked for."""
    returns, asked = iter(means), []

    def evaluate(actor: object, env: object, episodes: int, seed: int, per_agent: bool) -> Played:
        asked.append(episodes)
        return Played(torch.full((episodes,), next(returns), dtype=torch.float64))

    monkeypatch.setattr("lomaq.training.callbacks.evaluate", evaluate)
    return asked


def test_a_run_ends_with_the_first_test_that_reaches_stop_at(run_small, monkeypatch) -> None:
    whole, _ = run_small("whole")
    scripted(monkeypatch, 1.0, 5.0, 8.0)
    folder, summary = run_small("run", "evaluation.stop_at=7.5")
    steps = [step for step, _ in evaluations_of(folder)]
    assert len(steps) == 3
    assert steps[-1] == summary["env_steps"] < 400
    assert summary["stopped_at"] == 7.5
    lines = [(place / "metrics.csv").read_text().splitlines() for place in (folder, whole)]
    losses = [[row["loss"] for row in csv.DictReader(text)] for text in lines]
    assert losses[0] == losses[1][: len(losses[0])]  # the same schedules until then


def test_a_few_good_episodes_do_not_end_a_run_that_all_of_them_contradict(run_small, monkeypatch) -> None:
    asked = scripted(monkeypatch, 8.0, 1.0, 8.0, 9.0)
    folder, summary = run_small("run", *FEW, "evaluation.stop_at=8")
    assert asked == [3, 7, 3, 7]
    assert [test.mean for test in read_returns(folder)] == [1.0, 9.0]
    assert (summary["test_episodes"], summary["test_return_mean"]) == (7, 9.0)


def test_a_metric_that_ought_to_be_small_ends_a_run_when_it_falls_to_stop_at() -> None:
    tests = TestSettings(1, 1, best_by="-delay", stop_at=20)
    assert [tests.good_enough(Evaluation(0, 0.0, [50.0], {"delay": [delay]})) for delay in (21, 20, 3)] == [0, 1, 1]
    assert not TestSettings(1, 1).good_enough(Evaluation(0, 0.0, [1e9]))


def test_a_stopped_run_goes_on_where_more_is_asked_for_and_not_else(run_small, monkeypatch) -> None:
    scripted(monkeypatch, 1.0, 8.0, 8.5, 9.5, 1.0, 1.0, 1.0)
    folder, first = run_small("run", "evaluation.stop_at=8")
    last = folder / "checkpoints" / "last.ckpt"
    _, again = run_small("run", "evaluation.stop_at=7", checkpoint=last)
    assert again["env_steps"] == first["env_steps"]
    _, more = run_small("run", "evaluation.stop_at=9", checkpoint=last)
    assert more["env_steps"] > first["env_steps"]
    assert len(read_returns(folder)) == 4
    _, end = run_small("run", "evaluation.stop_at=null", checkpoint=last)
    assert end["env_steps"] >= 400
    assert "stopped_at" not in end


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
        TestSettings(episodes, 100)


def test_the_progress_line_names_every_metric_of_objective_and_reward() -> None:
    metrics = {"epsilon": 0.5, "lr": 0.01, "grad_norm": 2.0, "loss": 0.125, "td_error": 3.0, "mine": 1234.5}
    test = Evaluation(0, 0.0, [1.0, 2.0], {"mean_delay": [20.0, 21.0]})
    line = metrics_line(metrics, [asdict(test)])
    assert line == "ε 0.50  loss 0.125  td_error 3  mine 1.23e+03  test return 1.5  mean_delay 20.5"
    assert metrics_line({"epsilon": 1.0}, []) == "ε 1.00"
