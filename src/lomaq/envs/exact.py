"""Exact dynamic programming for a few networked machines: what a policy is worth, and what the best one is.

State s of the S = 2^n holds machine i in its bit i (1: works), and joint action a agent i's action in its bit i. All
values are float64 on the CPU and, unless a horizon is given, those of the endless discounted problem.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lomaq.errors import InputError

#: Most machines with exact values, and with a table of action values, a number for every state and joint action.
EXACT_LIMIT, TABLE_LIMIT = 8, 6
#: Most numbers in the transition matrices of all policies that brute force tries: up to 16 distinct observations with
#: 6 machines, 14 with 7, 12 with 8; some ten seconds.
MOST_NUMBERS = 2**28
_CHUNK = 2**22  # numbers of one batch of transition matrices, 32 MiB


@dataclass(frozen=True)
class Machines:
    """n machines as numbers; see :class:`lomaq.envs.SysAdmin` for what they mean.

    Attributes:
        n_agents: Number of machines n.
        edge_index: ``[2, 2E]`` int64 on the CPU, each edge in both directions.
        cost: Price of a reboot.
        fail_alone: Probability that a machine fails in a step while its neighbours work.
        fail_per_neighbour: What each failed neighbour adds to it.
        discount: Discount γ in [0, 1).
        max_steps: Steps of an episode.
    """

    n_agents: int
    edge_index: Tensor
    cost: float
    fail_alone: float
    fail_per_neighbour: float
    discount: float
    max_steps: int


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

    Example:
        >>> all_bits(2).long().tolist()
        [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    if n > EXACT_LIMIT:
        raise InputError("env.n_agents", f"at most {EXACT_LIMIT} for exact values", n, "simulate episodes instead")
    return (torch.arange(2**n)[:, None] >> torch.arange(n) & 1).bool()


def number_of(bits: Tensor) -> Tensor:
    """Numbers ``[...]`` int64 of their bits ``[..., n]``, lowest first: states of ``up``, joint actions of actions."""
    return (bits.long() << torch.arange(bits.size(-1), device=bits.device)).sum(dim=-1)


def transition(machines: Machines, actions: Tensor) -> Tensor:
    """Transition matrix of a joint policy, P(s'|s) = Π_i P(up'_i | s, a_i).

    Args:
        machines: The machines, at most :data:`EXACT_LIMIT`.
        actions: ``[..., S, N]`` int64, the joint action in each state.

    Returns:
        ``[..., S, S]`` float64, from row to column.
    """
    works = torch.where(actions.bool(), 1.0, _works_if_left(machines))  # [..., S, N]
    matrix = torch.ones(*works.shape[:-1], 1, dtype=torch.float64)
    for i in range(machines.n_agents):  # each machine doubles the columns and is their highest bit
        chance = works[..., i, None]
        matrix = torch.cat([matrix * (1 - chance), matrix * chance], dim=-1)
    return matrix


def policy_values(machines: Machines, actions: Tensor, horizon: int | None = None) -> Tensor:
    """Values of each agent's own rewards under a joint policy, V_i = r_i + γ P V_i.

    Args:
        machines: The machines, at most :data:`EXACT_LIMIT`.
        actions: ``[S, N]`` int64, the joint action in each state.
        horizon: Number of steps that count; None for all to come.

    Returns:
        ``[N, S]`` float64; entry ``[i, -1]`` is agent i's value from all machines working.
    """
    forward = machines.discount * transition(machines, actions)  # [S, S]
    values = torch.linalg.solve(torch.eye(len(forward), dtype=torch.float64) - forward, _rewards(machines, actions))
    if horizon is not None:
        values = values - torch.linalg.matrix_power(forward, horizon) @ values  # without what comes after
    return values.T


def start_return(machines: Machines, actions: Tensor) -> float:
    """Discounted return of ``max_steps`` steps from all working, summed over agents, of a joint policy ``[S, N]``."""
    return float(policy_values(machines, actions, machines.max_steps)[:, -1].sum())


def block_q(machines: Machines, actions: Tensor) -> Tensor:
    """Each agent's own action values Q_i(s, a) = r_i(s, a) + γ E[V_i(s')], the policy followed from the next step on.

    Args:
        machines: The machines, at most :data:`EXACT_LIMIT`.
        actions: ``[S, N]`` int64, the joint policy that is followed.

    Returns:
        ``[N, S, 2^N]`` float64, for each agent, state and joint action.
    """
    return _joint_rewards(machines) + machines.discount * _expected_next(machines, policy_values(machines, actions))


def optimal(machines: Machines) -> Solution:
    """The policy that maximises the sum over agents in every state, by policy iteration over all joint actions."""
    bits = all_bits(machines.n_agents)
    rewards = _joint_rewards(machines).sum(dim=0)  # [S, 2^N]
    choice = number_of(~bits)  # start from: reboot iff failed
    while True:
        values = policy_values(machines, bits[choice].long()).sum(dim=0)  # [S]
        q = rewards + machines.discount * _expected_next(machines, values)  # [S, 2^N]
        best, better = q.max(dim=1)
        resolution = 10 * torch.finfo(torch.float64).eps / (1 - machines.discount) * values.abs().max()  # of the solve
        improved = best > q.gather(1, choice[:, None]).squeeze(1) + resolution
        if not bool(improved.any()):
            actions = bits[choice].long()
            return Solution(actions, values, start_return(machines, actions))
        choice = torch.where(improved, better, choice)


def best_symmetric_local_policy(machines: Machines, observations: Tensor) -> Solution | None:
    """The best policy that maps an agent's observation to its action by one table for all agents, by brute force.

    Every table is valued exactly from all machines working in the endless problem.

    Args:
        machines: The machines, at most :data:`EXACT_LIMIT`.
        observations: ``[S, N, O]``, what the agents see in each state.

    Returns:
        The best; None where so many observations can occur that the search would exceed :data:`MOST_NUMBERS`.
    """
    distinct, seen = observations.flatten(0, 1).unique(dim=0, return_inverse=True)
    n_states = len(observations)
    if 2 ** len(distinct) * n_states**2 > MOST_NUMBERS:
        return None
    seen = seen.view(n_states, machines.n_agents)  # [S, N]
    tables = torch.arange(2 ** len(distinct))[:, None] >> torch.arange(len(distinct)) & 1  # [tables, observations]
    eye = torch.eye(n_states, dtype=torch.float64)
    worth = []
    for chunk in tables.split(max(1, _CHUNK // n_states**2)):
        actions = chunk[:, seen]  # [C, S, N]
        matrix = torch.sub(eye, transition(machines, actions), alpha=machines.discount)
        worth.append(torch.linalg.solve(matrix, _rewards(machines, actions).sum(dim=-1))[:, -1])
    actions = tables[torch.cat(worth).argmax()][seen]
    return Solution(actions, policy_values(machines, actions).sum(dim=0), start_return(machines, actions))


def _works_if_left(machines: Machines) -> Tensor:
    """``[S, N]`` float64, the probability that each machine works next if it is not rebooted."""
    up = all_bits(machines.n_agents).double()
    source, target = machines.edge_index
    failed_neighbours = torch.zeros_like(up).index_add_(1, target, 1 - up[:, source])
    return up * (1 - (machines.fail_alone + machines.fail_per_neighbour * failed_neighbours).clamp(max=1))


def _rewards(machines: Machines, actions: Tensor) -> Tensor:
    """Local rewards ``[..., S, N]`` float64 of the policies ``[..., S, N]``."""
    return all_bits(machines.n_agents).double() - machines.cost * actions.double()


def _joint_rewards(machines: Machines) -> Tensor:
    """Local rewards ``[N, S, 2^N]`` float64 of every state and joint action."""
    bits = all_bits(machines.n_agents).double()
    return (bits[:, None] - machines.cost * bits).movedim(-1, 0)


def _expected_next(machines: Machines, values: Tensor) -> Tensor:
    """E[V(s')] for every state and joint action: ``[..., S]`` → ``[..., S, 2^N]``, machine by machine."""
    left = _works_if_left(machines)
    works = torch.stack([left, torch.ones_like(left)], dim=-1)  # [S, N, A]
    chance = torch.stack([1 - works, works], dim=-1)  # [S, N, A, next]
    expected = values[..., None, :].expand(*values.shape[:-1], len(left), -1)  # [..., S, next states]
    for i in range(machines.n_agents):  # the lowest bit of the next state becomes the highest of the action
        pairs = expected.unflatten(-1, (-1, 2))  # [..., S, R, next]
        expected = torch.einsum("...srk,sak->...sar", pairs, chance[:, i]).flatten(-2)
    return expected
