"""Test episodes: their returns and their metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lomaq.envs import BatchedEnv, contract
from lomaq.evaluation.actors import Actor

#: Most environments that an evaluation steps together.
EVALUATION_BATCH = 256
#: Beginning of the names of agents' own returns.
PER_AGENT = "return_agent_"


@dataclass(frozen=True)
class Played:
    """Test episodes that were played.

    Attributes:
        returns: ``[episodes]`` float64, summed over agents and steps, discounted where the environment discounts; a
            single exact number where the environment can compute it.
        metrics: Metrics of the episodes, ``[episodes]`` float64 each; none with an exact return.
    """

    returns: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


def make_test_env(
    make: Callable[[int, int, torch.device], BatchedEnv], episodes: int, device: torch.device
) -> BatchedEnv:
    """The environments that play ``episodes`` test episodes: as many as can be together."""
    n_envs = min(episodes, EVALUATION_BATCH)
    env = make(n_envs, 0, device)
    return env if env.max_envs is None or env.max_envs >= n_envs else make(env.max_envs, 0, device)


@torch.no_grad()
def evaluate(actor: Actor, env: BatchedEnv, episodes: int, seed: int, per_agent: bool = False) -> Played:
    """Play test episodes.

    Args:
        actor: Who acts.
        env: The environments; their generator is seeded anew, so equal seeds mean equal starts.
        episodes: Episodes to play, in batches of ``env.n_envs``.
        seed: Seed of the starts.
        per_agent: Whether the return of agent i is a metric, ``return_agent_i``, too; not where it is exact.
    """
    if actor.memoryless:
        exact = env.exact_return(lambda states: _first_actions(actor, states))
        if exact is not None:
            return Played(torch.tensor([exact], dtype=torch.float64))
    env.generator.manual_seed(seed)
    batches = [_episodes(actor, env, per_agent) for _ in range(-(-episodes // env.n_envs))]
    returns = torch.cat([batch.returns for batch in batches])[:episodes]
    names = batches[0].metrics
    return Played(returns, {name: torch.cat([batch.metrics[name] for batch in batches])[:episodes] for name in names})


def _first_actions(actor: Actor, env: BatchedEnv) -> Tensor:
    actor.reset(env)
    return actor.act(env, env.observe())


def _episodes(actor: Actor, env: BatchedEnv, per_agent: bool) -> Played:
    """One episode in every environment."""
    actor.reset(env)
    returns = torch.zeros(env.n_envs, dtype=torch.float64, device=env.device)
    each = torch.zeros(env.n_envs, env.n_agents, dtype=torch.float64, device=env.device)
    metrics: dict[str, Tensor] = {}
    weight = 1.0
    for number, step in enumerate(env.episode(actor.act), start=1):
        returns += weight * step.rewards.sum(dim=1) * step.running
        if per_agent:
            each += weight * step.rewards * step.running[:, None]
        weight *= env.discount
        ending = step.running & (step.terminated | step.truncated)
        if bool(ending.any()):
            for name, value in contract.read_metrics(env).items():
                metrics[name] = torch.where(ending, value, metrics.get(name, torch.zeros_like(value)))
                contract.check_numbers(env, f"episode_metrics()[{name!r}]", metrics[name][:, None], number)
    if per_agent:
        metrics |= {f"{PER_AGENT}{agent}": each[:, agent] for agent in range(env.n_agents)}
    return Played(returns, metrics)
