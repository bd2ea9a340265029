"""What a worker process runs: its share of the parallel environments, as one gymnasium environment; imports no torch.

One action is an order for each parallel environment, so that one message to each process steps all of them, resets some
or does nothing to those that have ended. What comes back lies in shared memory.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.random import mtrand

from lomaq.envs.pettingzoo.look import described, made, observed_space, told
from lomaq.envs.pettingzoo.spec import (
    BASELINE,
    MOST_SEED,
    NOTHING,
    RESET,
    SECONDS,
    STEP,
    TERMINATED,
    TRUNCATED,
    Recipe,
    Refused,
    Spec,
)

#: Most bytes that are kept of what simulators print.
MOST_OUTPUT = 1_000_000


def bundle_spaces(spec: Spec, size: int) -> tuple[Any, Any]:
    """Observation and action space of ``size`` parallel environments: N agents, O observed numbers, A actions.

    An action is ``[size, N + 2]`` int64: an action of each agent, the order and the seed of a reset. An outcome has N
    rewards, terminated, truncated, and the seconds that the simulator took.
    """
    n, o, a = len(spec.agents), max(spec.obs_sizes), max(spec.n_actions)
    seen: dict[str, Any] = {
        "observation": spaces.Box(-np.inf, np.inf, (size, n, o), np.float32),
        "action_mask": spaces.Box(0, 1, (size, n, a), np.int8),
        "outcome": spaces.Box(-np.inf, np.inf, (size, n + 3), np.float64),
    }
    return spaces.Dict(seen), spaces.Box(0, MOST_SEED, (size, n + 2), np.int64)


@dataclass(frozen=True)
class BundleMaker:
    """Makes the bundle of a process; what it prints goes to a file of the folder ``output``.

    In the main process, which asks for the spaces alone, nothing is redirected.
    """

    recipe: Recipe
    spec: Spec
    size: int
    max_steps: int
    output: str
    number: int
    parent: int

    def __call__(self) -> Bundle:
        if os.getpid() != self.parent:
            redirect(os.path.join(self.output, str(self.number)))
        return Bundle(self)


def redirect(path: str) -> None:
    """Send what this process prints to a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)


class Bundle(gymnasium.Env):
    """``size`` parallel environments, each made at its first reset.

    Notes in ``info["notes"]`` are JSON, by the row of the environment: ``errors``, ``refused``, ``metrics`` of an
    episode that ended, and ``actions`` of a baseline policy.
    """

    def __init__(self, maker: BundleMaker) -> None:
        self.maker = maker
        boxes, self.action_space = bundle_spaces(maker.spec, maker.size)
        self.observation_space = boxes
        self.arrays = {key: np.zeros(box.shape, box.dtype) for key, box in boxes.items()}
        self.members: dict[int, Member] = {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, str]]:
        notes: dict[str, dict[int, Any]] = {}
        for row, order in enumerate(action):
            try:
                self._obey(row, order, notes)
            except Refused as refused:
                notes.setdefault("refused", {})[row] = refused.args
            except (Exception, SystemExit) as error:
                notes.setdefault("errors", {})[row] = told(error, self.maker.recipe.factory)
        if os.getpid() != self.maker.parent and os.fstat(2).st_size > MOST_OUTPUT:
            os.ftruncate(2, 0)
        return self.arrays, 0.0, False, False, {"notes": json.dumps(notes)} if notes else {}

    def _obey(self, row: int, order: np.ndarray, notes: dict[str, dict[int, Any]]) -> None:
        command, outcome = order[-2], self.arrays["outcome"][row]
        outcome[:] = 0
        if command == NOTHING:
            return
        begin = time.perf_counter()
        if command == RESET:
            if row not in self.members:
                self.members[row] = Member(self.maker, **{name: array[row] for name, array in self.arrays.items()})
            self.members[row].reset(int(order[-1]))
        elif command == STEP:
            metrics = self.members[row].step(order)
            if metrics:
                notes.setdefault("metrics", {})[row] = metrics
        else:
            notes.setdefault("actions", {})[row] = self.members[row].baseline(int(command) - BASELINE)
        outcome[SECONDS] = time.perf_counter() - begin

    def close(self) -> None:
        for member in self.members.values():
            member.env.close()


class Member:
    """One parallel environment and its rows of the arrays that the main process reads.

    An agent that is not in the environment's ``agents``, because it left early or has not come yet, observes zeros,
    earns 0 and may only take action 0. The episode ends when no agent is left, or none goes on: truncated where one
    that was there was truncated in the last step, else terminated.
    """

    def __init__(
        self, maker: BundleMaker, observation: np.ndarray, action_mask: np.ndarray, outcome: np.ndarray
    ) -> None:
        self.observation, self.mask, self.outcome = observation, action_mask, outcome
        self.max_steps = maker.max_steps
        self.env, spec = made(maker.recipe), maker.spec
        self.own = self.env.unwrapped
        if list(self.env.possible_agents) != spec.agents:
            raise Refused(f"the agents {spec.agents}", str(self.env.possible_agents), "args must decide them")
        self.sizes, self.first, self.names = spec.obs_sizes, spec.first_actions, spec.baselines
        self.spaces = [observed_space(self.env.observation_space(agent)) for agent in spec.agents]
        self.flat = [isinstance(space, spaces.Box) for space in self.spaces]
        self.agents = [*enumerate(spec.agents)]
        self.allowed = np.arange(action_mask.shape[1]) < np.array(spec.n_actions)[:, None]  # [N, A]
        self.steps = 0
        self.bits = np.random.MT19937()  # of NumPy's global generator, for this environment alone

    def reset(self, seed: int) -> None:
        random.seed(seed)  # of those who draw from the process
        mtrand.set_bit_generator(self.bits)
        np.random.seed(seed)
        observations, infos = self.env.reset(seed=seed)
        self.steps = 0
        self._show(observations, infos, ended=False)

    def step(self, order: np.ndarray) -> dict[str, float]:
        """Take an action of each agent that is there; the metrics of the episode if it ended."""
        mtrand.set_bit_generator(self.bits)
        present = {*self.env.agents}
        actions = {agent: int(order[i]) + self.first[i] for i, agent in self.agents if agent in present}
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        self.steps += 1
        for i, agent in self.agents:
            self.outcome[i] = rewards.get(agent, 0.0)
        left = self.env.agents
        ended = not left or all(terminated.get(agent) or truncated.get(agent) for agent in left)
        if ended:
            cut = any(truncated.get(agent, False) for agent in present)
            self.outcome[TERMINATED], self.outcome[TRUNCATED] = not cut, cut
        self._show(observations, infos, ended)
        return self._metrics() if ended or self.steps >= self.max_steps else {}

    def _show(self, observations: dict[Any, Any], infos: dict[Any, Any], ended: bool) -> None:
        """Write what the agents observe; the last observations of an episode are of all that saw it end."""
        present = {*observations} if ended else {*self.env.agents}
        self.mask[:] = self.allowed
        for i, agent in self.agents:
            if agent not in present:
                self.observation[i] = 0
                self.mask[i] = 0
                self.mask[i, 0] = 1
                continue
            seen, mask = observations[agent], (infos.get(agent) or {}).get("action_mask")
            if isinstance(seen, dict) and "action_mask" in seen:
                mask = seen["action_mask"]
                seen = {key: value for key, value in seen.items() if key != "action_mask"}
            flat = np.ravel(seen) if self.flat[i] else spaces.flatten(space := self.spaces[i], _typed(seen, space))
            if len(flat) != self.sizes[i]:
                raise Refused(f"{self.sizes[i]} observed numbers of {agent!r}, as in its space", f"{len(flat)}")
            self.observation[i, : self.sizes[i]] = flat
            if mask is not None and not ended:
                if len(mask) != self.allowed[i].sum():
                    raise Refused(f"an action_mask of {self.allowed[i].sum()} for {agent!r}", f"{len(mask)}")
                self.mask[i, : len(mask)] = mask

    def _metrics(self) -> dict[str, float]:
        metrics = getattr(self.own, "episode_metrics", None)
        return {} if metrics is None else {str(name): float(value) for name, value in metrics().items()}

    def baseline(self, number: int) -> list[int]:
        """Actions of a baseline policy, 0 for agents that it leaves out."""
        actions = self.own.baseline(self.names[number])
        return [int(actions.get(agent, self.first[i])) - self.first[i] for i, agent in self.agents]


def _typed(seen: Any, space: Any) -> Any:
    """Numbers of the type that the space says; some environments give others, which cannot be flattened."""
    return seen if space.dtype is None else np.asarray(seen, space.dtype)


def describe(recipe: Recipe, answer: Any, output: str) -> None:
    """In a short-lived process: send what :func:`described` finds, or why it cannot."""
    redirect(output)
    try:
        answer.send(("spec", described(recipe)))
    except Refused as refused:
        answer.send(("refused", refused.args))
    except (Exception, SystemExit) as error:
        answer.send(("error", told(error, recipe.factory)))
    finally:
        answer.close()
        sys.stdout.flush()
