"""Whose action changes what whom observes next or is paid, measured by playing episodes again with one other action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor

from lomaq.envs import contract
from lomaq.envs.base import BatchedEnv
from lomaq.errors import check_float, check_int
from lomaq.graphs import AgentGraph

#: Least effect of an edge, in standard deviations.
THRESHOLD = 0.01
#: Largest probability of an edge that is none, over all pairs, where episodes do not repeat.
SIGNIFICANT = 0.01


@dataclass(frozen=True)
class Influence:
    """What was measured.

    Attributes:
        effect: ``[N, N]`` float64 in [0, 1], of the action of agent i on agent j: the change of the number of j that
            changes most, in standard deviations, at most 1, on average over the probes. Nan where it is not known.
        repeatable: Whether the same seed and actions gave the same episode. Where not, an effect is what exceeds the
            difference of two equal plays, and 0 where a rank test finds nothing.
        probes: Number of situations in which each agent's action was changed.
    """

    effect: np.ndarray
    repeatable: bool
    probes: int

    def weights(self) -> np.ndarray:
        """``[N, N]`` float64, the larger effect of each pair, 0 on the diagonal and where it is not known."""
        known = np.nan_to_num(np.maximum(self.effect, self.effect.T), nan=0.0)
        np.fill_diagonal(known, 0.0)
        return known

    def graph(self, threshold: float, like: AgentGraph) -> AgentGraph:
        """Edges between agents whose effect, in either direction, is above 0 and at least ``threshold``, as weights.

        Args:
            threshold: Least effect of an edge, 0 to 1.
            like: A graph of the same agents, from which positions, types and names are taken.
        """
        weights = self.weights()
        joined = (weights > 0) & (weights >= check_float("threshold", threshold, 0, 1))
        pairs = np.argwhere(np.triu(joined))
        known = {name: like[name] for name in ("pos", "agent_type", "names") if name in like}
        return AgentGraph.from_edges(len(joined), pairs.tolist(), edge_weight=weights[tuple(pairs.T)].tolist(), **known)


class Played(NamedTuple):
    """What the steps after a prefix led to, in every parallel environment.

    Attributes:
        seen: ``[B, N, ahead · (O + 1)]``, the next observations and rewards.
        counted: ``[B]``, the episode was not over before.
        drawn: State of the environment's generator.
    """

    seen: Tensor
    counted: Tensor
    drawn: Tensor


@torch.no_grad()
def measure_influence(
    env: BatchedEnv,
    *,
    seed: int = 0,
    rounds: int = 10,
    horizon: int = 25,
    ahead: int = 1,
    agents: Sequence[int] | None = None,
) -> Influence:
    """Play random episodes again and again from the same seeds, each time with another action of one agent in one step.

    Args:
        env: B parallel environments, each a probe of every round; their generator is seeded anew.
        seed: Seed of starts, actions and steps.
        rounds: Rounds; in each the changed step is another one.
        horizon: Steps of an episode among which it is drawn.
        ahead: Steps whose observations and rewards are compared, the changed one included.
        agents: Whose actions are changed; None for all.
    """
    check_int("seed", seed, 0, 2**32 - 1)
    check_int("ahead", ahead, 1)
    horizon = min(check_int("horizon", horizon, 1), env.max_steps)
    chosen = range(env.n_agents) if agents is None else agents
    where = torch.Generator().manual_seed(seed)
    bases, counted = list[Tensor](), list[Tensor]()  # [rounds][B, N, …] and [rounds][1 + C, B]
    changes = list[Tensor]()  # [rounds][1 + C, B, N, …], what the repetition and each agent's other action changed
    for number in range(check_int("rounds", rounds, 1)):
        prefix = int(torch.randint(horizon, (), generator=where))
        base = _play(env, seed + number, prefix, ahead, None)
        others = [_play(env, seed + number, prefix, ahead, agent) for agent in (None, *chosen)]
        same = torch.stack([other.counted & torch.equal(other.drawn, base.drawn) for other in others])  # [1 + C, B]
        bases.append(base.seen)
        changes.append(torch.stack([(other.seen - base.seen).abs() for other in others]))
        counted.append(same & base.counted)
    scale = torch.cat(bases).std(dim=0, correction=0)  # [N, …]
    change = torch.cat(changes, dim=1)  # [1 + C, probes, N, …]
    moved = torch.where(change > 0, (change / scale.clamp(min=1e-12)).clamp(max=1), 0.0).amax(dim=-1)
    return _summed(moved.double().cpu().numpy(), torch.cat(counted, dim=1).cpu().numpy(), [*chosen])


def _summed(moved: np.ndarray, counted: np.ndarray, agents: list[int]) -> Influence:
    """Effects from the changes ``[1 + C, probes, N]`` that the repetition and each agent's other action made."""
    n = moved.shape[2]
    effect = np.full((n, n), np.nan)
    noise = moved[0][counted[0]]
    repeatable = not noise.any()
    for row, agent in enumerate(agents, 1):
        found = moved[row][counted[row]]
        if not len(found):
            continue
        effect[agent] = found.mean(axis=0)
        if not repeatable:
            p = mannwhitneyu(found, noise, alternative="greater", axis=0).pvalue
            more = effect[agent] - noise.mean(axis=0)
            effect[agent] = np.where(p < SIGNIFICANT / (n * max(1, n - 1)), more.clip(min=0), 0.0)
    return Influence(effect, repeatable, int(counted[0].sum()))


def _play(env: BatchedEnv, seed: int, prefix: int, ahead: int, changed: int | None) -> Played:
    """Play the episodes of ``seed`` with random actions; in step ``prefix + 1`` agent ``changed`` takes another one."""
    env.generator.manual_seed(seed)
    choices, other_choice = (torch.Generator(env.device).manual_seed(seed) for _ in range(2))
    env.reset()
    counted = torch.ones(env.n_envs, dtype=torch.bool, device=env.device)
    for _ in range(prefix):
        *_, terminated, truncated = env.step(contract.random_actions(env, choices))
        counted &= ~(terminated | truncated)
    running, seen = counted.clone(), list[Tensor]()
    for number in range(ahead):
        counted &= running  # over before its last step: what an environment shows after an end says nothing
        actions = contract.random_actions(env, choices)
        if changed is not None and number == 0:
            other = _others(env, actions[:, changed], changed, other_choice)
            counted &= other != actions[:, changed]
            actions[:, changed] = other
        observation, rewards, terminated, truncated = env.step(actions)
        seen += [observation.clone(), rewards.clone()[..., None]]
        running &= ~(terminated | truncated)
    return Played(torch.cat(seen, dim=-1), counted, env.generator.get_state())


def _others(env: BatchedEnv, actions: Tensor, agent: int, generator: torch.Generator) -> Tensor:
    """``[B]`` int64, an allowed action of the agent other than ``actions``, or the same where there is none."""
    scores = torch.rand(env.n_envs, env.n_actions, generator=generator, device=env.device)
    scores.scatter_(1, actions[:, None], -0.5)
    mask = env.allowed()
    if mask is not None:
        scores = scores.masked_fill(~mask[:, agent], -1.0)
    return scores.argmax(dim=1)
