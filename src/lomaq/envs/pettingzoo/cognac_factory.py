"""Makes the environments of the package ``cognac``; imports no torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from lomaq.envs.pettingzoo.spec import Refused
from lomaq.errors import INSTALL


def make(task: str, n_agents: int, density: float, matrix_seed: int, max_steps: int) -> Any:
    """One parallel environment.

    Args:
        task: firefighting, a row of houses; sysadmin, machines; consensus, votes; flow, of commodities along edges.
        n_agents: Number of agents, at least 2.
        density: Share of the pairs of agents that have an edge in the influence matrix; firefighting has a row.
        matrix_seed: Seed of that matrix.
        max_steps: Time limit of an episode.
    """
    try:
        import cognac.env as envs
        from cognac.utils.graph_utils import generate_adjacency_matrix
    except ImportError as error:
        remedy = f"{INSTALL.format('cognac')}, with Python 3.12 or later"
        raise Refused("the package cognac", f"no {error.name}", remedy) from error
    if task == "firefighting":
        env = envs.RowFireFightingGraphEnvironment(n=n_agents, max_steps=max_steps)
        row = np.eye(n_agents, k=1)
        env.graph = lambda: row + row.T
        return env
    np.random.seed(matrix_seed)  # which it draws from
    matrix = generate_adjacency_matrix(n_agents, p=density)
    kinds = {"sysadmin": "SysAdminNetworkEnvironment", "consensus": "BinaryConsensusNetworkEnvironment"}
    if task == "flow":
        np.fill_diagonal(ring := np.roll(np.eye(n_agents), 1, axis=1), 0)
        matrix = np.where(matrix == 0, 0.3 * ring, matrix)  # a way out of every node, and one into it
        return Flow(envs.MultiCommodityFlowEnvironment(matrix, max_steps=max_steps), matrix)
    env = getattr(envs, kinds[task])(matrix, max_steps=max_steps, show_neighborhood_state=True)
    env.graph = lambda: matrix
    return env


class Flow:
    """COGNAC's flow of commodities with steps in place of shares.

    Action 0 spreads all commodities evenly over the outgoing edges of a node, action k sends them all along edge k.
    Observed stocks are shares of the capacity.
    """

    def __init__(self, env: Any, matrix: np.ndarray) -> None:
        from gymnasium.spaces import Box, Discrete

        self.env, self.matrix = env, matrix
        self.possible_agents, self.metadata = env.possible_agents, env.metadata
        self.shares = {agent: env.action_space(agent).shape for agent in env.possible_agents}  # commodities, edges
        self.actions = {agent: Discrete(shape[1] + 1) for agent, shape in self.shares.items()}
        sizes = {agent: env.observation_space(agent).shape for agent in env.possible_agents}
        self.seen = {agent: Box(0.0, np.inf, shape, np.float32) for agent, shape in sizes.items()}

    @property
    def unwrapped(self) -> Flow:
        return self

    @property
    def agents(self) -> Any:
        return self.env.agents

    def graph(self) -> np.ndarray:
        """The influence matrix."""
        return self.matrix

    def observation_space(self, agent: Any) -> Any:
        return self.seen[agent]

    def action_space(self, agent: Any) -> Any:
        return self.actions[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begin an episode; the first shares come from the action spaces, which are seeded here."""
        for agent in self.possible_agents if seed is not None else ():
            self.env.action_space(agent).seed(seed)
        observations, infos = self.env.reset(seed=seed, options=options)
        return self._scaled(observations), infos

    def step(self, actions: dict[Any, int]) -> Any:
        shares = {agent: np.ones(self.shares[agent], np.float32) for agent in actions}
        for agent, action in actions.items():
            if action > 0:
                shares[agent][:] = np.arange(self.shares[agent][1]) == action - 1
        observations, *rest = self.env.step(shares)
        return self._scaled(observations), *rest

    def _scaled(self, observations: dict[Any, Any]) -> dict[Any, np.ndarray]:
        return {agent: np.asarray(seen) / self.env.max_capacity for agent, seen in observations.items()}

    def close(self) -> None:
        self.env.close()
