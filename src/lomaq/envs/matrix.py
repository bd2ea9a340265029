"""Matrix games (Figure 7): one step, every agent's reward read from its own payoff tensor."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lomaq.envs.base import BatchedEnv
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph

#: Most payoffs of a game: joint actions times agents.
MOST_PAYOFFS = 10**7
#: Most agents: NumPy and torch have tensors of at most 64 dimensions, and one is for the agents.
MOST_AGENTS = 63
LARGEST = float(np.finfo(np.float32).max)


class MatrixGame(BatchedEnv):
    """n agents choose once, at the same time; each is paid what its tensor holds for the joint action.

    Description:
        A cooperative normal-form game. Payoffs differ from agent to agent, and the observation says nothing, so every
        agent is an ``agent_type`` of its own: with one network for all, all would choose alike.

    Actions:
        0 … A_i - 1, masked where agents differ in their number of actions.

    Observations:
        ``[1]``: always 1.

    Reward:
        ``payoffs[i][a_0, …, a_{n-1}]`` for agent i.

    Start:
        Always the same.

    End:
        Terminated by the only step.

    Args:
        payoffs: One tensor for each of the n agents, as nested lists of finite numbers, all of shape
            ``[A_0, …, A_{n-1}]``; n times the number of joint actions is at most 10^7.
        edges: Pairs of agents that are joined; None joins all.
        n_envs: Number of copies B.
        seed: As in every environment; nothing here is random.
        device: Where the tensors live.

    Attributes:
        payoffs: ``[N, A_0, …, A_{n-1}]`` float32, what each agent is paid.

    Raises:
        InputError: If the payoffs are no such tensors or the edges no such pairs.

    Example:
        >>> env = MatrixGame([[[0, 1], [1, 2]], [[2, 1], [1, 1]]])
        >>> env.step(torch.tensor([[1, 0]]))[1]
        tensor([[1., 1.]])
        >>> env.best_return
        3.0
    """

    def __init__(
        self,
        payoffs: Sequence[Any],
        edges: Sequence[Sequence[int]] | None = None,
        *,
        n_envs: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        table, sizes = _read_payoffs(payoffs)
        super().__init__(
            _make_graph(len(sizes), edges),
            n_envs=n_envs,
            n_actions=max(sizes),
            obs_size=1,
            max_steps=1,
            seed=seed,
            device=device,
            best_return=float(table.sum(axis=1).max()),
        )
        self._table = torch.from_numpy(table).to(self.device, torch.float32)  # [joint actions, N]
        self.payoffs = self._table.view(*sizes, self.n_agents).movedim(-1, 0)
        strides = [math.prod(sizes[i + 1 :]) for i in range(self.n_agents)]
        self._strides = torch.tensor(strides, device=self.device)  # [N]
        self._mask: Tensor | None = None
        if min(sizes) < max(sizes):
            choices = torch.arange(self.n_actions, device=self.device)
            self._mask = choices < torch.tensor(sizes, device=self.device)[:, None]  # [N, A]

    def _reset_state(self, rows: Tensor) -> None:
        """There is no state but the time."""

    def _advance(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        joint = (actions * self._strides).sum(dim=1)  # [B]
        return self._table.index_select(0, joint), torch.ones(self.n_envs, dtype=torch.bool, device=self.device)

    def observe(self) -> Tensor:
        return torch.ones(self.n_envs, self.n_agents, 1, device=self.device)

    def action_mask(self) -> Tensor | None:
        return None if self._mask is None else self._mask.expand(self.n_envs, -1, -1)


def _make_graph(n_agents: int, edges: Sequence[Sequence[int]] | None) -> AgentGraph:
    pairs = itertools.combinations(range(n_agents), 2) if edges is None else edges
    try:
        return AgentGraph.from_edges(n_agents, pairs, agent_type=range(n_agents))
    except InputError as error:
        name, *rest = error.parts
        raise InputError(f"env.{name}", *rest) from error


def _read_payoffs(payoffs: Sequence[Any]) -> tuple[np.ndarray, list[int]]:
    """Payoffs ``[joint actions, N]`` float64 and each agent's number of actions, of nested lists.

    The lists are opened level by level, the list of agents first; all lists of one level must be of one length.
    """
    level, lengths = [payoffs], list[int]()
    while len(lengths) <= (lengths[0] if lengths else 0):
        lengths.append(_common_length(level, lengths))
        level = [entry for part in level for entry in part]
    for number, entry in enumerate(level):
        if isinstance(entry, (list, tuple)):
            raise _wrong(f"{lengths[0]}-dimensional tensors, one for each agent", "a list", number, lengths)
        if isinstance(entry, bool) or not isinstance(entry, (int, float)):
            raise _wrong("numbers", repr(entry), number, lengths)
        if not abs(entry) <= LARGEST:  # NaN is not either
            got = repr(entry) if isinstance(entry, float) else "a number that no float can hold"
            raise _wrong("finite numbers (float32)", got, number, lengths)
    return np.ascontiguousarray(np.array(level, dtype=np.float64).reshape(lengths[0], -1).T), lengths[1:]


def _common_length(level: Sequence[Any], outer: list[int]) -> int:
    """Length of all lists of a level, whose place among the ``outer`` ones is their number."""
    for number, part in enumerate(level):
        if not isinstance(part, (list, tuple)):
            expected = f"{outer[0]}-dimensional tensors, one for each agent" if outer else "a list of payoff tensors"
            raise _wrong(expected, repr(part)[:40], number, outer)
        if not part:
            raise _wrong("at least one action of each agent" if outer else "at least one agent", "[]", number, outer)
        if len(part) != len(level[0]):
            expected = f"tensors of one shape, {len(level[0])} entries along dimension {len(outer) - 1}"
            raise _wrong(expected, f"{len(part)} entries", number, outer)
    length = len(level[0])
    if not outer and length > MOST_AGENTS:
        raise _wrong(f"at most {MOST_AGENTS} agents", length, 0, outer)
    total = math.prod(outer) * length
    if total > MOST_PAYOFFS:
        raise _wrong(f"at most {MOST_PAYOFFS:,} payoffs (joint actions times agents)", f"at least {total:,}", 0, [])
    return length


def _wrong(expected: str, got: object, number: int, lengths: list[int]) -> InputError:
    """The error for entry ``number`` of the level below lists of these ``lengths``."""
    place = ""
    for length in reversed(lengths):
        number, index = divmod(number, length)
        place = f"[{index}]{place}"
    return InputError("env.payoffs", expected, f"{got} at {place}" if place else got)
