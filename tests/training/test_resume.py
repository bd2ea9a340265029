"""Stop and resume equals a run that never stopped, bit for bit."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from lomaq.analysis.stored import open_checkpoint
from lomaq.errors import InputError
from lomaq.training import LomaqModule
from lomaq.training.checkpoint import load_checkpoint

VARIANTS = {
    "mlp": (),
    "gcn": ("mixer=gcn", "kappa=2"),
    "nav": ("env=nav",),
    "gru": ("agent=gru", "agent.last_action=true"),
    "soft target": ("learner.target=soft",),
    "sampled targets": ("learner.objective.target=sampled", "learner.target=soft", "learner.epsilon.spread=3"),
    "passes that end early": (
        "algo=khop_ppo",
        "agent=gru",
        "learner.epochs=3",
        "learner.objective.max_kl=0.001",
        "learner.objective.entropy_end=0.1",
    ),
    "actors and replay": (
        "algo=loc_facmac",
        "learner.target=soft",
        "learner.replay_capacity=12",
        "learner.batch_size=4",
    ),
    "learned shares": ("reward.share=learned", "reward.sharing.updates=3"),
    "learned shares and replay": (
        "reward.share=learned",
        "reward.sharing.every=3",
        "learner.replay_capacity=12",
        "learner.batch_size=5",
    ),
    "drawn tests": ("algo=coma", "evaluation.sample=true"),
    "hard target and replay": (
        "learner.target=hard",
        "learner.target_every=3",
        "learner.replay_capacity=12",
        "learner.batch_size=4",
        "learner.rollout_steps=null",
        "learner.minibatches=1",
        "env.max_steps=20",
    ),
}


def equal(a: Any, b: Any, path: str = "") -> list[str]:
    """Paths at which two nested containers differ; times aside."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        return [d for key in a if key != "train_seconds" for d in equal(a[key], b[key], f"{path}.{key}")]
    if isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in equal(x, y, f"{path}[{i}]")]
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) else [path]
    return [] if a == b else [path]


class Killed(RuntimeError):
    """Stands for a power cut."""


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS.keys())
def test_stop_and_resume_equals_an_uninterrupted_run(run_small, monkeypatch, overrides) -> None:
    whole, _ = run_small("whole", "deterministic=true", *overrides)

    collect = LomaqModule.run_iteration

    def until_killed(self: LomaqModule):
        if self.env_steps >= 200:
            raise Killed
        return collect(self)

    with monkeypatch.context() as patch:
        patch.setattr(LomaqModule, "run_iteration", until_killed)
        with pytest.raises(Killed):
            run_small("cut", "deterministic=true", *overrides)
    last = whole.parent / "cut" / "checkpoints" / "last.ckpt"
    before = load_checkpoint(last)["lomaq"]["env_steps"]
    assert 0 < before < 400
    cut, summary = run_small("cut", "deterministic=true", *overrides, checkpoint=last)

    a, b = load_checkpoint(whole / "checkpoints" / "last.ckpt"), load_checkpoint(last)
    assert equal(a["state_dict"], b["state_dict"]) == []
    assert equal(a["optimizer_states"], b["optimizer_states"]) == []
    assert equal(a["lomaq"], b["lomaq"]) == []
    assert summary["env_steps"] == a["lomaq"]["env_steps"]
    rows = {folder: list(csv.DictReader((folder / "metrics.csv").read_text().splitlines())) for folder in (whole, cut)}
    assert [r["env_steps"] for r in rows[whole]] == [r["env_steps"] for r in rows[cut]]
    assert [r["loss"] for r in rows[whole]] == [r["loss"] for r in rows[cut]]


def test_two_runs_of_one_seed_are_equal_and_of_two_seeds_are_not(run_small) -> None:
    folders = [run_small(f"{i}", f"seed={seed}")[0] for i, seed in enumerate((1, 1, 2))]
    a, b, c = (load_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"] for folder in folders)
    assert equal(a, b) == []
    assert equal(a, c) != []


def test_a_checkpoint_holds_tensors_and_plain_containers_only(run_small) -> None:
    folder, _ = run_small("run")
    for name in ("last.ckpt", "best.ckpt"):
        torch.load(folder / "checkpoints" / name, weights_only=True)


def test_the_best_checkpoint_is_small_and_not_for_resuming(run_small) -> None:
    folder, _ = run_small("run")
    best = folder / "checkpoints" / "best.ckpt"
    assert "optimizer_states" not in load_checkpoint(best)
    with pytest.raises(InputError, match=r"best\.ckpt is for evaluation only"):
        open_checkpoint(best, resume=True)


def test_a_run_of_an_older_version_is_refused_before_it_is_touched(run_small) -> None:
    folder, _ = run_small("run")
    file = folder / "checkpoints" / "last.ckpt"
    content = torch.load(file, weights_only=True)
    content["optimizer_states"][0]["param_groups"][0]["params"] = [0, 1]  # a vector for each parameter
    torch.save(content, file)
    with pytest.raises(InputError, match=r"resume: expected a run of this version.*train anew"):
        open_checkpoint(file, resume=True)


def test_a_damaged_checkpoint_is_one_line(run_small, tmp_path: Path) -> None:
    folder, _ = run_small("run")
    last = folder / "checkpoints" / "last.ckpt"
    content = last.read_bytes()
    for number, damaged in enumerate((content[: len(content) // 2], b"", b"no checkpoint", content[:-100])):
        file = tmp_path / f"damaged{number}.ckpt"
        file.write_bytes(damaged)
        with pytest.raises(InputError, match="expected a checkpoint") as error:
            open_checkpoint(file, resume=True)
        assert "\n" not in str(error.value)


def test_a_failed_write_leaves_the_old_checkpoint_whole(run_small, monkeypatch) -> None:
    folder, _ = run_small("run")
    last = folder / "checkpoints" / "last.ckpt"
    before = last.read_bytes()

    def disk_full(content: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(OSError, match="No space left"):
        run_small("run", "total_env_steps=800", checkpoint=last)
    assert last.read_bytes() == before
    assert sorted(p.name for p in last.parent.iterdir()) == ["best.ckpt", "last.ckpt"]
