"""Policies played where they were not trained."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lomaq.config import compose
from lomaq.inputs.text import read_checked
from lomaq.studies import transfer
from lomaq.studies.runner import run_study

WORDS = ["experiment=transfer", "total_env_steps=100", "learner.n_envs=4", "env.n_agents=3"]


def test_each_policy_plays_each_task_once_and_keeps_what_it_got(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(transfer, "TASKS", {"cartpole": [{"env.n_agents": 2}]})
    monkeypatch.setattr(transfer, "AGENT_EPISODES", 6)
    study = {**compose(WORDS)["study"], "grid": {"algo": ["iql_local"], "seed": [0, 1]}, "jobs": 1}

    def result():
        return run_study(study, lambda more: compose([*WORDS, *more]), tmp_path, Console(file=io.StringIO()))

    first = result()
    assert [(row["task"], row["n_agents"], row["seeds"]) for row in first["rows"]] == [
        ("as trained", 3, [0, 1]), ("n_agents=2", 2, [0, 1])
    ]  # fmt: skip
    assert all(row["references"] == {"best possible": pytest.approx(200)} for row in first["rows"])
    kept = sorted(tmp_path.glob("*/found.json"))
    assert read_checked(kept[0])["n_agents=2"]["per_agent"] == first["rows"][1]["per_agent"][0]
    stamps = [file.stat().st_mtime_ns for file in kept]
    assert result() == first
    assert [file.stat().st_mtime_ns for file in kept] == stamps
