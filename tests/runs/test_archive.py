"""The runs of a study in one file."""

from __future__ import annotations

import json
import lzma
from dataclasses import replace
from pathlib import Path

import pytest

from lomaq.errors import InputError
from lomaq.runs import Curve, RunRecord
from lomaq.runs.archive import ARCHIVE, TIMINGS, read_archive, write_archive

SUMMARY = {"env_steps": 20, "test_return_mean": 0.1, "wall_seconds": 3.5, "files": {"config.yaml": "…"}}
CONFIG = {"seed": 1, "env": {"name": "nav"}, "run_dir": "/home/me/runs/a", "files": {"/home/me/graph.json": "…"}}
REST = {"settings": {"seed": 1}, "found": {"absolute": 7.0}, "code": {"lomaq": {"commit": "abc"}}}
RUN = RunRecord(Path("a"), CONFIG, SUMMARY, Curve([0, 20], [0.0, 0.1], [0.0, 0.1], [0.0, 0.2]), 20, 2.25, **REST)


def test_runs_come_back_without_paths_of_the_machine_and_checksums(tmp_path: Path) -> None:
    write_archive(tmp_path, "python train.py experiment=mine", {"a": RUN})
    (run,) = read_archive(tmp_path).values()
    assert run == replace(
        RUN,
        folder=tmp_path / "a",
        config={"seed": 1, "env": {"name": "nav"}, "run_dir": None},
        summary={"env_steps": 20, "test_return_mean": 0.1, "wall_seconds": 3.5},
    )
    assert b"/home/me" not in lzma.decompress((tmp_path / ARCHIVE).read_bytes())


def test_what_another_run_of_the_seed_does_not_repeat_stands_in_another_file(tmp_path: Path) -> None:
    written = []
    for seconds in (3.5, 9.0):
        run = replace(RUN, summary={**SUMMARY, "wall_seconds": seconds}, train_seconds=seconds)
        write_archive(tmp_path, "python train.py experiment=mine", {"b": run, "a": run})
        written.append((tmp_path / ARCHIVE).read_bytes())
    assert written[0] == written[1]
    assert [*read_archive(tmp_path)] == ["b", "a"]
    assert (tmp_path / TIMINGS).read_text().splitlines() == [
        "run,train_seconds,wall_seconds,env_steps_per_second,peak_memory_mb",
        "b,9.0,9.0,,",
        "a,9.0,9.0,,",
    ]
    (tmp_path / TIMINGS).unlink()
    assert "wall_seconds" not in read_archive(tmp_path)["a"].summary


def test_no_archive_has_no_runs(tmp_path: Path) -> None:
    assert read_archive(tmp_path) == {}


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    write_archive(tmp_path, "", {"a": RUN})
    whole = (tmp_path / ARCHIVE).read_bytes()
    text = lzma.decompress(whole).decode()
    unsigned = {key: value for key, value in json.loads(text).items() if key != "sha256"}
    broken = [whole[:-9], b"", text.encode(), lzma.compress(text.replace("0.1", "0.2").encode())]
    broken += [lzma.compress(json.dumps(content).encode()) for content in (unsigned, [], {"runs": {}})]
    for content in broken:
        (tmp_path / ARCHIVE).write_bytes(content)
        with pytest.raises(InputError, match=r"runs\.json\.xz"):
            read_archive(tmp_path)


def test_damaged_timings_are_refused(tmp_path: Path) -> None:
    write_archive(tmp_path, "", {"a": RUN})
    (tmp_path / TIMINGS).write_text("run,wall_seconds\na,much\n")
    with pytest.raises(InputError, match=r"timings\.csv"):
        read_archive(tmp_path)
