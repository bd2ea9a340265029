"""Runs of a sweep through launchers of hydra: what is trained, and what a job that dies costs."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lomaq import cli
from lomaq.config import compose_jobs
from lomaq.config.launch import launch
from lomaq.config.words import launcher_of
from lomaq.studies.elsewhere import train_elsewhere
from lomaq.studies.runner import run_name

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def words(small) -> tuple[str, ...]:
    return ("-m", *small, "total_env_steps=80", "evaluation.references=false", "seed=0,1")


def in_turn(folder: Path, work: Callable[[int], str | None], n_jobs: int) -> list[str | None]:
    """A launcher: each job gets a copy of the work, as if it were in another process."""
    return [pickle.loads(pickle.dumps(work))(number) for number in range(n_jobs)]


def test_hydra_calls_the_work_with_the_number_of_each_job_and_leaves_nothing_behind(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("-m", "seed=0,1", "hydra/launcher=basic", "hydra.verbose=false")
    assert launch(words, tmp_path / "a=b, 'c'", lambda number: number * number, 3) == [0, 1, 4]
    assert [*tmp_path.rglob("*")] == [tmp_path / "a=b, 'c'"]


def test_a_job_that_raises_ends_the_launch_with_its_error(tmp_path) -> None:
    with pytest.raises(ZeroDivisionError):
        launch((), tmp_path, lambda number: 1 // number, 2)


@pytest.mark.parametrize(
    ("words", "name"),
    [((), None), (("hydra/launcher=basic",), None), (("hydra/launcher=basic", "-m", "hydra/launcher=ray"), "ray")],
)
def test_the_last_word_chooses_the_launcher(words, name) -> None:
    assert launcher_of(words) == name


def test_runs_elsewhere_are_those_that_have_not_ended_and_a_dead_job_costs_no_other(tmp_path, words) -> None:
    jobs = compose_jobs(words)
    dying, asked = [], []

    def launch(folder: Path, work: Callable[[int], str | None], n_jobs: int) -> list[str | None]:
        asked.append(n_jobs)
        lines = in_turn(folder, work, 1)
        if dying:
            raise dying[0]
        return lines

    dying.append(RuntimeError("worker died\nbadly"))
    ended, failed = train_elsewhere(jobs, tmp_path, launch)
    assert list(ended) == ["seed=0"]
    assert failed["seed=1"].startswith("its job ended before it, RuntimeError: worker died badly; see ")
    dying.clear()
    (listed,) = tmp_path.glob("jobs-*.pickle")  # of jobs that may still run
    listed.unlink()
    ended, failed = train_elsewhere(jobs, tmp_path, launch)
    assert (list(ended), failed, asked) == (["seed=0", "seed=1"], {}, [2, 1])
    assert [run.settings for run in ended.values()] == [{"seed": 0}, {"seed": 1}]
    assert ended["seed=1"].summary["env_steps"] >= 80
    assert {path.name for path in tmp_path.iterdir()} == {"seed=0", "seed=1"}


def test_a_run_that_fails_elsewhere_is_one_line(tmp_path, words) -> None:
    jobs = compose_jobs([*words, "learner.grad_clip=1e30", "learner.lr=1e30"])
    ended, failed = train_elsewhere(jobs, tmp_path, in_turn)
    assert ended == {}
    assert list(failed) == [run_name(job.settings) for job in jobs]
    assert all(line.startswith("NonFiniteLossError: the loss became ") for line in failed.values())


MISTAKES = {
    "an unknown launcher": (
        ["hydra/launcher=nobody", "-m", "seed=0,1"],
        "got nobody; pip install '.[ray]' or '.[submitit]'",
    ),
    "limits of both": (["hydra/launcher=ray", "-m", "seed=0,1", "jobs=2"], "jobs: expected null"),
    "no several runs": (["hydra/launcher=ray"], "hydra/launcher: expected several runs"),
    "a study": (["hydra/launcher=ray", "experiment=fig8"], "hydra/launcher: expected several runs"),
}


@pytest.mark.parametrize(("words", "line"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_with_status_2_and_writes_nothing(command, tmp_path, words, line) -> None:
    if "hydra/launcher=ray" in words:
        pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    status, out, err = command(cli.train_main, *words)
    assert (status, out, len(err.strip().splitlines())) == (2, "", 1), err
    assert line in err
    assert [*tmp_path.rglob("*")] == []


LAUNCHERS = {
    "submitit": ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"),
    "ray": ("hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=1"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_sweep_through_a_launcher_has_the_files_of_any_sweep(name, words, tmp_path) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{name}_launcher")
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", *words, *LAUNCHERS[name], "run_dir=sweep"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    files = {path.name for path in (tmp_path / "sweep").iterdir() if path.name != ".submitit"}
    assert files == {"seed=0", "seed=1", "sweep.json", "results.json", "summary.json", "curves.png"}
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]
    groups = json.loads((tmp_path / "sweep" / "summary.json").read_text())["groups"]
    assert groups["lomaq"]["seeds"] == [0, 1]
