"""Several runs at once: ``python train.py -m seed=0,1 algo=lomaq,vdn``."""

from __future__ import annotations

import functools
import io
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from lomaq import cli
from lomaq.errors import InputError
from lomaq.runs import Curve, RunRecord
from lomaq.studies import runner, sweep
from lomaq.studies.sweep import Job, merge_results, run_sweep

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def small(small) -> tuple[str, ...]:
    """Even smaller runs."""
    return (*small, "total_env_steps=80", "evaluation.references=false")


@pytest.fixture
def command(command, monkeypatch):
    """Sweep in this process, one run after the other: ``command(*words)`` → (status, out, err)."""
    monkeypatch.setattr(runner, "_process", lambda: ThreadPoolExecutor(1))
    return functools.partial(command, cli.train_main)


def test_a_sweep_leaves_a_folder_a_run_and_one_file_with_all_results(command, small, tmp_path) -> None:
    status, out, err = command("-m", *small, "seed=0,1", "algo=lomaq,vdn", "jobs=1", "run_dir=sweep")
    assert status == 0, err
    names = {f"seed={seed},algo={algo}" for seed in (0, 1) for algo in ("lomaq", "vdn")}
    assert {p.name for p in tmp_path.iterdir()} == {"sweep"}  # and no multirun.yaml
    folder = tmp_path / "sweep"
    assert {p.name for p in folder.iterdir()} == {*names, "results.json", "summary.json", "sweep.json", "curves.png"}
    merged = json.loads((folder / "results.json").read_text())["cartpole"]["cartpole-3"]
    assert {name: set(seeds) for name, seeds in merged.items()} == {
        "lomaq": {"seed_0", "seed_1"},
        "vdn": {"seed_0", "seed_1"},
    }
    own = json.loads((folder / "seed=1,algo=vdn" / "results.json").read_text())
    assert own["cartpole"]["cartpole-3"]["vdn"]["seed_1"] == merged["vdn"]["seed_1"]
    groups = json.loads((folder / "summary.json").read_text())["groups"]
    assert list(groups) == ["algo=lomaq", "algo=vdn"]
    last = [
        json.loads((folder / f"seed={s},algo=vdn" / "summary.json").read_text())["test_return_mean"] for s in (0, 1)
    ]
    assert groups["algo=vdn"]["last"] == last
    assert groups["algo=vdn"]["last_mean"] == pytest.approx(sum(last) / 2)
    assert "algo=vdn" in out
    assert "4 of 4: " in err


def test_a_run_of_a_sweep_finds_what_it_finds_alone(command, small, run_small, tmp_path) -> None:
    assert command("-m", *small, "seed=3,4", "jobs=1", "run_dir=sweep")[0] == 0
    alone, _ = run_small("alone", "seed=4", "total_env_steps=80")
    found = (tmp_path / "sweep" / "seed=4" / "results.json").read_text()
    assert _returns(json.loads(found)) == _returns(json.loads((alone / "results.json").read_text()))


def _returns(results: dict[str, Any]) -> list[list[float]]:
    (seed,) = results["cartpole"]["cartpole-3"]["lomaq"].values()
    return [entry["return"] for entry in seed.values()]


def test_a_run_that_fails_is_one_line_and_the_others_are_kept(command, small, tmp_path) -> None:
    words = ("learner.grad_clip=1e30", "learner.lr=1e30,0.003", "jobs=1", "run_dir=sweep")
    status, out, err = command("-m", *small, *words)
    assert status == 2
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: learner.lr=1e+30: NonFiniteLossError: the loss became")
    assert "learner.lr=0.003" in out
    summary = json.loads((tmp_path / "sweep" / "summary.json").read_text())
    assert list(summary["groups"]) == ["learner.lr=0.003"]
    assert list(summary["failed"]) == ["learner.lr=1e+30"]


def test_a_sweep_goes_on_where_it_was_stopped(command, small, tmp_path) -> None:
    words = ("-m", *small, "seed=0,1,2", "jobs=1", "run_dir=sweep")
    assert command(*words)[0] == 0
    folder = tmp_path / "sweep"
    before = (folder / "summary.json").read_text()
    (folder / "seed=1" / "summary.json").unlink()  # stopped after its last checkpoint
    for file in (folder / "seed=2").rglob("*.*"):  # stopped at once
        if file.name != "config.yaml":
            file.unlink()
    kept = (folder / "seed=0" / "metrics.csv").stat().st_mtime_ns
    assert command(*words)[0] == 0
    assert (folder / "seed=0" / "metrics.csv").stat().st_mtime_ns == kept
    again, first = json.loads((folder / "summary.json").read_text()), json.loads(before)
    assert again["groups"]["lomaq"]["last"] == first["groups"]["lomaq"]["last"]
    status, _, err = command("-m", *small, "seed=0,1", "run_dir=sweep")
    assert status == 2
    assert "that of the same sweep" in err


def test_the_default_folder_is_among_the_runs_and_one_run_is_no_sweep(command, small, tmp_path) -> None:
    assert command("-m", *small, "seed=0,1", "env=sysadmin", "algo=random", "jobs=1")[0] == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("sweep-2")
    assert command("-m", *small, "env=sysadmin", "algo=random", "run_dir=one")[0] == 0
    assert (tmp_path / "one" / "summary.json").is_file()
    assert not (tmp_path / "one" / "sweep.json").exists()


MISTAKES = {
    "no jobs": (["seed=0,1", "jobs=0"], "jobs"),
    "an unknown key": (["seed=0,1", "foo=1"], "foo"),
    "an unknown choice": (["algo=lomaq,foo"], "algo: expected one of baseline"),
    "the same run twice": (["seed=0,1,0"], "seed=0 twice"),
    "several processes a run": (["seed=0,1", "trainer.devices=2"], "trainer.devices"),
    "a study": (["experiment=fig8,fig9"], "-m"),
    "a file for a folder": (["seed=0,1", "run_dir=file"], "run_dir"),
    "a folder in use": (["seed=0,1", "run_dir=used"], "run_dir"),
}


@pytest.mark.parametrize(("words", "name"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_with_status_2_and_writes_nothing(command, tmp_path, words, name) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine").touch()
    before = set(tmp_path.rglob("*"))
    status, out, err = command("-m", *words)
    assert (status, out, len(err.strip().splitlines())) == (2, "", 1), err
    assert name in err
    assert set(tmp_path.rglob("*")) == before


def test_a_multirun_file_that_was_there_stays_as_it_is(command, small, tmp_path) -> None:
    (tmp_path / "multirun.yaml").write_text("mine")
    words = ("-m", *small, "env=sysadmin", "algo=random", "seed=0,1", "run_dir=sweep")
    assert command(*words)[0] == 0
    assert (tmp_path / "multirun.yaml").read_text() == "mine"


# ----------------------------------------------------------------------- parts


def run_with(folder: Path, settings: dict[str, Any], algorithm: str, seed: int) -> RunRecord:
    """A finished run whose one test returned ``seed``."""
    place = folder / sweep.run_name(settings)
    place.mkdir()
    entry = {"step_0": {"step_count": 0, "elapsed_time": 0.0, "return": [seed]}, "absolute_metrics": {"return": [seed]}}
    (place / "results.json").write_text(json.dumps({"nav": {"nav-3": {algorithm: {f"seed_{seed}": entry}}}}))
    summary = {"env": "nav", "n_agents": 3, "algorithm": algorithm, "seed": seed, "env_steps": 0}
    summary |= {"test_return_mean": seed, "best_test_return_mean": seed}
    return RunRecord(place, {}, summary, Curve([0], [seed], [seed], [seed]), 0, 0.0, settings)


def test_results_that_other_settings_tell_apart_get_them_into_their_names(tmp_path) -> None:
    runs = [
        run_with(tmp_path, {"kappa": kappa, "seed": seed, "algo": algo}, algo, seed)
        for kappa in (0, 1)
        for seed in (0, 1)
        for algo in ("lomaq", "vdn")
    ]
    merged = merge_results(runs)["nav"]["nav-3"]
    assert set(merged) == {"lomaq, kappa=0", "lomaq, kappa=1", "vdn, kappa=0", "vdn, kappa=1"}
    assert all(set(seeds) == {"seed_0", "seed_1"} for seeds in merged.values())
    assert set(merge_results(runs[:2])["nav"]["nav-3"]) == {"lomaq", "vdn"}


def test_a_curve_over_seeds_ends_with_the_shortest_run() -> None:
    long, short = Curve([0, 10, 20], [1, 2, 9], [0, 0, 0], [9, 9, 9]), Curve([0, 12], [3, 6], [0, 0], [9, 9])
    assert Curve.over_seeds([long, short]) == Curve([0, 11], [2, 4], [1, 2], [3, 6])


@pytest.mark.parametrize("when", ["while it waited", "while it trained"])
def test_a_process_that_dies_takes_only_its_own_run(monkeypatch, tmp_path, when) -> None:
    made = []

    class Dying(ThreadPoolExecutor):
        def submit(self, work, settings=None, *rest):  # type: ignore[override]
            if settings is None:  # asks for the number of the process
                return super().submit(work)
            made.append(self)
            if settings["seed"] == 0 and when == "while it waited":
                raise BrokenProcessPool("gone")
            if settings["seed"] == 0:
                return super().submit(gone)
            return super().submit(run_with, tmp_path / "sweep", settings, "lomaq", settings["seed"])

    def gone() -> None:
        raise BrokenProcessPool("gone")

    monkeypatch.setattr(runner, "_process", lambda: Dying(1))
    config = {"jobs": 1, "trainer": {"devices": 1, "num_nodes": 1}}
    jobs = [Job({"seed": seed}, config) for seed in (0, 1)]
    summary = run_sweep(jobs, tmp_path / "sweep", Console(file=io.StringIO()))
    assert summary["failed"]["seed=0"].endswith(
        "one that died; it had too little memory perhaps; jobs=1 takes the least"
    )
    assert summary["groups"]["lomaq"]["seeds"] == [1]
    assert len(set(map(id, made))) == 2  # a new process


def test_no_more_runs_train_at_once_than_asked_for_and_all_are_given(monkeypatch, tmp_path) -> None:
    together, most, lock = [0], [0], threading.Lock()

    def count(*words: object) -> object:
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
        time.sleep(0.02)
        with lock:
            together[0] -= 1
        return words[0]

    monkeypatch.setattr(runner, "_process", lambda: ThreadPoolExecutor(1))
    monkeypatch.setattr(runner, "run_one", count)
    jobs = [Job({"seed": seed}, {}) for seed in range(7)]
    ended = [(job.settings, run) for job, run in runner.train_together(iter(jobs), tmp_path, 3)]
    assert sorted(job["seed"] for job, _ in ended) == list(range(7))
    assert all(job == run for job, run in ended)
    assert most == [3]


def test_as_many_runs_train_at_once_as_there_are_cores(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    config = {"jobs": None, "trainer": {"devices": 1, "num_nodes": 1}}
    jobs = [Job({"seed": seed}, config) for seed in range(5)]
    assert sweep._check(jobs, tmp_path / "new") == 3
    assert sweep._check(jobs[:2], tmp_path / "new") == 2
    with pytest.raises(InputError, match=r"^jobs: expected a whole number"):
        sweep._check([Job({}, {**config, "jobs": 1.5})], tmp_path / "new")


@pytest.mark.slow
def test_processes_train_at_once_with_one_thread_each(small, tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", "-m", *small, "seed=0,1", "run_dir=sweep", "jobs=2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"sweep"}
    for seed in (0, 1):
        config = yaml.safe_load((tmp_path / "sweep" / f"seed={seed}" / "config.yaml").read_text())
        assert (config["seed"], config["trainer"]["threads"]) == (seed, 1)
