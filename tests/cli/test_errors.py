"""What a mistake in training, resuming and evaluating answers: one line and status 2, and stored files kept."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
import torch

from lomaq import cli
from lomaq.cli.main import guarded
from lomaq.training.module import LomaqModule

# -------------------------------------------------------------------- training

MISTAKES = {
    "an unknown key": (["foo=1"], "foo"),
    "an unknown key in a group": (["env.n_agent=3"], "env.n_agent"),
    "an unknown choice": (["env=foo"], "env: expected one of cartpole"),
    "an added key": (["+foo=1"], "+foo=1"),
    "a sign of nothing": (["env=["], "key=value"),
    "a negative kappa": (["kappa=-1"], "kappa"),
    "a word for a number": (["seed=abc"], "seed"),
    "a negative seed": (["seed=-1"], "seed"),
    "no agents": (["env.n_agents=0"], "env.n_agents"),
    "half an agent": (["env.n_agents=1.5"], "env.n_agents"),
    "no steps": (["total_env_steps=0"], "total_env_steps"),
    "a negative learning rate": (["learner.lr=-1"], "learner.lr"),
    "an endless discount": (["learner.objective.returns.gamma=1"], "learner.objective.returns.gamma"),
    "a large lambda": (["learner.objective.returns.lam=1.5"], "learner.objective.returns.lam"),
    "an unknown optimiser": (["learner.optimizer=sgdd"], "learner.optimizer"),
    "more minibatches than copies": (
        ["learner.minibatches=33"],
        "learner.minibatches: expected at most learner.n_envs",
    ),
    "a number for a schedule": (["learner.epsilon=0.1"], "learner.epsilon: expected a group of settings, got 0.1"),
    "a name for an objective": (["learner.objective=QTRAN"], "learner.objective: expected a group of settings"),
    "a number for settings": (["evaluation=3"], "evaluation: expected a group of settings, got 3"),
    "a number for a group": (["learner=3"], "expected a name for each group"),
    "a list for a group": (["mixer=[1]"], "expected a name for each group"),
    "a value that holds =": (["env.name=a=b"], "values that hold = or , in quotes"),
    "a value that holds a comma": (["env.name=a,b"], "values that hold = or , in quotes"),
    "machines that do not know the folder": (
        ["trainer.num_nodes=2", "trainer.strategy=ddp"],
        "run_dir: expected a folder",
    ),
    "processes that inherit": (["trainer.devices=2", "trainer.strategy=ddp_spawn"], "trainer.strategy=ddp"),
    "payoffs that nobody learns": (["agent._target_=lomaq.nn.CoordinationGraph"], "agent._target_"),
    "a replay without a batch": (["learner.replay_capacity=64"], "learner.batch_size"),
    "an odd width for split": (["mixer.hidden=7", "mixer.activation=split"], "mixer.hidden"),
    "an unknown activation": (["mixer.activation=relu"], "mixer.activation"),
    "an agent twice": (["env.n_agents=3", "partition=[[0,1],[1,2]]"], "partition"),
    "an agent missing": (["env.n_agents=3", "partition=[[0,1]]"], "partition"),
    "an agent unknown": (["env.n_agents=3", "partition=[[0,1],[2,3]]"], "partition"),
    "an unknown partition": (["partition=halves"], "partition"),
    "a missing partition file": (["partition=none.json"], "partition"),
    "shares of an unknown kind": (["reward.share=mine"], "reward.share: expected one of none, equal, learned"),
    "rewards that travel back": (["reward.hops=-1"], "reward.hops"),
    "a price that is paid out": (["reward.sharing.price=-1"], "reward.sharing.price"),
    "rewards shared twice": (["reward.share=equal", "reward.redistribute=full"], "reward.redistribute: expected null"),
    "shares of the team reward": (["reward=team", "reward.share=equal"], "reward.share: expected a known setting"),
    "shares from one sequence": (
        ["reward.share=learned", "learner.n_envs=1", "learner.minibatches=1"],
        "learner.n_envs or learner.batch_size: expected at least 3 sequences",
    ),
    "an unknown layout": (["env=nav", "env.layout=torus"], "env.layout"),
    "ragged payoffs": (["env=matrix", "env.payoffs=[[[0,1],[1,2]],[[2,1],[1]]]"], "env.payoffs"),
    "a negative threshold": (["evaluation.thresholds_per_agent=[-1]"], "evaluation.thresholds_per_agent"),
    "an unknown accelerator": (["trainer.accelerator=abacus"], "trainer"),
    "no devices": (["trainer.devices=0"], "trainer"),
    "no episodes": (["evaluation.episodes=0"], "evaluation.episodes"),
    "a missing run": (["resume=nowhere"], "nowhere"),
    "a word for a switch": (["deterministic=maybe"], "deterministic"),
    "wrong scales": (["agent.observation_scale=[1,2]"], "agent.observation_scale"),
    "no hidden layers": (["agent.hidden=[]"], "agent.hidden"),
    "a share of references": (["evaluation.references=0.5"], "evaluation.references: expected true or false"),
    "a number for thresholds": (["evaluation.thresholds_per_agent=1.0"], "evaluation.thresholds_per_agent"),
    "a word for an option": (["learner.optimizer_options={eps: x}"], "learner.optimizer_options"),
    "a rate among the options": (["learner.optimizer_options={lr: 1}"], "learner.optimizer_options"),
    "a number for a study": (["study=0"], "study: expected null"),
    "a name of before": (["algo.requires=x"], "algo.requires: expected the setting algo.identity"),
    "a list for a name": (["env.name=[]"], "env.name: expected a word"),
    "a flag of nothing": (["--foo"], "--foo: expected key=value"),
    "a flag of a stranger's file": (["--experimental-rerun", "x"], "--experimental-rerun: expected key=value"),
    "a flag of another value": (["--cfg", "x"], "argument --cfg"),
    "a flag of an unknown setting": (["--cfg", "job", "foo=1"], "foo: expected a known setting"),
    "a flag alone": (["--resolve"], "--resolve flag can only be used"),
    "a letter that hydra lacks": (["env.name=größe"], "key=value"),
}


@pytest.mark.parametrize(("words", "name"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_with_status_2_and_writes_nothing(command, tmp_path, words, name) -> None:
    status, out, err = command(cli.train_main, *words)
    assert status == 2
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert name in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_names_how_to_continue_and_continues(command, small, tmp_path, monkeypatch) -> None:
    collect, handler = LomaqModule._collect, signal.getsignal(signal.SIGINT)

    def interrupted(module: LomaqModule) -> None:
        collect(module)
        if module.env_steps >= 200:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(LomaqModule, "_collect", interrupted)
        status, _, err = command(cli.train_main, *small, "run_dir=run")
    assert status == 130
    assert err.strip().splitlines()[-1] == "error: interrupted; continue with resume=run"
    assert signal.getsignal(signal.SIGINT) is handler  # the next interrupt counts, too
    status, _, err = command(cli.train_main, "resume=run")
    assert status == 0, err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["env_steps"] >= 400


def test_an_existing_run_is_never_overwritten(command, trained: Path) -> None:
    before = {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()}
    status, _, err = command(cli.train_main, f"run_dir={trained}")
    assert status == 2
    assert "a new or empty folder" in err
    assert {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()} == before


def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(command, trained: Path, monkeypatch) -> None:
    last = trained / "checkpoints" / "last.ckpt"
    before = last.read_bytes()

    def full(content, file) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    status, _, err = command(cli.train_main, f"resume={trained}", "total_env_steps=600")
    assert status == 2
    assert "No space left" in err
    assert last.read_bytes() == before


def test_a_loss_that_is_no_number_stops_the_run_with_the_last_checkpoint_kept(command, small, tmp_path) -> None:
    status, _, err = command(cli.train_main, *small, "learner.lr=1e30", "learner.grad_clip=1e30", "run_dir=bad")
    assert status == 2
    assert "the loss became" in err
    assert "last checkpoint is kept" in err
    assert (tmp_path / "bad" / "checkpoints" / "last.ckpt").is_file()


# -------------------------------------------------------------------- resuming


def test_resume_takes_no_setting_that_decides_what_the_run_is(command, trained: Path) -> None:
    status, _, err = command(cli.train_main, f"resume={trained}", "kappa=2")
    assert status == 2
    assert "kappa" in err


def test_resume_of_a_finished_run_says_what_to_give(command, trained: Path) -> None:
    status, _, err = command(cli.train_main, f"resume={trained}")
    assert status == 2
    assert "total_env_steps=" in err


# ------------------------------------------------------------------ evaluating

EVALUATION_MISTAKES = {
    "no checkpoint named": (["episodes=3"], "checkpoint"),
    "no such checkpoint": (["checkpoint=nowhere"], "nowhere"),
    "no episodes": (["checkpoint={run}", "episodes=0"], "episodes"),
    "a setting of training": (["checkpoint={run}", "kappa=2"], "kappa"),
    "an unknown setting": (["checkpoint={run}", "env.foo=2"], "env.foo"),
    "a foreign file": (["checkpoint={run}/summary.json"], "summary.json"),
}


@pytest.mark.parametrize(("words", "name"), EVALUATION_MISTAKES.values(), ids=EVALUATION_MISTAKES.keys())
def test_a_mistake_in_evaluation_is_one_line_with_status_2(command, trained: Path, words, name) -> None:
    status, out, err = command(cli.evaluate_main, *(word.format(run=trained) for word in words))
    assert status == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert name in err


def test_a_checkpoint_of_another_environment_is_refused(command, small) -> None:
    assert command(cli.train_main, *small, "env=nav", "run_dir=nav")[0] == 0
    status, _, err = command(cli.evaluate_main, "checkpoint=nav", "env.n_agents=9")
    assert status == 2
    assert "obs_size" in err


def test_a_game_has_no_thresholds_and_its_checkpoint_fits_no_other_agent_types(command, small, three_agents) -> None:
    short = [word for word in small if word != three_agents("cartpole")]
    status, out, err = command(cli.train_main, "env=matrix", *short, "run_dir=game")
    assert status == 0, err
    assert "no threshold" in out
    status, out, err = command(cli.evaluate_main, "checkpoint=game", three_agents("matrix"))
    assert (status, out, len(err.strip().splitlines())) == (2, "", 1)
    assert "agent types" in err


def test_memory_that_ends_is_one_line(capsys) -> None:
    def command() -> int:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:1]\nDefaultCPUAllocator: can't allocate memory: 4 bytes")

    assert guarded(command) == 2
    assert re.fullmatch(r"error: out of memory \(.*4 bytes\); smaller sizes need less\n", capsys.readouterr().err)
