"""Paths of all sorts, and screens that lack signs: one line, that says truly what was read or written, or it works."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

import lomaq
from lomaq import cli

#: Command line, with the folder HERE in it → what its line says.
REFUSED = {
    "a run in /proc": (["train", "RUN", "run_dir=/proc/x"], "cannot write /proc/x"),
    "a run below a file": (["train", "RUN", "run_dir=file/x"], "run_dir: expected a path that can be used"),
    "a run in a loop": (["train", "RUN", "run_dir=loop"], "run_dir: expected a path that can be used"),
    "a run of a long name": (["train", "RUN", f"run_dir={'x' * 300}"], "File name too long"),
    "a run of a null byte": (["train", "RUN", "run_dir=a\0b"], "run_dir: expected a path that can be used"),
    "a resumed loop": (["train", "resume=loop"], "resume: expected a path that can be used"),
    "a checkpoint in a loop": (["evaluate", "checkpoint=loop"], "checkpoint: expected a path that can be used"),
    "a described loop": (["info", "run=loop"], "run: expected a path that can be used"),
    "a described folder of nothing": (["info", "run=/proc/self"], "run: expected a run folder"),
    "a compared loop": (["compare", "run=loop", "run=loop"], "run: expected a path that can be used"),
    "results in a file": (["figures", "results=file"], "results: expected a folder"),
    "a graph that is a folder": (["graph", "file=folder.json"], "graph file: expected an existing file"),
    "a partition that is no text": (["train", "RUN", "partition=bytes.json"], "bytes.json: expected a text file"),
    "a partition with a key twice": (
        ["train", "RUN", "partition=twice.json"],
        "twice.json: expected a whole JSON",
    ),
    "settings in a loop": (["train", "RUN", "--config-dir=loop"], "--config-dir: expected an existing folder"),
    "settings with a tab": (
        ["train", "RUN", "mixer=tab", "--config-dir=conf"],
        "tab.yaml: expected a YAML file, got line 2",
    ),
    "a doubled setting": (
        ["train", "RUN", "mixer=twice", "--config-dir=twice"],
        "the key 'hidden' twice, before in line 2",
    ),
    "settings that are a folder": (
        ["train", "RUN", "--config-dir=folders"],
        "a.yaml: expected a text file that can be read",
    ),
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe[[0]]")
    (tmp_path / "twice.json").write_text('{"a": 1, "a": 2}')
    for folder, name, content in (
        ("conf", "tab", "_target_: lomaq.mixers.SumMixer\n\tname: x\n"),
        ("twice", "twice", "name: x\nhidden: 3\n\nhidden: 4\n"),
    ):
        (tmp_path / folder / "mixer").mkdir(parents=True)
        (tmp_path / folder / "mixer" / f"{name}.yaml").write_text(content)
    (tmp_path / "folders" / "mixer" / "a.yaml").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(("words", "line"), REFUSED.values(), ids=REFUSED.keys())
def test_a_path_that_does_not_do_is_one_line_and_nothing_is_written(command, here: Path, words, line) -> None:
    before = sorted(here.rglob("*"))
    run = ["env=sysadmin", "algo=random", "evaluation.episodes=1"] if "partition" not in words[-1] else ["env=matrix"]
    status, out, err = command(cli.main, *(one for word in words for one in (run if word == "RUN" else [word])))
    assert (status, out, len(err.strip().splitlines())) == (2, "", 1), err
    assert line in err
    assert sorted(here.rglob("*")) == before


def test_a_run_goes_where_it_was_said_to_and_is_found_there(command, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ("env=sysadmin", "algo=random", "evaluation.episodes=1", "evaluation.references=false")
    for typed, folder in {"2026_01": "2026_01", "[x]": "[x]", "~/größe": "größe", "a=b": "a=b", "'c,d'": "c,d"}.items():
        status, _, err = command(cli.main, "train", *words, f"run_dir={typed}")
        assert (status, err) == (0, "")
        assert (tmp_path / folder / "summary.json").is_file()
        assert command(cli.main, "info", f"run={typed}")[0] == 0
    lomaq.train("sysadmin", *words[1:], run_dir=Path("2026_02"))
    assert (tmp_path / "2026_02" / "summary.json").is_file()


def test_a_finished_run_that_goes_on_is_whole_again_in_the_end(command, trained: Path) -> None:
    assert command(cli.train_main, f"resume={trained}", "total_env_steps=480")[0] == 0
    files = json.loads((trained / "summary.json").read_text())["files"]
    assert files.keys() == {"config.yaml", "metrics.csv", "results.json"}
    status, out, err = command(cli.main, "info", f"run={trained}")
    assert (status, err) == (0, "")
    assert "of 480 env steps" in out
    (trained / "curve.png").unlink()
    (trained / "curve.png").mkdir()
    status, _, err = command(cli.train_main, f"resume={trained}", "total_env_steps=560")
    assert (status, err.splitlines()[-1].partition(";")[0]) == (
        2,
        f"error: cannot write {trained}/curve.png: Is a directory",
    )
    (trained / "metrics.csv").unlink()
    (trained / "metrics.csv").mkdir()
    for words in (("train", f"resume={trained}", "total_env_steps=640"), ("info", f"run={trained}")):
        status, _, err = command(cli.main, *words)
        assert status == 2
        assert "metrics.csv" in err.splitlines()[-1]
        assert "cannot write" not in err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_screen_without_our_signs_gets_others(small, tmp_path: Path, monkeypatch, encoding: str) -> None:
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.setattr(sys, "argv", ["lomaq", "train", *small, f"run_dir={tmp_path / 'größe'}"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams.values() if not stream.flush())
    assert stop.value.code == 0, err
    assert "mlp, kappa=1" in out
    assert "ε" not in err
    assert ("gro" if encoding == "ascii" else "größe") in out
    assert (tmp_path / "größe" / "summary.json").is_file()
