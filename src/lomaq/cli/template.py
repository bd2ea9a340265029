"""The files that ``lomaq new env`` writes; NAME and CLASS stand for the names."""

ENV = '''"""An environment of B parallel environments (n_envs) with N agents, as tensors.

Lamps in a row: an agent switches its own lamp, and is paid where it is unlike the one on its left.
"""

import torch
from lomaq import AgentGraph
from lomaq.envs import BatchedEnv


class CLASS(BatchedEnv):
    state_names = ("lit",)  # the tensors that make up the state; checkpoints hold them

    def __init__(self, n_agents=8, max_steps=20, *, n_envs=1, seed=0, device="cpu"):
        graph = AgentGraph.line(n_agents)  # who depends on whom; others are .ring, .grid, .radius, .from_edges
        sizes = {"n_envs": n_envs, "n_actions": 2, "obs_size": 2, "max_steps": max_steps}
        super().__init__(graph, **sizes, seed=seed, device=device)
        self.lit = torch.zeros(n_envs, n_agents, device=self.device)  # [B, N]

    def _reset_state(self, rows):
        """Start new episodes in the environments `rows` [K], with random numbers of self.uniform."""
        self.lit[rows] = self.uniform(len(rows), self.n_agents, low=0, high=1).round()

    def _advance(self, actions):
        """Take actions [B, N]; rewards [B, N] of the state before the step, and whether it was a real end [B]."""
        rewards = (self.lit != self._left()).float()
        self.lit = actions.float()
        return rewards, torch.zeros(self.n_envs, dtype=torch.bool, device=self.device)  # max_steps ends episodes

    def observe(self):
        """What each agent observes, [B, N, O]: its own lamp and the one on its left."""
        return torch.stack([self.lit, self._left()], dim=-1)

    def _left(self):
        """The lamp on the left of each agent's, [B, N]; the first agent has none, which is dark."""
        return torch.nn.functional.pad(self.lit[:, :-1], (1, 0))
'''

TEST = '''"""NAME keeps the contract of an environment, and pays what it should."""

import torch
from lomaq.testing import check_env

from NAME import CLASS


def test_it_keeps_its_contract():
    check_env(CLASS, n_agents=4)


def test_a_lamp_that_is_unlike_its_left_one_is_paid():
    env = CLASS(n_agents=4)
    env.reset()
    env.step(torch.tensor([[1, 0, 0, 1]]))  # sets the lamps; what is paid is of the state before a step
    _, rewards, terminated, _ = env.step(torch.zeros(1, 4, dtype=torch.int64))
    assert rewards.tolist() == [[1, 1, 0, 1]]
    assert not terminated.any()
'''

CONF = """# NAME: say in a line what it is.
_target_: NAME.CLASS
name: NAME
# The arguments of its constructor.
n_agents: 8
max_steps: 20
# What suits it, where that is not what lomaq has for all: gamma, lr, n_envs, hidden, …
recommended:
  # Budget; ε falls over so many env steps.
  total_env_steps: 30000
  anneal_env_steps: 15000
"""
