"""GraphMIX's mixer: a graph network over the utilities, with attention as edges and weights from the state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.utils import add_self_loops, scatter, softmax

from lomaq.errors import check_bool, check_choice, check_int
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers.base import StateMixer

#: Above this number of agents, attention between all pairs gets a warning.
MANY_AGENTS = 100


class GraphMIXMixer(StateMixer):
    """F(U, s) = |w(s)|ᵀ mean_i x_i + V(s), where x_i is agent i's embedding (Naderializadeh et al., 2020, Section 4).

    - a_ij = softmax_j ((W_q e_i)·(W_k e_j) / √d) over the agents j that i attends to, e = ReLU(Linear(observation)),
    - x_i = ELU(|W_2(s)| LeakyReLU(|w_1(s)| Σ_j a_ij U_j + b_1(s)) + b_2(s)),
    - φ_i = softmax_i (x_i · w'(s)), the agent's fraction of the team reward; an offset b'(s) would cancel.

    Args:
        attention: Size d of what attention compares, at least 1.
        edges: ``complete``, attention between all pairs, at a cost of N² a sample (the paper), or ``graph``, between
            neighbours and with itself, at a cost that grows with edges.
        learn_fractions: Whether w' is learned; of processes that train F alone, each would wait for its gradient.

    The other arguments are those of :class:`lomaq.mixers.StateMixer`; H is ``hidden``, and w_1(s) has (1 + H) // 2
    numbers.
    """

    _edges: Tensor | None

    def __init__(
        self,
        graph: AgentGraph,
        partition: Partition,
        obs_size: int,
        hidden: int = 32,
        hyper_hidden: int = 64,
        attention: int = 16,
        edges: Literal["complete", "graph"] = "complete",
        observation_scale: Sequence[float] | None = None,
        learn_fractions: bool = False,
    ) -> None:
        super().__init__(graph, partition, obs_size, hidden, hyper_hidden, observation_scale)
        check_int("mixer.attention", attention, 1)
        check_choice("mixer.edges", edges, ("complete", "graph"))
        if edges == "complete" and self.n_agents > MANY_AGENTS:
            cost = f"compares all pairs of {self.n_agents} agents: time and memory grow with the square of their number"
            self.note = f"mixer.edges=complete {cost}; with mixer.edges=graph they grow with the edges of the graph"
            self.numbers = max(self.numbers, self.n_agents**2)
        pairs = add_self_loops(graph.edge_index, num_nodes=self.n_agents)[0].flip(0) if edges == "graph" else None
        self.register_buffer("_edges", pairs, persistent=False)  # [2, E], who attends and to whom
        self.embed = nn.Sequential(nn.Linear(obs_size, attention), nn.ReLU())
        self.query, self.key = (nn.Linear(attention, attention, bias=False) for _ in range(2))
        state, self.middle = self.n_agents * obs_size, (1 + hidden) // 2
        self.w1, self.w2, self.w3, self.fraction = (
            nn.Sequential(nn.Linear(state, hyper_hidden), nn.ReLU(), nn.Linear(hyper_hidden, size))
            for size in (self.middle, self.middle * hidden, hidden, hidden)
        )
        self.learn_fractions = check_bool("mixer.learn_fractions", learn_fractions)
        self.fraction.requires_grad_(learn_fractions)  # else processes that train F alone would wait for its gradient
        self.b1, self.b2 = nn.Linear(state, self.middle), nn.Linear(state, hidden)
        self.value = nn.Sequential(nn.Linear(state, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward_with_fractions(self, utilities: Tensor, observations: Tensor) -> tuple[Tensor, Tensor]:
        """The value ``[..., 1]`` and the fractions φ ``[..., N]``, which sum to 1; arguments as in :meth:`forward`."""
        x, state = self._features(utilities.reshape(-1, self.n_agents), observations)
        fractions = torch.bmm(x, self.fraction(state)[..., None])[..., 0].softmax(dim=-1)  # [M, N]
        return self._read_out(x, state).view(*utilities.shape[:-1], 1), fractions.view(utilities.shape)

    def _mix(self, utilities: Tensor, observations: Tensor | None) -> Tensor:
        assert observations is not None
        return self._read_out(*self._features(utilities.T, observations))[None]  # [1, M]

    def _features(self, utilities: Tensor, observations: Tensor) -> tuple[Tensor, Tensor]:
        """x ``[M, N, H]`` and the state ``[M, N * O]`` of utilities ``[M, N]`` and observations ``[..., N, O]``."""
        observations = observations.reshape(-1, *observations.shape[-2:]) * self._scale  # [M, N, O]
        attended = self._attend(utilities, observations)[..., None]  # [M, N, 1]
        state = observations.flatten(1)
        w1, w2 = self.w1(state).abs(), self.w2(state).view(-1, self.middle, self.hidden).abs()
        x = functional.leaky_relu(torch.addcmul(self.b1(state)[:, None], attended, w1[:, None]))  # [M, N, (1 + H) // 2]
        return functional.elu(torch.baddbmm(self.b2(state)[:, None], x, w2)), state

    def _attend(self, utilities: Tensor, observations: Tensor) -> Tensor:
        """Σ_j a_ij U_j ``[M, N]``."""
        embedded = self.embed(observations)  # [M, N, d]
        query, key = self.query(embedded), self.key(embedded)
        if self._edges is None:
            return torch.bmm(pair_attention(query, key), utilities[..., None])[..., 0]
        weighted = edge_attention(query, key, self._edges) * utilities.index_select(1, self._edges[1])  # [M, E]
        return scatter(weighted, self._edges[0], dim=1, dim_size=self.n_agents)

    def _read_out(self, x: Tensor, state: Tensor) -> Tensor:
        """|w(s)|ᵀ mean_i x_i + V(s), ``[M]``."""
        return (x.mean(dim=1) * self.w3(state).abs()).sum(dim=1) + self.value(state)[:, 0]

    def head(self) -> list[nn.Parameter]:
        return [*self.w3[-1].parameters(), *self.value[-1].parameters()]

    def _multipliers(self) -> Iterable[Tensor]:
        return []  # absolute values and a softmax only


def pair_attention(query: Tensor, key: Tensor) -> Tensor:
    """softmax_j (q_i · k_j / √d) over all agents j, ``[M, N, N]``, of queries and keys ``[M, N, d]``."""
    return torch.bmm(query * query.size(-1) ** -0.5, key.mT).softmax(dim=-1)


def edge_attention(query: Tensor, key: Tensor, edges: Tensor) -> Tensor:
    """softmax_j (q_i · k_j / √d) over the agents j with an edge (i, j) ``[2, E]``: ``[M, E]``, else as above."""
    agent, other = edges
    likeness = (query.index_select(1, agent) * key.index_select(1, other)).sum(dim=-1)  # [M, E]
    return softmax(likeness * query.size(-1) ** -0.5, agent, num_nodes=query.size(1), dim=1)
