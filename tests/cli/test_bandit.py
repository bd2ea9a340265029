"""``lomaq bandit``: the files of a study, and what a mistake answers."""

from __future__ import annotations

import json

import pytest

from lomaq import cli

TINY = ("n=2", "K=2", "d=2", "T=200", "repetitions=2", "partitions=[singletons,[[0,1]]]")


def test_a_bandit_study_leaves_its_numbers_and_its_picture(command, tmp_path) -> None:
    status, out, err = command(cli.main, "bandit", *TINY, "run_dir=study")
    assert (status, out) == (0, "")
    assert "bandit.json and bandit.png are in study" in err
    assert {p.name for p in (tmp_path / "study").iterdir()} == {"bandit.json", "bandit.png"}
    result = json.loads((tmp_path / "study" / "bandit.json").read_text())
    assert result["settings"]["T"] == result["rounds"][-1] == 200
    assert set(result["partitions"]) == {"singletons", "[[0, 1]]"}


def test_the_default_folder_of_a_bandit_study_is_among_the_runs(command, tmp_path) -> None:
    assert command(cli.main, "bandit", *TINY)[0] == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("bandit-2")


def test_a_folder_with_a_study_is_refused_and_stays_as_it_is(command, tmp_path) -> None:
    assert command(cli.main, "bandit", *TINY, "run_dir=7")[0] == 0
    before = {p: p.read_bytes() for p in (tmp_path / "7").iterdir()}
    status, out, err = command(cli.main, "bandit", *TINY, "run_dir=7", "seed=1")
    assert (status, out) == (2, "")
    assert err == "error: run_dir: expected one without a bandit.json, got 7; choose another\n"
    assert {p: p.read_bytes() for p in (tmp_path / "7").iterdir()} == before


BANDIT_MISTAKES = {
    "an unknown key": (["k=3"], "k"),
    "a key of another command": (["checkpoint=x"], "checkpoint"),
    "few rounds": (["T=50"], "T"),
    "an unknown partition": (["partitions=[trios]"], "partition"),
    "a list without brackets": (["partitions=singletons,full"], "key=value"),
    "a file for a folder": (["run_dir=file"], "run_dir"),
}


@pytest.mark.parametrize(("words", "name"), BANDIT_MISTAKES.values(), ids=BANDIT_MISTAKES.keys())
def test_a_mistake_in_bandit_is_one_line_with_status_2_and_writes_nothing(command, tmp_path, words, name) -> None:
    (tmp_path / "file").touch()
    status, out, err = command(cli.main, "bandit", *words)
    assert (status, out, len(err.strip().splitlines())) == (2, "", 1), err
    assert name in err
    assert {p.name for p in tmp_path.iterdir()} == {"file"}
