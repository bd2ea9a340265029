"""Polymatrix games: one step, every agent is paid along each of its edges by one and the same payoff matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lomaq.envs.graphs import make_graph
from lomaq.envs.matrix import OneStepGame, read_payoffs
from lomaq.graphs import AgentGraph, csr_matrix

#: Hunt stag, hunt hare, stay; see the class.
STAG_HUNT = ((4.0, -8.0, -8.0), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
#: Most joint actions that are tried for the best return.
MOST_JOINT_ACTIONS = 10**6


class PolymatrixGame(OneStepGame):
    """Each pair of neighbours plays the same matrix game.

    By default a stag hunt with three actions: 0 hunts stag, which pays 4 next to a stag hunter and -8 next to anybody
    else; 1 hunts hare, which pays 1 whatever the neighbour does; 2 stays and is paid 0. All hunt stag in the optimum,
    yet next to neighbours that act uniformly at random an edge is worth -7/3 to its two agents if one hunts stag or
    stays and -4/3 if it hunts hare: relative over-generalisation. All agents observe the same, so that a policy works
    for any number of them, and agents of one ``agent_type`` all choose alike. A game whose optimum needs unlike agents
    needs ``agent.agent_id=true`` or a graph file with agent types. Observations, start and end are those of
    :class:`OneStepGame`.

    - Actions: 0 … A - 1, all always allowed.
    - Reward: Σ_j ``payoff[a_i][a_j]`` over the neighbours j of agent i; 0 without any.

    Args:
        n_agents: Number of agents n, at least 1; None where a graph file gives it.
        graph: Name or file, see :func:`lomaq.envs.graphs.make_graph`.
        payoff: A × A finite numbers as nested lists, the agent's action first, then the neighbour's.

    The other arguments are those of :class:`BatchedEnv`.

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
        matrix = read_payoffs("env.payoff", payoff, "A rows of A numbers", lambda shape: shape == 2 * shape[:1])
        where = make_graph(graph, n_agents)
        super().__init__(where, len(matrix), n_envs=n_envs, seed=seed, device=device)
        self._edge_pay = matrix + matrix.T  # [A, A] float64, symmetric: what both agents of an edge get together
        best = _optimum(self._edge_pay, where)
        self.best_return = None if best is None else best[0]
        self._best_actions = None if best is None else torch.from_numpy(best[1]).to(self.device)  # [N]
        self.payoff = torch.from_numpy(matrix).to(self.device, torch.float32)
        source, target = where.edge_index.to(self.device)
        one = torch.ones(len(source), device=self.device)
        self._adjacency = csr_matrix(source, target, one, (self.n_agents, self.n_agents))

    def _pay(self, actions: Tensor) -> Tensor:
        own = actions.T  # [N, B]
        pay = self.payoff.T[own]  # [N, B, A], what a neighbour gets for each of its actions
        paid = (self._adjacency @ pay.flatten(1)).view_as(pay)  # what this agent gets for each of its own
        return paid.gather(2, own[..., None]).squeeze(2).T.contiguous()  # [B, N]

    def oracle(self) -> Tensor:
        """Actions ``[B, N]`` int64 of an optimum; an InputError where none is known."""
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


def _optimum(edge_pay: np.ndarray, graph: AgentGraph) -> tuple[float, np.ndarray] | None:
    """The largest team return and a joint action ``[N]`` int64 that earns it; None where it is not known."""
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
