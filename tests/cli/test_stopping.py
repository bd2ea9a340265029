"""A run that is stopped, by a signal, a closed output or a second process: what is said, kept and continued."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lomaq import cli
from lomaq.cli.main import guarded
from lomaq.cli.output import closable_output
from lomaq.evaluation import GreedyActor
from lomaq.runs.lock import locked
from lomaq.training import LomaqModule
from lomaq.training.checkpoint import load_checkpoint

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_saves_at_the_end_of_the_iteration_and_leaves(
    command, small, tmp_path, monkeypatch, name, status
) -> None:
    collect, handler, calls = LomaqModule._collect, signal.getsignal(signal.Signals[name]), []

    def asked(module: LomaqModule) -> None:
        collect(module)
        calls.append(module.env_steps)
        if len(calls) == 4:
            signal.raise_signal(signal.Signals[name])

    monkeypatch.setattr(LomaqModule, "_collect", asked)
    found, _, err = command(cli.train_main, *small, "evaluation.every_env_steps=400", "run_dir=run")
    assert (found, err.strip().splitlines()[-1]) == (status, "error: interrupted; continue with resume=run")
    saved = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["lomaq"]
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert (saved["env_steps"], len(rows), len(calls)) == (calls[3], 1 + 1 + 4, 4)  # a heading, a test and four rows
    assert signal.getsignal(signal.Signals[name]) is handler


def test_an_interrupt_before_the_first_checkpoint_says_how_to_start_again(
    command, small, tmp_path, monkeypatch
) -> None:
    def interrupted(*_) -> None:
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(GreedyActor, "reset", interrupted)
        status, _, err = command(cli.train_main, *small, "run_dir=run")
    line = "error: interrupted; start again with the same settings and run_dir=run"
    assert (status, err.strip().splitlines()[-1]) == (130, line)
    status, _, err = command(cli.train_main, "resume=run")
    assert status == 2
    assert "it was stopped before its first one: start it again with the same settings and run_dir=run" in err
    assert command(cli.train_main, *small, "run_dir=run", "seed=1")[0] == 2
    assert command(cli.train_main, *small, "run_dir=run")[0] == 0


def test_a_command_that_cannot_be_continued_is_only_interrupted(command, trained, monkeypatch) -> None:
    monkeypatch.setattr(GreedyActor, "reset", lambda *_: signal.raise_signal(signal.SIGINT))
    assert command(cli.evaluate_main, f"checkpoint={trained}") == (130, "", "error: interrupted\n")


def test_a_run_that_is_being_trained_is_refused_and_nothing_is_written(command, small, trained) -> None:
    before = {place: place.read_bytes() for place in trained.rglob("*") if place.is_file()}
    with locked(trained):
        status, _, err = command(cli.train_main, f"resume={trained}", "total_env_steps=600")
    assert status == 2
    assert f"which process {os.getpid()} on " in err.splitlines()[-1]
    assert {place: place.read_bytes() for place in trained.rglob("*") if place.is_file()} == before


def test_a_run_that_was_killed_after_its_last_step_is_finished(command, trained) -> None:
    results = (trained / "results.json").read_bytes()
    for name in ("results.json", "summary.json", "curve.png"):
        (trained / name).unlink()
    assert command(cli.train_main, f"resume={trained}")[0] == 0
    assert (trained / "results.json").read_bytes() == results
    assert (trained / "curve.png").is_file()
    assert command(cli.train_main, f"resume={trained}")[0] == 2  # now it has ended


@pytest.mark.parametrize(
    "found",
    [
        {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"},
        {
            "SLURM_NTASKS": "4",
            "SLURM_JOB_NAME": "train",
            "SLURM_PROCID": "3",
            "SLURM_LOCALID": "3",
            "SLURM_NODEID": "1",
        },
    ],
    ids=["torchrun", "SLURM"],
)
def test_variables_of_a_scheduler_are_not_about_a_run_of_one_process(run_small, monkeypatch, found) -> None:
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    _, summary = run_small("run")
    assert summary["env_steps"] >= 400
    assert dict(os.environ) == before


def test_three_runs_of_the_same_second_have_three_folders(command, small, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "20260101-000000")
    for _ in range(3):
        assert command(cli.train_main, *small, "algo=random", "env=sysadmin", "env.n_agents=3")[0] == 0
    folders = sorted(folder.name for folder in (tmp_path / "runs").iterdir())
    assert folders == [f"sysadmin-random-20260101-000000{more}" for more in ("", "-2", "-3")]


class Closed:
    """A stream whose reader has gone."""

    def __init__(self, number: int) -> None:
        self.number = number

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self) -> None:
        self.write("")

    def fileno(self) -> int:
        return self.number


@pytest.mark.parametrize(("ends", "status"), [(False, 7), (True, 141)])
def test_a_closed_output_ends_no_training_and_other_commands_quietly(tmp_path, monkeypatch, ends, status) -> None:
    def speak() -> int:
        print("error", file=sys.stderr)
        print("result", flush=True)
        return 7

    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Closed(out.fileno()))
        patch.setattr(sys, "stderr", Closed(err.fileno()))
        found = guarded(speak, ends=ends)
    assert found == status


def test_output_that_was_closed_from_the_start_is_written_to_nowhere(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with closable_output(ends=True):
        print("result")


# ---------------------------------------------------------------- processes


def start(folder: Path, small: tuple[str, ...], *words: str) -> subprocess.Popen[str]:
    """A long training in a session of its own, once it has trained a little."""
    command = [sys.executable, ROOT / "train.py", *small, "total_env_steps=100000000", f"run_dir={folder}", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder.parent / "err").open("w") as err:
        process = subprocess.Popen(command, stdout=err, stderr=err, env=environment, start_new_session=True)
    until = time.monotonic() + 120
    while not (folder / "metrics.csv").is_file() or len((folder / "metrics.csv").read_text().splitlines()) < 6:
        assert process.poll() is None, (folder.parent / "err").read_text()
        assert time.monotonic() < until
        time.sleep(0.1)
    return process


RANKS = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu")
ENDS = {
    "SIGTERM to the leader": (signal.SIGTERM, os.kill, 0, 143, "interrupted; continue with resume="),
    "SIGINT to the leader": (signal.SIGINT, os.kill, 0, 130, "interrupted; continue with resume="),
    "SIGTERM to the group": (signal.SIGTERM, os.killpg, 0, 143, "interrupted; continue with resume="),
    "SIGINT to the group": (signal.SIGINT, os.killpg, 0, 130, "interrupted; continue with resume="),
    "SIGKILL to the leader": (signal.SIGKILL, os.kill, 0, -9, "has died"),
    "SIGKILL to the other one": (signal.SIGKILL, os.kill, 1, 2, "ended with signal 9"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "send", "rank", "status", "line"), ENDS.values(), ids=ENDS.keys())
def test_both_processes_end_within_ten_seconds_in_one_line(tmp_path, small, number, send, rank, status, line) -> None:
    leader = start(tmp_path / "run", small, *RANKS)
    both = [psutil.Process(leader.pid), *psutil.Process(leader.pid).children()]
    assert len(both) == 2
    try:
        send(both[rank].pid, number)
        assert leader.wait(10) == status
        assert psutil.wait_procs(both[1:], 10)[1] == []
    finally:
        for process in both:
            if process.is_running():
                process.kill()
    errors = [text for text in (tmp_path / "err").read_text().splitlines() if text.startswith(("error", "Traceback"))]
    assert len(errors) == 1
    assert line in errors[0]
    load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")


@pytest.mark.slow
def test_a_second_process_is_refused_by_the_first_ones_id(tmp_path, small) -> None:
    first = start(tmp_path / "run", small)
    try:
        words = [sys.executable, ROOT / "train.py", f"resume={tmp_path / 'run'}"]
        second = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert second.returncode == 2
        assert f"process {first.pid} on" in second.stderr
    finally:
        first.kill()
        first.wait()


@pytest.mark.slow
def test_head_takes_a_line_of_a_training_that_goes_on(tmp_path, small) -> None:
    words = f"{sys.executable} {ROOT / 'train.py'} {' '.join(small)} run_dir=run 2>&1 | head -1"
    result = subprocess.run(words, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert len(result.stdout.splitlines()) == 1
    assert (tmp_path / "run" / "curve.png").is_file()
