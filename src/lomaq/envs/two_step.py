"""The two-step game of QMIX (Rashid et al. 2018, Section 5): the first step decides which matrix game is played."""

from __future__ import annotations

import torch
from torch import Tensor

from lomaq.envs.base import BatchedEnv
from lomaq.graphs import AgentGraph

#: What the team is paid for a joint action in each state: the first step, game 2A, game 2B.
PAYOFFS = (((0.0, 0.0), (0.0, 0.0)), ((7.0, 7.0), (7.0, 7.0)), ((0.0, 1.0), (1.0, 8.0)))


class TwoStep(BatchedEnv):
    """Two agents; the first picks a game that is safe or one that pays more, but only if both then choose well.

    In the first step only agent 0's action matters: 0 leads to game 2A, 1 to game 2B. Game 2A pays 7 whatever the
    agents do, game 2B pays 8 if both choose 1, 1 if one does and 0 if none. A monotone mixing can represent game 2B. A
    sum of utilities cannot: fitted to uniformly random actions it predicts 6.5 for the 8 and prefers the 7 (actions
    that are mostly greedy raise the 6.5). Each agent has its own ``agent_type``. Arguments are those of
    :class:`BatchedEnv`.

    - Actions: 0 and 1, always both allowed.
    - Observations ``[3]``: one-hot, the state: first step, game 2A, game 2B.
    - Reward: half of the team's pay for each agent; 0 in the first step.
    - Start: always the same; nothing is random.
    - End: terminated by the second step. The return is not discounted: at best 8, which :meth:`oracle` reaches.

    Attributes:
        state: ``[B]`` int64, 0 in the first step, 1 in game 2A, 2 in game 2B.

    Example:
        >>> env = TwoStep()
        >>> env.step(torch.tensor([[1, 0]]))[0][0].tolist()
        [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
        >>> env.step(torch.tensor([[1, 1]]))[1]
        tensor([[4., 4.]])
    """

    state_names = ("state",)

    def __init__(self, *, n_envs: int = 1, seed: int = 0, device: torch.device | str = "cpu") -> None:
        graph = AgentGraph.from_edges(2, [(0, 1)], agent_type=[0, 1])
        super().__init__(graph, n_envs=n_envs, n_actions=2, obs_size=3, max_steps=2, seed=seed, device=device)
        self.best_return = 8.0
        self._shares = torch.tensor(PAYOFFS, device=self.device) / 2  # [state, A, A]
        self.state = torch.zeros(n_envs, dtype=torch.int64, device=self.device)

    def _reset_state(self, rows: Tensor) -> None:
        self.state.index_fill_(0, rows, 0)

    def _advance(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        first, second = actions.unbind(dim=1)
        share = self._shares[self.state, first, second]  # [B]
        terminated = self.state > 0
        self.state = torch.where(terminated, self.state, 1 + first)
        return share[:, None].repeat(1, 2), terminated

    def observe(self) -> Tensor:
        shown = torch.nn.functional.one_hot(self.state, self.obs_size).float()  # [B, 3]
        return shown[:, None].repeat(1, 2, 1)

    def oracle(self) -> Tensor:
        """Actions ``[B, 2]`` int64 of the optimum: to game 2B, and there both choose 1."""
        return torch.ones(self.n_envs, 2, dtype=torch.int64, device=self.device)
