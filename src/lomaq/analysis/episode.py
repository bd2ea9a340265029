"""One greedy episode of a checkpoint, agent by agent and step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lomaq.envs import BatchedEnv, Rollout
from lomaq.errors import InputError, check_int
from lomaq.nn import Utilities
from lomaq.training.build import env_maker
from lomaq.training.collector import Collector
from lomaq.training.stored import FRESH_SEED, Checkpoint


@dataclass(frozen=True)
class Episode:
    """What happened to the N agents in an episode of T steps.

    Attributes:
        rewards: ``[T, N]`` float64, the environment's local rewards.
        utilities: ``[T, N]`` float64, utility of the action that each agent took, as its network says it.
    """

    rewards: np.ndarray
    utilities: np.ndarray


def greedy_rollout(stored: Checkpoint, config: dict[str, Any], seed: int) -> tuple[BatchedEnv, Utilities, Rollout]:
    """Collect the greedy episode that ``evaluate`` plays first with the same seed and ``episodes=1``.

    Args:
        stored: The checkpoint.
        config: Its configuration, where ``env`` may have been changed.
        seed: Seed of the start and of what happens in the episode, 0 … 2^32 - 1.

    Returns:
        The environment, a single copy; the utilities that acted in it; the episode, B = 1.

    Raises:
        InputError: If the utilities do not fit the environment.
    """
    check_int("seed", seed, 0, 2**32 - 1)
    env = env_maker(config)(1, 0, torch.device("cpu"))
    utilities = stored.utilities(env)
    collector = Collector(env, utilities, 0, None)
    env.generator.manual_seed(FRESH_SEED + seed)
    rollout = collector.collect(0.0)
    assert bool(rollout.mask.all())  # a single copy: nothing is played behind its end
    return env, utilities, rollout


@torch.no_grad()
def play_episode(stored: Checkpoint, config: dict[str, Any], seed: int = 0) -> Episode:
    """Play the episode of :func:`greedy_rollout`.

    Args:
        stored: The checkpoint.
        config: Its configuration, where ``env`` may have been changed.
        seed: Seed of the start and of what happens in the episode, 0 … 2^32 - 1.

    Raises:
        InputError: If the utilities do not fit the environment, or have diverged.
    """
    _, utilities, rollout = greedy_rollout(stored, config, seed)
    steps = slice(rollout.n_steps)
    previous, first = rollout.previous_actions()[steps], rollout.is_first[steps]
    values = utilities(rollout.observations[steps], previous, first, rollout.hidden)[0]  # [T, 1, N, A]
    chosen = values.gather(-1, rollout.actions[..., None])[:, 0, :, 0]  # [T, N]
    if not bool(chosen.isfinite().all()):
        raise InputError("checkpoint", "finite utilities", "NaN or infinity", "its training has diverged")
    return Episode(rollout.rewards[:, 0].double().numpy(), chosen.double().numpy())
