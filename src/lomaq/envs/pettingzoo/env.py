"""Any PettingZoo parallel environment as one of ours."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from lomaq.cores import cores
from lomaq.envs.base import BatchedEnv, PolicyFn
from lomaq.envs.influence import THRESHOLD, measure_influence
from lomaq.envs.pettingzoo.graph import graph_of
from lomaq.envs.pettingzoo.spec import (
    BASELINE,
    MOST_SEED,
    NOTHING,
    RESET,
    STEP,
    TERMINATED,
    TRUNCATED,
    Answer,
    Recipe,
    WorkerError,
)
from lomaq.errors import INSTALL, EnvError, InputError, check_bool, check_choice, check_float, check_int, tell
from lomaq.graphs import AgentGraph
from lomaq.inputs.targets import Function, function_path

if TYPE_CHECKING:
    from lomaq.envs.pettingzoo.workers import Workers

#: Episodes after which it is said that all agents were always paid the same.
WATCHED = 8
#: Parallel environments that discover a graph.
PROBES = 4
#: Most parallel environments in each process that an evaluation makes of cheap environments.
EVALUATED = 16


class PettingZoo(BatchedEnv):
    """B copies of a PettingZoo parallel environment in processes of their own.

    **Actions:** those of the environment's Discrete spaces, from 0; ones that an agent lacks are masked.
    **Observations:** flattened (Discrete as one-hot), padded with zeros to the longest. **Rewards:** the agents' own.
    **Start:** a seed for each episode, drawn from the environment's generator. **End:** when no agent is left; a
    truncation where an agent that was there at the end was truncated, else a termination.

    An agent that leaves early then observes zeros, earns 0 and may only take action 0. Workers start at the first reset
    and end at :meth:`close`. ``docs/how-to/pettingzoo.md`` has all.

    Args:
        factory: ``package.module:function`` that returns a parallel environment.
        args: Arguments of the factory.
        graph: See :func:`lomaq.envs.pettingzoo.graph.graph_of`.
        radius: Largest distance of neighbours, for ``graph=positions``.
        neighbours: Nearest agents that each is joined to, for ``graph=positions``.
        types: Which agents share a network: those with equal spaces (``signature``), none (``agents``), all (``one``).
        max_steps: Steps after which an episode is truncated, if the environment has not ended it.
        processes: Processes of the parallel environments; None for one a core. At most B.
        timeout: Seconds that the slowest step or reset may take.
        reward_is_team: Whether each agent is paid the whole team reward, which is then divided by N.
    """

    resumable = False
    state_names = ()

    def __init__(
        self,
        factory: Function,
        args: Mapping[str, Any] | None = None,
        graph: Function | None = None,
        radius: float | None = None,
        neighbours: int | None = None,
        types: Literal["signature", "agents", "one"] = "signature",
        max_steps: int = 1000,
        processes: int | None = None,
        timeout: float = 60.0,
        reward_is_team: bool = False,
        *,
        n_envs: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.timeout = check_float("env.timeout", timeout, 0, above=True)
        check_choice("env.types", types, ("signature", "agents", "one"))
        asked = function_path("env.graph", graph) if graph is not None and ":" in graph else None
        self.recipe = Recipe(function_path("env.factory", factory), dict(args or {}), asked)
        self.spec = _processes().spec_of(self.recipe, self.timeout)
        most = cores() if processes is None else check_int("env.processes", processes, 1)
        self.max_envs = self.spec.max_envs or most * (self.spec.per_process or EVALUATED)
        if self.spec.per_process is not None:
            most = max(most, -(-n_envs // self.spec.per_process))
        self.processes = min(most, n_envs)
        super().__init__(
            graph_of(self.spec, graph, radius, neighbours, types, self._discover),
            n_envs=n_envs,
            n_actions=max(self.spec.n_actions),
            obs_size=max(self.spec.obs_sizes),
            max_steps=max_steps,
            seed=seed,
            device=device,
        )
        self.share = np.float32(1 / self.n_agents if check_bool("env.reward_is_team", reward_is_team) else 1)
        self.workers: Workers | None = None
        self.ended = np.zeros(n_envs, np.bool_)
        self.metrics = {name: torch.full((n_envs,), math.nan, dtype=torch.float64) for name in self.spec.metrics}
        self.watched: int | None = 0  # episodes in which all agents were always paid the same; None: look no more
        self.began = 0.0

    def _discover(self) -> AgentGraph:
        """The graph that random play shows, always from the same seed."""
        recipe = self.recipe
        with PettingZoo(
            Function(recipe.factory), recipe.args, Function("complete"), timeout=self.timeout, n_envs=PROBES
        ) as env:
            graph = measure_influence(env).graph(THRESHOLD, env.graph)
        if graph.n_edges == 0:
            got = "no action that changes what another agent observes next or is paid"
            remedy = "lomaq graph discover ahead=2 … looks further and writes a file for env.graph="
            raise InputError("env.graph=discovered", "agents that influence each other", got, remedy)
        return graph

    # ---------------------------------------------------------------- orders

    def _ask(self, command: np.ndarray, actions: Tensor | None = None, seeds: np.ndarray | None = None) -> Answer:
        """Give an order ``command`` ``[B]`` to the parallel environments; what they answer is what is observed."""
        assert self.workers is not None
        orders = self.workers.orders[: self.n_envs]
        orders[:, -2] = command
        if actions is not None:
            orders[:, :-2] = actions.cpu().numpy()
        if seeds is not None:
            orders[:, -1] = seeds
        try:
            answer = self.workers.obey()
        except WorkerError as error:
            raise self._broken(error) from error
        self.observation = torch.from_numpy(answer.observation.copy()).to(self.device)
        self.mask = torch.from_numpy(answer.action_mask.astype(np.bool_)).to(self.device)
        for row, metrics in answer.metrics.items():
            for name in self.metrics:
                self.metrics[name][row] = metrics.get(name, math.nan)
        return answer

    def _broken(self, error: WorkerError) -> EnvError:
        row = error.row or 0
        name = f"{self.recipe.factory}, environment {row}, step {int(self.time[row]) + 1} of its episode"
        return EnvError(name, error.expected, error.got, error.remedy)

    def _start(self) -> None:
        sizes = (self.n_envs, self.processes, self.max_steps, self.timeout)
        try:
            self.workers = _processes().Workers(self.recipe, self.spec, *sizes)
            self.began = time.perf_counter()
        except WorkerError as error:
            raise self._broken(error) from error

    def _reset_state(self, rows: Tensor) -> None:
        if self.workers is None:
            self._start()
        chosen = rows.cpu().numpy()
        command, seeds = np.full(self.n_envs, NOTHING), np.zeros(self.n_envs, np.int64)
        drawn = torch.randint(MOST_SEED, rows.shape, generator=self.generator, device=self.device)
        command[chosen], seeds[chosen], self.ended[chosen] = RESET, drawn.cpu().numpy(), False
        self._ask(command, seeds=seeds)

    def _advance(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.workers is None:
            raise EnvError("the environment", "a reset before the first step, and after close()", "none")
        outcome = self._ask(np.where(self.ended, NOTHING, STEP), actions).outcome
        rewards = outcome[:, : self.n_agents].astype(np.float32) * self.share
        terminated, truncated = outcome[:, TERMINATED] > 0, outcome[:, TRUNCATED] > 0
        ended = ~self.ended & (terminated | truncated | (self.time.cpu().numpy() + 1 >= self.max_steps))
        self.ended = self.ended | ended
        self._watch_pay(rewards, ended)
        paid, *ends = (torch.from_numpy(each).to(self.device) for each in (rewards, terminated, truncated))
        return paid, ends[0], ends[1]

    def _watch_pay(self, rewards: np.ndarray, ended: np.ndarray) -> None:
        """Say after the first episodes, if so, that all agents were always paid the same."""
        if self.watched is None:
            return
        if self.n_agents == 1 or self.share != 1 or (rewards != rewards[:, :1]).any():
            self.watched = None
            return
        self.watched += int(ended.sum())
        if self.watched >= WATCHED:
            self.watched = None
            tell(
                f"{self.recipe.factory}: all {self.n_agents} agents were always paid the same: if that is the team's "
                f"reward, their sum counts it {self.n_agents} times; env.reward_is_team=true divides it"
            )

    # -------------------------------------------------------------- contract

    def observe(self) -> Tensor:
        return self.observation

    def action_mask(self) -> Tensor:
        return self.mask

    def stagger(self, generator: torch.Generator) -> Tensor:
        """Observations ``[B, N, O]`` of the start: a simulator begins at its beginning."""
        return self.observation

    def episode_metrics(self) -> dict[str, Tensor]:
        """Those that the environment gave of the last episode that ended, ``[B]`` each, nan before."""
        return {name: value.to(self.device, copy=True) for name, value in self.metrics.items()}

    def baselines(self) -> dict[str, PolicyFn]:
        """The environment's own: ``baseline(name)`` gives actions by agent."""
        return {name: partial(_baseline, number=number) for number, name in enumerate(self.spec.baselines)}

    def statistics(self) -> dict[str, float]:
        """``simulator_share``: the part of the time since the first reset that the simulators took."""
        if self.workers is None:
            return {}
        return {"simulator_share": round(self.workers.waited / (time.perf_counter() - self.began), 3)}

    def close(self) -> None:
        if self.workers is not None:
            self.workers.close()
            self.workers = None


def _processes() -> ModuleType:
    """The module that starts workers."""
    try:
        from lomaq.envs.pettingzoo import workers
    except ImportError as error:
        expected = "the packages gymnasium and pettingzoo"
        raise InputError("env=pettingzoo", expected, f"no {error.name}", INSTALL.format("pettingzoo")) from error
    return workers


def _baseline(env: PettingZoo, number: int) -> Tensor:
    """Actions ``[B, N]`` of a baseline policy; 0 where the episode has ended."""
    answer = env._ask(np.where(env.ended, NOTHING, BASELINE + number))
    actions = torch.zeros(env.n_envs, env.n_agents, dtype=torch.int64)
    for row, chosen in answer.actions.items():
        actions[row] = torch.tensor(chosen)
    return actions.to(env.device)
