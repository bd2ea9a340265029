"""The files of a run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lomaq.errors import InputError
from lomaq.runs import Evaluation, RunFiles
from lomaq.runs.files import read_returns, write_atomic


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    found = RunFiles(tmp_path / "run")
    found.begin({"seed": 0})
    return found


def test_a_metric_becomes_a_column_when_it_is_first_measured(files: RunFiles) -> None:
    files.append_metrics([{"env_steps": 0, "train_seconds": 0.0}])
    files.append_metrics([{"env_steps": 40, "train_seconds": 1.0, "loss": 0.5}, {"env_steps": 80, "mine": 1 / 3}])
    files.append_metrics([{"env_steps": 120, "train_seconds": 2.5, "loss": 0.25}])
    assert files.metrics.read_text() == (
        "env_steps,train_seconds,loss,mine\n0,0,,\n40,1,0.5,\n80,,,0.333333\n120,2.5,0.25,\n"
    )


def test_names_of_metrics_may_hold_what_a_table_must_quote(files: RunFiles) -> None:
    files.append_metrics([{"env_steps": 1, 'a "share", of all': 0.5}])
    assert files.read_metrics() == (
        ["env_steps", "train_seconds", 'a "share", of all'],
        [{"env_steps": "1", "train_seconds": "", 'a "share", of all': "0.5"}],
    )


def test_rows_after_a_checkpoint_are_cut_and_the_others_kept_as_they_are(files: RunFiles) -> None:
    files.append_metrics([{"env_steps": step, "loss": step / 3} for step in (40, 80, 120)])
    with files.metrics.open("a") as file:
        file.write("16")  # a write that was cut off in the middle
    files.cut_metrics(80)
    assert files.metrics.read_text() == "env_steps,train_seconds,loss\n40,,13.3333\n80,,26.6667\n"


def test_a_missing_table_is_begun_anew(files: RunFiles) -> None:
    files.metrics.unlink()
    files.cut_metrics(80)
    files.append_metrics([{"env_steps": 120}])
    assert files.metrics.read_text() == "env_steps,train_seconds\n120,\n"


def test_a_folder_that_holds_anything_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file"):
        with pytest.raises(InputError, match=r"run_dir: .*resume="):
            RunFiles(place).begin({})


def test_results_are_in_the_layout_of_marl_eval_and_read_back(files: RunFiles) -> None:
    tests = [Evaluation(0, 0.0, [1.0, 3.0]), Evaluation(100, 2.0, [5.0, 7.0]), Evaluation(200, 4.0, [4.0, 4.0])]
    files.write_results("nav", "nav-3", "vdn", 7, tests)
    content = json.loads((files.folder / "results.json").read_text())["nav"]["nav-3"]["vdn"]["seed_7"]
    assert content["step_1"] == {"step_count": 100, "elapsed_time": 2.0, "return": [5.0, 7.0]}
    assert content["absolute_metrics"] == {"return": [5.0, 7.0]}  # of the best test
    assert read_returns(files.folder) == tests


@pytest.mark.skipif(os.name != "posix", reason="a umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_files_are_as_readable_as_the_umask_says(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "config.yaml", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "config.yaml").stat().st_mode & 0o777 == mode


TEMPORARY = "last.ckpt.0123456789abcdef.tmp"  # as a kill leaves it


def leave(folder: Path, *names: str) -> None:
    """Files that a killed run left."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("seed: 0\nrun_dir: before\n" if name == "config.yaml" else "")


@pytest.mark.parametrize(
    "left",
    [
        ("checkpoints/x",),
        (".lock", ".owner", f"checkpoints/{TEMPORARY}", "config.yaml.0123456789abcdef.tmp"),
        ("config.yaml",),
        ("config.yaml", "metrics.csv", f"checkpoints/{TEMPORARY}"),
        ("config.yaml", "metrics.csv", "checkpoints/best.ckpt", "tensorboard/events"),
    ],
)
def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(tmp_path: Path, left: tuple[str, ...]) -> None:
    leave(tmp_path, *left)
    (tmp_path / "checkpoints" / "x").unlink(missing_ok=True)
    RunFiles(tmp_path).begin({"seed": 0, "run_dir": "now"})
    assert "run_dir: now" in (tmp_path / "config.yaml").read_text()
    assert list((tmp_path / "checkpoints").iterdir()) == list(tmp_path.glob("*.tmp")) == []


@pytest.mark.parametrize(
    ("left", "seed"),
    [
        (("config.yaml", "metrics.csv"), 1),  # other settings
        (("config.yaml", "checkpoints/last.ckpt"), 0),
        (("config.yaml", "mine.txt"), 0),
        (("checkpoints/mine.ckpt",), 0),
        (("mine.tmp",), 0),
    ],
)
def test_what_may_be_somebodys_is_never_begun_anew(tmp_path: Path, left: tuple[str, ...], seed: int) -> None:
    leave(tmp_path, *left)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="run_dir: expected a new or empty folder"):
        RunFiles(tmp_path).begin({"seed": seed, "run_dir": None})
    assert sorted(tmp_path.rglob("*")) == before


def test_only_temporary_files_of_ours_are_removed(tmp_path: Path) -> None:
    leave(tmp_path, f"checkpoints/{TEMPORARY}", "checkpoints/last.ckpt", "mine.tmp", "notes.0123456789.tmp")
    RunFiles(tmp_path).remove_temporaries()
    assert sorted(file.name for file in tmp_path.rglob("*.*")) == ["last.ckpt", "mine.tmp", "notes.0123456789.tmp"]
