"""What the PettingZoo adapter leaves of an environment's own speed: mpe2's simple_spread, five agents, random actions.

python benchmarks/adapter.py

The environment alone in one process, alone in as many processes as there are cores at the same time, and four parallel
environments by the adapter take turns; medians over the rounds.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time

N_AGENTS, N_ENVS, ROUNDS, SECONDS = 5, 4, 9, 1.0


def raw(seconds: float) -> float:
    """Env steps per second of one environment in this process."""
    import numpy as np
    from mpe2 import simple_spread_v3

    env, draw, steps = simple_spread_v3.parallel_env(N=N_AGENTS), np.random.default_rng(0), 0
    env.reset(seed=0)
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        if not env.agents:
            env.reset()
        actions = draw.integers(0, 5, N_AGENTS)
        env.step({agent: int(action) for agent, action in zip(env.agents, actions, strict=True)})
        steps += 1
    return steps / (time.perf_counter() - began)


def main() -> None:
    import torch

    from lomaq.envs import PettingZoo

    torch.set_num_threads(1)
    cores = len(os.sched_getaffinity(0))
    processes = min(cores, N_ENVS)
    with (
        multiprocessing.get_context("spawn").Pool(processes) as pool,
        PettingZoo("mpe2.simple_spread_v3:parallel_env", {"N": N_AGENTS}, processes=processes, n_envs=N_ENVS) as env,
    ):

        def adapter(seconds: float) -> float:
            steps, began = 0, time.perf_counter()
            while time.perf_counter() - began < seconds:
                if bool(env.ended.all()):
                    env.reset()
                env.step(torch.randint(5, (N_ENVS, N_AGENTS)))
                steps += N_ENVS
            return steps / (time.perf_counter() - began)

        env.reset()
        pool.map(raw, [0.2] * processes)
        adapter(0.2)
        rounds = []
        for _ in range(ROUNDS):
            alone, together = pool.apply(raw, [SECONDS]), sum(pool.map(raw, [SECONDS] * processes, chunksize=1))
            rounds.append((alone, together, adapter(SECONDS)))
        share = env.statistics()["simulator_share"]
    alone, together, adapted = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"{cores} cores; load {os.getloadavg()[0]:.1f}; median of {ROUNDS} rounds of {SECONDS:g} s, env steps/s")
    print(f"raw, one process            {alone:8,.0f}   × {processes} = {alone * processes:,.0f}")
    print(f"raw, {processes} processes at once     {together:8,.0f}")
    print(f"adapter, {N_ENVS} environments     {adapted:8,.0f}")
    shared = statistics.median(mine / theirs for _, theirs, mine in rounds)
    print(f"adapter / raw at once       {shared:8.0%}")
    print(f"adapter / (raw × {processes})         {adapted / (alone * processes):8.0%}")
    print(f"simulators                  {share:8.0%} of the time")


if __name__ == "__main__":
    main()
