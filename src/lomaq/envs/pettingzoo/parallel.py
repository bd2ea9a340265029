"""Our environments as PettingZoo parallel environments."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv
from torch import Tensor

from lomaq.envs.base import BatchedEnv
from lomaq.errors import InputError


class Parallel(ParallelEnv):
    """What :func:`~lomaq.envs.pettingzoo.outward.to_pettingzoo` returns."""

    def __init__(self, env: BatchedEnv) -> None:
        self.env, name = env, type(env).__name__.lower()
        self.metadata = {"name": f"lomaq_{name}_v0", "render_modes": [], "is_parallelizable": True}
        self.render_mode = None
        names = env.graph.names if "names" in env.graph else [f"agent_{i}" for i in range(env.n_agents)]
        self.possible_agents, self.agents = list(names), list[str]()
        env.reset()  # after which it is known whether there are masks
        self.masked = env.allowed() is not None
        self.observation_spaces = {agent: self._observed() for agent in names}
        self.action_spaces = {agent: spaces.Discrete(env.n_actions) for agent in names}

    def _observed(self) -> Any:
        seen = spaces.Box(-np.inf, np.inf, (self.env.obs_size,), np.float32)
        mask = spaces.Box(0, 1, (self.env.n_actions,), np.int8)
        return spaces.Dict({"observation": seen, "action_mask": mask}) if self.masked else seen

    def observation_space(self, agent: str) -> Any:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        return self.action_spaces[agent]

    def graph(self) -> nx.Graph:
        """The graph of the agents, a networkx graph whose nodes are their names."""
        return nx.relabel_nodes(self.env.graph.to_networkx(), dict(enumerate(self.possible_agents)))

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Begin an episode, with a seed one that only the seed decides."""
        if seed is not None:
            self.env.generator.manual_seed(seed)
        self.agents = list(self.possible_agents)
        return self._seen(self.env.reset()), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """Take an action of every agent: observations, rewards, terminations, truncations and infos."""
        if not self.agents:
            raise InputError("step", "a reset after the end of an episode", "none")
        chosen = torch.tensor([[int(actions[agent]) for agent in self.agents]], device=self.env.device)
        observation, rewards, terminated, truncated = self.env.step(chosen)
        seen = self._seen(observation)
        ends = [dict.fromkeys(self.agents, bool(end[0])) for end in (terminated, truncated)]
        paid = dict(zip(self.agents, rewards[0].tolist(), strict=True))
        infos: dict[str, Any] = {agent: {} for agent in self.agents}
        if bool(terminated[0] | truncated[0]):
            self.agents = []
        return seen, paid, *ends, infos

    def state(self) -> np.ndarray:
        """What all agents observe, ``[N, O]`` float32."""
        return self.env.observe()[0].cpu().numpy().copy()

    @property
    def state_space(self) -> Any:
        return spaces.Box(-np.inf, np.inf, (self.env.n_agents, self.env.obs_size), np.float32)

    def _seen(self, observation: Tensor) -> dict[str, Any]:
        rows = dict(zip(self.agents, observation[0].cpu().numpy().copy(), strict=True))
        mask = self.env.allowed()
        if mask is None:
            return rows
        masks = mask[0].cpu().numpy().astype(np.int8)
        pairs = zip(rows.items(), masks, strict=True)
        return {agent: {"observation": row, "action_mask": allowed} for (agent, row), allowed in pairs}

    def render(self) -> None:
        """Nothing; films and pictures are commands of lomaq."""

    def close(self) -> None:
        self.env.close()
