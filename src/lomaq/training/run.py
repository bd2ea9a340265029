"""Train, resume and evaluate, from plain configurations; what the command line and scripts call."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import resource
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch_geometric
from pytorch_lightning.loggers import Logger
from rich.console import Console

from lomaq.analysis import Evaluation, RunFiles, draw_curve
from lomaq.analysis.results import first_at
from lomaq.envs import BatchedEnv
from lomaq.errors import InputError, check_bool, check_choice, check_float, check_int
from lomaq.nn import Utilities
from lomaq.training.build import Run, build_run, build_utilities, env_maker
from lomaq.training.callbacks import ProgressLine, Recorder
from lomaq.training.checkpoint import AtomicCheckpointIO, find_checkpoint, load_checkpoint
from lomaq.training.evaluation import evaluate

#: Hands the run folder to the processes that a strategy starts.
RUN_DIR_VARIABLE = "LOMAQ_RUN_DIR"
#: Copies that an evaluation steps together.
EVALUATION_BATCH = 256
#: Seed of the starts of ``evaluate``, apart from those seen while training.
FRESH_SEED = 2_000_003


def train(config: dict[str, Any], run_dir: Path, console: Console, checkpoint: Path | None = None) -> dict[str, Any]:
    """Train and write the run folder.

    Args:
        config: Resolved configuration, plain containers.
        run_dir: Folder of the run; new, unless ``checkpoint`` is given.
        console: Where progress is shown.
        checkpoint: Where to go on from.

    Returns:
        The content of ``summary.json``.

    Raises:
        InputError: If a setting is impossible or the folder in use.
    """
    started_by_us = RUN_DIR_VARIABLE in os.environ  # a process of a strategy: the first one made the folder
    if started_by_us:
        run_dir = Path(os.environ[RUN_DIR_VARIABLE])
    leads = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", 0))) == 0
    if config["trainer"]["threads"] is not None:
        torch.set_num_threads(check_int("trainer.threads", config["trainer"]["threads"], 1))
    _keep_freed_memory()
    run = build_run(config)
    thresholds = _thresholds(config, run.module.networks.utilities.n_agents)
    files = RunFiles(run_dir)
    recorder = Recorder(files, run.make_env, config["evaluation"]["episodes"], config["evaluation"]["every_env_steps"])
    trainer = _make_trainer(config, run_dir, [recorder, ProgressLine(console)])
    if checkpoint is None and leads:
        files.begin(config)
    os.environ[RUN_DIR_VARIABLE] = str(run_dir)
    try:
        trainer.fit(run.module, ckpt_path=checkpoint, weights_only=True)
    finally:
        os.environ.pop(RUN_DIR_VARIABLE)
    return _finish(run, files, thresholds) if trainer.is_global_zero else {}


def _keep_freed_memory() -> None:
    """Ask glibc to keep freed buffers for the next use.

    By default it returns large ones to the system, and every use of a fresh one pays for page faults; a learner that
    makes the same buffers thousands of times loses up to a quarter of its time there. Other C libraries have no such
    switch and are left alone.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        max_mapped, trim_threshold = -4, -1
        library.mallopt(max_mapped, 0)
        library.mallopt(trim_threshold, 2**31 - 1)


def _make_trainer(config: dict[str, Any], run_dir: Path, callbacks: list[pl.Callback]) -> pl.Trainer:
    options = {key: value for key, value in config["trainer"].items() if key != "threads"}
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
    try:
        return pl.Trainer(
            **options,
            max_epochs=-1,
            deterministic=check_bool("deterministic", config["deterministic"]),
            logger=_make_logger(config["logger"]["name"], run_dir),
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
    except (ValueError, TypeError, RuntimeError, pl.utilities.exceptions.MisconfigurationException) as error:
        raise InputError("trainer", "settings that Lightning's Trainer takes", options, str(error)) from error


def _make_logger(name: str, run_dir: Path) -> Logger | bool:
    check_choice("logger.name", name, ("none", "tensorboard"))
    if name == "none":
        return False
    from pytorch_lightning.loggers import TensorBoardLogger

    try:
        return TensorBoardLogger(save_dir=run_dir, name="tensorboard", version="")
    except ModuleNotFoundError as error:
        raise InputError("logger", "installed packages", error, "pip install 'lomaq[tensorboard]'") from error


def algorithm_name(config: dict[str, Any]) -> str:
    """``algo.name`` where mixer and reward are what goes by that name, else ``custom``."""
    algo = config["algo"]
    known = config["mixer"]["name"] in algo["mixers"] and config["reward"]["name"] in algo["rewards"]
    return str(algo["name"]) if known else "custom"


def _thresholds(config: dict[str, Any], n_agents: int) -> dict[str, float]:
    per_agent = [
        check_float("evaluation.thresholds_per_agent", x, 0) for x in config["evaluation"]["thresholds_per_agent"]
    ]
    return {f"{x * n_agents:.6g}": round(x * n_agents, 2) for x in per_agent}


def _finish(run: Run, files: RunFiles, thresholds: dict[str, float]) -> dict[str, Any]:
    module, config = run.module, run.module.run_config
    history = module.history
    evaluations = [Evaluation(**e) for e in history["evaluations"]]
    last = evaluations[-1]
    steps, seconds = first_at(evaluations, thresholds)
    env, algorithm = config["env"]["name"], algorithm_name(config)
    n_agents = module.networks.utilities.n_agents
    task = f"{env}-{n_agents}"
    wall = history["train_seconds"]
    partition = config["partition"] if isinstance(config["partition"], str) else [list(b) for b in run.partition.blocks]
    summary = {
        "env": env,
        "n_agents": n_agents,
        "algorithm": algorithm,
        "mixer": config["mixer"]["name"],
        "reward": config["reward"]["name"],
        "learner": config["learner"]["name"],
        "kappa": config["kappa"],
        "partition": partition,
        "n_blocks": run.partition.n_blocks,
        "seed": module.seed,
        "env_steps": module.env_steps,
        "wall_seconds": round(wall, 2),
        "env_steps_per_second": round(module.env_steps / max(wall, 1e-9), 1),
        "test_return_mean": last.mean,
        "test_return_per_agent": last.mean / n_agents,
        "best_test_return_mean": history["best"],
        "best_possible_return": run.best_return,
        "first_env_steps_at": steps,
        "first_seconds_at": seconds,
        "parameters": sum(p.numel() for p in module.networks.parameters()),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "versions": versions(),
    }
    files.write_results(env, task, algorithm, module.seed, evaluations)
    files.write_json("summary.json", summary)
    title = f"{algorithm} ({summary['mixer']}, κ={summary['kappa']}) on {env}, {n_agents} agents, seed {module.seed}"
    draw_curve(files.folder / "curve.png", title, evaluations, run.best_return)
    return summary


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    from lomaq import __version__

    return {
        "lomaq": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pytorch_lightning": pl.__version__,
        "torch_geometric": torch_geometric.__version__,
    }


@dataclass(frozen=True)
class Stored:
    """A checkpoint that was read.

    Attributes:
        path: Its file.
        config: The configuration of its run.
        state: The whole content.
    """

    path: Path
    config: dict[str, Any]
    state: dict[str, Any]


def open_checkpoint(path: str | Path, *, resume: bool) -> Stored:
    """Read the checkpoint that ``path`` means: to go on from, or to evaluate.

    Raises:
        InputError: If there is none, it is damaged, or it cannot be resumed from.
    """
    file = find_checkpoint(path, ("last.ckpt",) if resume else ("best.ckpt", "last.ckpt"))
    state = load_checkpoint(file)
    if resume and "loops" not in state:
        raise InputError("resume", "a run folder or its last.ckpt", file, "best.ckpt is for evaluation only")
    return Stored(file, state["lomaq"]["config"], state)


def evaluate_checkpoint(stored: Stored, config: dict[str, Any], episodes: int, seed: int) -> dict[str, Any]:
    """Play greedy episodes with the utilities of a checkpoint.

    Args:
        stored: The checkpoint.
        config: Its configuration, where ``env`` may have been changed (another number of agents, another graph).
        episodes: Episodes to play.
        seed: Seed of their starts.

    Returns:
        Figures, ``test_return_mean`` among them.

    Raises:
        InputError: If the utilities do not fit the environment.
    """
    check_int("episodes", episodes, 1)
    check_int("seed", seed, 0)
    make_env = env_maker(config)
    trained = build_utilities(stored.config, env_maker(stored.config)(1, 0, torch.device("cpu")))
    sizes = [min(EVALUATION_BATCH, episodes - done) for done in range(0, episodes, EVALUATION_BATCH)]
    parts, env, utilities = [], None, trained
    prefix = "networks.utilities."
    weights = {k[len(prefix) :]: v for k, v in stored.state["state_dict"].items() if k.startswith(prefix)}
    for number, size in enumerate(sizes):
        if env is None or env.n_envs != size:
            env = make_env(size, 0, torch.device("cpu"))
            _check_fit(trained, env)
            utilities = build_utilities(stored.config, env)
            utilities.load_state_dict(weights)
        parts.append(evaluate(utilities, env, FRESH_SEED + 1000 * seed + number))
    assert env is not None
    returns = torch.cat(parts)
    return {
        "checkpoint": str(stored.path),
        "env": config["env"]["name"],
        "n_agents": env.n_agents,
        "trained_n_agents": trained.n_agents,
        "trained_env_steps": stored.state["lomaq"]["env_steps"],
        "episodes": episodes,
        "seed": seed,
        "test_return_mean": float(returns.mean()),
        "test_return_std": float(returns.std(correction=0)),
        "test_return_min": float(returns.min()),
        "test_return_max": float(returns.max()),
        "test_return_per_agent": float(returns.mean()) / env.n_agents,
        "best_possible_return": env.best_return,
    }


def _check_fit(trained: Utilities, env: BatchedEnv) -> None:
    for name in ("obs_size", "n_actions"):
        mine, theirs = getattr(trained, name), getattr(env, name)
        if mine != theirs:
            raise InputError(
                "checkpoint",
                f"an environment with {name} {mine}, as in training",
                theirs,
                "evaluate on an environment whose agents observe and act alike",
            )
    types = int(env.graph.agent_type.max()) + 1 if "agent_type" in env.graph else 1
    if len(trained.networks) != types:
        raise InputError(
            "checkpoint",
            f"an environment with {len(trained.networks)} agent types, as in training",
            types,
            "evaluate on an environment with the same types of agents",
        )
    if trained.agent_id and trained.n_agents != env.n_agents:
        raise InputError(
            "env.n_agents",
            f"{trained.n_agents}, since agent.agent_id=true fixes it",
            env.n_agents,
            "train with agent.agent_id=false to change it",
        )
