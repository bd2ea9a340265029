"""The files of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lomaq.errors import InputError
from lomaq.runs import Evaluation, RunFiles
from lomaq.runs.files import read_returns


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
