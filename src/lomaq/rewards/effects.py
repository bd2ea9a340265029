"""What an agent's action does to the returns of the agents around it, learned from what was played."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lomaq.envs import Rollout
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, ego_classes
from lomaq.nn import observation_factors
from lomaq.nn.moments import average_gradients, deviation, moments
from lomaq.nn.slots import Share, lay_out
from lomaq.rewards.returns import Returns

#: Weight of the past in the moments of the returns at each iteration.
DECAY = 0.9
#: Smallest unit of the returns, for those that do not vary.
FLOOR = 1e-3


class Pairs(NamedTuple):
    """All pairs of an agent and one within some hops of it; pairs of one row play the same role. Int64 each.

    Attributes:
        agent: ``[S]``, rising.
        other: ``[S]``.
        row: ``[S]``, numbered class by class: the pairs of an agent have consecutive rows.
        row_hops: ``[rows]``, distance of the pairs of each row.
        row_class: ``[rows]``, class of their agents, rising.
        class_of: ``[N]``, class of each agent.
    """

    agent: Tensor
    other: Tensor
    row: Tensor
    row_hops: Tensor
    row_class: Tensor
    class_of: Tensor


def pairs_within(graph: AgentGraph, hops: int, share: Share) -> Pairs:
    """The pairs within ``hops``.

    Args:
        graph: The agents.
        hops: Largest distance, at least 0.
        share: Which agents are of one class: ``ego`` those with isomorphic surroundings, ``none`` each its own.
    """
    ego = ego_classes(graph, [[i] for i in range(graph.n_agents)], hops)
    layout = lay_out(ego, share)
    agent = np.repeat(np.arange(graph.n_agents), ego.widths)
    row_class = np.empty(len(layout.hops), dtype=np.int64)
    row_class[layout.row] = layout.network[agent]
    arrays = (agent, ego.agents, layout.row, layout.hops, row_class, layout.network)
    return Pairs(*(torch.from_numpy(np.asarray(array, dtype=np.int64)) for array in arrays))


class ActionEffects(nn.Module):
    """Q_k(s, a) ≈ Σ_i q_ki(o_i, a_i) over the agents i within kappa hops of k: the return of k's own rewards.

    The return is that of the agents' behaviour, and the sum has no constraint: q_ki(o_i, ·) says what i's action does
    to k, whatever it does to others. Each q is linear in what a layer of ReLUs, one for all agents, makes of o_i, with
    weights of its own for each role of i around k. A further output, V_k(s) ≈ Σ_i v_ki(o_i), is the baseline from which
    λ-returns continue.

    There are two such networks, each learned from one half of the parallel environments and independent of the other
    given the policies. Where one chooses actions and signs and the other measures, noise averages out: an effect that
    is 0 measures 0 in the mean, while the absolute value of a noisy number is always above 0.

    Args:
        graph: The agents.
        kappa: Hops within which actions count, at least 0.
        obs_size: Observation size O.
        n_actions: Number of actions A.
        observation_scale: Fixed factor for each observed number; None for none.
        hidden: Width H of the layer.
        share: As in :func:`pairs_within`.

    Attributes:
        pairs: (k, i), in the order of the effects.
    """

    _scale: Tensor
    _moments: Tensor
    _of: Tensor
    _by: Tensor
    _row: Tensor

    def __init__(
        self,
        graph: AgentGraph,
        kappa: int,
        obs_size: int,
        n_actions: int,
        observation_scale: Sequence[float] | None = None,
        hidden: int = 32,
        share: Share = "ego",
    ) -> None:
        super().__init__()
        self.n_agents, self.n_actions = graph.n_agents, n_actions
        self.pairs = pairs_within(graph, kappa, share)
        for name, index in zip(("_of", "_by", "_row"), self.pairs, strict=False):
            self.register_buffer(name, index, persistent=False)
        bound = obs_size**-0.5
        self.weight = nn.Parameter((torch.rand(2, 1, obs_size, hidden) * 2 - 1) * bound)
        self.bias = nn.Parameter((torch.rand(2, 1, 1, hidden) * 2 - 1) * bound)
        self.heads = nn.Parameter(torch.zeros(2, len(self.pairs.row_hops), hidden + 1, n_actions + 1))
        factors = observation_factors("reward.observation_scale", observation_scale, obs_size)
        self.register_buffer("_scale", factors, persistent=False)
        self.register_buffer("_moments", torch.zeros(3, dtype=torch.float64))

    @property
    def unit(self) -> float:
        """What one unit of the outputs is worth in rewards: the deviation of the returns; 1 before the first."""
        return max(deviation(self._moments), FLOOR) if self._moments[0] > 0 else 1.0

    def forward(self, observations: Tensor) -> Tensor:
        """q of every action and, last, v: of observations ``[2, M, N, O]``, by each network: ``[2, S, M, A + 1]``."""
        x = ((observations * self._scale).transpose(1, 2) @ self.weight + self.bias).relu()  # [2, N, M, H]
        x = torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)
        return x.index_select(1, self._by) @ self.heads.index_select(1, self._row)

    def by_agent(self, values: Tensor, acting: bool = False) -> Tensor:
        """Sums over pairs (k, i), ``[2, S, ...]`` → ``[2, N, ...]``: of each k, or of each i that is ``acting``."""
        total = values.new_zeros(2, self.n_agents, *values.shape[2:])
        return total.index_add(1, self._by if acting else self._of, values)

    def learn(
        self,
        rollout: Rollout,
        returns: Returns,
        optimizer: torch.optim.Optimizer,
        updates: int,
        generator: torch.Generator,
    ) -> float:
        """One pass over sequences, in ``updates`` steps.

        Args:
            rollout: At least two sequences; of an odd number the last is left out.
            returns: Of the agents' rewards, by which the networks are taught.
            optimizer: Of the parameters.
            updates: Parts of the pass, at least 1.
            generator: Where the order comes from.

        Returns:
            The mean squared error over parts, agents and both outputs, in squared units.

        Raises:
            InputError: If there are fewer than two sequences.
        """
        half = rollout.n_sequences // 2
        if half == 0:
            expected = "at least 2 sequences to learn from with reward.share=learned, one for each of two networks"
            raise InputError("learner.batch_size", expected, rollout.n_sequences, "see learner.n_envs, too")
        rollout = rollout.select(torch.arange(2 * half, device=rollout.actions.device))
        observations, actions = _halves(rollout.observations[:-1]), _halves(rollout.actions)
        mask, taught = _halves(rollout.mask), _halves(self._returns(rollout, returns))
        total = 0.0
        for rows in torch.randperm(mask.size(1), generator=generator).to(mask.device).tensor_split(updates):
            with torch.enable_grad():
                values = self(observations[:, rows])
                taken = actions[:, rows].transpose(1, 2)[:, self._by, :, None]  # [2, S, M, 1]
                chosen = torch.cat([values.gather(3, taken), values[..., -1:]], dim=-1)
                error = self.by_agent(chosen) - taught[:, rows].transpose(1, 2)[..., None]  # [2, N, M, 2]
                valid = mask[:, rows]
                loss = (error.square() * valid[:, None, :, None]).sum() / valid.sum().clamp(min=1)
                optimizer.zero_grad()
                loss.backward()
            average_gradients(self.parameters())
            optimizer.step()
            total += float(loss.detach())
        return total / (updates * 2 * self.n_agents)

    @torch.no_grad()
    def _returns(self, rollout: Rollout, returns: Returns) -> Tensor:
        """λ-returns ``[T, B, N]`` in the unit that they themselves move."""
        n_steps, n_sequences = rollout.mask.shape
        baseline = self.by_agent(self(_halves(rollout.observations[1:]))[..., -1])  # [2, N, T * B / 2]
        following = baseline.unflatten(2, (n_steps, n_sequences // 2)).permute(2, 0, 3, 1).flatten(1, 2)
        before = self.unit
        raw = returns(rollout.rewards, following * before, rollout)
        self._moments.mul_(DECAY).add_(moments(raw[rollout.mask]))
        self.heads.mul_(before / self.unit)
        return raw / self.unit


def _halves(x: Tensor) -> Tensor:
    """``[T, B, ...]`` → ``[2, T * B / 2, ...]``: the first half of the sequences and the second."""
    return x.unflatten(1, (2, -1)).movedim(1, 0).flatten(1, 2)
