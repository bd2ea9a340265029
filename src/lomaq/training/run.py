"""Train, resume and evaluate, from plain configurations; what the command line and scripts call."""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console

from lomaq.envs import BatchedEnv
from lomaq.errors import InputError, check_bool, check_float, check_int
from lomaq.runs import Evaluation, RunFiles
from lomaq.training.build import Run, build_run, env_maker
from lomaq.training.callbacks import EVALUATION_SEED, ProgressLine, Recorder
from lomaq.training.checkpoint import AtomicCheckpointIO
from lomaq.training.evaluation import EVALUATION_BATCH, Actor, OracleActor, RandomActor, evaluate
from lomaq.training.loggers import check_loggers, open_loggers
from lomaq.training.module import LomaqModule
from lomaq.training.process import borrowed_process, peak_memory_mb

#: Hands the run folder to the processes that a strategy starts.
RUN_DIR_VARIABLE = "LOMAQ_RUN_DIR"


def train(
    config: dict[str, Any],
    run_dir: Path,
    console: Console,
    checkpoint: Path | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> dict[str, Any]:
    """Train and write the run folder; what is drawn comes from :func:`lomaq.plots.run.train`.

    Args:
        config: Resolved configuration, plain containers.
        run_dir: Folder of the run; new, unless ``checkpoint`` is given.
        console: Where progress is shown.
        checkpoint: Where to continue.
        callbacks: Lightning callbacks besides the run's own.

    Returns:
        The content of ``summary.json``.

    Raises:
        InputError: If a setting is impossible or the folder in use.
        KeyboardInterrupt: With the folder, if it was interrupted; the last checkpoint is whole.
    """
    threads = config["trainer"]["threads"]
    with borrowed_process(None if threads is None else check_int("trainer.threads", threads, 1)):
        if config["algo"]["policy"] != "utilities":
            return _play_baseline(config, RunFiles(run_dir))
        return _train(config, run_dir, console, checkpoint, callbacks)


def _train(
    config: dict[str, Any], run_dir: Path, console: Console, checkpoint: Path | None, callbacks: Sequence[pl.Callback]
) -> dict[str, Any]:
    run_dir = Path(os.environ.get(RUN_DIR_VARIABLE, run_dir))  # in a process of a strategy, the first one's
    leads = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", 0))) == 0
    files = RunFiles(run_dir)
    run = build_run(config)
    torch.manual_seed(config["seed"])  # for parts of a person's own that draw from the global generator
    thresholds = _thresholds(config, run.module.networks.utilities.n_agents)
    tests = config["evaluation"]
    recorder = Recorder(files, run.make_env, tests["episodes"], tests["every_env_steps"], tests["at_start"])
    loggers = check_loggers(config["logger"])
    trainer = _make_trainer(config, [*callbacks, recorder, ProgressLine(console)])
    if checkpoint is None and leads:
        files.begin(config)
    if leads and run.module.networks.mixer.note is not None:
        console.print(run.module.networks.mixer.note, style="yellow", highlight=False, markup=False, soft_wrap=True)
    with (
        _told_to_processes(run_dir if trainer.world_size > 1 else None),
        open_loggers(loggers if leads else [], config, run_dir) as trainer.loggers,
    ):
        _fit(trainer, run.module, checkpoint, run_dir)
    return _finish(run, files, thresholds) if trainer.is_global_zero else {}


@contextmanager
def _told_to_processes(run_dir: Path | None) -> Iterator[None]:
    """Processes that a strategy starts find the run folder in their environment; None: there are none."""
    if run_dir is not None:
        os.environ[RUN_DIR_VARIABLE] = str(run_dir)
    try:
        yield
    finally:
        if run_dir is not None:
            os.environ.pop(RUN_DIR_VARIABLE)


def _fit(trainer: pl.Trainer, module: LomaqModule, checkpoint: Path | None, run_dir: Path) -> None:
    """Train. An interrupt stays one; Lightning would exit with status 1 and have all later ones ignored."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as stop:
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt(str(run_dir)) from stop


def _make_trainer(config: dict[str, Any], callbacks: list[pl.Callback]) -> pl.Trainer:
    options = {key: value for key, value in config["trainer"].items() if key != "threads"}
    if any(way in str(options["strategy"]) for way in ("spawn", "fork", "notebook")):
        expected = "auto or ddp, whose processes each build the run for themselves"
        raise InputError("trainer.strategy", expected, options["strategy"], "trainer.strategy=ddp")
    try:
        return pl.Trainer(
            **options,
            max_epochs=-1,
            deterministic=check_bool("deterministic", config["deterministic"]),
            logger=False,
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


def default_run_dir(config: dict[str, Any]) -> Path:
    """``runs/<env>-<algo>-<date-time>``."""
    return Path("runs") / f"{config['env']['name']}-{config['method']}-{time.strftime('%Y%m%d-%H%M%S')}"


def _thresholds(config: dict[str, Any], n_agents: int) -> dict[str, float]:
    per_agent = [
        check_float("evaluation.thresholds_per_agent", x, 0) for x in config["evaluation"]["thresholds_per_agent"]
    ]
    return {f"{x * n_agents:.6g}": round(x * n_agents, 2) for x in per_agent}


def _finish(run: Run, files: RunFiles, thresholds: dict[str, float]) -> dict[str, Any]:
    module, config = run.module, run.module.run_config
    history = module.history
    evaluations = [Evaluation(**e) for e in history["evaluations"]]
    first = {name: next((e for e in evaluations if e.mean >= x), None) for name, x in thresholds.items()}
    wall = history["train_seconds"]
    partition = config["partition"] if isinstance(config["partition"], str) else [list(b) for b in run.partition.blocks]
    return _report(
        config,
        run.make_env(1, 0, torch.device("cpu")),
        files,
        evaluations,
        {
            "mixer": config["mixer"]["name"],
            "reward": config["reward"]["name"],
            "learner": config["learner"]["name"],
            "kappa": config["kappa"],
            "partition": partition,
            "n_blocks": run.partition.n_blocks,
            "wall_seconds": round(wall, 2),
            "env_steps_per_second": round(module.env_steps / max(wall, 1e-9), 1),
            "first_env_steps_at": {name: e and e.env_steps for name, e in first.items()},
            "first_seconds_at": {name: e and round(e.train_seconds, 2) for name, e in first.items()},
            "parameters": sum(p.numel() for p in module.networks.parameters()),
        },
    )


def _play_baseline(config: dict[str, Any], files: RunFiles) -> dict[str, Any]:
    """A run in which nothing is learned: the environment's oracle, or chance."""
    seed = check_int("seed", config["seed"], 0, 2**32 - 1)
    episodes = check_int("evaluation.episodes", config["evaluation"]["episodes"], 1)
    env = env_maker(config)(min(episodes, EVALUATION_BATCH), 0, torch.device("cpu"))
    actor: Actor = OracleActor() if config["algo"]["policy"] == "oracle" else RandomActor(seed)
    if isinstance(actor, OracleActor):
        env.reset()
        env.oracle()  # refuses where there is none, before anything is written
    files.begin(config)
    result = Evaluation(0, 0.0, evaluate(actor, env, episodes, EVALUATION_SEED + seed).tolist())
    return _report(config, env, files, [result], {"wall_seconds": 0.0, "parameters": 0, "first_env_steps_at": {}})


def _report(
    config: dict[str, Any], env: BatchedEnv, files: RunFiles, evaluations: list[Evaluation], more: dict[str, Any]
) -> dict[str, Any]:
    """Write ``results.json`` and ``summary.json``."""
    name, algorithm, seed = config["env"]["name"], config["method"], config["seed"]
    last = evaluations[-1]
    references = env.references() if check_bool("evaluation.references", config["evaluation"]["references"]) else {}
    summary = {
        "env": name,
        "n_agents": env.n_agents,
        "algorithm": algorithm,
        "seed": seed,
        "env_steps": last.env_steps,
        "test_return_mean": last.mean,
        "test_return_per_agent": last.mean / env.n_agents,
        "test_episodes": len(last.returns),
        "best_test_return_mean": max(e.mean for e in evaluations),
        "references": references,
        **more,
        "peak_memory_mb": peak_memory_mb(),
        "versions": versions(),
    }
    files.write_results(name, f"{name}-{env.n_agents}", algorithm, seed, evaluations)
    return files.write_summary(summary)


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    packages = {name: version(name) for name in ("lomaq", "torch", "pytorch_lightning", "torch_geometric")}
    return {"python": platform.python_version(), **packages}
