"""Small PettingZoo parallel environments whose every number is known; workers import this."""

import os
import sys
import time
from subprocess import Popen as open_file  # noqa: F401, as a stranger might ask for it

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary


class Trio:
    """Three agents unlike each other; a is paid its action, b ten times, c a hundred times its own.

    ``a`` observes (steps, draw of the start), ``b`` one of three as one-hot with an action mask, ``c`` two bits. After
    ``limit`` steps the episode is truncated; if all act 1 (b: 2) it is terminated. ``b`` leaves after ``leaves`` steps.
    """

    metadata = {"name": "trio_v0"}  # noqa: RUF012
    possible_agents = ["a", "b", "c"]  # noqa: RUF012

    def __init__(self, limit=4, leaves=None, trouble=None, at=2, alike=False, **hooks):
        self.limit, self.leaves, self.trouble, self.at, self.alike = limit, leaves, trouble, at, alike
        self.seen = {
            "a": Box(-10, 10, (2,), np.float32),
            "b": Dict({"observation": Discrete(3), "action_mask": MultiBinary(3)}),
            "c": MultiBinary(2),
        }
        self.act = {"a": Discrete(2), "b": Discrete(3, start=1), "c": Discrete(2)}
        for name, value in hooks.items():
            setattr(self, name, value)
        self.agents = []

    @property
    def unwrapped(self):
        return self

    def observation_space(self, agent):
        return self.seen[agent]

    def action_space(self, agent):
        return self.act[agent]

    def reset(self, seed=None, options=None):
        self.agents, self.steps = [*self.possible_agents], 0
        self.draw = float(np.random.default_rng(seed).random())
        return self._observed(), {agent: {} for agent in self.agents}

    def step(self, actions):
        assert set(actions) == set(self.agents)
        self.steps += 1
        print("chatter")
        self._break()
        paid = {"a": 1.0, "b": 1.0, "c": 1.0} if self.alike else {"a": 1.0, "b": 10.0, "c": 100.0}
        rewards = {agent: paid[agent] * (1 if self.alike else actions[agent]) for agent in self.agents}
        won = all(actions[agent] == (2 if agent == "b" else 1) for agent in self.agents)
        late = self.steps >= self.limit and not won
        terminated = {agent: won or (agent == "b" and self.steps == self.leaves) for agent in self.agents}
        truncated = {agent: late and not terminated[agent] for agent in self.agents}
        observed = self._observed()
        self.agents = [agent for agent in self.agents if not (terminated[agent] or truncated[agent])]
        return observed, rewards, terminated, truncated, {agent: {} for agent in observed}

    def _observed(self):
        if self.trouble == "shape" and self.steps == self.at:
            return dict.fromkeys(self.agents, np.zeros(5, np.float32))
        first = np.nan if self.trouble == "nan" and self.steps == self.at else self.steps
        seen = {
            "a": np.array([first, self.draw], np.float32),
            "b": {"observation": self.steps % 3, "action_mask": np.array([1, 1, self.steps % 2], np.int8)},
            "c": np.array([1, 0], np.int8),
        }
        return {agent: seen[agent] for agent in self.agents}

    def _break(self):
        if self.steps != self.at:
            return
        if self.trouble == "raise":
            raise RuntimeError("out of fuel")
        if self.trouble == "die":
            print("last words", file=sys.stderr, flush=True)
            os._exit(7)
        if self.trouble == "hang":
            time.sleep(60)

    def episode_metrics(self):
        return {
            "steps": self.steps,
            "torch": "torch" in sys.modules,
            "main": hasattr(sys.modules["__main__"], "pytest"),
        }

    baselines = ("win", "lose")

    def baseline(self, name):
        return {agent: (2 if agent == "b" else 1) if name == "win" else self.act[agent].start for agent in self.agents}

    def close(self):
        if hasattr(self, "closed_at"):
            with open(self.closed_at, "a", encoding="utf-8") as file:
                file.write("closed\n")


class Row(Trio):
    """``n`` agents in a row, deterministic: each observes the last actions of itself and of its neighbours."""

    def __init__(self, n=4, limit=10, noise=0.0, start=0, positions=None):
        self.n, self.limit, self.noise, self.agents = n, limit, noise, []
        self.possible_agents = [f"agent_{i}" for i in range(n)]
        self.seen = {agent: Box(-5, 5, (3,), np.float32) for agent in self.possible_agents}
        self.act = {agent: Discrete(2, start=start) for agent in self.possible_agents}
        if positions is not None:
            self.positions = positions if positions != "drawn" else lambda: self.last[:, None].repeat(2, axis=1)
        self.trouble, self.leaves = None, None

    def reset(self, seed=None, options=None):
        self.agents, self.steps = [*self.possible_agents], 0
        self.last = np.random.default_rng(seed).integers(0, 2, self.n)
        return self._observed(), {agent: {} for agent in self.agents}

    def step(self, actions):
        self.last = np.array([actions[agent] for agent in self.agents])
        self.steps += 1
        over = self.steps >= self.limit
        observed = self._observed()
        ends = [dict.fromkeys(self.agents, end) for end in (False, over)]
        rewards = {agent: float(self.last[i]) for i, agent in enumerate(self.agents)}
        infos = {agent: {} for agent in self.agents}
        self.agents = [] if over else self.agents
        return observed, rewards, *ends, infos

    def _observed(self):
        padded = np.concatenate([[0], self.last, [0]]) + self.noise * np.random.default_rng().random(self.n + 2)
        return {agent: padded[i : i + 3].astype(np.float32) for i, agent in enumerate(self.agents)}

    metrics = ()


def trio(**settings):
    return Trio(**settings)


def row(**settings):
    return Row(**settings)


def continuous():
    env = Trio()
    env.act["c"] = Box(0, 1, (2,), np.float32)
    return env


def unsound():
    raise ValueError("no such map")


def turns():
    class Turns:
        agent_iter = ()

    return Turns()


def chain(env):
    """A graph of an environment: a directed, weighted matrix."""
    n = len(env.possible_agents)
    return np.eye(n, k=1) * 0.5


def drawn(env):
    """A graph that depends on the seed of the reset."""
    return [("agent_0", "agent_1")] if env.last[0] == env.last[1] else [("agent_1", "agent_2")]


def pairs(env):
    return [("a", "c"), (1, 2)]
