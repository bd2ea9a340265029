"""Studies of several runs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lomaq.cli import compose
from lomaq.errors import InputError
from lomaq.studies import fig8
from lomaq.studies.runner import StudyRun, run_study
from lomaq.training.run import train

TINY = {
    "fig8": ["total_env_steps=600"],
    "fig9": ["env.n_agents=3", "total_env_steps=400", "evaluation.every_env_steps=200", "learner.n_envs=4"],
}
GRIDS: dict[str, dict[str, list[Any]]] = {
    "fig8": {"partition": ["full", "singletons"], "mixer.activation": ["elu"], "seed": [0]},
    "fig9": {"kappa": [0, 1], "seed": [0, 1]},
}


def study(name: str, folder: Path) -> dict[str, Any]:
    words = [f"experiment={name}", *TINY[name]]
    config = {**compose(words)[0]["study"], "grid": GRIDS[name]}
    return run_study(config, lambda more: compose([*words, *more])[0], folder, Console(file=io.StringIO()))


@pytest.mark.parametrize("name", TINY)
def test_every_experiment_composes_runs_and_draws(name: str, tmp_path: Path) -> None:
    result = study(name, tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text()) == result
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_a_study_keeps_the_runs_that_are_there(tmp_path: Path) -> None:
    first = study("fig9", tmp_path)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("metrics.csv")}
    assert len(stamps) == 4
    assert study("fig9", tmp_path) == first
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("metrics.csv")} == stamps


@pytest.mark.slow
def test_runs_that_train_at_once_find_what_they_find_one_by_one(tmp_path: Path) -> None:
    words = ["experiment=fig9", *TINY["fig9"]]
    results = []
    for jobs in (1, 2):
        config = {**compose(words)[0]["study"], "grid": [GRIDS["fig9"]], "jobs": jobs}
        folder = tmp_path / str(jobs)
        results.append(run_study(config, lambda more: compose([*words, *more])[0], folder, Console(file=io.StringIO())))
    assert results[0] == results[1]


def test_jobs_must_be_a_number_of_processes(tmp_path: Path) -> None:
    config = {**compose(["experiment=fig9"])[0]["study"], "jobs": 0}
    with pytest.raises(InputError, match=r"study\.jobs"):
        run_study(config, lambda more: {}, tmp_path, Console(file=io.StringIO()))


def test_a_folder_of_another_study_is_refused(tmp_path: Path) -> None:
    study("fig9", tmp_path)
    (tmp_path / "kappa=0,seed=0" / "summary.json").unlink()
    words = ["experiment=fig9", *TINY["fig9"], "learner.lr=0.1"]
    config = {**compose(words)[0]["study"], "grid": GRIDS["fig9"]}
    with pytest.raises(InputError, match="a folder of the same study"):
        run_study(config, lambda more: compose([*words, *more])[0], tmp_path, Console(file=io.StringIO()))


def test_every_experiment_of_the_configuration_is_tested_here() -> None:
    from lomaq.cli import CONF

    own_files = {"fig6", "dilemma", "fig5_cartpole", "fig5_nav", "tune_cartpole", "tune_nav", "tune_sysadmin"}
    assert {p.stem for p in (CONF / "experiment").glob("*.yaml")} == {*TINY, *own_files}


@pytest.mark.slow
def test_figure_8_the_full_partition_fits_the_payoffs_and_singletons_cannot(tmp_path: Path) -> None:
    for partition, low, high in (("full", 0.0, 0.05), ("singletons", 0.5, 1.2)):
        words = ["experiment=fig8", f"partition={partition}", "mixer.activation=split"]
        folder = tmp_path / partition
        summary = train(compose(words)[0], folder, Console(file=io.StringIO()))
        values, true = fig8.learned_values(StudyRun({}, folder, summary))
        error = float(np.abs(values - true).max())
        assert low <= error <= high
        team = values.sum(axis=0)
        assert np.unravel_index(int(team.argmax()), team.shape) == (1, 1)
        assert np.abs(values[0] - true[0]).max() < 0.05  # F_1 comes out right either way
