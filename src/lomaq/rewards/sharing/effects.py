"""What an agent's action does to the returns of the agents around it, learned from what was played."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lomaq.envs import Rollout
from lomaq.graphs import AgentGraph
from lomaq.nn import observation_factors
from lomaq.nn.moments import average_gradients, deviation, moments
from lomaq.nn.slots import Share, Slots
from lomaq.rewards.returns import Returns

#: Networks, from data of their own each.
NETWORKS = 3
#: Weight of the past in the moments of the returns at each iteration.
DECAY = 0.9
#: Smallest unit of the returns, for those that do not vary.
FLOOR = 1e-3


class ActionEffects(nn.Module):
    """Q_k(s, a) ≈ Σ_i q_ki(o_i, a_i) over the agents i within kappa hops of k: the return of k's own rewards.

    The return is that of the agents' behaviour, and the sum has no constraint: q_ki(o_i, ·) says what i's action does
    to k, whatever it does to others. Each q is linear in what a layer of ReLUs, one for all agents, makes of o_i, with
    weights of its own for each role of k around i. A further output, V_k(s) ≈ Σ_i v_ki(o_i), is the baseline from which
    λ-returns continue.

    There are three such networks, each learned from one third of the sequences of a batch and, where these are always
    of the same parallel environments, independent of the others given the policies. Where one chooses actions and signs
    and another measures, noise averages out: an effect that is 0 measures 0 in the mean, while the absolute value of a
    noisy number is always above 0. A product of two measurements takes two of the others.

    Args:
        graph: The agents.
        kappa: Hops within which actions count, at least 0.
        obs_size: Observation size O.
        n_actions: Number of actions A.
        observation_scale: Fixed factor for each observed number; None for none.
        hidden: Width H of the layer.
        share: Which agents i have the same weights: ``ego`` those with isomorphic surroundings, ``none`` each its own.

    Attributes:
        of: ``[S]`` int64, agent k of every pair (k, i), in the order of the effects.
        by: ``[S]`` int64, agent i.
    """

    of: Tensor
    by: Tensor
    _scale: Tensor
    _moments: Tensor

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
        self.n_agents = graph.n_agents
        self.slots = Slots(graph, [[i] for i in range(graph.n_agents)], kappa, share)
        bound = obs_size**-0.5
        self.weight = nn.Parameter((torch.rand(NETWORKS, 1, obs_size, hidden) * 2 - 1) * bound)
        self.bias = nn.Parameter((torch.rand(NETWORKS, 1, 1, hidden) * 2 - 1) * bound)
        self.heads = nn.Parameter(torch.zeros(NETWORKS, len(self.slots.fan_in), hidden + 1, n_actions + 1))
        factors = observation_factors("reward.observation_scale", observation_scale, obs_size)
        of, by = [], []
        for number in range(self.slots.n_buckets):
            blocks, agent, factor = self.slots.bucket(number, "blocks", "agent", "factor")
            real = (factor > 0).flatten().nonzero()[:, 0]
            of.append(agent.flatten()[real])
            by.append(blocks[:, None].expand_as(agent).flatten()[real])
            self.register_buffer(f"_real_{number}", real, persistent=False)
        for name, index in {"of": torch.cat(of), "by": torch.cat(by), "_scale": factors}.items():
            self.register_buffer(name, index, persistent=False)
        self.register_buffer("_moments", torch.zeros(3, dtype=torch.float64))

    @property
    def unit(self) -> float:
        """What one unit of the outputs is worth in rewards: the deviation of the returns; 1 before the first."""
        return max(deviation(self._moments), FLOOR) if self._moments[0] > 0 else 1.0

    def forward(self, observations: Tensor, outputs: slice = slice(None)) -> Tensor:
        """q of every action and, last, v, ``[3, S, M, A + 1]``: of observations ``[3, M, N, O]``, by each network."""
        x = ((observations * self._scale).transpose(1, 2) @ self.weight + self.bias).relu()  # [3, N, M, H]
        x = torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)
        parts = []
        for number in range(self.slots.n_buckets):
            blocks, row = self.slots.bucket(number, "blocks", "row")
            heads = self.heads[..., outputs].index_select(1, row.flatten()).unflatten(1, row.shape)  # [3, P, W, H, A]
            acting = x if self.slots.n_buckets == 1 else x.index_select(1, blocks)
            out = acting @ heads.transpose(2, 3).flatten(3)  # [3, P, M, W * A]
            out = out.unflatten(3, (row.size(1), -1)).transpose(2, 3).flatten(1, 2)  # [3, P * W, M, A]
            real = self.get_buffer(f"_real_{number}")
            parts.append(out if len(real) == row.numel() else out.index_select(1, real))
        return torch.cat(parts, dim=1)

    def by_agent(self, values: Tensor, acting: bool = False) -> Tensor:
        """Sums over pairs (k, i), ``[3, S, ...]`` → ``[3, N, ...]``: of each k, or of each i that is ``acting``."""
        total = values.new_zeros(NETWORKS, self.n_agents, *values.shape[2:])
        return total.index_add(1, self.by if acting else self.of, values)

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
            rollout: At least three sequences; those beyond a multiple of three are left out.
            returns: Of the agents' rewards, by which the networks are taught.
            optimizer: Of the parameters.
            updates: Parts of the pass, at least 1.
            generator: Where the order comes from.

        Returns:
            The mean squared error over parts, agents and both outputs, in squared units.
        """
        each = rollout.n_sequences // NETWORKS
        assert each > 0, "one sequence for each network"
        rollout = rollout.select(torch.arange(NETWORKS * each, device=rollout.actions.device))
        observations, actions = _parts(rollout.observations[:-1]), _parts(rollout.actions)
        mask, taught = _parts(rollout.mask), _parts(self._returns(rollout, returns))
        total = 0.0
        for rows in torch.randperm(mask.size(1), generator=generator).to(mask.device).tensor_split(updates):
            with torch.enable_grad():
                values = self(observations[:, rows])
                taken = actions[:, rows].transpose(1, 2)[:, self.by, :, None]  # [3, S, M, 1]
                chosen = torch.cat([values.gather(3, taken), values[..., -1:]], dim=-1)
                error = self.by_agent(chosen) - taught[:, rows].transpose(1, 2)[..., None]  # [3, N, M, 2]
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
        baseline = self.by_agent(self(_parts(rollout.observations[1:]), slice(-1, None))[..., 0])  # [3, N, T * B / 3]
        following = baseline.unflatten(2, (n_steps, n_sequences // NETWORKS)).permute(2, 0, 3, 1).flatten(1, 2)
        before = self.unit
        raw = returns(rollout.rewards, following * before, rollout)
        self._moments.mul_(DECAY).add_(moments(raw[rollout.mask]))
        self.heads.mul_(before / self.unit)
        return raw / self.unit


def _parts(x: Tensor) -> Tensor:
    """``[T, B, ...]`` → ``[3, T * B / 3, ...]``: the sequences of each network."""
    return x.unflatten(1, (NETWORKS, -1)).movedim(1, 0).flatten(1, 2)
