"""Baseline policies of traffic signals: each looks at its own signal and takes the best phase now.

Of equally good phases it takes the first of its program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lomaq.envs.sumo.signals import TrafficSignals


def greedy_queue(env: TrafficSignals) -> dict[str, int]:
    """The phase that serves most halting vehicles."""
    return _best(env, env.lane_halting)


def greedy_approaching(env: TrafficSignals) -> dict[str, int]:
    """The phase that serves most vehicles, halting or approaching."""
    return _best(env, env.lane_vehicles)


def max_pressure(env: TrafficSignals) -> dict[str, int]:
    """The phase with the largest pressure: the queues before its links less those after them, in halting vehicles."""
    queue = env._sumo.lane.getLastStepHaltingNumber
    actions = {}
    for signal in env.network.signals:
        pressure = [
            sum(queue(before) - queue(after) for before, after, link in signal.links if state[link] in "Gg")
            for state in signal.greens
        ]
        actions[signal.name] = int(np.argmax(pressure))
    return actions


def _best(env: TrafficSignals, values: np.ndarray) -> dict[str, int]:
    """The phase with the largest sum of ``values`` over the lanes that it serves."""
    actions, first = {}, 0
    for signal in env.network.signals:
        mine = values[first : first + len(signal.lanes)]
        actions[signal.name] = int(np.argmax([mine[list(lanes)].sum() for lanes in signal.served]))
        first += len(signal.lanes)
    return actions


BASELINES: dict[str, Callable[[TrafficSignals], dict[str, int]]] = {
    "greedy_queue": greedy_queue,
    "greedy_approaching": greedy_approaching,
    "max_pressure": max_pressure,
}
