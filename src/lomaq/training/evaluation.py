"""Greedy, decentralised evaluation: only utilities act."""

from __future__ import annotations

import torch
from torch import Tensor

from lomaq.envs import BatchedEnv
from lomaq.nn import Utilities
from lomaq.training.exploration import epsilon_greedy


@torch.no_grad()
def evaluate(utilities: Utilities, env: BatchedEnv, seed: int) -> Tensor:
    """Play one greedy episode in every copy of ``env``.

    Args:
        utilities: The networks that act.
        env: The environments; their generator is seeded anew, so equal seeds mean equal starts.
        seed: Seed of the starts.

    Returns:
        ``[B]`` float64 episode returns, summed over agents and steps, not discounted.
    """
    env.generator.manual_seed(seed)
    observation = env.reset()
    hidden = utilities.initial_hidden(env.n_envs, env.device)
    previous = torch.full((env.n_envs, env.n_agents), -1, dtype=torch.int64, device=env.device)
    first = torch.ones(env.n_envs, dtype=torch.bool, device=env.device)
    running = torch.ones_like(first)
    returns = torch.zeros(env.n_envs, dtype=torch.float64, device=env.device)
    for _ in range(env.max_steps):
        values, hidden = utilities(observation[None], previous[None], first[None], hidden)
        previous = epsilon_greedy(values[0], 0.0, None, env.action_mask())
        observation, rewards, terminated, truncated = env.step(previous)
        returns += rewards.sum(dim=1) * running
        running &= ~(terminated | truncated)
        first = torch.zeros_like(first)
        if not bool(running.any()):
            break
    return returns
