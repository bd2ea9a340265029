"""Exact dynamic programming for a few networked machines: what a policy is worth, and what the best one is.

State s of the S = 2^n holds machine i in its bit i (1: works), and joint action a agent i's action in its bit i. All
values are float64 on the CPU and, unless a horizon is given, those of the endless discounted problem. An action table
holds the joint action in each state, ``[S, N]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lomaq.errors import InputError

#: Most machines with exact values; a table of action values then has 4 MiB.
EXACT_LIMIT = 8
#: Most numbers in the transition matrices of all policies that brute force tries: up to 16 distinct observations with
#: 6 machines, 14 with 7, 12 with 8; some ten seconds.
MOST_NUMBERS = 2**28
_CHUNK = 2**22  # numbers of one batch of transition matrices, 32 MiB


class Solution(NamedTuple):
    """A deterministic joint policy and what it is worth.

    Attributes:
        actions: ``[S, N]`` int64, the joint action in each state.
        values: ``[S]`` float64, V(s), the sum over agents.
        test_return: Discounted return of ``max_steps`` steps from all machines working, summed over agents.
    """

    actions: Tensor
    values: Tensor
    test_return: float


def all_bits(n: int) -> Tensor:
    """``[2^n, n]`` bool, the bits of each number, lowest first.

    Raises:
        InputError: If n exceeds :data:`EXACT_LIMIT`.
    """
    if n > EXACT_LIMIT:
        raise InputError("env.n_agents", f"at most {EXACT_LIMIT} for exact values", n, "simulate episodes instead")
    return (torch.arange(2**n)[:, None] >> torch.arange(n) & 1).bool()


def number_of(bits: Tensor) -> Tensor:
    """Numbers ``[...]`` int64 of their bits ``[..., n]``, lowest first: states of ``up``, joint actions of actions."""
    return (bits.long() << torch.arange(bits.size(-1), device=bits.device)).sum(dim=-1)


@dataclass(frozen=True)
class Machines:
    """n machines, at most :data:`EXACT_LIMIT`, as numbers; see :class:`lomaq.envs.SysAdmin` for what they mean.

    Attributes:
        n_agents: Number of machines n.
        edge_index: ``[2, 2E]`` int64 on the CPU, each edge in both directions.
        cost: ``[N]`` float64 on the CPU, the price of a reboot of each machine.
        max_steps: Steps of an episode.
    """

    n_agents: int
    edge_index: Tensor
    cost: Tensor
    fail_alone: float
    fail_per_neighbour: float
    discount: float
    max_steps: int

    def transition(self, actions: Tensor) -> Tensor:
        """P(s'|s) = Π_i P(up'_i | s, a_i), ``[..., S, S]`` float64 from row to column, of tables ``[..., S, N]``."""
        works = torch.where(actions.bool(), 1.0, self._works_if_left())  # [..., S, N]
        matrix = torch.ones(*works.shape[:-1], 1, dtype=torch.float64)
        for i in range(self.n_agents):  # each machine doubles the columns and is their highest bit
            chance = works[..., i, None]
            matrix = torch.cat([matrix * (1 - chance), matrix * chance], dim=-1)
        return matrix

    def policy_values(self, actions: Tensor, horizon: int | None = None) -> Tensor:
        """Values of each agent's rewards under a joint policy, V_i = r_i + γ P V_i.

        Args:
            actions: ``[S, N]`` int64, the joint action in each state.
            horizon: Number of steps that count; None for all to come.

        Returns:
            ``[N, S]`` float64; entry ``[i, -1]`` is agent i's value from all machines working.
        """
        forward = self.discount * self.transition(actions)  # [S, S]
        values = torch.linalg.solve(torch.eye(len(forward), dtype=torch.float64) - forward, self._rewards(actions))
        if horizon is not None:
            values = values - torch.linalg.matrix_power(forward, horizon) @ values  # without what comes after
        return values.T

    def start_return(self, actions: Tensor) -> float:
        """Discounted return of ``max_steps`` steps from all working, summed over agents, of a table ``[S, N]``."""
        return float(self.policy_values(actions, self.max_steps)[:, -1].sum())

    def block_q(self, actions: Tensor) -> Tensor:
        """Each agent's action values Q_i(s, a) = r_i(s, a) + γ E[V_i(s')]: ``[N, S, 2^N]`` float64.

        The policy ``actions``, ``[S, N]`` int64, is followed from the next step on.
        """
        return self._joint_rewards() + self.discount * self._expected_next(self.policy_values(actions))

    def optimal(self) -> Solution:
        """The policy that maximises the sum over agents in every state, by policy iteration over all joint actions."""
        bits = all_bits(self.n_agents)
        rewards = self._joint_rewards().sum(dim=0)  # [S, 2^N]
        choice = number_of(~bits)  # start from: reboot iff failed
        while True:
            values = self.policy_values(bits[choice].long()).sum(dim=0)  # [S]
            q = rewards + self.discount * self._expected_next(values)  # [S, 2^N]
            best, better = q.max(dim=1)
            resolution = 10 * torch.finfo(torch.float64).eps / (1 - self.discount) * values.abs().max()  # of the solve
            improved = best > q.gather(1, choice[:, None]).squeeze(1) + resolution
            if not bool(improved.any()):
                actions = bits[choice].long()
                return Solution(actions, values, self.start_return(actions))
            choice = torch.where(improved, better, choice)

    def best_symmetric_local_policy(self, observations: Tensor) -> Solution | None:
        """The best policy that maps an agent's observation to its action by one table for all agents, by brute force.

        Every table is valued exactly from all machines working in the endless problem.

        Args:
            observations: ``[S, N, O]``, what the agents observe in each state.

        Returns:
            The best; None where so many observations can occur that the search would exceed :data:`MOST_NUMBERS`.
        """
        distinct, seen = observations.flatten(0, 1).unique(dim=0, return_inverse=True)
        n_states = len(observations)
        if 2 ** len(distinct) * n_states**2 > MOST_NUMBERS:
            return None
        seen = seen.view(n_states, self.n_agents)  # [S, N]
        tables = torch.arange(2 ** len(distinct))[:, None] >> torch.arange(len(distinct)) & 1  # [tables, observations]
        eye = torch.eye(n_states, dtype=torch.float64)
        worth = []
        for chunk in tables.split(max(1, _CHUNK // n_states**2)):
            actions = chunk[:, seen]  # [C, S, N]
            matrix = torch.sub(eye, self.transition(actions), alpha=self.discount)
            worth.append(torch.linalg.solve(matrix, self._rewards(actions).sum(dim=-1))[:, -1])
        actions = tables[torch.cat(worth).argmax()][seen]
        return Solution(actions, self.policy_values(actions).sum(dim=0), self.start_return(actions))

    def _works_if_left(self) -> Tensor:
        """``[S, N]`` float64, the probability that each machine works next if it is not rebooted."""
        up = all_bits(self.n_agents).double()
        source, target = self.edge_index
        failed_neighbours = torch.zeros_like(up).index_add_(1, target, 1 - up[:, source])
        return up * (1 - (self.fail_alone + self.fail_per_neighbour * failed_neighbours).clamp(max=1))

    def _rewards(self, actions: Tensor) -> Tensor:
        """Local rewards ``[..., S, N]`` float64 of tables ``[..., S, N]``."""
        return all_bits(self.n_agents).double() - self.cost * actions.double()

    def _joint_rewards(self) -> Tensor:
        """Local rewards ``[N, S, 2^N]`` float64 of every state and joint action."""
        return self._rewards(all_bits(self.n_agents)[:, None]).permute(2, 1, 0)

    def _expected_next(self, values: Tensor) -> Tensor:
        """E[V(s')] for every state and joint action: ``[..., S]`` → ``[..., S, 2^N]``, machine by machine."""
        left = self._works_if_left()
        works = torch.stack([left, torch.ones_like(left)], dim=-1)  # [S, N, A]
        chance = torch.stack([1 - works, works], dim=-1)  # [S, N, A, next]
        expected = values[..., None, :].expand(*values.shape[:-1], len(left), -1)  # [..., S, next states]
        for i in range(self.n_agents):  # the lowest bit of the next state becomes the highest of the action
            pairs = expected.unflatten(-1, (-1, 2))  # [..., S, R, next]
            expected = torch.einsum("...srk,sak->...sar", pairs, chance[:, i]).flatten(-2)
        return expected
