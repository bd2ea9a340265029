"""What the checks of an environment's contract cost: their share of the time of a training.

python benchmarks/checks.py
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch

import lomaq
from lomaq.envs import contract
from lomaq.training import collector

QUIET = ("evaluation.at_start=false", "evaluation.every_env_steps=1000000", "evaluation.references=false")
CHECKS = ("check_advanced", "check_observation", "check_mask", "check_rollout")


def timed(check: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """``check``, whose seconds are added to ``spent``."""

    def call(*given: Any) -> Any:
        began = time.perf_counter()
        result = check(*given)
        spent[0] += time.perf_counter() - began
        return result

    return call


def main() -> None:
    torch.set_num_threads(1)
    spent = [0.0]
    for name in CHECKS:
        setattr(contract, name, timed(getattr(contract, name), spent))
    collector._check_outputs = timed(collector._check_outputs, spent)
    for env in ("cartpole", "nav"):
        spent[0] = 0.0
        with tempfile.TemporaryDirectory() as folder:
            trained = lomaq.train(env, *QUIET, total_env_steps=40_000, evaluation__episodes=1, run_dir=f"{folder}/run")
        share = spent[0] / trained.summary["wall_seconds"]
        print(f"{env}, {trained.summary['n_agents']} agents: {share:.2%} of the training time")


if __name__ == "__main__":
    main()
