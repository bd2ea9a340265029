"""Learned shares in training: what is reported and stored, what stays as it was, and several processes."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lomaq.analysis.stored import evaluate_checkpoint, open_checkpoint
from lomaq.rewards import RewardSource
from lomaq.training import NonFiniteLossError
from lomaq.training.build import build_run
from lomaq.training.checkpoint import load_checkpoint

LEARNED = ("env=sysadmin", "reward.share=learned", "reward.sharing.price=0", "reward.hops=2")
METRICS = ("effect_loss", "conflict", "opposed", "passed_on")


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def matrix_of(config: dict[str, Any], state: dict[str, torch.Tensor]) -> torch.Tensor:
    """W of a stored run, from its configuration and its weights alone."""
    module = build_run(config).module
    assert module.load_state_dict(state, strict=False).unexpected_keys == []
    assert isinstance(module.reward, RewardSource)
    assert module.reward.matrix is not None
    return module.reward.matrix.matrix().to_dense()


def test_every_second_iteration_reports_what_was_learned_and_the_shares_are_stored(run_small) -> None:
    folder, summary = run_small("run", *LEARNED)
    rows = rows_of(folder)[1:]
    reported = [all(row[name] for name in METRICS) for row in rows]
    assert reported == [number % 2 == 1 for number in range(len(rows))]
    assert all(0 <= float(row["conflict"]) <= 1 and 0 <= float(row["passed_on"]) <= 1 for row in rows[1::2])
    assert all(row["loss"] for row in rows)
    assert summary["algorithm"] == "lomaq"  # which names it in its identity
    best, last = open_checkpoint(folder, resume=False), load_checkpoint(folder / "checkpoints" / "last.ckpt")
    w = matrix_of(best.config, last["state_dict"])
    torch.testing.assert_close(w.sum(dim=0), torch.ones(3))
    assert 1 - float(w.diagonal().mean()) == pytest.approx(float(rows[1::2][-1]["passed_on"]), abs=1e-5)
    assert float(rows[1::2][-1]["passed_on"]) > 0
    assert {name.split(".")[0] for name in best.state["state_dict"]} == {"networks", "reward"}
    assert evaluate_checkpoint(best, best.config, 2, 0)["episodes"] >= 1


def test_without_a_step_of_the_shares_values_are_learned_as_without_them(run_small) -> None:
    plain, _ = run_small("plain", "deterministic=true", "total_env_steps=80")
    never, _ = run_small("never", "deterministic=true", "total_env_steps=80", "reward.share=equal", "reward.hops=0")
    assert [row["loss"] for row in rows_of(plain)] == [row["loss"] for row in rows_of(never)]
    equal, _ = run_small("equal", "deterministic=true", "total_env_steps=80", "reward.share=equal")
    assert [row["loss"] for row in rows_of(plain)][1:] != [row["loss"] for row in rows_of(equal)][1:]


def test_effects_without_bounds_stop_the_run(run_small) -> None:
    with pytest.raises(NonFiniteLossError, match=r"effects of actions became (nan|inf); lower reward\.sharing\.lr"):
        run_small("run", *LEARNED, "reward.sharing.lr=1e30")


@pytest.mark.parametrize("words", [("algo=vdn",), ("algo=khop_ppo",), ("algo=loc_facmac",), ("agent=gru",)])
def test_shares_are_learned_for_any_objective_and_mixer(run_small, words: tuple[str, ...]) -> None:
    folder, _ = run_small("run", "reward=local", "reward.share=learned", *words, "total_env_steps=80")
    assert any(row["effect_loss"] for row in rows_of(folder))


def test_a_run_from_before_there_were_shares_is_read(run_small) -> None:
    """Its configuration has no settings of them, and its weights none for rewards."""
    folder, _ = run_small("run", "total_env_steps=80")
    last = load_checkpoint(folder / "checkpoints" / "last.ckpt")
    config = last["lomaq"]["config"]
    config["reward"] = {name: config["reward"][name] for name in ("_target_", "name", "source", "redistribute")}
    module = build_run(config).module
    assert {name.split(".")[0] for name in last["state_dict"]} == {"networks"}
    assert module.load_state_dict(last["state_dict"]).missing_keys == []
    assert isinstance(module.reward, RewardSource)
    assert module.reward.matrix is None
    assert len(module.configure_optimizers()) == len(last["optimizer_states"]) == 1


PROCESS = """
import torch
from lomaq import cli
from lomaq.training import LomaqModule

def on_train_end(self):
    torch.save({"reward": self.reward.state_dict(), "networks": self.networks.state_dict(), "metrics": self.metrics},
               f"rank{self.global_rank}.pt")

LomaqModule.on_train_end = on_train_end
cli.train_main()
"""


@pytest.mark.slow
def test_two_processes_learn_one_set_of_shares_from_own_environments(tmp_path, small) -> None:
    script = tmp_path / "both.py"
    script.write_text(PROCESS)
    words = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu", "run_dir=both", *small)
    result = subprocess.run(
        [sys.executable, script, *words, "reward.share=learned", "reward.sharing.every=1", "reward.sharing.price=0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    for part in ("reward", "networks"):
        assert first[part].keys() == second[part].keys()
        assert all(first[part][name].equal(second[part][name]) for name in first[part])
    for name in ("conflict", "opposed", "passed_on"):
        assert first["metrics"][name] == second["metrics"][name]
    assert first["metrics"]["effect_loss"] != second["metrics"]["effect_loss"]
    assert first["metrics"]["passed_on"] > 0
