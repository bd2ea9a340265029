"""LOMAQ+RD in training: rewards are learned from the team reward alone, and values wait for them."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lomaq.analysis.stored import evaluate_checkpoint, open_checkpoint
from lomaq.config import CONF, compose
from lomaq.envs import CartPole, Rollout
from lomaq.objectives import PartitionTD, Returns
from lomaq.objectives.base import Batch
from lomaq.rewards import DecomposedReward
from lomaq.training import LomaqModule, NonFiniteLossError
from lomaq.training.build import build_run
from lomaq.training.checkpoint import load_checkpoint

RD = "algo=lomaq_rd"
FEW = "reward.fit.updates=2"
#: Values are learned from the first iteration on, or never.
OPEN = ("reward.gate.tolerance=1000", "reward.gate.relative_tolerance=null")
CLOSED = ("reward.gate.tolerance=0",)
#: Algorithm 3 in a second.
PAPER = (
    "learner=paper",
    "learner.n_envs=1",
    "learner.rollout_steps=null",
    "learner.minibatches=1",
    "learner.batch_size=6",
    "learner.replay_capacity=8",
    "learner.target_every=3",
)
FIGURES = ("reward_pass_rate", "reward_error", "local_reward_error", "reward_loss")


def choices(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def short(env: str) -> list[str]:
    return [] if env in ("matrix", "two_step", "polymatrix") else ["env.max_steps=10"]


def rows_of(folder: Path) -> list[dict[str, str]]:
    """Rows of metrics.csv; a metric that no row has is empty in all."""
    rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    return [defaultdict(str, row) for row in rows]


def last(folder: Path) -> dict[str, Any]:
    return load_checkpoint(folder / "checkpoints" / "last.ckpt")


def differing(a: Any, b: Any, path: str = "") -> list[str]:
    """Paths at which two nested containers differ; times aside."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        return [d for key in a if key != "train_seconds" for d in differing(a[key], b[key], f"{path}.{key}")]
    if isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differing(x, y, f"{path}[{i}]")]
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) else [path]
    return [] if a == b else [path]


# ------------------------------------------------------------- what fits together


@pytest.mark.parametrize(
    ("env", "learner"),
    [  # one of the learners is quick
        pytest.param(env, learner, marks=() if (i + j) % 2 == 0 else pytest.mark.slow)
        for i, env in enumerate(choices("env"))
        for j, learner in enumerate(("fast", "paper"))
    ],
)
def test_every_environment_trains_with_learned_rewards(run_small, env: str, learner: str) -> None:
    more = PAPER if learner == "paper" else ()
    folder, summary = run_small("run", RD, FEW, f"env={env}", *short(env), *more, "total_env_steps=40", *OPEN)
    assert summary["algorithm"] == "lomaq_rd"
    rows = rows_of(folder)[1:]
    assert all(row[name] for row in rows for name in FIGURES)
    assert all(row["loss"] for row in rows)


@pytest.mark.parametrize("mixer", choices("mixer"))
def test_every_mixer_trains_on_learned_rewards(run_small, mixer: str) -> None:
    whole = ["partition=full"] if mixer in ("qmix", "graphmix") else []
    folder, summary = run_small("run", "reward=decomposed", f"mixer={mixer}", *whole, "total_env_steps=40", FEW, *OPEN)
    assert summary["reward"] == "decomposed"
    assert rows_of(folder)[-1]["loss"]


@pytest.mark.parametrize("partition", ["full", "[[0,2],[1]]"])
def test_every_partition_trains_on_the_sums_of_learned_rewards(run_small, partition: str) -> None:
    folder, _ = run_small("run", RD, f"partition={partition}", "total_env_steps=40", FEW, *OPEN)
    assert rows_of(folder)[-1]["loss"]


def test_values_can_be_classified(run_small) -> None:
    words = ("reward.variant=classification", "reward.values=[[0,1]]", "total_env_steps=40", FEW)
    assert rows_of(run_small("run", RD, *words, *OPEN)[0])[-1]["loss"]


def test_the_paper_preset_is_table_2() -> None:
    reward = build_run(compose([RD, "learner=paper", "learner.replay_capacity=60"])).module.reward
    assert isinstance(reward, DecomposedReward)
    assert (reward.fit.lr, reward.fit.batch_size, reward.fit.updates, reward.gate.pass_rate) == (0.01, 5, 1, 0.9)
    assert reward.tolerance == pytest.approx(0.1 * 15)
    assert [w.shape[2] for w in reward.model.networks[0].weight] == [64, 128, 64, 1]


# ------------------------------------------------------------ only the team reward


def scrambled(advance: Any) -> Any:
    """Local rewards of one agent are paid to another; their sum stays."""

    def scramble(self: CartPole, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rewards, ended = advance(self, actions)
        moved = torch.zeros_like(rewards)
        moved[:, 0], moved[:, 2] = 3 * rewards[:, 1] - 1, rewards.sum(dim=1) - 3 * rewards[:, 1] + 1
        return moved, ended

    return scramble


@pytest.mark.parametrize("more", [OPEN, (*OPEN, *PAPER)], ids=["fast", "paper"])
def test_local_rewards_cannot_leak_in(run_small, monkeypatch, more: tuple[str, ...]) -> None:
    words = (RD, FEW, "total_env_steps=160", "env.max_steps=20", *more)
    honest, _ = run_small("honest", *words)
    monkeypatch.setattr(CartPole, "_advance", scrambled(CartPole._advance))
    lying, _ = run_small("lying", *words)
    a, b = last(honest), last(lying)
    for part in ("state_dict", "optimizer_states", "lomaq"):
        assert differing(a[part], b[part]) == []
    mine, theirs = rows_of(honest), rows_of(lying)
    for name in ("loss", "reward_loss", "reward_error", "value_scale"):
        assert [row[name] for row in mine] == [row[name] for row in theirs]
    assert mine[1]["local_reward_error"] != theirs[1]["local_reward_error"]


def test_the_same_scrambling_changes_what_local_rewards_teach(run_small, monkeypatch) -> None:
    honest, _ = run_small("honest", "algo=lomaq", "total_env_steps=80")
    monkeypatch.setattr(CartPole, "_advance", scrambled(CartPole._advance))
    lying, _ = run_small("lying", "algo=lomaq", "total_env_steps=80")
    assert differing(last(honest)["state_dict"], last(lying)["state_dict"]) != []


# ------------------------------------------------------- while rewards are unknown


def test_values_wait_while_samples_fail_and_everything_else_goes_on(run_small) -> None:
    folder, summary = run_small("run", RD, *CLOSED)
    rows, state = rows_of(folder), last(folder)
    assert summary["env_steps"] >= 400
    assert len([row for row in rows if row["test_return_mean"]]) == len(state["lomaq"]["history"]["evaluations"]) >= 5
    assert all(row["loss"] == row["grad_norm"] == row["value_scale"] == "" for row in rows)
    assert all(float(row["reward_pass_rate"]) < 0.9 for row in rows[1:])
    fresh = build_run(compose([RD, "env.n_agents=3", *CLOSED])).module.state_dict()
    moved = {name for name, value in state["state_dict"].items() if not torch.equal(value, fresh[name])}
    assert moved == {name for name in fresh if name.startswith("reward.")}
    assert state["lomaq"]["sigma"] == 1.0
    assert state["lomaq"]["scale"] == {"average": 0.0, "weight": 0.0}


def test_the_value_scale_is_that_of_the_learned_rewards(run_small, monkeypatch) -> None:
    batches: list[Rollout] = []
    prepare = DecomposedReward.fit_and_relabel

    def spy(self: DecomposedReward, *arguments: Any) -> Any:
        batch, figures = prepare(self, *arguments)
        batches.append(batch)
        return batch, figures

    monkeypatch.setattr(DecomposedReward, "fit_and_relabel", spy)
    words = ("learner.objective.returns.gamma=0", "learner.objective.returns.lam=0", "learner.scale_decay=0", *OPEN)
    folder, _ = run_small("run", RD, *words)
    sigmas = [float(row["value_scale"]) for row in rows_of(folder)[1:]]
    expected = [float(batch.rewards[batch.mask].std(correction=0)) for batch in batches]
    assert sigmas == pytest.approx(expected, rel=1e-4)  # without γ a return is the reward
    assert max(sigmas) > 1.2 * min(sigmas)


def test_a_return_goes_on_with_the_value_before_a_sample_that_does_not_count() -> None:
    rollout = Rollout(
        observations=torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1),  # the values, too
        actions=torch.zeros(3, 1, 1, dtype=torch.int64),
        rewards=torch.tensor([10.0, 100.0, 1000.0]).view(3, 1, 1),
        terminated=torch.zeros(3, 1, dtype=torch.bool),
        truncated=torch.zeros(3, 1, dtype=torch.bool),
        mask=torch.tensor([[True], [True], [False]]),
        is_first=torch.zeros(4, 1, dtype=torch.bool),
        last_actions=torch.zeros(1, 1, dtype=torch.int64),
        hidden=torch.zeros(1, 1, 0),
    )
    networks: Any = SimpleNamespace(
        unroll=lambda rollout, _: rollout.observations, mixer=lambda utilities, _: utilities
    )
    targets = PartitionTD(Returns(0.5, 1.0)).targets(Batch(networks, networks, rollout, rollout.rewards))
    assert targets.returns[:2].flatten().tolist() == [10 + 0.5 * (100 + 0.5 * 3), 100 + 0.5 * 3]


def test_reward_networks_without_bounds_stop_the_run(run_small) -> None:
    with pytest.raises(NonFiniteLossError, match=r"reward_loss became (nan|inf).* lower reward\.fit\.lr"):
        run_small("run", RD, "reward.fit.lr=1e30")


# -------------------------------------------------------------------- checkpoints


class Killed(RuntimeError):
    """Stands for a power cut."""


HALF_OPEN = ("reward.gate.tolerance=0.9", "reward.gate.pass_rate=0.5")
RESUMED = {
    "open": OPEN,
    "closed": CLOSED,
    "half open": HALF_OPEN,
    "paper": (*PAPER, *HALF_OPEN, "env.max_steps=20"),
}


@pytest.mark.parametrize("overrides", RESUMED.values(), ids=RESUMED.keys())
def test_stop_and_resume_equals_an_uninterrupted_run(run_small, monkeypatch, overrides) -> None:
    words = (RD, FEW, "deterministic=true", "total_env_steps=240", "reward.fit.batch_size=2", *overrides)
    whole, _ = run_small("whole", *words)
    collect = LomaqModule.run_iteration

    def until_killed(self: LomaqModule):
        if self.env_steps >= 120:
            raise Killed
        return collect(self)

    with monkeypatch.context() as patch:
        patch.setattr(LomaqModule, "run_iteration", until_killed)
        with pytest.raises(Killed):
            run_small("cut", *words)
    stored = whole.parent / "cut" / "checkpoints" / "last.ckpt"
    assert 0 < load_checkpoint(stored)["lomaq"]["env_steps"] < 240
    cut, _ = run_small("cut", *words, checkpoint=stored)
    a, b = last(whole), last(cut)
    for part in ("state_dict", "optimizer_states", "lomaq"):
        assert differing(a[part], b[part]) == []
    assert len(a["optimizer_states"]) == 2
    learned = [row["loss"] != "" for row in rows_of(whole)[1:]]
    assert (any(learned), all(learned)) == (overrides != CLOSED, overrides == OPEN)
    names = ("env_steps", "loss", *FIGURES)
    assert [[row[n] for n in names] for row in rows_of(whole)] == [[row[n] for n in names] for row in rows_of(cut)]


def test_the_best_checkpoint_holds_the_learned_rewards(run_small) -> None:
    folder, _ = run_small("run", RD, "total_env_steps=40", FEW, *OPEN)
    best = open_checkpoint(folder, resume=False)
    module = build_run(best.config).module
    missing, unexpected = module.load_state_dict(best.state["state_dict"], strict=False)
    assert (missing, unexpected) == ([], [])
    assert {name.split(".")[0] for name in best.state["state_dict"]} == {"networks", "reward"}
    assert evaluate_checkpoint(best, best.config, 2, 0)["episodes"] == 2


def test_other_algorithms_store_what_they_always_did(run_small) -> None:
    folder, _ = run_small("run", "total_env_steps=80", "learner.target=soft")
    best = load_checkpoint(folder / "checkpoints" / "best.ckpt")
    assert {name.split(".")[0] for name in best["state_dict"]} == {"networks"}
    assert len(last(folder)["optimizer_states"]) == 1


# ---------------------------------------------------------------------- processes

PROCESS = """
import torch
from lomaq import cli
from lomaq.training import LomaqModule

def on_train_end(self):
    torch.save({"reward": self.reward.state_dict(), "networks": self.networks.state_dict(), "rate": self.metrics},
               f"rank{self.global_rank}.pt")

LomaqModule.on_train_end = on_train_end
cli.train_main()
"""


@pytest.mark.slow
def test_two_processes_learn_one_set_of_rewards_from_own_environments(tmp_path, small) -> None:
    script = tmp_path / "both.py"
    script.write_text(PROCESS)
    words = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu", "run_dir=both", RD, *small)
    result = subprocess.run(
        [sys.executable, script, *words, FEW, *HALF_OPEN],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert differing(first["reward"], second["reward"]) == []
    assert differing(first["networks"], second["networks"]) == []
    assert first["rate"]["reward_pass_rate"] == second["rate"]["reward_pass_rate"]
    assert first["rate"]["local_reward_error"] != second["rate"]["local_reward_error"]
    losses = [row["loss"] for row in rows_of(tmp_path / "both")[1:]]
    assert "" in losses  # some iterations without values …
    assert any(losses)  # … and some with
