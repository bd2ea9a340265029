"""Speeds of this machine, with its matrix-product rate for comparison across machines.

    python benchmarks/speed.py [--repeat 5] [--json FILE]
    python benchmarks/speed.py --methods 15        # training of every method with 15 agents
    python benchmarks/speed.py --methods 15 --only lomaq,khop_ppo

One thread. Every number is the median of several rounds, and the rounds of all rows are interleaved, so that a machine
that slows down or is shared slows all rows alike.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from lomaq.config import compose, methods
from lomaq.envs import BatchedEnv, CartPole, Navigation
from lomaq.training.run import train

#: What to measure: name → its unit, and a function that takes one measurement.
Rows = dict[str, tuple[str, Callable[[], float]]]


def matrix_product() -> float:
    """GFLOP/s of a 512³ product."""
    a = torch.rand(512, 512)
    begin = time.perf_counter()
    for _ in range(40):
        a @ a
    return 40 * 2 * 512**3 / (time.perf_counter() - begin) / 1e9


def stepping(env: BatchedEnv, steps: int) -> Callable[[], float]:
    """Env steps per second with random actions, resets included."""
    actions = [torch.randint(env.n_actions, (env.n_envs, env.n_agents)) for _ in range(8)]
    env.reset()

    def measure() -> float:
        begin = time.perf_counter()
        for t in range(steps):
            _, _, terminated, truncated = env.step(actions[t % 8])
            ended = terminated | truncated
            if ended.any():
                env.reset(ended)
        return steps * env.n_envs / (time.perf_counter() - begin)

    return measure


def training(*words: str) -> Callable[[], float]:
    """Env steps per second of collecting and learning, evaluation and imports apart."""

    def measure() -> float:
        config = compose([*words, "evaluation.episodes=1", "evaluation.every_env_steps=1000000000"])
        with tempfile.TemporaryDirectory() as folder:
            summary = train(config, Path(folder) / "run", Console(file=io.StringIO()))
        return float(summary["env_steps_per_second"])

    return measure


def system() -> Rows:
    """What environments and training make of this machine."""
    return {
        "matrix product": ("GFLOP/s", matrix_product),
        "cart-pole, 15 agents, 1024 environments": ("env steps/s", stepping(CartPole(15, n_envs=1024), 200)),
        "navigation, 15 agents, 1024 environments": ("env steps/s", stepping(Navigation(15, n_envs=1024), 60)),
        "navigation, 1000 agents, 16 environments": ("env steps/s", stepping(Navigation(1000, n_envs=16), 60)),
        "training: env=cartpole": ("env steps/s", training("env=cartpole", "total_env_steps=40000")),
        "training: env=cartpole env.n_agents=100": (
            "env steps/s",
            training("env=cartpole", "env.n_agents=100", "total_env_steps=8000"),
        ),
        "training: env=nav": ("env steps/s", training("env=nav", "total_env_steps=16000")),
        "training: env=nav mixer=gcn kappa=2": (
            "env steps/s",
            training("env=nav", "mixer=gcn", "kappa=2", "total_env_steps=16000"),
        ),
    }


def every_method(n_agents: int, only: list[str]) -> Rows:
    """Training of every method, or some, on the environments that methods are compared on."""
    rows: Rows = {"matrix product": ("GFLOP/s", matrix_product)}
    for env in ("cartpole", "nav", "sysadmin"):
        for algo in only or methods():
            words = f"env={env}", f"algo={algo}"
            run = training(*words, f"env.n_agents={n_agents}", "total_env_steps=16000", "evaluation.references=false")
            rows[" ".join(words)] = "env steps/s", run
    return rows


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5, help="rounds")
    parser.add_argument("--json", type=Path, help="file to write as well")
    parser.add_argument("--methods", type=int, metavar="N", help="train every method with N agents, and no more")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="of the methods, those named")
    options = parser.parse_args()
    rows = system() if options.methods is None else every_method(options.methods, options.only)
    found: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(options.repeat):
        for name, (_, measure) in rows.items():
            found[name].append(measure())
    table = Table("what", "median", "lowest", "highest", "unit")
    for name, (unit, _) in rows.items():
        values = found[name]
        table.add_row(name, *(f"{x:,.0f}" for x in (statistics.median(values), min(values), max(values))), unit)
    console = Console()
    console.print(table)
    if options.methods is None:
        small = statistics.median(found["navigation, 15 agents, 1024 environments"]) * 15
        large = statistics.median(found["navigation, 1000 agents, 16 environments"]) * 1000
        console.print(f"navigation, cost of an agent step at 1000 agents over that at 15: {small / large:.2f}")
    if options.json:
        options.json.write_text(json.dumps({"torch": torch.__version__, "rows": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
