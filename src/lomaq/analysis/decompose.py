"""Learned rewards of a checkpoint beside the true ones, in one greedy episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lomaq.analysis.episode import greedy_rollout
from lomaq.envs import BatchedEnv
from lomaq.errors import InputError
from lomaq.graphs import Partition
from lomaq.rewards import DecomposedReward
from lomaq.training.build import build, env_maker
from lomaq.training.process import building
from lomaq.training.stored import Checkpoint


@dataclass(frozen=True)
class EpisodeRewards:
    """The rewards of an episode of T steps.

    Attributes:
        learned: ``[T, N]`` float64, the learned reward of each agent; their sum over agents is the prediction.
        true: ``[T, N]`` float64, the environment's local rewards; their sum over agents is the team reward.
        tolerance: Δ of the gate, in the unit of the team reward.

    Example:
        >>> EpisodeRewards(np.array([[0.5, 0.6]]), np.array([[1.0, 0.0]]), 0.2).to_json()["reward_pass_rate"]
        1.0
    """

    learned: np.ndarray
    true: np.ndarray
    tolerance: float

    def to_json(self) -> dict[str, Any]:
        """Figures of the episode; those in ``metrics.csv`` have their name from there.

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
        """A line for each step and agent: ``step, agent, learned, true``, both counted from 0."""
        steps, agents = np.indices(self.true.shape)
        columns = (x.ravel().tolist() for x in (steps, agents, self.learned, self.true))
        lines = [
            f"{step},{agent},{learned:.6g},{true:.6g}" for step, agent, learned, true in zip(*columns, strict=True)
        ]
        return "\n".join(["step,agent,learned,true", *lines]) + "\n"


@torch.no_grad()
@building()
def decompose_checkpoint(stored: Checkpoint, config: dict[str, Any], seed: int = 0) -> EpisodeRewards:
    """Play one greedy episode with a checkpoint that learned rewards.

    The episode is the first that ``evaluate`` plays with the same seed and ``episodes=1``.

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
        raise InputError(
            "checkpoint",
            "one with learned rewards",
            f"one with reward={stored.config['reward']['name']}",
            "train with algo=lomaq_rd",
        )
    if stored.env_steps == 0:
        raise InputError(
            "checkpoint", "one in which rewards were learned", f"{stored.path} of env step 0", "take last.ckpt"
        )
    env, _, rollout = greedy_rollout(stored, config, seed)
    sizes: dict[str, Any] = {"obs_size": env.obs_size, "n_actions": env.n_actions}
    blocks = Partition.from_spec("singletons", env.graph)  # what the agents get does not depend on it
    reward = build(config["reward"], DecomposedReward, partition=blocks, graph=env.graph, **sizes)
    _check_groups(reward, stored, env)
    stored.load_into(reward, "reward.")
    learned = reward.agent_rewards(rollout.observations[:-1], rollout.actions)  # [T, 1, N]
    if not bool(learned.isfinite().all()):
        raise InputError("checkpoint", "finite learned rewards", "NaN or infinity", "its training has diverged")
    return EpisodeRewards(learned[:, 0].double().numpy(), rollout.rewards[:, 0].double().numpy(), reward.tolerance)


def _check_groups(reward: DecomposedReward, stored: Checkpoint, env: BatchedEnv) -> None:
    """Networks that are not shared by all groups of a size belong to those of one graph, whatever their number."""
    trained = env_maker(stored.config)(1, 0, torch.device("cpu")).graph
    same = trained.n_agents == env.n_agents and torch.equal(trained.edge_index, env.graph.edge_index)
    if not same and reward.model.share != "size":
        expected = (
            f"the graph of the training, since reward.networks.share={reward.model.share} gives networks to its groups"
        )
        raise InputError("env", expected, f"another one, of {env.n_agents} agents", "leave out what changes it")


def _correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    if min(np.ptp(x), np.ptp(y)) == 0:
        return None
    return float(np.corrcoef(x.ravel(), y.ravel())[0, 1])
