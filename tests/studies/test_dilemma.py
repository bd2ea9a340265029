"""The SysAdmin dilemma study: what its report says and draws."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from lomaq.config import compose
from lomaq.envs import SysAdmin
from lomaq.envs.sysadmin import never
from lomaq.inputs.text import read_checked
from lomaq.studies.runner import run_study

WORDS = (
    "experiment=dilemma",
    "learner.n_envs=4",
    "learner.rollout_steps=10",
    "total_env_steps=200",
    "evaluation.episodes=4",
)
GRID = [
    {"env.n_agents": [6], "env.cost": [5], "algo": ["lomaq"], "mixer.weight_sharing": [0, 1], "seed": [0, 1]},
    {"env.n_agents": [6], "env.cost": [5], "algo": ["vdn_local"], "kappa": [0], "seed": [0]},
    {"env.n_agents": [6], "env.cost": [5], "algo": ["dcg"], "seed": [0]},
    {"env.n_agents": [6], "env.cost": [5], "algo": ["loc_facmac"], "seed": [0]},
    {"env.n_agents": [9], "env.cost": [5], "env.permute": [0], "algo": ["iql_local"], "seed": [0]},
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("dilemma")

    def configuration(more: list[str]) -> dict:
        return {**compose([*WORDS, *more]), "run_dir": None}

    study = {"grid": GRID, "jobs": 1, "each": "lomaq.studies.dilemma.drift", "report": "lomaq.studies.dilemma.report"}
    return folder, run_study(study, configuration, folder, Console(file=io.StringIO()))


def test_every_setting_is_reported_with_its_seeds_and_its_share_of_the_reference(finished) -> None:
    folder, result = finished
    assert read_checked(folder / "summary.json") == result
    rows = {(row["method"], row["kappa"], row["permuted"]): row for row in result["results"]}
    assert set(rows) == {
        ("LOMAQ", 1, False),
        ("LOMAQ, tied", 1, False),
        ("local VDN", 0, False),
        ("DCG", 1, False),
        ("Loc-FACMAC", 1, False),
        ("IQL local", 1, True),
    }
    row = rows["LOMAQ, tied", 1, False]
    assert row["seeds"] == 2
    optimum = SysAdmin(6, 5.0).references()["optimum"]
    assert row["share"] == pytest.approx([value / optimum for value in row["returns"]])
    assert row["low"] <= row["mean"] <= row["high"]


def test_references_are_exact_for_few_machines_and_simulated_beyond(finished) -> None:
    few, many = finished[1]["references"]
    assert (few["n_agents"], many["n_agents"]) == (6, 9)
    assert few["optimum"] == pytest.approx(55.53, abs=0.01)
    assert "optimum" not in many
    assert many["best threshold policy"] > many["never"]


def test_slopes_and_gaps_are_read_from_runs_on_few_machines_whose_values_are_mixed(finished) -> None:
    drifts = finished[1]["slopes_and_gaps"]
    assert [(d["method"], d["seed"]) for d in drifts] == [
        ("LOMAQ", 0),
        ("LOMAQ", 1),
        ("LOMAQ, tied", 0),
        ("LOMAQ, tied", 1),
        ("local VDN", 0),
        ("Loc-FACMAC", 0),
    ]
    tied = drifts[2]
    assert tied["slopes"][0] == pytest.approx(tied["slopes"][1], rel=1e-4)
    assert drifts[4]["slopes"] == [1.0]
    assert set(tied["gaps"]) == {f"{s}, {k} of 2 neighbours failed" for s in ("up", "failed") for k in range(3)}


def test_the_picture_is_drawn(finished) -> None:
    assert (finished[0] / "dilemma.png").read_bytes().startswith(b"\x89PNG")


def test_runs_are_tested_once_at_the_end(finished) -> None:
    (results,) = (finished[0] / "env.n_agents=6,env.cost=5,algo=vdn_local,kappa=0,seed=0").glob("results.json")
    content = json.loads(results.read_text())["sysadmin"]["sysadmin-6"]["vdn_local"]["seed_0"]
    assert set(content) == {"step_0", "absolute_metrics"}
    assert content["step_0"]["step_count"] >= 200


def test_never_earns_what_the_lower_line_says(finished) -> None:
    assert finished[1]["references"][0]["never"] == pytest.approx(SysAdmin(6, 5.0).exact_return(never))
