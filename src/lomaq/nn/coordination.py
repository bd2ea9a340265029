"""Coordination graphs: utilities, payoffs along the edges, and the joint action that maximises their sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from lomaq.errors import check_choice, check_int
from lomaq.graphs import AgentGraph
from lomaq.nn.acting import gather_actions
from lomaq.nn.chunks import in_chunks
from lomaq.nn.utility import Network, Utilities


def max_plus(
    utilities: Tensor, payoffs: Tensor, edges: Tensor, rounds: int, action_mask: Tensor | None = None
) -> Tensor:
    """Max-marginals whose maximum for each agent is a joint action of large Σ_i u_i(a_i) + Σ_{i,j} p_ij(a_i, a_j).

    Max-plus (Kok and Vlassis, 2006): in every round each agent i sends each neighbour j, for every action of j,

        μ_ij(a_j) = max_{a_i} [u_i(a_i) + p_ij(a_i, a_j) + Σ_{k ≠ j} μ_ki(a_i)], less its mean over a_j,

    and its max-marginals are u_i + Σ_k μ_ki. The anytime extension keeps, for each sample, the round whose joint
    action has the largest sum; round 0, without messages, is one of them. On a tree, as many rounds as its longest
    path has edges make it exact.

    Args:
        utilities: u, ``[..., N, A]``.
        payoffs: p, ``[..., E, A, A]``, the actions of ``edges[0]`` first.
        edges: ``[2, E]`` int64, each undirected edge once, in either direction.
        rounds: Rounds of messages, at least 0.
        action_mask: ``[..., N, A]`` bool, the allowed actions, for every agent at least one; None for all.

    Returns:
        ``[..., N, A]``, finite also for forbidden actions; each agent's best allowed one is its part of the joint
        action.
    """
    (*lead, n_agents, n_actions), n_edges = utilities.shape, edges.size(1)
    samples = math.prod(lead)
    # the samples M come last: sums and maxima then run along memory
    own = utilities.reshape(samples, n_agents, n_actions).permute(1, 2, 0).contiguous()  # [N, A, M]
    pay = payoffs.reshape(samples, n_edges, n_actions, n_actions).permute(1, 2, 3, 0)
    pay = torch.cat([pay, pay.transpose(1, 2)])  # [2E, A, A, M], the actions of the sender first
    sender, receiver = torch.cat([edges, edges.flip(0)], dim=1)  # [2E]; edge e + E is edge e reversed
    forbidden, allowed = None, None
    if action_mask is not None:
        allowed = action_mask.reshape(samples, n_agents, n_actions).permute(1, 2, 0)
        forbidden, allowed = ~allowed, allowed[receiver].to(own.dtype)
    messages = own.new_zeros(2 * n_edges, n_actions, samples)
    marginals = [own]
    for _ in range(rounds):
        known = marginals[-1] if forbidden is None else marginals[-1].masked_fill(forbidden, -torch.inf)
        sent = known.index_select(0, sender) - messages.roll(n_edges, dims=0)  # all that did not come from j
        messages = (sent[:, :, None] + pay).amax(dim=1)  # [2E, A, M]
        messages = messages - _mean(messages, allowed)
        marginals.append(own.index_add(0, receiver, messages))
    rounds_made = torch.stack(marginals)  # [R + 1, N, A, M]
    best = _best_round(rounds_made, own, pay[:n_edges], edges, forbidden)  # [M]
    kept = rounds_made.gather(0, best.expand(1, n_agents, n_actions, samples))[0]  # [N, A, M]
    return kept.permute(2, 0, 1).reshape(utilities.shape)


def _mean(messages: Tensor, allowed: Tensor | None) -> Tensor:
    """Mean ``[2E, 1, M]`` of messages ``[2E, A, M]`` over the actions that the receiver may take."""
    if allowed is None:
        return messages.mean(dim=1, keepdim=True)
    return (messages * allowed).sum(dim=1, keepdim=True) / allowed.sum(dim=1, keepdim=True)


def _best_round(marginals: Tensor, own: Tensor, pay: Tensor, edges: Tensor, forbidden: Tensor | None) -> Tensor:
    """Which round's joint action is worth most, ``[M]`` int64, the first of equals; marginals ``[R + 1, N, A, M]``."""
    if forbidden is not None:
        marginals = marginals.masked_fill(forbidden, -torch.inf)
    actions = marginals.max(dim=2).indices.transpose(0, 1)  # [N, R + 1, M]; argmax is ten times slower here
    value = own.gather(1, actions).sum(dim=0)  # [R + 1, M]
    pairs = actions.index_select(0, edges[0]) * pay.size(1) + actions.index_select(0, edges[1])  # [E, R + 1, M]
    return (value + pay.flatten(1, 2).gather(1, pairs).sum(dim=0)).argmax(dim=0)


class CoordinationGraph(Utilities):
    """Utilities f_i and payoffs f_ij of every edge; what acts is the joint action that max-plus finds for them.

    q(s, a) = Σ_i f_i(a_i) + Σ_{i,j} f_ij(a_i, a_j) over agents i and edges {i, j}, or the mean of each (Böhmer et al.,
    2020). No parameter depends on the number of agents or edges.

    Args:
        payoff_hidden: Width of the payoffs' hidden layer, at least 1.
        payoff_rank: K of payoffs Σ_k f̂_k(a_i) f̄_k(a_j), at least 1; None for a free A × A matrix.
        rounds: Rounds of messages, at least 1.
        reduction: Whether q has the ``sum`` over agents and the sum over edges, or the ``mean`` over each (the paper).

    The other arguments are those of :class:`Utilities`; all edges share one network.
    """

    decentralised = False
    _edges: Tensor

    def __init__(
        self,
        graph: AgentGraph,
        obs_size: int,
        n_actions: int,
        network: Network = "mlp",
        hidden: Sequence[int] = (64, 64),
        layer_norm: bool = True,
        observation_scale: Sequence[float] | None = None,
        last_action: bool = False,
        agent_id: bool = False,
        normalise: bool = False,
        payoff_hidden: int = 64,
        payoff_rank: int | None = None,
        rounds: int = 8,
        reduction: Literal["mean", "sum"] = "sum",
    ) -> None:
        super().__init__(
            graph, obs_size, n_actions, network, hidden, layer_norm, observation_scale, last_action, agent_id, normalise
        )
        self.payoff_hidden = check_int("agent.payoff_hidden", payoff_hidden, 1)
        if payoff_rank is not None:
            check_int("agent.payoff_rank", payoff_rank, 1)
        self.rounds = check_int("agent.rounds", rounds, 1)
        mean = check_choice("agent.reduction", reduction, ("mean", "sum")) == "mean"
        self._weights = (1 / graph.n_agents, 1 / max(graph.n_edges, 1)) if mean else (1.0, 1.0)
        self.payoffs = Payoffs(hidden[-1], payoff_hidden, n_actions, payoff_rank)
        self.register_buffer("_edges", graph.pairs.T.contiguous(), persistent=False)

    def forward(
        self,
        observations: Tensor,
        previous_actions: Tensor,
        first: Tensor,
        hidden: Tensor,
        action_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Max-marginals in units of the joint value: each agent's largest is its part of the joint action.

        Shapes are those of :meth:`Utilities.forward`; messages cover only what ``action_mask`` allows.
        """
        sequences = observations, previous_actions, first, hidden, action_mask
        result = in_chunks(self._marginals, sequences, (1, 1, 1, 0, 1), (1, 0), self._numbers(first))
        return cast(tuple[Tensor, Tensor], result)

    def _marginals(self, *sequences: Tensor) -> tuple[Tensor, Tensor]:
        *given, action_mask = sequences
        utilities, payoffs, state = self._terms(*given)
        return self.max_marginals(utilities, payoffs, action_mask), state

    def _numbers(self, first: Tensor) -> int:
        return max(super()._numbers(first), len(first) * 2 * self._edges.size(1) * self.payoff_hidden)

    def terms(
        self, observations: Tensor, previous_actions: Tensor, first: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the joint value is a sum of; arguments as in :meth:`forward`.

        Returns:
            Utilities ``[T, B, N, A]``, payoffs ``[T, B, E, A, A]`` of the E undirected edges i < j, the action of i
            first, and the memory ``[B, N, H]`` after the last step.
        """
        sequences = observations, previous_actions, first, hidden
        result = in_chunks(self._terms, sequences, (1, 1, 1, 0), (1, 1, 0), self._numbers(first))
        return cast(tuple[Tensor, Tensor, Tensor], result)

    def _terms(self, *sequences: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values, features, states = self._run(*sequences)
        payoffs = self.payoffs(self._together(features, 2), self._edges)
        return self._together(values, 2), payoffs, self._together(states, 1)

    def max_marginals(self, utilities: Tensor, payoffs: Tensor, action_mask: Tensor | None) -> Tensor:
        """:func:`max_plus` of the joint value with these terms: ``[..., N, A]``."""
        of_agent, of_edge = self._weights
        return max_plus(utilities * of_agent, payoffs * of_edge, self._edges, self.rounds, action_mask)

    def joint_value(self, utilities: Tensor, payoffs: Tensor, actions: Tensor) -> Tensor:
        """q(s, a) ``[...]`` of utilities ``[..., N, A]``, payoffs ``[..., E, A, A]`` and actions ``[..., N]`` int64."""
        of_agent, of_edge = self._weights
        alone = gather_actions(utilities, actions).sum(dim=-1)
        pairs = actions[..., self._edges[0]] * self.n_actions + actions[..., self._edges[1]]  # [..., E]
        joint = gather_actions(payoffs.flatten(-2), pairs).sum(dim=-1)
        return alone * of_agent + joint * of_edge

    @torch.no_grad()
    def rescale_(self, factor: float) -> None:
        """Multiply every utility and payoff by ``factor`` > 0, in the last layers."""
        super().rescale_(factor)
        self.payoffs.rescale_(factor)


class Payoffs(nn.Module):
    """f_ij(a_i, a_j | h_i, h_j), a network on both agents' features, averaged over both orders (Böhmer et al., 2020).

    The hidden layer of an ordered pair is ReLU(W h_i + W' h_j + b), where both products are computed once per agent.

    Args:
        features: Width H of an agent's features.
        hidden: Width of the hidden layer.
        n_actions: Number of actions A.
        rank: K of a payoff of low rank Σ_k f̂_k(a_i) f̄_k(a_j), or None for a free matrix.
    """

    def __init__(self, features: int, hidden: int, n_actions: int, rank: int | None) -> None:
        super().__init__()
        self.rank = rank
        self.shape = (n_actions, n_actions) if rank is None else (2, rank, n_actions)
        self.first = nn.Linear(features, hidden)
        self.second = nn.Linear(features, hidden, bias=False)
        self.head = nn.Linear(hidden, math.prod(self.shape))

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        """Payoffs ``[..., E, A, A]`` of ``edges`` ``[2, E]`` int64, the actions of ``edges[0]`` first.

        ``features`` are ``[..., N, H]``; for an edge written the other way, the payoffs are transposed.
        """
        sources, targets = torch.cat([edges, edges.flip(0)], dim=1)
        pairs = self.first(features).index_select(-2, sources) + self.second(features).index_select(-2, targets)
        payoffs = self.head(pairs.relu_()).unflatten(-1, self.shape)  # [..., 2E, A, A], or [..., 2E, 2, K, A]
        if self.rank is not None:
            payoffs = payoffs[..., 0, :, :].transpose(-1, -2) @ payoffs[..., 1, :, :]
        one_way, other_way = payoffs.unflatten(-3, (2, edges.size(1))).unbind(-4)
        return (one_way + other_way.transpose(-1, -2)) / 2

    @torch.no_grad()
    def rescale_(self, factor: float) -> None:
        """Multiply every payoff by ``factor`` > 0, in the last layer; of low rank, it is a product of two outputs."""
        for parameter in self.head.parameters():
            parameter.mul_(factor if self.rank is None else math.sqrt(factor))
