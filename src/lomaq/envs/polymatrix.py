"""Polymatrix games: one step, every agent is paid along each of its edges by one and the same payoff matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lomaq.envs.base import BatchedEnv
from lomaq.envs.graphs import make_graph
from lomaq.envs.matrix import LARGEST
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, csr_matrix

#: Hunt stag, hunt hare, stay; see the class.
STAG_HUNT = ((4.0, -8.0, -8.0), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
#: Most joint actions that are tried for the best return.
MOST_JOINT_ACTIONS = 10**6


class PolymatrixGame(BatchedEnv):
    """n agents on a graph choose once, at the same time; each pair of neighbours plays the same matrix game.

    Description:
        By default a stag hunt with three actions: 0 hunts stag, which pays 4 beside a stag hunter and -8 beside anybody
        else; 1 hunts hare, which pays 1 whatever the neighbour does; 2 stays and is paid 0. All hunt stag in the
        optimum, yet beside neighbours that act uniformly at random an edge is worth -7/3 to its two agents if one hunts
        stag or stays and -4/3 if it hunts hare: relative over-generalisation. All agents see the same, which is what
        lets a policy go over to any number of them; agents of one ``agent_type`` therefore all choose alike. A game
        whose optimum needs unlike agents needs ``agent.agent_id=true`` or a graph file with agent types.

    Actions:
        0 … A - 1, all always allowed.

    Observations:
        ``[1]``: always 1.

    Reward:
        Σ_j ``payoff[a_i][a_j]`` over the neighbours j of agent i; 0 without any.

    Start:
        Always the same.

    End:
        Terminated by the only step.

    Args:
        n_agents: Number of agents n, at least 1; None where a graph file says it.
        graph: ``line``; ``ring``; ``star``; ``grid`` of rows × columns = n, as near to square as n's divisors allow (a
            prime n makes a line); or the path of a graph file.
        payoff: A × A finite numbers as nested lists, the own action first, then the neighbour's.
        n_envs: Number of copies B.
        seed: As in every environment; nothing here is random.
        device: Where the tensors live.

    Attributes:
        payoff: ``[A, A]`` float32.
        best_return: Exact where the largest entry of payoff + payoffᵀ, an edge's pay for both its agents, is on the
            diagonal (edges times that entry) or there are at most 10^6 joint actions; None beyond.

    Raises:
        InputError: If the payoffs are no such matrix, or the graph is unknown or of another size.

    Example:
        >>> env = PolymatrixGame(3, graph="line")
        >>> env.step(torch.tensor([[0, 0, 1]]))[1]
        tensor([[ 4., -4.,  1.]])
        >>> env.best_return
        16.0
    """

    def __init__(
        self,
        n_agents: int | None = 15,
        graph: str = "ring",
        payoff: Sequence[Sequence[float]] = STAG_HUNT,
        *,
        n_envs: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        matrix, where = _read_payoff(payoff), make_graph(graph, n_agents)
        self._edge_pay = matrix + matrix.T  # [A, A] float64, symmetric: what both agents of an edge get together
        best = _optimum(self._edge_pay, where)
        super().__init__(
            where,
            n_envs=n_envs,
            n_actions=len(matrix),
            obs_size=1,
            max_steps=1,
            seed=seed,
            device=device,
            best_return=None if best is None else best[0],
        )
        self._best_actions = None if best is None else torch.from_numpy(best[1]).to(self.device)  # [N]
        self.payoff = torch.from_numpy(matrix).to(self.device, torch.float32)
        source, target = where.edge_index.to(self.device)
        one = torch.ones(len(source), device=self.device)
        self._adjacency = csr_matrix(source, target, one, (self.n_agents, self.n_agents))

    def _reset_state(self, rows: Tensor) -> None:
        """There is no state but the time."""

    def _advance(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        own = actions.T  # [N, B]
        beside = self.payoff.T[own]  # [N, B, A], what each action would be paid beside this agent
        paid = (self._adjacency @ beside.flatten(1)).view_as(beside)  # the same beside all neighbours of this agent
        rewards = paid.gather(2, own[..., None]).squeeze(2).T.contiguous()  # [B, N]
        return rewards, torch.ones(self.n_envs, dtype=torch.bool, device=self.device)

    def observe(self) -> Tensor:
        return torch.ones(self.n_envs, self.n_agents, 1, device=self.device)

    def oracle(self) -> Tensor:
        """Actions ``[B, N]`` int64 of an optimum.

        Raises:
            InputError: If none is known.
        """
        if self._best_actions is None:
            return super().oracle()
        return self._best_actions.repeat(self.n_envs, 1)

    def references(self) -> dict[str, float]:
        """Exact returns by name.

        ``best possible``, where it is known, and ``all play a`` for two actions a: the best that all can play alike,
        and the best for an edge whose other agent acts uniformly at random, which a sum of utilities learns from that.
        """
        alike = {int(self._edge_pay.diagonal().argmax()), int(self._edge_pay.mean(axis=1).argmax())}
        returns = {f"all play {a}": self.graph.n_edges * float(self._edge_pay[a, a]) for a in sorted(alike)}
        return {**super().references(), **returns}


def _read_payoff(payoff: Sequence[Sequence[float]]) -> np.ndarray:
    """``[A, A]`` float64 of nested lists."""
    if not isinstance(payoff, (list, tuple)) or not payoff:
        raise InputError("env.payoff", "a list of rows, one for each own action", repr(payoff)[:40])
    for own, row in enumerate(payoff):
        if not isinstance(row, (list, tuple)):
            raise InputError("env.payoff", "rows that are lists of numbers", f"{repr(row)[:40]} at [{own}]")
        if len(row) != len(payoff):
            expected = f"as many payoffs in a row as there are rows, {len(payoff)}"
            raise InputError("env.payoff", expected, f"{len(row)} at [{own}]")
        for other, entry in enumerate(row):
            if isinstance(entry, bool) or not isinstance(entry, (int, float)):
                raise InputError("env.payoff", "numbers", f"{repr(entry)[:40]} at [{own}][{other}]")
            if not abs(entry) <= LARGEST:  # NaN is not either
                got = repr(entry) if isinstance(entry, float) else "a number that no float can hold"
                raise InputError("env.payoff", "finite numbers (float32)", f"{got} at [{own}][{other}]")
    return np.array(payoff, dtype=np.float64)


def _optimum(edge_pay: np.ndarray, graph: AgentGraph) -> tuple[float, np.ndarray] | None:
    """The largest team return and a joint action ``[N]`` int64 that earns it; None where it is not known.

    Args:
        edge_pay: ``[A, A]`` float64, symmetric, what an edge pays both its agents.
        graph: The agents.
    """
    n, n_actions = graph.n_agents, len(edge_pay)
    alike = int(edge_pay.diagonal().argmax())
    if edge_pay[alike, alike] == edge_pay.max():
        return graph.n_edges * float(edge_pay[alike, alike]), np.full(n, alike)
    if n_actions**n > MOST_JOINT_ACTIONS:
        return None
    total = np.zeros((n_actions,) * n)  # of every joint action
    for edge in graph.pairs.tolist():
        total += edge_pay.reshape([n_actions if i in edge else 1 for i in range(n)])
    best = int(total.argmax())
    return float(total.flat[best]), np.array(np.unravel_index(best, total.shape))
