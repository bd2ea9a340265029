"""The report of a study, from runs that were never trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lomaq.analysis.statistics import time_to
from lomaq.config import compose
from lomaq.runs import Curve, RunRecord
from lomaq.studies.report import report, rows_of, table


def run(algo: str, seed: int, means: list[float], **settings: Any) -> RunRecord:
    """A run of cart-pole with 3 carts that was tested every 100 env steps."""
    config = compose(["env=cartpole", "env.n_agents=3", f"algo={algo}", f"seed={seed}", "total_env_steps=200"])
    steps = [100.0 * place for place in range(len(means))]
    summary = {"n_agents": 3, "test_return_mean": means[-1], "first_env_steps_at": {"5": None}}
    curve = Curve(steps, means, means, means)
    return RunRecord(Path(algo), config, summary, curve, 200, 1.0, {"algo": algo, "seed": seed, **settings})


RUNS = [run("lomaq", 0, [0, 4, 6]), run("lomaq", 1, [0, 6, 8]), run("vdn", 0, [9, 2, 4]), run("vdn", 1, [9, 2, 6])]


def test_a_row_has_every_seed_the_curve_without_its_start_and_how_often_it_is_better(tmp_path: Path) -> None:
    first, second = report(tmp_path, RUNS)["rows"]
    assert (first["task"], first["method"], first["env_steps"]) == ("cartpole, 3 agents", "LOMAQ", 200)
    assert (first["agent_steps"], first["seeds"], first["returns"], first["iqm"]) == (600, [0, 1], [6, 8], 7)
    assert first["along"]["areas"] == [5, 7]
    assert second["along"]["areas"] == [3, 4]
    assert first["better"] is None
    assert second["better"][0] == pytest.approx((0 + 0 + 0.5 + 0) / 4)
    assert first["reached"]["5"] == time_to([200, 100], 200)._asdict()
    assert first["absolute"] is None  # no checkpoint is kept
    assert first["reference"] == 600  # best possible
    assert (tmp_path / f"{tmp_path.name}.png").stat().st_size > 10_000
    text = (tmp_path / "table.md").read_text()
    assert "**cartpole, 3 agents, 200 env steps, seeds 0, 1; best reference 600.0**" in text
    assert "| LOMAQ | 7.0000 (6.0000 to 8.0000) |" in text


def test_shuffled_graphs_are_one_task_and_other_settings_name_the_method() -> None:
    shuffled = [run("lomaq", 0, [1, 2], **{"env.permute": seed, "kappa": 2}) for seed in (0, 1)]
    shown = table(rows_of([*shuffled, run("lomaq", 0, [1, 2], **{"env.permute": False, "kappa": 2})]))
    assert "**cartpole, 3 agents, graph shuffled, 200 env steps, 2 runs; best reference 600.0**" in shown
    assert "**cartpole, 3 agents, 200 env steps, seed 0; best reference 600.0**" in shown
    assert shown.count("| LOMAQ, kappa=2 |") == 2
