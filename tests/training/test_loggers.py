"""Loggers: TensorBoard is run, W&B and MLflow are stand-ins that remember what they were told."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pytorch_lightning.loggers import mlflow as lightning_mlflow
from pytorch_lightning.loggers import wandb as lightning_wandb

from lomaq.config import compose
from lomaq.errors import InputError
from lomaq.training import loggers
from lomaq.training.loggers import LOGGERS, check_loggers, open_loggers


def settings(*words: str) -> dict[str, Any]:
    return compose(words)["logger"]


def module(monkeypatch, name: str, **content: Any) -> ModuleType:
    """A stand-in for an installed module."""
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None)
    vars(made).update(content)
    monkeypatch.setitem(sys.modules, name, made)
    return made


class WandbRun:
    """Remembers what Lightning tells a run of W&B."""

    def __init__(self, **options: Any) -> None:
        self.options, self.logged, self.finished = options, [], False
        self.config = self

    def update(self, values: dict[str, Any], **_: Any) -> None:
        self.values = values

    def log(self, metrics: dict[str, float], **_: Any) -> None:
        self.logged.append(metrics)

    def define_metric(self, *_: Any, **__: Any) -> None:
        pass

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def wandb_runs(monkeypatch) -> list[WandbRun]:
    """The runs that W&B was asked for."""
    runs: list[WandbRun] = []

    def init(**options: Any) -> WandbRun:
        runs.append(WandbRun(**options))
        return runs[-1]

    module(monkeypatch, "wandb", init=init, run=None)
    module(monkeypatch, "wandb.sdk")
    module(monkeypatch, "wandb.sdk.lib", RunDisabled=WandbRun)
    module(monkeypatch, "wandb.wandb_run", Run=WandbRun)
    monkeypatch.setattr(lightning_wandb, "_WANDB_AVAILABLE", True)
    return runs


@pytest.fixture
def mlflow_options(monkeypatch) -> list[dict[str, Any]]:
    """How MLflow loggers were made."""
    made: list[dict[str, Any]] = []

    class Stand:
        def __init__(self, **options: Any) -> None:
            made.append(options)

        def log_hyperparams(self, values: dict[str, Any]) -> None:
            made[-1]["config"] = values

    module(monkeypatch, "mlflow")
    monkeypatch.setattr(lightning_mlflow, "_MLFLOW_AVAILABLE", True)
    monkeypatch.setattr(loggers, "MLFlowLogger", Stand)
    return made


def test_a_logger_is_one_word_and_several_are_a_list() -> None:
    assert check_loggers(settings()) == []
    assert check_loggers(settings("logger=none")) == []
    assert check_loggers(settings("logger=csv")) == []  # metrics.csv is written anyway
    assert check_loggers(settings("logger=tensorboard")) == ["tensorboard"]
    assert check_loggers(settings("logger=[tensorboard,csv]")) == ["tensorboard"]
    several = settings("logger=[mlflow,wandb,tensorboard]")
    assert [name for name in LOGGERS if several[name]] == ["tensorboard", "wandb", "mlflow"]
    assert several["offline"] is True


@pytest.mark.parametrize("name", LOGGERS)
def test_a_missing_package_is_one_line_with_its_extra_and_nothing_is_written(run_small, monkeypatch, tmp_path, name):
    monkeypatch.setattr(loggers, "find_spec", lambda package: None)
    with pytest.raises(InputError, match=rf"^logger={name}: expected the package {name}, .*'\.\[{name}\]'"):
        run_small("run", f"logger={name}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "name"),
    {
        ("logger.wandb=2",): "logger.wandb",
        ("logger.offline=1",): "logger.offline",
        ("logger.project=''",): "project",
    }.items(),
    ids=str,
)
def test_impossible_settings_are_refused(words, name) -> None:
    with pytest.raises(InputError, match=name):
        check_loggers(settings(*words))


def test_tensorboard_has_the_figures_of_metrics_csv(run_small) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, _ = run_small("run", "logger=[tensorboard,csv]")
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    rows = (folder / "metrics.csv").read_text().splitlines()
    steps = [int(row.split(",")[0]) for row in rows[1:]]
    assert [event.step for event in events.Scalars("epsilon")] == steps[1:]  # the first row is a test, before training
    assert events.Scalars("test_return_mean")[0].step == 0
    assert not (folder / "lightning_logs").exists()


def test_wandb_is_told_the_configuration_and_every_iteration_and_is_closed(run_small, wandb_runs, monkeypatch) -> None:
    folder, _ = run_small("run", "logger=wandb", "logger.project=mine")
    (run,) = wandb_runs
    assert run.options["mode"] == "offline"
    assert (run.options["project"], run.options["name"], run.options["dir"]) == ("mine", "run", str(folder))
    assert run.values["kappa"] == 1
    rows = (folder / "metrics.csv").read_text().splitlines()[1:]
    steps = [metrics["trainer/global_step"] for metrics in run.logged]
    assert set(steps) == {int(row.split(",")[0]) for row in rows}
    assert run.finished


def test_two_runs_of_one_process_are_two_runs_in_wandb(run_small, wandb_runs) -> None:
    for name in ("one", "two"):
        run_small(name, "logger=wandb", "logger.offline=false")
    assert [(run.options["name"], run.options["mode"], run.finished) for run in wandb_runs] == [
        ("one", "online", True),
        ("two", "online", True),
    ]


def test_wandb_is_closed_when_training_fails(wandb_runs, tmp_path) -> None:
    config = {"logger": settings("logger=wandb")}
    with pytest.raises(RuntimeError, match="stopped"), open_loggers(["wandb"], config, tmp_path):
        raise RuntimeError("stopped")
    assert wandb_runs[0].finished


def test_mlflow_keeps_to_the_run_folder_or_asks_the_server(mlflow_options, monkeypatch, tmp_path: Path) -> None:
    config = {"logger": settings("logger=mlflow"), "kappa": 1}
    with open_loggers(["mlflow"], config, tmp_path / "run") as opened:
        assert len(opened) == 1
    assert mlflow_options[0]["tracking_uri"] == f"sqlite:///{tmp_path}/run/mlflow.db"
    assert mlflow_options[0]["artifact_location"] == f"file://{tmp_path}/run/mlflow"
    assert mlflow_options[0]["run_name"] == "run"
    assert mlflow_options[0]["config"] == config

    online = settings("logger=mlflow", "logger.offline=false")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InputError, match=r"^MLFLOW_TRACKING_URI: expected an address"):
        check_loggers(online)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://here:5000")
    with open_loggers(check_loggers(online), {"logger": online}, tmp_path):
        assert mlflow_options[1]["tracking_uri"] == "http://here:5000"


def test_a_logger_that_does_not_open_is_one_line(wandb_runs, monkeypatch, tmp_path) -> None:
    def init(**options: Any) -> WandbRun:
        raise ConnectionError("no\nserver")

    monkeypatch.setattr(sys.modules["wandb"], "init", init)
    with (
        pytest.raises(InputError, match=r"^logger=wandb: .*ConnectionError: no server; log in"),
        open_loggers(["wandb"], {"logger": settings("logger=wandb")}, tmp_path),
    ):
        pass
