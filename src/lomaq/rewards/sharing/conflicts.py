"""Where blocks oppose what is best for the team, and how W moves it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lomaq.graphs import AgentGraph, Partition
from lomaq.nn.moments import sum_over_processes
from lomaq.rewards.sharing.effects import NETWORKS, ActionEffects
from lomaq.rewards.sharing.matrix import ShareMatrix

#: Effects smaller than this share of the mean one have no sign, and by this share of it all are larger in the weights.
NO_EFFECT, LITTLE = 1e-3, 0.1


class Gains(NamedTuple):
    """What agents gain when agent i takes the action a*, which is best for the team, in place of a.

    Attributes:
        chosen: ``[3, S, M, A]``, gains d_ki(a) by the network that chose a*.
        weighed: The same at the same a* by the next network.
        measured: The same by the one after.
        total: T_i(a) = Σ_k d_ki(a) ≥ 0 ``[3, N, M, A]``, by the first; 0 for actions that are not allowed.
        size: Σ_k |d_ki(a)|, likewise.
    """

    chosen: Tensor
    weighed: Tensor
    measured: Tensor
    total: Tensor
    size: Tensor


class Opposition(NamedTuple):
    """What blocks have against the actions that are best for the team.

    Attributes:
        slopes: ``[rows]``, N times the derivative of what W is to make small, by each share, in the mean over the
            agents of its class.
        conflict: Share of (agent, state, action) in which a* has a block that sees the agent for it and one against it,
            by the network that chose a*; with noise it is too large.
        opposed: What blocks lose by a*, as a share of all that actions change. One network says who loses and another
            how much, so that noise averages out; it may be negative.
    """

    slopes: Tensor
    conflict: float
    opposed: float


class Conflicts(nn.Module):
    """Where blocks oppose the action that is best for the team, and how W moves it.

    d_k(a) is what agent k gains when agent i takes a*, the best action for the team, in place of a: Σ_k d_k(a) = T(a) ≥
    0. With W block J gains Σ_{j∈J} Σ_k W_jk d_k(a). In every (agent, state, a) each block that sees the agent ought to
    gain at least ``margin`` of an equal share of T. What it is short of counts with the weight 4 ρ (1 - ρ), ρ = T /
    Σ_k |d_k|: not at all where all agents gain (ρ = 1) or the team does not care (ρ = 0). The sum over blocks, agents,
    states and actions is divided by that of all |d_k|. For given effects that is convex in W and independent of the
    unit of the rewards.

    Args:
        effects: Pairs (k, i) of the effects q_ki.
        shares: Pairs (k, j) of W.
        graph: The agents.
        partition: The blocks J.
        kappa: Hops within which a block sees agents.
        margin: Share in [0, 1] of an equal share.
    """

    _effect: Tensor
    _entry: Tensor
    _sight: Tensor
    _seen: Tensor
    _n_seeing: Tensor
    _weight: Tensor

    def __init__(
        self,
        effects: ActionEffects,
        shares: ShareMatrix,
        graph: AgentGraph,
        partition: Partition,
        kappa: int,
        margin: float,
    ) -> None:
        super().__init__()
        self.n_agents, self.margin = graph.n_agents, margin
        of, by = effects.of, effects.by
        giver, receiver = shares.pairs.agent, shares.pairs.other
        # every effect of i on k meets every share of k's reward that goes to a block which sees i
        count = giver.bincount(minlength=graph.n_agents)
        effect = torch.arange(len(of)).repeat_interleave(count[of])
        begin = count.cumsum(0) - count
        offset = torch.arange(len(effect)) - (count[of].cumsum(0) - count[of])[effect]
        entry = begin[of[effect]] + offset
        seen = graph.khop(kappa, partition.blocks).tocoo()
        key = torch.from_numpy(seen.row.astype(np.int64) * graph.n_agents + seen.col).sort().values
        block = partition.block_of
        wanted = block[receiver[entry]] * graph.n_agents + by[effect]
        place = torch.searchsorted(key, wanted).clamp(max=len(key) - 1)
        known = key[place] == wanted
        members = shares.pairs.class_of.bincount().float()
        index = {
            "_effect": effect[known],
            "_entry": shares.pairs.row[entry[known]],
            "_sight": place[known],
            "_seen": key % graph.n_agents,
            "_n_seeing": (key % graph.n_agents).bincount(minlength=graph.n_agents).float(),
            "_weight": graph.n_agents / members[shares.pairs.row_class],
        }
        for name, value in index.items():
            self.register_buffer(name, value, persistent=False)
        self._parts = (effects, shares)  # in a tuple, not parts of this one

    @torch.no_grad()
    def gains(self, observations: Tensor, action_mask: Tensor | None = None) -> Gains:
        """At states ``[M, N, O]`` with allowed actions ``[M, N, A]`` bool; None for all."""
        effects, _ = self._parts
        q = effects(observations.expand(NETWORKS, *observations.shape))[..., :-1]  # [3, S, M, A]
        team = effects.by_agent(q, acting=True)  # [3, N, M, A]
        allowed = None if action_mask is None else action_mask.transpose(0, 1)
        best = (team if allowed is None else team.masked_fill(~allowed, -torch.inf)).argmax(dim=-1, keepdim=True)
        best = best[:, effects.by]
        chosen, weighed, measured = (other.gather(3, best) - other for other in (q, q.roll(-1, 0), q.roll(-2, 0)))
        total, size = effects.by_agent(chosen, acting=True), effects.by_agent(chosen.abs(), acting=True)
        if allowed is not None:
            total, size = total * allowed, size * allowed
        return Gains(chosen, weighed, measured, total, size)

    @torch.no_grad()
    def forward(self, observations: Tensor, action_mask: Tensor | None = None) -> Opposition:
        """What there is at states ``[M, N, O]`` with allowed actions ``[M, N, A]`` bool.

        One network chooses a*, who loses and who is short of how much is fair, another says how much those lose, which
        gives 1 - ρ (twice their share of Σ_k |d_k|), and a third measures; each in each of the three parts. So noise
        makes no conflict, neither in the weights nor in what they weigh.
        """
        effects, shares = self._parts
        chosen, weighed, measured, total, size = self.gains(observations, action_mask)
        gained = self._of_blocks(chosen)  # [3, (J sees i), M, A]
        fair = self.margin * total / self._n_seeing[:, None, None]
        lost = effects.by_agent((chosen < 0) * weighed, acting=True)  # ≤ 0 but for noise
        weight = (-8 * total * lost / (size + LITTLE * size.mean()).square()).nan_to_num()  # 4 ρ (1 - ρ)
        short = (gained < fair[:, self._seen]) * weight[:, self._seen]
        short = (short[:, self._sight] * measured[:, self._effect]).sum(dim=(0, 2, 3))  # of each meeting
        slopes = -short.new_zeros(len(shares.shares)).index_add(0, self._entry, short)
        least = NO_EFFECT * size.mean()
        decided = total > 0
        pro, con = (self._any_of_agent(sign * gained > least) & decided for sign in (1, -1))
        losing = (gained < 0) & decided[:, self._seen]
        opposed = -(losing * self._of_blocks(measured)).sum()
        sums = torch.cat([slopes, torch.stack([size.sum(), decided.sum(), (pro & con).sum(), opposed])])
        sums = sum_over_processes(sums)
        changed, count, torn, against = sums[-4:].tolist()
        changed = max(changed, torch.finfo(sums.dtype).tiny)
        return Opposition(sums[:-4] / changed * self._weight, torn / max(count, 1.0), against / changed)

    def _of_blocks(self, gains: Tensor) -> Tensor:
        """Gains of agents ``[3, S, M, A]`` → of the blocks that see agent i, with W: ``[3, (J sees i), M, A]``."""
        share = self._parts[1].shares[self._entry][:, None, None]
        total = gains.new_zeros(NETWORKS, len(self._seen), *gains.shape[2:])
        return total.index_add(1, self._sight, share * gains[:, self._effect])

    def _any_of_agent(self, holds: Tensor) -> Tensor:
        """Whether it holds for any block that sees the agent: ``[3, (J sees i), M, A]`` → ``[3, N, M, A]``."""
        total = torch.zeros(NETWORKS, self.n_agents, *holds.shape[2:], device=holds.device)
        return total.index_add(1, self._seen, holds.float()) > 0
