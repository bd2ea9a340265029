"""What several tests share."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from lomaq.cli import compose
from lomaq.training.run import train

# several test processes share the cores, and threads that wait for each other cost more than they bring
torch.set_num_threads(1)

#: A run of a second: two small iterations between evaluations.
SMALL = (
    "learner.n_envs=4",
    "learner.rollout_steps=10",
    "learner.minibatches=2",
    "evaluation.episodes=2",
    "evaluation.every_env_steps=80",
    "total_env_steps=400",
)
#: How an environment that has no ``env.n_agents`` gets three agents; here with 2, 2 and 1 actions. The two-step game
#: always has two: its word changes nothing.
THREE_AGENTS = {
    "matrix": "env.payoffs=[[[[0],[1]],[[1],[2]]],[[[2],[1]],[[1],[1]]],[[[0],[1]],[[0],[3]]]]",
    "two_step": "env.name=two_step",
}


def three_agents_in(env: str) -> str:
    return THREE_AGENTS.get(env, "env.n_agents=3")


@pytest.fixture(scope="session")
def three_agents():
    """The override that gives an environment three agents: ``three_agents("nav")``."""
    return three_agents_in


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """Overrides that make any configuration small."""
    return (three_agents_in("cartpole"), *SMALL)


@pytest.fixture
def run_small(tmp_path: Path):
    """Train a small run: ``run_small("name", *overrides)`` → (folder, summary)."""

    def run(name: str, *overrides: str, checkpoint: Path | None = None) -> tuple[Path, dict[str, Any]]:
        folder = tmp_path / name
        env = dict(word.split("=", 1) for word in overrides).get("env", "cartpole")
        config = compose([three_agents_in(env), *SMALL, *overrides])[0]
        return folder, train(config, folder, Console(file=io.StringIO()), checkpoint)

    return run
