"""Studies of several runs."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

from lomaq.config import compose
from lomaq.config.words import word_of
from lomaq.errors import InputError
from lomaq.inputs.text import read_checked
from lomaq.runs import read_run
from lomaq.runs.archive import ARCHIVE, TIMINGS, read_archive
from lomaq.studies.paper import fig8
from lomaq.studies.report import report
from lomaq.studies.runner import run_one, run_study
from lomaq.training.run import train

TINY = {
    "fig8": ["total_env_steps=600"],
    "fig9": ["env.n_agents=3", "total_env_steps=400", "evaluation.every_env_steps=200", "learner.n_envs=4"],
}
GRIDS: dict[str, dict[str, list[Any]]] = {
    "fig8": {"partition": ["full", "singletons"], "mixer.activation": ["elu"], "seed": [0]},
    "fig9": {"kappa": [0, 1], "seed": [0, 1]},
}
#: Experiments of training runs with the common report, which tests/studies/test_report.py tests.
REPORTED = (
    *("cognac", "fig5_cartpole", "fig5_nav", "fig5_paper", "methods_sysadmin", "methods_voltage", "nav_budgets"),
    *("scaling", "sensitivity", "soft", "sumo", "wrong_graph"),
)


def study(name: str, folder: Path) -> dict[str, Any]:
    words = [f"experiment={name}", *TINY[name]]
    config = {**compose(words)["study"], "grid": GRIDS[name]}
    return run_study(config, lambda more: compose([*words, *more]), folder, Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Callable[[str], tuple[Path, dict[str, Any]]]:
    """A study that has ended, by its name: its folder, in which nothing may change, and its result."""

    @cache
    def made(name: str) -> tuple[Path, dict[str, Any]]:
        folder = tmp_path_factory.mktemp(name)
        return folder, study(name, folder)

    return made


@pytest.mark.parametrize("name", TINY)
def test_every_experiment_composes_runs_and_draws(finished, name: str) -> None:
    folder, result = finished(name)
    assert read_checked(folder / "summary.json") == result
    assert (folder / f"{name}.png").stat().st_size > 10_000


def test_a_study_keeps_the_runs_that_are_there(finished, tmp_path: Path) -> None:
    folder, first = finished("fig9")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("metrics.csv")}
    assert len(stamps) == 4
    assert study("fig9", tmp_path) == first
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("metrics.csv")} == stamps


def test_a_study_goes_on_from_its_archive_where_the_folders_of_its_runs_are_gone(finished, tmp_path: Path) -> None:
    folder, first = finished("fig8")
    for name in (ARCHIVE, TIMINGS):
        shutil.copy(folder / name, tmp_path)
    assert study("fig8", tmp_path) == first
    assert not [place for place in tmp_path.iterdir() if place.is_dir()]


def test_a_second_run_of_the_same_seeds_writes_an_identical_archive(finished, tmp_path: Path) -> None:
    study("fig9", tmp_path)
    assert (tmp_path / ARCHIVE).read_bytes() == (finished("fig9")[0] / ARCHIVE).read_bytes()


def test_what_had_ended_when_a_study_failed_is_in_its_archive(tmp_path: Path) -> None:
    words = ["experiment=fig9", *TINY["fig9"]]
    config = {**compose(words)["study"], "grid": {"kappa": [0, -1], "seed": [0]}, "jobs": 1}
    with pytest.raises(InputError, match="kappa"):
        run_study(config, lambda more: compose([*words, *more]), tmp_path, Console(file=io.StringIO()))
    assert [*read_archive(tmp_path)] == ["kappa=0,seed=0"]


def test_an_archive_of_other_settings_is_refused(finished, tmp_path: Path) -> None:
    shutil.copy(finished("fig9")[0] / ARCHIVE, tmp_path)
    words = ["experiment=fig9", *TINY["fig9"], "learner.lr=0.1"]
    config = {**compose(words)["study"], "grid": GRIDS["fig9"]}
    with pytest.raises(InputError, match=r"a folder of the same study.*learner\.lr is 0\.1 here"):
        run_study(config, lambda more: compose([*words, *more]), tmp_path, Console(file=io.StringIO()))


@pytest.mark.slow
def test_runs_that_train_at_once_find_what_they_find_one_by_one(tmp_path: Path) -> None:
    words = ["experiment=fig9", *TINY["fig9"]]
    results = []
    for jobs in (1, 2):
        config = {**compose(words)["study"], "grid": [GRIDS["fig9"]], "jobs": jobs}
        folder = tmp_path / str(jobs)
        results.append(run_study(config, lambda more: compose([*words, *more]), folder, Console(file=io.StringIO())))
    assert results[0] == results[1]


def test_jobs_must_be_a_number_of_processes(tmp_path: Path) -> None:
    config = {**compose(["experiment=fig9"])["study"], "jobs": 0}
    with pytest.raises(InputError, match=r"study\.jobs"):
        run_study(config, lambda more: {}, tmp_path, Console(file=io.StringIO()))


def test_a_folder_of_another_study_is_refused(finished, tmp_path: Path) -> None:
    shutil.copytree(finished("fig9")[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / "kappa=0,seed=0" / "summary.json").unlink()
    words = ["experiment=fig9", *TINY["fig9"], "learner.lr=0.1"]
    config = {**compose(words)["study"], "grid": GRIDS["fig9"]}
    with pytest.raises(InputError, match="a folder of the same study"):
        run_study(config, lambda more: compose([*words, *more]), tmp_path, Console(file=io.StringIO()))


def finished_run(folder: Path) -> dict[str, Any]:
    """Files of a run ``seed=0`` that has ended, in ``folder``; its configuration."""
    config = compose(["env=cartpole", "algo=lomaq", "learner=searched"])
    (folder / "seed=0").mkdir()
    (folder / "seed=0" / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "seed=0" / "summary.json").write_text('{"test_return_mean": 7.0}')
    return config


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("algo", "searched", {"cartpole": {"lr": 0.1, "lam": 0.0}}),
        ("env", "recommended", {}),
        ("learner", "recommended", {"init": "negative_bias"}),
        ("algo", "identity", {"partition": "any"}),
        ("algo", "label", "another"),
    ],
)
def test_a_run_is_taken_whatever_its_settings_could_have_referred_to(
    tmp_path: Path, group: str, key: str, value: Any
) -> None:
    config = finished_run(tmp_path)
    assert config[group][key] != value
    changed = {**config, group: {**config[group], key: value}, "run_dir": "elsewhere"}
    assert run_one({"seed": 0}, changed, tmp_path, None).summary == {"test_return_mean": 7.0}


@pytest.mark.parametrize(("group", "key"), [("learner", "lr"), ("env", "jobs"), ("env", "identity"), ("algo", "name")])
def test_a_run_with_another_setting_is_refused(tmp_path: Path, group: str, key: str) -> None:
    config = finished_run(tmp_path)
    changed = {**config, group: {**config[group], key: 0.1}}
    with pytest.raises(InputError, match="a folder of the same study"):
        run_one({"seed": 0}, changed, tmp_path, None)


def test_every_experiment_of_the_configuration_is_tested_here() -> None:
    from lomaq.config import CONF

    own_files = {
        "fig6",
        "dilemma",
        "sharing",
        "tune_cartpole",
        "tune_nav",
        "tune_sysadmin",
        "tune_voltage",
        "voltage",
        "theorem1",
        "transfer",
        *REPORTED,
    }
    assert {p.stem for p in (CONF / "experiment").glob("*.yaml")} == {*TINY, *own_files}


@pytest.mark.parametrize("name", REPORTED)
def test_the_grids_of_an_experiment_with_the_common_report_compose(name: str) -> None:
    study = compose([f"experiment={name}"])["study"]
    assert resolve_name(":".join(study["report"].rsplit(".", 1))) is report
    for grid in (study["grid"] if isinstance(study["grid"], list) else [study["grid"]])[:4]:
        cell = {key: values[0] for key, values in grid.items()}
        config = compose([f"experiment={name}", *(f"{key}={word_of(value)}" for key, value in cell.items())])
        assert config["seed"] == cell["seed"]
        assert config["method"] == cell["algo"]


@pytest.mark.slow
def test_figure_8_the_full_partition_fits_the_payoffs_and_singletons_cannot(tmp_path: Path) -> None:
    for partition, low, high in (("full", 0.0, 0.05), ("singletons", 0.5, 1.2)):
        words = ["experiment=fig8", f"partition={partition}", "mixer.activation=split"]
        folder = tmp_path / partition
        train(compose(words), folder, Console(file=io.StringIO()))
        values, true = fig8.learned_values(read_run(folder))
        error = float(np.abs(values - true).max())
        assert low <= error <= high
        team = values.sum(axis=0)
        assert np.unravel_index(int(team.argmax()), team.shape) == (1, 1)
        assert np.abs(values[0] - true[0]).max() < 0.05  # F_1 comes out right either way
