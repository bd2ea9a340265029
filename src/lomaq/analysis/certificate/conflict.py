"""Whether blocks oppose the actions that are best for the team, so that no utility suits all that see an agent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lomaq.graphs import AgentGraph, Partition
from lomaq.rewards import BlockReward, RewardSource, ShareMatrix, SharingSettings
from lomaq.rewards.sharing import NETWORKS, ActionEffects, Conflicts, drawn_states
from lomaq.training.build import Run
from lomaq.training.experience.collector import Collector

#: Gains up to here, relative to the largest action value, are rounding of float64.
ROUNDING = 1e-9
#: Parallel environments; independent estimates, each from its part of these; steps times agents that all learn from, in
#: so many rollouts at most; passes over them; steps of Adam of an estimate; seed of the episodes.
N_ENVS, REPEATS, BUDGET, ROLLOUTS, PASSES, STEPS, EFFECTS_SEED = 12, 4, 2**18, 16, 4, 128, 3_000_017


@dataclass(frozen=True)
class Conflict:
    """With W of the run; second, where the run shares rewards, what it would be if none were shared.

    Attributes:
        n_states: States: all, or visited ones.
        opposed: What blocks that see an agent lose by the action that is best for the team, as a share of all that the
            agents' actions change. Estimated, it may be a little below 0.
        error: Standard errors; None where exact.
        share: Share of (state, agent, other action) in which one such block gains by the best action and another loses;
            None where estimated, since by noise even a gain of 0 has a sign, which makes it too large.
    """

    n_states: int
    opposed: tuple[float, ...]
    error: tuple[float, ...] | None
    share: tuple[float, ...] | None

    def line(self) -> str:
        """What was found, in words."""
        lost = [f"{x:.1%}" for x in self.opposed]
        if self.error is not None:
            lost = [f"{x} ± {error:.1%}" for x, error in zip(lost, self.error, strict=True)]
        split = [f" and disagree about {x:.1%} of them" for x in self.share or ()] or ["", ""]
        text = f"blocks lose {lost[0]} of all that actions change by those that are best for the team{split[0]}"
        text += f" (in {self.n_states:,} states)"
        return text if len(lost) == 1 else f"{text}; if no reward were shared, {lost[1]}{split[1]}"


def shares_of(reward: BlockReward, graph: AgentGraph) -> list[ShareMatrix] | None:
    """W of a run and, where it shares rewards, that of none; None where blocks do not have their local rewards."""
    if not isinstance(reward, RewardSource) or reward.source != "local" or reward.parent is not None:
        return None
    return [*([] if reward.matrix is None else [reward.matrix]), ShareMatrix(graph, 0, equal=False)]


def exact_conflict(
    q: Tensor, actions: Tensor, graph: AgentGraph, partition: Partition, kappa: int, shares: Sequence[ShareMatrix]
) -> Conflict:
    """Of all agents in all states: what a*, best for the team, gains on each other action a' if the others are greedy.

    Args:
        q: ``[N, S, A^N]`` float, every agent's exact Q_i; joint actions are numbered Σ_j a_j A^j.
        actions: ``[S, N]`` int64, the greedy actions.
        graph: Where hops are counted.
        partition: The blocks J, which gain Σ_{j∈J} Σ_k W_jk [Q_k(s, a*, a_-i) - Q_k(s, a', a_-i)].
        kappa: Hops within which a block sees agents.
        shares: Each W.
    """
    n, n_actions = len(q), max(1, round(q.size(-1) ** (1 / len(q))))
    place, action = n_actions ** torch.arange(n), torch.arange(n_actions)
    joint = (actions @ place)[:, None, None] + (action - actions[..., None]) * place[:, None]  # [S, N, A]
    values = q.double().gather(2, joint.flatten(1).expand(n, -1, -1)).unflatten(2, joint.shape[1:])
    best = values.sum(dim=0).argmax(dim=-1, keepdim=True)
    gains = values.gather(3, best.expand(n, -1, -1, -1)) - values  # [K, S, N, A]
    seen = torch.from_numpy(graph.khop(kappa, partition.blocks).toarray() > 0)[:, None, :, None]  # [P, 1, N, 1]
    rounding, changed = ROUNDING * float(q.abs().amax()), float(gains.abs().sum())
    found = []
    for matrix in shares:
        shared = (matrix.matrix().to_dense().double() @ gains.flatten(1)).T  # [S * N * A, K]
        gained = partition.block_sum(shared).T.unflatten(1, gains.shape[1:]) * seen  # [P, S, N, A]
        pro, con = ((sign * gained > rounding).any(dim=0) for sign in (1, -1))
        lost = float(gained.clamp(max=0).abs().sum()) / changed if changed > rounding else 0.0
        found.append((lost, float((pro & con)[best != action].double().mean().nan_to_num())))
    opposed, share = zip(*found, strict=True)
    return Conflict(q.size(1), opposed, None, share)


def estimated_conflict(run: Run, shares: Sequence[ShareMatrix], epsilon: float, seed: int) -> Conflict:
    """The same at visited states, by effects of actions that are learned from episodes, in independent estimates.

    Effects reach as far as blocks see agents, but at least one hop; random actions show what the others do.
    """
    networks, objective, settings = run.module.networks, run.module.settings.objective, SharingSettings()
    graph, kappa, scale = networks.mixer.graph, networks.mixer.kappa, networks.utilities.observation_scale
    factors, generator = None if scale is None else scale.tolist(), torch.Generator().manual_seed(seed)
    with run.make_env(N_ENVS, EFFECTS_SEED + seed, torch.device("cpu")) as env:
        collector = Collector(env, networks.utilities, seed, None, objective.policy)
        episodes = BUDGET // (REPEATS * env.max_steps * env.n_agents)  # of one estimate
        count = min(max(REPEATS * episodes // N_ENVS, 1), ROLLOUTS)
        rollouts = [collector.collect(epsilon) for _ in range(count)]
    returns, updates = replace(objective.returns, lam=settings.lam), max(STEPS // (PASSES * count), 1)
    found: list[float] = []
    n_states = 0
    for columns in torch.arange(N_ENVS).tensor_split(REPEATS):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + len(found))
            effects = ActionEffects(graph, max(kappa, 1), env.obs_size, env.n_actions, factors)
        optimizer = torch.optim.Adam(effects.parameters(), settings.lr, foreach=True)
        fading = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, PASSES)
        own = [rollout.select(columns[: max(episodes, NETWORKS)]) for rollout in rollouts]
        for _ in range(PASSES):
            for rollout in own:
                effects.learn(rollout, returns, optimizer, updates, generator)
            fading.step()
        seen = []
        for rollout in own:
            rows, mask = drawn_states(rollout, generator), rollout.action_mask
            allowed = None if mask is None else mask.flatten(0, 1)[rows]
            seen.append((rollout.observations.flatten(0, 1)[rows], allowed))
            n_states += len(rows)
        for matrix in shares:
            conflicts = Conflicts(effects, matrix, graph, run.partition, kappa, settings.margin)
            found.append(sum(conflicts(*states).opposed for states in seen) / count)
    opposed = torch.tensor(found, dtype=torch.float64).view(REPEATS, len(shares))
    error = opposed.std(dim=0) / REPEATS**0.5
    return Conflict(n_states, tuple(opposed.mean(dim=0).tolist()), tuple(error.tolist()), None)
