"""The command line in processes of its own: help, the installed command, and training in two at once."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lomaq.training.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]


def run_process(*words: str | Path, folder: Path | None = None, timeout: int = 120) -> subprocess.CompletedProcess[str]:
    """One command with one thread a process, in ``folder`` or here, ended after ``timeout`` seconds at the latest."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment, timeout=timeout)


def test_help_names_the_settings_that_matter() -> None:
    result = run_process(sys.executable, ROOT / "train.py", "--help", timeout=60)
    assert result.returncode == 0
    for word in ("kappa=1", "partition=singletons", "env: cartpole", "resume="):
        assert word in result.stdout


@pytest.mark.slow
def test_the_installed_command_works_outside_a_checkout(tmp_path, small) -> None:
    lomaq = Path(sys.executable).with_name("lomaq")
    result = run_process(lomaq, "train", *small, "run_dir=here", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "here" / "summary.json").is_file()
    assert {p.name for p in tmp_path.iterdir()} == {"here"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        (),
        # both processes must agree on how many passes they make, or one waits for the other for ever
        ("algo=khop_ppo", "learner.epochs=4", "learner.objective.max_kl=0.0005", "agent=gru"),
    ],
    ids=["lomaq", "khop_ppo"],
)
def test_two_processes_train_with_own_environments_and_one_set_of_files(tmp_path, small, method) -> None:
    words = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu", "run_dir=both")
    result = run_process(sys.executable, ROOT / "train.py", *small, *words, *method, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    state = load_checkpoint(tmp_path / "both" / "checkpoints" / "last.ckpt")["lomaq"]
    first, second = (rank["collector"]["env"]["offset"] for rank in state["ranks"])
    assert not first.equal(second)
    rows = list(csv.DictReader((tmp_path / "both" / "metrics.csv").read_text().splitlines()))
    assert 60 < int(rows[1]["env_steps"]) <= 80  # both ranks' steps: 2 × 4 environments × 10
    assert result.stdout.count("test return, last") == 1
    resume = ("resume=both", "total_env_steps=600", *words[:3])
    again = run_process(sys.executable, ROOT / "train.py", *resume, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "both" / "summary.json").read_text())["env_steps"] >= 600


@pytest.mark.slow
def test_resume_with_another_number_of_processes_is_refused(trained: Path) -> None:
    words = ("total_env_steps=600", "trainer.devices=2", "trainer.strategy=ddp")
    result = run_process(sys.executable, ROOT / "train.py", f"resume={trained}", *words)
    assert result.returncode != 0
    assert "1 processes, as in the checkpoint" in result.stderr
    assert "Traceback" not in result.stderr
