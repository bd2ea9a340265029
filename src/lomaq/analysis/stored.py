"""Checkpoints read back: their networks, and what these play."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lomaq.envs import BatchedEnv
from lomaq.errors import InputError, check_int, tell
from lomaq.evaluation import evaluate, make_test_env
from lomaq.graphs.kept import changed_files, kept_files
from lomaq.inputs.plain import TRAINED, check_config, check_shape
from lomaq.nn import Utilities
from lomaq.training.build import Run, actor_of, build_run, build_utilities, env_maker, samples
from lomaq.training.checkpoint import find_checkpoint, load_checkpoint
from lomaq.training.process import building

#: Seed of the starts of ``evaluate``, apart from those seen while training.
FRESH_SEED = 2_000_003


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Attributes:
        path: Its file.
        config: The configuration of its run.
        state: The whole content.
    """

    path: Path
    config: dict[str, Any]
    state: dict[str, Any]

    @property
    def run_dir(self) -> Path:
        """Folder of its run."""
        return self.path.parent.parent if self.path.parent.name == "checkpoints" else self.path.parent

    @property
    def env_steps(self) -> int:
        """Env steps trained."""
        return int(self.state["lomaq"]["env_steps"])

    @property
    def sigma(self) -> float:
        """σ, what one unit of its networks' values is worth."""
        return float(self.state["lomaq"]["sigma"])

    def weights(self, prefix: str) -> dict[str, Tensor]:
        """The weights whose names begin with ``prefix``, named without it."""
        state = self.state["state_dict"]
        return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

    @building()
    def utilities(self, env: BatchedEnv) -> Utilities:
        """The trained utilities for the agents of ``env``: those of training, or others that observe and act alike.

        Raises:
            InputError: If they do not fit the environment, or the weights not the configuration.
        """
        _check_fit(build_utilities(self.config, env_maker(self.config)(1, 0, torch.device("cpu"))), env)
        utilities = build_utilities(self.config, env)
        self.load_into(utilities, "networks.utilities.")
        return utilities

    def run(self) -> Run:
        """Everything of its run, built anew, with the trained networks and what was learned of rewards.

        Raises:
            InputError: If the weights do not fit the configuration.
        """
        run = build_run(self.config)
        self.load_into(run.module.networks, "networks.")
        if isinstance(run.module.reward, nn.Module):
            self.load_into(run.module.reward, "reward.")
        return run

    def load_into(self, module: nn.Module, prefix: str) -> None:
        """Give ``module`` the weights whose names begin with ``prefix``.

        Raises:
            InputError: If they do not fit.
        """
        try:
            module.load_state_dict(self.weights(prefix))
        except RuntimeError as error:
            expected = "the weights of the networks that its configuration and environment describe"
            remedy = "use the version of lomaq, the environment and the files that trained it"
            raise InputError("checkpoint", expected, self.path, remedy) from error


def open_checkpoint(path: str | Path, *, resume: bool) -> Checkpoint:
    """Read the checkpoint that ``path`` means: to resume, or to evaluate.

    Raises:
        InputError: If there is none, it is damaged, or it cannot be resumed from.
    """
    file = find_checkpoint(path, ("last.ckpt",) if resume else ("best.ckpt", "last.ckpt"))
    state = load_checkpoint(file)
    if resume and "loops" not in state:
        raise InputError("resume", "a run folder or its last.ckpt", file, "best.ckpt is for evaluation only")
    own = state["lomaq"]
    config = check_config(own.get("config") if isinstance(own, dict) else own, str(file))
    if resume and "method" not in config:
        remedy = "it has settings of an older one; train anew"
        raise InputError("resume", "a run of this version of lomaq", file, remedy)
    if resume and len(state["optimizer_states"][0]["param_groups"][0]["params"]) != 1:
        remedy = "an older one kept the optimiser's numbers of each parameter apart; train anew"
        raise InputError("resume", "a run of this version of lomaq", file, remedy)
    if resume:
        check_shape(config, TRAINED, str(file))
    for name in changed_files(kept_files(config)):
        tell(f"{name} has changed since this run was trained; the run's own copy of it is used")
    return Checkpoint(file, config, state)


def evaluate_checkpoint(stored: Checkpoint, config: dict[str, Any], episodes: int, seed: int) -> dict[str, Any]:
    """Play test episodes with the utilities of a checkpoint.

    Args:
        stored: The checkpoint.
        config: Its configuration, where ``env`` (another number of agents, another graph) and ``evaluation.sample`` may
            have been changed.
        episodes: Episodes to play.
        seed: Seed of their starts, and of actions that are drawn.

    Returns:
        Metrics, ``test_return_mean`` among them.

    Raises:
        InputError: If the utilities do not fit the environment, or actions are to be drawn from what is no policy.
    """
    check_int("episodes", episodes, 1)
    check_int("seed", seed, 0)
    sample = samples(config)
    cpu = torch.device("cpu")
    with make_test_env(env_maker(config), episodes, cpu) as env:
        tell(getattr(env.graph, "note", None))
        actor = actor_of(config, stored.utilities(env), FRESH_SEED + seed)
        tests = evaluate(actor, env, episodes, FRESH_SEED + seed)
        references = env.references() if config["evaluation"]["references"] else {}
    returns = tests.returns
    return {
        "checkpoint": str(stored.path),
        "env": config["env"]["name"],
        "n_agents": env.n_agents,
        "trained_n_agents": env_maker(stored.config)(1, 0, cpu).n_agents,
        "trained_env_steps": stored.env_steps,
        "episodes": len(returns),
        "seed": seed,
        **({"sample": True} if sample else {}),
        "test_return_mean": float(returns.mean()),
        "test_return_std": float(returns.std(correction=0)),
        "test_return_min": float(returns.min()),
        "test_return_max": float(returns.max()),
        "test_return_per_agent": float(returns.mean()) / env.n_agents,
        "test_metrics": {name: float(values.mean()) for name, values in tests.metrics.items()},
        "references": references,
    }


def _check_fit(trained: Utilities, env: BatchedEnv) -> None:
    alike = "evaluate on an environment whose agents observe and act alike"
    for name, mine, theirs in (
        ("obs_size", trained.obs_size, env.obs_size),
        ("n_actions", trained.n_actions, env.n_actions),
        ("agent types", len(trained.networks), int(env.graph.types.max()) + 1),
    ):
        if mine != theirs:
            raise InputError("checkpoint", f"an environment with {name} {mine}, as in training", theirs, alike)
    if trained.agent_id and trained.n_agents != env.n_agents:
        expected = f"{trained.n_agents}, since agent.agent_id=true fixes it"
        raise InputError("env.n_agents", expected, env.n_agents, "train with agent.agent_id=false to change it")
