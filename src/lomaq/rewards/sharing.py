"""Who answers for which reward: r′ = W r with non-negative W whose columns sum to 1, so that no reward is lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lomaq.envs import Rollout
from lomaq.errors import NonFiniteLossError
from lomaq.graphs import AgentGraph, Partition, csr_matrix, ego_classes
from lomaq.nn.moments import sum_over_processes
from lomaq.nn.slots import Share, lay_out
from lomaq.rewards.effects import ActionEffects
from lomaq.rewards.returns import Returns
from lomaq.rewards.settings import SharingSettings

#: States that a step of the shares looks at, and steps that effects are learned from: as many as have so many agents
#: in all, but at least and at most some states, and at least two sequences.
AGENT_STATES, LEAST_STATES, MOST_STATES, AGENT_STEPS = 2**15, 8, 256, 2**14
#: Effects smaller than this share of the mean one have no sign.
NO_EFFECT = 1e-3


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


class ShareMatrix(nn.Module):
    """W: agent j gets the share W_jk ≥ 0 of agent k's reward, Σ_j W_jk = 1, W_jk = 0 beyond some hops.

    Proposition 4 redistributes the rewards of disjoint groups; here every agent's neighbourhood is a group of its own.

    Args:
        graph: The agents.
        hops: Hops that a reward may travel, at least 0.
        equal: Start with equal shares for all agents within ``hops``; else with the identity.
        learned: Whether W belongs in checkpoints.
        share: Which agents have the same shares: ``ego`` those with isomorphic surroundings, ``none`` each its own.

    Attributes:
        pairs: (k, j): of k's reward j may get a share.
        shares: ``[rows]`` float32, the shares by the rows of ``pairs``.
    """

    shares: Tensor
    _row: Tensor
    _place: Tensor
    _hops: Tensor
    _class: Tensor

    def __init__(self, graph: AgentGraph, hops: int, equal: bool, learned: bool = False, share: Share = "ego") -> None:
        super().__init__()
        self.n_agents = graph.n_agents
        self.pairs = pairs_within(graph, hops, share)
        width = self.pairs.row_class.bincount()
        shares = 1 / width[self.pairs.row_class].float() if equal else (self.pairs.row_hops == 0).float()
        self.register_buffer("shares", shares, persistent=learned)
        index = {"_row": self.pairs.row, "_place": torch.stack([self.pairs.other, self.pairs.agent])}
        for name, value in {**index, "_hops": self.pairs.row_hops, "_class": self.pairs.row_class}.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, rewards: Tensor) -> Tensor:
        """r′ = W r: ``[..., N]`` → ``[..., N]``; sums over all agents stay."""
        shared = self.matrix() @ rewards.reshape(-1, self.n_agents).T
        return shared.T.reshape(rewards.shape)

    def matrix(self) -> Tensor:
        """W, CSR ``[N, N]`` float32."""
        receiver, giver = self._place
        return csr_matrix(receiver, giver, self.shares[self._row], (self.n_agents, self.n_agents))

    @property
    def passed_on(self) -> Tensor:
        """``[N]`` float32, the share of each agent's reward that others get."""
        receiver, giver = self._place
        own = receiver == giver
        return 1 - self.shares[self._row[own]][giver[own].argsort()]

    @torch.no_grad()
    def step_(self, slopes: Tensor, rate: float, price: float) -> None:
        """A step down ``slopes`` ``[rows]`` and down ``price`` for each hop; then to the nearest W that is allowed."""
        width = self._class.bincount()
        place = torch.arange(len(self.shares), device=self._class.device) - (width.cumsum(0) - width)[self._class]
        padded = self.shares.new_full((len(width), int(width.max())), -torch.inf)
        padded[self._class, place] = self.shares - rate * (slopes + price * self._hops)
        self.shares.copy_(nearest_distribution(padded)[self._class, place])


def nearest_distribution(x: Tensor) -> Tensor:
    """The nearest non-negative numbers that sum to 1 of each row ``[..., K]``; -inf stands for no number.

    Euclidean projection onto the simplex by sorting (Held, Wolfe and Crowder, 1974).

    >>> nearest_distribution(torch.tensor([[0.8, 0.6, -torch.inf], [0.2, 0.2, -3.0]]))
    tensor([[0.6000, 0.4000, 0.0000],
            [0.5000, 0.5000, 0.0000]])
    """
    falling = x.sort(dim=-1, descending=True).values
    rank = torch.arange(1, x.size(-1) + 1, device=x.device)
    excess = (falling.cumsum(dim=-1) - 1) / rank
    last = (falling > excess).sum(dim=-1, keepdim=True) - 1
    return (x - excess.gather(-1, last)).clamp(min=0)


class Gains(NamedTuple):
    """What agents gain when agent i takes the action a*, which is best for the team, in place of a.

    Attributes:
        chosen: ``[2, S, M, A]``, gains d_ki(a) by the network that chose a*.
        measured: The same by the other network, at the same a*.
        total: T_i(a) = Σ_k d_ki(a) ≥ 0 ``[2, N, M, A]``, by the first; 0 for actions that are not allowed.
        size: Σ_k |d_ki(a)|, likewise.
    """

    chosen: Tensor
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
        opposed: What blocks lose by a*, as a share of all that actions change. One network says who loses and the other
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
        q = effects(observations.expand(2, *observations.shape))[..., :-1]  # [2, S, M, A]
        team = effects.by_agent(q, acting=True)  # [2, N, M, A]
        allowed = None if action_mask is None else action_mask.transpose(0, 1)
        best = (team if allowed is None else team.masked_fill(~allowed, -torch.inf)).argmax(dim=-1, keepdim=True)
        chosen, measured = (q.gather(3, which[:, effects.by]) - q for which in (best, best.flip(0)))
        total, size = effects.by_agent(chosen, acting=True), effects.by_agent(chosen.abs(), acting=True)
        if allowed is not None:
            total, size = total * allowed, size * allowed
        return Gains(chosen, measured, total, size)

    @torch.no_grad()
    def forward(self, observations: Tensor, action_mask: Tensor | None = None) -> Opposition:
        """What there is at states ``[M, N, O]`` with allowed actions ``[M, N, A]`` bool.

        One network chooses a*, the weights and who is short, the other measures; then the other way round.
        """
        _, shares = self._parts
        chosen, measured, total, size = self.gains(observations, action_mask)
        gained = self._of_blocks(chosen)  # [2, (J sees i), M, A]
        agreed = (total / size).nan_to_num()  # ρ
        fair = self.margin * total / self._n_seeing[:, None, None]
        short = ((gained < fair[:, self._seen]) * (4 * agreed * (1 - agreed))[:, self._seen]).flip(0)
        short = (short[:, self._sight] * measured[:, self._effect]).sum(dim=(0, 2, 3))  # of each meeting
        slopes = -short.new_zeros(len(shares.shares)).index_add(0, self._entry, short)
        least = NO_EFFECT * size.mean()
        decided = total > 0
        pro, con = (self._any_of_agent(sign * gained > least) & decided for sign in (1, -1))
        losing = (gained < 0) & decided[:, self._seen]
        lost = -(losing.flip(0) * self._of_blocks(measured)).sum()
        sums = torch.cat([slopes, torch.stack([size.sum(), decided.sum(), (pro & con).sum(), lost])])
        sums = sum_over_processes(sums)
        changed, count, torn, lost = sums[-4:].tolist()
        changed = max(changed, torch.finfo(sums.dtype).tiny)
        return Opposition(sums[:-4] / changed * self._weight, torn / max(count, 1.0), lost / changed)

    def _of_blocks(self, gains: Tensor) -> Tensor:
        """Gains of agents ``[2, S, M, A]`` → of the blocks that see agent i, with W: ``[2, (J sees i), M, A]``."""
        share = self._parts[1].shares[self._entry][:, None, None]
        total = gains.new_zeros(2, len(self._seen), *gains.shape[2:])
        return total.index_add(1, self._sight, share * gains[:, self._effect])

    def _any_of_agent(self, holds: Tensor) -> Tensor:
        """Whether it holds for any block that sees the agent: ``[2, (J sees i), M, A]`` → ``[2, N, M, A]``."""
        total = torch.zeros(2, self.n_agents, *holds.shape[2:], device=holds.device)
        return total.index_add(1, self._seen, holds.float()) > 0


class LearnedSharing(nn.Module):
    """W, learned while values are: where blocks oppose what is best for the team, rewards go to those who cause them.

    In every few iterations the effects of actions are learned from what was played, then the shares take one step.

    Args:
        graph: The agents.
        partition: The blocks J.
        kappa: Hops within which blocks see agents.
        hops: Hops that a reward may travel.
        obs_size: Observation size O.
        n_actions: Number of actions A.
        observation_scale: Fixed factor for each observed number; None for none.
        settings: How.
    """

    _iterations: Tensor

    def __init__(
        self,
        graph: AgentGraph,
        partition: Partition,
        kappa: int,
        hops: int,
        obs_size: int,
        n_actions: int,
        observation_scale: Sequence[float] | None,
        settings: SharingSettings,
    ) -> None:
        super().__init__()
        self.settings, self.returns = settings, Returns(settings.gamma, settings.lam)
        self.matrix = ShareMatrix(graph, hops, equal=False, learned=True, share=settings.share)
        sizes: dict[str, Any] = {"hidden": settings.hidden, "share": settings.share}
        self.effects = ActionEffects(graph, kappa, obs_size, n_actions, observation_scale, **sizes)
        self.conflicts = Conflicts(self.effects, self.matrix, graph, partition, kappa, settings.margin)
        self.register_buffer("_iterations", torch.tensor(0))

    def learn(self, rollout: Rollout, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> dict[str, float]:
        """One iteration; returns its metrics, none where nothing was learned.

        Raises:
            NonFiniteLossError: If the effects went out of bounds.
        """
        s = self.settings
        self._iterations += 1
        if self._iterations % s.every > 0:
            return {}
        half = rollout.n_sequences // 2
        wanted = max(AGENT_STEPS // (2 * rollout.actions[:, 0].numel()), 1)
        chosen = torch.randperm(half, generator=generator)[:wanted].to(rollout.actions.device)
        columns = torch.cat([chosen, chosen + half])  # each network keeps to its half of the parallel environments
        loss = self.effects.learn(rollout.select(columns), self.returns, optimizer, s.updates, generator)
        rows = drawn_states(rollout, generator)
        states = rollout.observations[:-1].flatten(0, 1)[rows]
        mask = None if rollout.action_mask is None else rollout.action_mask[:-1].flatten(0, 1)[rows]
        found = self.conflicts(states, mask)
        if not math.isfinite(loss + found.opposed):
            raise NonFiniteLossError(f"the effects of actions became {loss + found.opposed}; lower reward.sharing.lr")
        self.matrix.step_(found.slopes, s.rate, s.price)
        passed_on = float(self.matrix.passed_on.mean())
        return {"effect_loss": loss, "conflict": found.conflict, "opposed": found.opposed, "passed_on": passed_on}


def drawn_states(rollout: Rollout, generator: torch.Generator) -> Tensor:
    """Places ``[M]`` int64 in the flattened steps of some transitions of a rollout, fewer for more agents."""
    n_agents = rollout.actions.size(-1)
    wanted = min(max(AGENT_STATES // n_agents, LEAST_STATES), MOST_STATES)
    rows = rollout.mask.flatten().nonzero()[:, 0]
    return rows[torch.randperm(len(rows), generator=generator)[:wanted].to(rows.device)]
