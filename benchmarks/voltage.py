"""Voltage control: speed of the environment alone, and baseline policies in other settings.

python benchmarks/voltage.py                # env steps a second, one thread
python benchmarks/voltage.py CHECKPOINT     # and settings, with this policy as it is
"""

from __future__ import annotations

import sys
import time

import torch

import lomaq
from lomaq.envs import Voltage
from lomaq.envs.voltage import baselines

DAYS = 20
SETTINGS = (
    {},
    {"load": 0.6},
    {"load": 0.8},
    {"sun": 3.0},
    {"load": 0.6, "sun": 2.0},
    {"load": 0.5, "sun": 3.0, "reactive": 0.44},
    {"load": 0.5, "sun": 6.0, "reactive": 0.44},
    {"inverters": 0.5},
    {"feeder": "bus69"},
)


def gigaflops() -> float:
    """A product of matrices, to see how busy the machine is."""
    matrix, began = torch.randn(512, 512), time.perf_counter()
    for _ in range(40):
        matrix @ matrix
    return 40 * 2 * 512**3 / (time.perf_counter() - began) / 1e9


@torch.no_grad()  # as in training
def speed(n_envs: int) -> str:
    """Env steps a second of 15 days, and of the fastest single step, which a busy machine disturbs the least."""
    env, generator = Voltage(n_envs=n_envs), torch.Generator().manual_seed(0)
    actions = torch.randint(env.n_actions, (n_envs, env.n_agents), generator=generator)
    days, steps, references = [], [], []
    for _ in range(15):
        references.append(gigaflops())
        env.reset()
        took = []
        for _ in range(env.max_steps):
            began = time.perf_counter()
            env.step(actions)
            took.append(time.perf_counter() - began)
        days.append(n_envs * env.max_steps / sum(took))
        steps.append(n_envs / min(took))
    rates = f"median day {sorted(days)[7]:,.0f}, best day {max(days):,.0f}, best step {max(steps):,.0f}"
    return f"{rates}; products {max(references):.0f} GFlop/s"


def main() -> None:
    torch.set_num_threads(1)
    for n_envs in (32, 256):
        print(f"{n_envs} parallel environments, env steps/s: {speed(n_envs)}")
    for setting in SETTINGS if len(sys.argv) > 1 else ():
        policy = lomaq.load(sys.argv[1], **setting)
        env = Voltage(**setting)
        found = baselines.measured(env, DAYS)

        def learned(states: Voltage, policy: lomaq.api.Policy = policy) -> torch.Tensor:
            policy.reset()
            return policy.act(states.observe())

        found[policy.stored.config["algo"]["name"]] = baselines.play(env, learned, DAYS, baselines.SEED)
        print(setting or "default")
        for name, days in found.items():
            mean = {key: float(values.mean()) for key, values in days.items()}
            print(f"    {name:18s} mean violation {mean['mean_violation'] * 1e4:7.3f}e-4  return {mean['return']:9.1f}")


if __name__ == "__main__":
    main()
