"""Words of a command line: paths are taken as they are typed, everything else as hydra reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lomaq.config import compose, compose_jobs, parse
from lomaq.config.words import as_typed, place_of, word_of

TYPED = (
    "2026_01",
    "[x]",
    "größe",
    "a=b",
    "a,b",
    "0x10",
    "1e3",
    "true",
    "{a: 1}",
    "it's",
    'say "x"',
    "a b",
    "(x)",
    "a\\b",
    "\\",
    "x'",
)


@pytest.mark.parametrize("typed", TYPED)
def test_a_path_is_taken_as_it_is_typed_and_quotes_around_it_fall_away(tmp_path, monkeypatch, typed: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert compose([f"run_dir={typed}"])["run_dir"] == typed
    assert parse([f"run_dir={typed}", f"resume={typed}"]) == {"run_dir": typed, "resume": typed}
    quoted = [f"{quote}{typed}{quote}" for quote in "'\"" if quote not in typed and not typed.endswith("\\")]
    config = compose([f"{key}={word}" for key, word in zip(("run_dir", "resume"), quoted, strict=False)])
    assert [config[key] for key, _ in zip(("run_dir", "resume"), quoted, strict=False)] == [typed] * len(quoted)


def test_no_path_is_none_and_references_are_followed() -> None:
    assert compose(["run_dir=null"])["run_dir"] is None
    assert compose(["run_dir='null'"])["run_dir"] == "null"
    assert compose(["run_dir=runs/${env.name}-${seed}", "seed=3"])["run_dir"] == "runs/cartpole-3"


def test_the_home_folder_may_be_written_as_in_a_shell(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert place_of("~/x") == "/home/somebody/x"
    assert (place_of("~other/x"), place_of("a~/x")) == ("~other/x", "a~/x")


def test_with_several_runs_a_comma_separates_values() -> None:
    jobs = compose_jobs(["-m", "partition=größe.json,singletons", "seed=0,1"])
    assert [job.settings["partition"] for job in jobs] == ["größe.json"] * 2 + ["singletons"] * 2
    assert as_typed("partition=[[0,1],[2]]", several=True) == "partition=[[0,1],[2]]"
    assert compose_jobs(["-m", "run_dir=2026_01", "seed=0,1"])[0].config["run_dir"] == "2026_01"


def test_a_file_of_a_setting_that_may_be_one_is_a_path_by_its_ending() -> None:
    assert compose(["partition=a=b.json"])["partition"] == "a=b.json"
    assert compose(["env=sysadmin", "env.n_agents=null", "env.graph=größe 1.csv"])["env"]["graph"] == "größe 1.csv"
    assert compose(["partition=[[0,1],[2]]"])["partition"] == [[0, 1], [2]]


def test_values_from_python_are_written_as_words() -> None:
    assert word_of(Path("2026_01")) == "2026_01"
    assert [word_of(value) for value in (1, True, None, [1, "a"], "a b")] == ["1", "true", "null", '[1, "a"]', "a b"]
