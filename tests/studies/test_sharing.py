"""The study of shared rewards: what its report says and draws."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from lomaq.config import compose
from lomaq.envs import SysAdmin
from lomaq.inputs.text import read_checked
from lomaq.studies.runner import run_study

WORDS = (
    "experiment=sharing",
    "learner.n_envs=8",
    "learner.rollout_steps=10",
    "total_env_steps=200",
    "evaluation.episodes=4",
)
LOMAQ = {"algo": ["lomaq"], "mixer.weight_sharing": [0]}
GRID = [
    {"env.n_agents": [6], "env.cost": [5], **LOMAQ, "reward.share": ["learned", "none"], "seed": [0, 1]},
    {"env.n_agents": [6], "env.cost": [5], "env.permute": [3], **LOMAQ, "reward.share": ["learned"], "seed": [0]},
    {"env.n_agents": [6], "env.cost": [5], "algo": ["vdn"], "total_env_steps": [200, 400], "seed": [0]},
    {"env": ["nav"], "env.n_agents": [3], **LOMAQ, "reward.share": ["equal"], "reward.hops": [1], "seed": [0]},
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("sharing")

    def configuration(more: list[str]) -> dict:
        return {**compose([*WORDS, *more]), "run_dir": None}

    study = {"grid": GRID, "jobs": 1, "each": "lomaq.studies.sharing.found", "report": "lomaq.studies.sharing.report"}
    return folder, run_study(study, configuration, folder, Console(file=io.StringIO()))


def test_every_task_and_method_has_a_row_with_its_seeds(finished) -> None:
    folder, result = finished
    assert read_checked(folder / "summary.json") == result
    rows = {(row["task"], row["method"], row["env_steps"]): row for row in result["rows"]}
    assert set(rows) == {
        ("ring of 6, cost 5", "LOMAQ, learned W", 200),
        ("ring of 6, cost 5", "LOMAQ, W = I", 200),
        ("ring of 6, cost 5, shuffled", "LOMAQ, learned W", 200),
        ("ring of 6, cost 5", "VDN", 200),
        ("ring of 6, cost 5", "VDN", 400),
        ("nav, 3 agents", "LOMAQ, one hop, equal", 200),
    }
    row = rows["ring of 6, cost 5", "LOMAQ, learned W", 200]
    assert row["seeds"] == [0, 1]
    assert row["agent_steps"] == 1200
    assert row["reference"] == pytest.approx(SysAdmin(6, 5.0).references()["optimum"])
    assert len(row["passed_on"]) == 2
    assert rows["nav, 3 agents", "LOMAQ, one hop, equal", 200]["reference"] is None


def test_conflict_is_that_of_the_last_checkpoint_with_its_shares_and_without(finished) -> None:
    (row,) = (r for r in finished[1]["rows"] if r["task"] == "ring of 6, cost 5" and "learned" in r["method"])
    for with_shares, without in row["conflict"]:
        assert 0 <= with_shares <= 1
        assert 0 < without <= 1


def test_the_plot_is_drawn(finished) -> None:
    assert (finished[0] / f"{finished[0].name}.png").stat().st_size > 10_000
