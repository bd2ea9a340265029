"""Learning, in seconds."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from lomaq.config import compose
from lomaq.training.run import train


@pytest.mark.slow
@pytest.mark.parametrize("words", [("mixer=mlp",), ("mixer=gcn", "kappa=2"), ("partition=pairs",)], ids=" ".join)
def test_ten_carts_learn_to_stay_up(tmp_path: Path, words: tuple[str, ...]) -> None:
    small = ["env=cartpole", "env.n_agents=10", "total_env_steps=40000", "learner.epsilon.anneal_env_steps=15000"]
    summary = train(compose([*small, *words]), tmp_path / "run", Console(file=io.StringIO()))
    assert summary["best_test_return_mean"] > 1500  # of 2000; an untrained policy stays below 200
