"""What main process and workers tell each other of a PettingZoo environment; imports neither torch nor gymnasium."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: Largest number of a seed, and those of the orders that a worker takes for each of its parallel environments: nothing,
#: a step, a reset, and from there on the baseline policies by their number.
MOST_SEED, NOTHING, STEP, RESET, BASELINE = 2**31 - 1, 0, 1, 2, 3
#: Numbers of an outcome after the rewards.
TERMINATED, TRUNCATED, SECONDS = -3, -2, -1


class Refused(Exception):
    """What a factory or its environment is not, in the words of an ``InputError``: expected, got, remedy."""


class WorkerError(Exception):
    """What went wrong in a worker: environment (None: in any of its process), what was expected, got and remedy."""

    def __init__(self, row: int | None, expected: str, got: str, remedy: str = "") -> None:
        super().__init__(got)
        self.row, self.expected, self.got, self.remedy = row, expected, got, remedy


@dataclass(frozen=True)
class Recipe:
    """How a worker makes a parallel environment.

    Attributes:
        factory: ``package.module:function`` that returns one.
        args: Its arguments.
        graph: ``package.module:function`` that gets one and returns its graph; None for the environment's own.
    """

    factory: str
    args: dict[str, Any]
    graph: str | None = None


@dataclass(frozen=True)
class Spec:
    """The sizes of an environment, agents in the order of its ``possible_agents``.

    Attributes:
        title: Its class.
        agents: Names of the agents, as it has them.
        obs_sizes: Observed numbers of each agent, flattened.
        n_actions: Actions of each agent.
        first_actions: Number of each agent's first action, which is our action 0.
        signatures: Observation and action space of each agent in words: equal ones may share a network.
        baselines: Names of its baseline policies.
        metrics: Names of the metrics of an episode.
        max_envs: Most parallel environments that evaluation should make, None for any.
        per_process: Most parallel environments in a process, None for any.
        graph: Its own graph, if it has one.
        positions: Positions ``[N, 2]`` of the agents, if it has them.
        still: Whether these are the same in another episode.
    """

    title: str
    agents: list[Any]
    obs_sizes: list[int]
    n_actions: list[int]
    first_actions: list[int]
    signatures: list[str]
    baselines: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    max_envs: int | None = None
    per_process: int | None = None
    graph: Edges | None = None
    positions: list[list[float]] | None = None
    still: bool = True


@dataclass(frozen=True)
class Edges:
    """A graph in plain values: pairs of agent numbers with their weights (1 where there are none)."""

    edges: list[tuple[int, int, float]] = field(default_factory=list)
    directed: bool = False


@dataclass
class Answer:
    """What the workers answer, by parallel environment.

    Attributes:
        observation: ``[B, N, O]`` float32.
        action_mask: ``[B, N, A]`` int8.
        outcome: ``[B, N + 3]`` float64, rewards, terminated, truncated, seconds.
        metrics: Metrics of the episodes that ended, by environment.
        actions: Actions of a baseline policy, by environment.
    """

    observation: np.ndarray
    action_mask: np.ndarray
    outcome: np.ndarray
    metrics: dict[int, dict[str, float]]
    actions: dict[int, list[int]]
