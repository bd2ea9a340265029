"""Games of one step, and matrix games (Figure 7): every agent's reward read from its own payoff tensor."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lomaq.envs.base import BatchedEnv
from lomaq.errors import InputError, check_float
from lomaq.graphs import AgentGraph

#: Most payoffs of a game: joint actions times agents.
MOST_PAYOFFS = 10**7
#: Most agents: NumPy and torch have tensors of at most 64 dimensions, and one is for the agents.
MOST_AGENTS = 63
LARGEST = float(np.finfo(np.float32).max)


class OneStepGame(BatchedEnv):
    """All agents choose once, at the same time; nothing is random. A subclass pays them in :meth:`_pay`.

    - Observations ``[1]``: always 1.
    - Start and end: always the same; terminated by the only step.
    """

    def __init__(
        self, graph: AgentGraph, n_actions: int, *, n_envs: int, seed: int, device: torch.device | str
    ) -> None:
        super().__init__(graph, n_envs=n_envs, n_actions=n_actions, obs_size=1, max_steps=1, seed=seed, device=device)

    @abstractmethod
    def _pay(self, actions: Tensor) -> Tensor:
        """Local rewards ``[B, N]`` float32 of ``actions`` ``[B, N]`` int64."""

    def _reset_state(self, rows: Tensor) -> None:
        """There is no state but the time."""

    def _advance(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        return self._pay(actions), torch.ones(self.n_envs, dtype=torch.bool, device=self.device)

    def observe(self) -> Tensor:
        return torch.ones(self.n_envs, self.n_agents, 1, device=self.device)


class MatrixGame(OneStepGame):
    """A cooperative normal-form game: each agent is paid what its tensor holds for the joint action.

    Payoffs differ from agent to agent, and the observation tells nothing, so every agent has its own ``agent_type``:
    with one network for all, all would choose alike. Observations, start and end are those of :class:`OneStepGame`.

    - Actions: 0 … A_i - 1, masked where agents differ in their number of actions.
    - Reward: ``payoffs[i][a_0, …, a_{n-1}]`` for agent i.

    Args:
        payoffs: One tensor for each of the n agents, as nested lists of finite numbers, all of shape
            ``[A_0, …, A_{n-1}]``; n times the number of joint actions is at most 10^7.
        edges: Pairs of agents that are joined; None joins all.

    The other arguments are those of :class:`BatchedEnv`.

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
        expected = f"a tensor of n dimensions for each of n agents (at most {MOST_AGENTS}), all of one shape"
        table = read_payoffs("env.payoffs", payoffs, expected, lambda shape: shape[0] == len(shape) - 1)
        n, *sizes = table.shape
        super().__init__(_make_graph(n, edges), max(sizes), n_envs=n_envs, seed=seed, device=device)
        self.best_return = float(table.sum(axis=0).max())
        self.payoffs = torch.from_numpy(table).to(self.device, torch.float32)
        self._table = self.payoffs.flatten(1).T.contiguous()  # [joint actions, N]
        strides = [math.prod(sizes[i + 1 :]) for i in range(n)]
        self._strides = torch.tensor(strides, device=self.device)  # [N]
        self._mask: Tensor | None = None
        if min(sizes) < max(sizes):
            choices = torch.arange(self.n_actions, device=self.device)
            self._mask = choices < torch.tensor(sizes, device=self.device)[:, None]  # [N, A]

    def _pay(self, actions: Tensor) -> Tensor:
        return self._table.index_select(0, (actions * self._strides).sum(dim=1))

    def action_mask(self) -> Tensor | None:
        return None if self._mask is None else self._mask.expand(self.n_envs, -1, -1)


def _make_graph(n_agents: int, edges: Sequence[Sequence[int]] | None) -> AgentGraph:
    pairs = itertools.combinations(range(n_agents), 2) if edges is None else edges
    try:
        return AgentGraph.from_edges(n_agents, pairs, agent_type=range(n_agents))
    except InputError as error:
        name, *rest = error.parts
        raise InputError(f"env.{name}", *rest) from error


def read_payoffs(name: str, nested: object, expected: str, fits: Callable[[tuple[int, ...]], bool]) -> np.ndarray:
    """Nested lists of numbers as a float64 array.

    Args:
        name: The setting.
        nested: What it holds.
        expected: The shape in words.
        fits: Whether a shape of at least one dimension is the expected one.

    Raises:
        InputError: If the lists have another shape, are ragged or too large, or hold anything but float32's numbers.
    """
    table = np.array(nested, dtype=object)  # lists of unlike lengths stay entries
    if not table.ndim or not table.size or not fits(table.shape):
        got = f"lists of the common shape {list(table.shape)}" if table.ndim else repr(nested)[:40]
        raise InputError(name, expected, got)
    if table.size > MOST_PAYOFFS:
        raise InputError(name, f"at most {MOST_PAYOFFS:,} payoffs (joint actions times agents)", f"{table.size:,}")
    for number, entry in enumerate(table.reshape(-1)):
        if type(entry) not in (int, float) or not abs(entry) <= LARGEST:
            place = "".join(f"[{i}]" for i in np.unravel_index(number, table.shape))
            check_float(name + place, entry, -LARGEST, LARGEST)
    return table.astype(np.float64)
