"""One greedy episode of a checkpoint, agent by agent and step by step: rewards, utilities and learned rewards."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lomaq.analysis.stored import FRESH_SEED, Checkpoint
from lomaq.envs import BatchedEnv, Rollout
from lomaq.errors import InputError, check_int
from lomaq.graphs import Partition
from lomaq.nn import Utilities, gather_actions
from lomaq.rewards import DecomposedReward
from lomaq.training.build import build, env_maker
from lomaq.training.experience.collector import Collector
from lomaq.training.process import building


@torch.no_grad()
def play_episode(stored: Checkpoint, config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Play the greedy episode that ``evaluate`` plays with the same seed, ``episodes=1`` and ``sample=False``.

    Args:
        stored: The checkpoint.
        config: Its configuration, where ``env`` may have been changed.
        seed: Seed of the start and of what happens in the episode, 0 … 2^32 - 1.

    Returns:
        ``reward``: the environment's local rewards, ``[T, N]`` float64 for N agents and T steps. ``utility``: the
        utility of the action that each agent took, likewise.

    Raises:
        InputError: If the utilities do not fit the environment, or have diverged.
    """
    _, utilities, rollout = _greedy_rollout(stored, config, seed)
    steps = slice(rollout.n_steps)
    previous, first = rollout.previous_actions()[steps], rollout.is_first[steps]
    values = utilities(rollout.observations[steps], previous, first, rollout.hidden)[0]  # [T, 1, N, A]
    chosen = _finite(gather_actions(values, rollout.actions), "utilities")
    return {"reward": rollout.rewards[:, 0].double().numpy(), "utility": chosen[:, 0].double().numpy()}


@dataclass(frozen=True)
class EpisodeRewards:
    """The rewards of an episode of T steps.

    Attributes:
        learned: ``[T, N]`` float64, the learned reward of each agent; their sum over agents is the prediction.
        true: ``[T, N]`` float64, the environment's local rewards; their sum over agents is the team reward.
        tolerance: Δ of the gate, in the unit of the team reward.
        names: Names of the N agents; None where they have none.
    """

    learned: np.ndarray
    true: np.ndarray
    tolerance: float
    names: list[str] | None = None

    def to_json(self) -> dict[str, Any]:
        """Metrics of the episode; those in ``metrics.csv`` have their name from there.

        Errors are means of absolute differences: ``local_reward_error`` and ``equal_share_error`` (every agent gets
        r / N) over steps and agents, ``reward_error`` of the team reward over steps. Correlations are Pearson's, None
        where one side never changes.
        """
        team, predicted = self.true.sum(axis=1), self.learned.sum(axis=1)  # [T]
        off = np.abs(predicted - team)
        n_steps, n_agents = self.true.shape
        return {
            "n_agents": n_agents,
            "steps": n_steps,
            "team_reward_sum": float(team.sum()),
            "predicted_sum": float(predicted.sum()),
            "local_reward_error": float(np.abs(self.learned - self.true).mean()),
            "equal_share_error": float(np.abs(team[:, None] / n_agents - self.true).mean()),
            "local_correlation": _correlation(self.learned, self.true),
            "reward_error": float(off.mean()),
            "team_correlation": _correlation(predicted, team),
            "tolerance": self.tolerance,
            "reward_pass_rate": float((off <= self.tolerance).mean()),
        }

    def to_csv(self) -> str:
        """A line for each step and agent, counted from 0: ``step, agent, learned, true``, and ``name`` where known."""
        names = {} if self.names is None else {"name": len(self.true) * self.names}
        steps, agents = np.indices(self.true.shape).reshape(2, -1).tolist()
        numbers = ([f"{x:.6g}" for x in rewards.ravel()] for rewards in (self.learned, self.true))
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["step", "agent", "learned", "true", *names])
        table.writerows(zip(steps, agents, *numbers, *names.values(), strict=True))
        return text.getvalue()


@torch.no_grad()
@building()
def decompose_checkpoint(stored: Checkpoint, config: dict[str, Any], seed: int = 0) -> EpisodeRewards:
    """Play the episode of :func:`play_episode` with a checkpoint that learned rewards.

    Args:
        stored: The checkpoint.
        config: Its configuration, where ``env`` may have been changed.
        seed: Seed of the start and of what happens in the episode, 0 … 2^32 - 1.

    Returns:
        Learned and true rewards. Δ is that of the gate at the checkpoint; the deviation of the team reward that
        ``reward.gate.relative_tolerance`` refers to is that of the training, also in another environment.

    Raises:
        InputError: If no rewards were learned, or the networks do not fit the environment.
    """
    if "variant" not in stored.config["reward"]:
        got = f"one with reward={stored.config['reward']['name']}"
        raise InputError("checkpoint", "one with learned rewards", got, "train with algo=lomaq_rd")
    if stored.env_steps == 0:
        got = f"{stored.path} of env step 0"
        raise InputError("checkpoint", "one in which rewards were learned", got, "take last.ckpt")
    env, _, rollout = _greedy_rollout(stored, config, seed)
    sizes: dict[str, Any] = {"obs_size": env.obs_size, "n_actions": env.n_actions}
    blocks = Partition.from_spec("singletons", env.graph)  # what the agents get does not depend on it
    reward = build(config["reward"], DecomposedReward, partition=blocks, graph=env.graph, **sizes)
    _check_groups(reward, stored, env)
    stored.load_into(reward, "reward.")
    learned = _finite(reward.agent_rewards(rollout.observations[:-1], rollout.actions), "learned rewards")  # [T, 1, N]
    names = env.graph.names if "names" in env.graph else None
    true = rollout.rewards[:, 0].double().numpy()
    return EpisodeRewards(learned[:, 0].double().numpy(), true, reward.tolerance, names)


def _greedy_rollout(stored: Checkpoint, config: dict[str, Any], seed: int) -> tuple[BatchedEnv, Utilities, Rollout]:
    """The environment, a single one; the utilities that acted in it; the episode, B = 1."""
    check_int("seed", seed, 0, 2**32 - 1)
    env = env_maker(config)(1, 0, torch.device("cpu"))
    utilities = stored.utilities(env)
    with env:
        collector = Collector(env, utilities, 0, None)
        env.generator.manual_seed(FRESH_SEED + seed)
        rollout = collector.collect(0.0)
    assert bool(rollout.mask.all())  # a single environment: nothing is played after its end
    return env, utilities, rollout


def _finite(values: Tensor, name: str) -> Tensor:
    if not bool(values.isfinite().all()):
        raise InputError("checkpoint", f"finite {name}", "NaN or infinity", "its training has diverged")
    return values


def _check_groups(reward: DecomposedReward, stored: Checkpoint, env: BatchedEnv) -> None:
    """Networks that are not shared by all groups of a size belong to those of one graph, whatever their number."""
    trained = env_maker(stored.config)(1, 0, torch.device("cpu")).graph
    same = trained.n_agents == env.n_agents and torch.equal(trained.edge_index, env.graph.edge_index)
    if not same and reward.model.share != "size":
        why = f"since reward.networks.share={reward.model.share} gives networks to its groups"
        got = f"another one, of {env.n_agents} agents"
        raise InputError("env", f"the graph of the training, {why}", got, "leave out what changes it")


def _correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    return float(np.corrcoef(x.ravel(), y.ravel())[0, 1]) if min(np.ptp(x), np.ptp(y)) > 0 else None
