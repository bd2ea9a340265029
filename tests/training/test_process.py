"""A training leaves the process as it found it, alone or next to others."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil
import pytest
import pytorch_lightning as pl
import torch

import lomaq
from lomaq.training import process
from lomaq.training.process import borrowed_process, building, keep_freed_memory, peak_memory_mb

SMALL = (
    "env.n_agents=3",
    "learner.n_envs=4",
    "learner.rollout_steps=10",
    "learner.minibatches=2",
    "evaluation.episodes=2",
    "evaluation.every_env_steps=80",
    "total_env_steps=160",
)


def state() -> dict[str, Any]:
    """What belongs to the process, in a form that can be compared."""
    kind, keys, *rest = np.random.get_state()
    return {
        "threads": torch.get_num_threads(),
        "torch": torch.get_rng_state().tolist(),
        "numpy": (kind, keys.tolist(), *rest),
        "python": random.getstate(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "environment": dict(os.environ),
        "filters": list(warnings.filters),
        "handlers": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "logger": logging.getLogger("pytorch_lightning").level,
    }


@pytest.fixture
def two_threads(monkeypatch):
    """Another number of threads than a training takes, and another level of the logger."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    logger, level = logging.getLogger("pytorch_lightning"), logging.getLogger("pytorch_lightning").level
    torch.set_num_threads(2)
    logger.setLevel(logging.ERROR)
    yield
    torch.set_num_threads(1)
    logger.setLevel(level)


@pytest.mark.parametrize("words", [("deterministic=true",), ("learner.lr=1e30", "learner.grad_clip=1e30")])
def test_a_training_changes_nothing_of_the_process_whether_it_ends_well_or_not(tmp_path, two_threads, words):
    before = state()
    if "deterministic=true" in words:
        lomaq.train("cartpole", *SMALL, *words, run_dir=tmp_path / "run", seed=7)
    else:
        with pytest.raises(RuntimeError, match="the loss became"):
            lomaq.train("cartpole", *SMALL, *words, run_dir=tmp_path / "run", seed=7)
    after = state()
    assert [name for name in before if before[name] != after[name]] == []


def test_looking_at_a_run_changes_nothing_of_the_process_either(tmp_path, two_threads):
    trained = lomaq.train("cartpole", *SMALL, run_dir=tmp_path / "run")
    before = state()
    trained.certify(states=4)
    after = state()
    assert [name for name in before if before[name] != after[name]] == []


def test_a_training_asks_nothing_of_the_allocator_of_a_process_that_is_not_ours(tmp_path, monkeypatch):
    def refuse(name: object) -> None:
        raise AssertionError(f"a training loads the C library {name}")

    monkeypatch.setattr("ctypes.CDLL", refuse)
    lomaq.train("cartpole", *SMALL, run_dir=tmp_path / "run")
    with pytest.raises(AssertionError, match="loads the C library"):
        keep_freed_memory()  # what the command line does


def results(folder) -> tuple[Any, dict[str, torch.Tensor]]:
    """Test returns and final weights of a run."""
    content = json.loads((folder / "results.json").read_text())
    for _ in range(4):
        (content,) = content.values()
    weights = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return [point["return"] for name, point in content.items() if name.startswith("step_")], weights


@pytest.mark.parametrize("algo", ["lomaq", "coma"])
def test_two_trainings_in_two_threads_find_what_they_find_one_after_the_other(tmp_path, algo, two_threads):
    def train(name: str, seed: int) -> Any:
        return results(
            lomaq.train("cartpole", f"algo={algo}", *SMALL, seed=seed, run_dir=tmp_path / f"{name}{seed}").run_dir
        )

    alone = [train("alone", seed) for seed in (1, 2)]
    before = state()
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(train, ["together"] * 2, [1, 2]))
        assert list(pool.map(lambda _: torch.get_num_threads(), range(4))) == [2] * 4
    after = state()
    assert [name for name in before if before[name] != after[name]] == []
    for (returns, weights), (others, other) in zip(alone, together, strict=True):
        assert returns == others
        assert all(torch.equal(weight, other[name]) for name, weight in weights.items())
    assert alone[0][0] != alone[1][0]


def test_the_last_of_several_trainings_puts_back_what_the_first_found(two_threads):
    before, entered, leave = state(), threading.Event(), threading.Event()

    def first() -> int:
        with borrowed_process(1):
            torch.manual_seed(1)
            entered.set()
            assert leave.wait(10)
        return torch.get_num_threads()

    with ThreadPoolExecutor(1) as pool:
        threads = pool.submit(first)
        assert entered.wait(10)
        with borrowed_process(1):
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":16:8"
            leave.set()
            assert threads.result() == 2
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
            assert torch.get_num_threads() == 1
    assert state() == before


def test_building_draws_as_if_nobody_else_did():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with building():
        torch.manual_seed(4)
        torch.rand(5)
    assert torch.equal(torch.rand(2), expected)


def test_networks_are_not_drawn_while_lightning_puts_the_generators_back(tmp_path, monkeypatch):
    noted, drawn, began = threading.Event(), threading.Event(), threading.Event()

    def check(trainer: pl.Trainer) -> None:  # between the generators' states being noted and put back
        noted.set()
        drawn.wait(0.5)

    class Begin(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            began.set()

    monkeypatch.setattr(pl.Trainer, "_run_sanity_check", check)
    torch.manual_seed(3)
    expected = torch.rand(4)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(lomaq.train, "cartpole", *SMALL, run_dir=tmp_path / "run", callbacks=[Begin()])
        assert noted.wait(60)
        with building():
            torch.manual_seed(3)
            first = torch.rand(2)
            drawn.set()
            assert began.wait(60)
            second = torch.rand(2)
        run.result()
    assert torch.equal(torch.cat([first, second]), expected)


def test_peak_memory_is_in_megabytes_with_and_without_the_module_resource(monkeypatch):
    now = psutil.Process().memory_info().rss / 2**20
    assert 0.9 * now < peak_memory_mb() < 100 * now
    monkeypatch.setattr(process, "resource", None)
    assert peak_memory_mb() == pytest.approx(psutil.Process().memory_info().rss / 2**20, rel=0.1)
