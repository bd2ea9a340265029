"""Train, resume and evaluate, from plain configurations; what the command line and scripts call."""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from rich.console import Console

from lomaq.cores import cores
from lomaq.envs import BatchedEnv, contract
from lomaq.errors import InputError, check_bool, check_choice, check_float, check_int
from lomaq.evaluation import Actor, BaselineActor, RandomActor, evaluate, make_test_env
from lomaq.graphs.kept import kept_files, unpack
from lomaq.inputs.text import typed
from lomaq.runs import Evaluation, RunFiles
from lomaq.runs.code import code_of
from lomaq.runs.files import alike, replacing, settings_of
from lomaq.runs.lock import free_folder, locked
from lomaq.runs.ranks import LEADER_VARIABLE, RUN_DIR_VARIABLE, connected, end, follow_leader, watched
from lomaq.runs.stop import unsignalled
from lomaq.runs.stopped import explained
from lomaq.training.build import Run, build_run, env_maker, samples
from lomaq.training.callbacks import (
    EVALUATION_SEED,
    AnyCallback,
    ProgressLine,
    Recorder,
    Teller,
    evaluation_of,
    finished,
)
from lomaq.training.checkpoint import AtomicCheckpointIO
from lomaq.training.compiled import compile_networks
from lomaq.training.loggers import check_loggers, open_loggers
from lomaq.training.module import LomaqModule
from lomaq.training.process import borrowed_process, peak_memory_mb, seed_global
from lomaq.training.settings import TestSettings
from lomaq.training.warm import warm_start


def train(
    config: dict[str, Any],
    run_dir: Path,
    console: Console,
    checkpoint: Path | None = None,
    callbacks: Sequence[AnyCallback] = (),
) -> dict[str, Any]:
    """Train and write the run folder; what is drawn comes from :func:`lomaq.plots.run.train`.

    Args:
        config: Resolved configuration, plain containers.
        run_dir: Folder of the run; new, unless ``checkpoint`` is given.
        console: Where progress is shown.
        checkpoint: Where to continue.
        callbacks: Callbacks besides the run's own.

    Returns:
        The content of ``summary.json``.

    Raises:
        InputError: If a setting is impossible or the folder in use.
        KeyboardInterrupt: If it was interrupted, with how to continue; the last checkpoint is whole.
        ProcessDiedError: If one of its processes died.
    """
    follow_leader()
    threads = config["trainer"]["threads"]
    config = {**config, "files": dict(kept_files(config))}  # filled with what is read while the run is built
    with borrowed_process(None if threads is None else check_int("trainer.threads", threads, 1, 1024)):
        if config["algo"]["policy"] != "utilities":
            if config["init_from"] is not None:
                raise InputError("init_from", "null where nothing is learned", config["init_from"], "leave it out")
            return _play_baseline(config, RunFiles(run_dir))
        return _train(config, run_dir, console, checkpoint, callbacks)


def _train(
    config: dict[str, Any], run_dir: Path, console: Console, checkpoint: Path | None, callbacks: Sequence[AnyCallback]
) -> dict[str, Any]:
    run_dir = Path(os.environ.get(RUN_DIR_VARIABLE, run_dir))  # in a process of a strategy, the first one's
    files = RunFiles(run_dir)
    run = build_run(config)
    seed_global(config["seed"])
    begins = config["init_from"] if checkpoint is None else None
    warm = None if begins is None else warm_start(run.module, begins)
    thresholds = _thresholds(config, run.module.networks.utilities.n_agents)
    _check_best_by(config["evaluation"]["best_by"], run.metric_names)
    recorder = Recorder(files, run.make_env, TestSettings.of(config["evaluation"]))
    loggers = check_loggers(config["logger"])
    lightning = [one for one in callbacks if isinstance(one, pl.Callback)]
    told = Teller(run_dir, [one for one in callbacks if not isinstance(one, pl.Callback)])
    trainer = _make_trainer(config, [*lightning, told, recorder, ProgressLine(console)], run_dir)
    if check_bool("compile", config["compile"]):
        networks = {run.module.networks, run.module.target}
        if (reason := compile_networks(networks, trainer.strategy.root_device)) is not None:
            run.notes.append(reason)
    if not trainer.is_global_zero:
        with closing(run.module):
            _fit(trainer, run.module, checkpoint)
        return {}
    with _held(files, config, checkpoint), _interruptible(run_dir), closing(run.module), closing(recorder):
        if checkpoint is not None and not run.resumable:
            run.notes.append(f"env={config['env']['name']} is not stored in checkpoints: the run begins new episodes")
        if warm is not None:
            files.write_json("init_from.json", asdict(warm))
            run.notes.append(warm.line)
        for note in run.notes:
            console.print(note, style="yellow", highlight=False, markup=False, soft_wrap=True)
        with (
            open_loggers(loggers, settings_of(config), run_dir) as trainer.loggers,
            explained(run_dir, lambda: run.module.steps_done, console),
        ):
            _fit(trainer, run.module, checkpoint)
        return _finish(run, files, thresholds)


def _begin(files: RunFiles, config: dict[str, Any]) -> None:
    """Start the run folder, with a copy of each file that decides what the run is in ``inputs``, and with its code."""
    files.begin(config)
    names = [Path(path).name for path in config["files"]]
    for number, (name, (path, content)) in enumerate(zip(names, config["files"].items(), strict=True)):
        copy = f"{number}-{name}" if name in names[:number] else name  # two files may differ by their folder alone
        with replacing(files.folder / "inputs" / copy) as file:
            file.write(unpack(path, content))
    states, diff = code_of(Path.cwd())
    files.write_json("code.json", states)
    if diff:
        with replacing(files.folder / "code.diff") as file:
            file.write(diff)


@contextmanager
def _held(files: RunFiles, config: dict[str, Any], checkpoint: Path | None) -> Iterator[None]:
    """Hold the run folder, for this process alone: begun, or, with a checkpoint, free of what a kill left."""
    if checkpoint is None:
        files.check_new(config)  # before anything is written
        files.folder.mkdir(parents=True, exist_ok=True)
    with locked(files.folder):
        if checkpoint is None:
            _begin(files, config)
        else:
            files.remove_temporaries()
        yield


@contextmanager
def _interruptible(run_dir: Path) -> Iterator[None]:
    """An interrupt says how to continue."""
    try:
        yield
    except KeyboardInterrupt as stop:
        saved = (run_dir / "checkpoints" / "last.ckpt").is_file()
        again = f"start again with the same settings and {typed('run_dir', run_dir)}"
        raise KeyboardInterrupt(f"continue with {typed('resume', run_dir)}" if saved else again) from stop


def _fit(trainer: pl.Trainer, module: LomaqModule, checkpoint: Path | None) -> None:
    """Train. An interrupt stays one; Lightning would exit with status 1 and have all later ones ignored."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as stop:
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from stop
    if module.stopping and not finished(module):
        raise KeyboardInterrupt


class Launcher(_SubprocessScriptLauncher):
    """Starts the other processes of a run as Lightning does, and sees to it that they end with it, and it with them.

    Lightning's own kills the leading process, without a word, when another one has died.
    """

    run_dir = Path()

    def launch(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        del kwargs["trainer"]
        with connected(self.run_dir):
            if self.cluster_environment.creates_processes_externally:  # this is one of them, or torchrun or SLURM leads
                return function(*args, **kwargs)
            return self._lead(function, *args, **kwargs)

    def _lead(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        os.environ |= {RUN_DIR_VARIABLE: str(self.run_dir), LEADER_VARIABLE: str(os.getpid())}
        with unsignalled():  # signals are the leading one's to handle
            self._call_children_scripts()
        try:
            with watched(self.procs, self.run_dir):
                result = function(*args, **kwargs)
        except BaseException:
            self.kill(signal.SIGKILL)
            raise
        end(self.procs)
        return result


def _make_trainer(config: dict[str, Any], callbacks: list[pl.Callback], run_dir: Path) -> pl.Trainer:
    options = {key: value for key, value in config["trainer"].items() if key != "threads"}
    if any(way in str(options["strategy"]) for way in ("spawn", "fork", "notebook")):
        expected = "auto or ddp, whose processes each build the run for themselves"
        raise InputError("trainer.strategy", expected, options["strategy"], "trainer.strategy=ddp")
    alone = (options["strategy"], options["num_nodes"], str(options["devices"])) == ("auto", 1, "1")
    if alone:
        vars(rank_zero_only)["rank"] = 0  # a scheduler's or torchrun's variables are not about this run
    try:
        trainer = pl.Trainer(
            **options,
            max_epochs=-1,
            deterministic=check_bool("deterministic", config["deterministic"]),
            logger=False,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO(), *([LightningEnvironment()] if alone else [])],
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
    except (ValueError, TypeError, RuntimeError, pl.utilities.exceptions.MisconfigurationException) as error:
        raise InputError("trainer", "settings that Lightning's Trainer takes", options, str(error)) from error
    if isinstance(found := trainer.strategy.launcher, _SubprocessScriptLauncher):
        launcher = Launcher(found.cluster_environment, found.num_processes, found.num_nodes)
        launcher.run_dir = run_dir
        trainer.strategy._launcher = launcher
    return trainer


def run_dir_of(config: dict[str, Any]) -> AbstractContextManager[Path]:
    """The run folder, for as long as it is trained: ``run_dir``, or a new ``runs/<env>-<algo>-<date-time>``."""
    if (given := os.environ.get(RUN_DIR_VARIABLE, config["run_dir"])) is not None:
        return nullcontext(Path(str(given)))
    if config["trainer"]["num_nodes"] > 1:
        raise InputError("run_dir", "a folder, with trainer.num_nodes over 1", "none", "give all machines the same one")
    return free_folder(Path("runs", f"{config['env']['name']}-{config['method']}-{time.strftime('%Y%m%d-%H%M%S')}"))


def _check_best_by(name: object, metrics: Sequence[str]) -> None:
    known = ["return", *(f"{sign}{metric}" for metric in metrics for sign in ("", "-"))]
    check_choice("evaluation.best_by", name, known)


def _thresholds(config: dict[str, Any], n_agents: int) -> dict[str, float]:
    per_agent = [
        check_float("evaluation.thresholds_per_agent", x, 0) for x in config["evaluation"]["thresholds_per_agent"]
    ]
    return {f"{x * n_agents:.6g}": round(x * n_agents, 2) for x in per_agent}


def _finish(run: Run, files: RunFiles, thresholds: dict[str, float]) -> dict[str, Any]:
    module, config = run.module, run.module.run_config
    history = module.history
    evaluations = [Evaluation(**e) for e in history["evaluations"]]
    first = {name: next((e for e in alike(evaluations) if e.mean >= x), None) for name, x in thresholds.items()}
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
            "env_statistics": module.collector.env.statistics(),
            **({"sample": True} if samples(config) else {}),
            **({"stopped_at": config["evaluation"]["stop_at"]} if history["stopped"] else {}),
            **({} if run.resumable else {"new_episodes_at": history["new_episodes_at"]}),
        },
    )


def _play_baseline(config: dict[str, Any], files: RunFiles) -> dict[str, Any]:
    """A run in which nothing is learned: a policy of the environment, or chance."""
    seed = check_int("seed", config["seed"], 0, 2**32 - 1)
    episodes = check_int("evaluation.episodes", config["evaluation"]["episodes"], 1)
    with make_test_env(env_maker(config), episodes, torch.device("cpu")) as env:
        contract.rehearse(env)
        actor = _baseline(config["algo"], env, seed)
        if isinstance(actor, BaselineActor):
            env.reset()
            actor.policy(env)  # refuses where there is none, before anything is written
        with _held(files, config, None):
            result = evaluation_of(evaluate(actor, env, episodes, EVALUATION_SEED + seed), 0, 0.0)
            rest = {"wall_seconds": 0.0, "parameters": 0, "first_env_steps_at": {}}
            return _report(config, env, files, [result], rest)


def _baseline(algo: dict[str, Any], env: BatchedEnv, seed: int) -> Actor:
    if algo["policy"] == "random":
        return RandomActor(seed)
    if algo["policy"] == "oracle":
        return BaselineActor(lambda env: env.oracle())
    policies = env.baselines()
    if not policies:
        raise InputError("algo", "an environment with baseline policies", f"baseline for {contract.title(env)}")
    return BaselineActor(policies[check_choice("algo.baseline", algo["baseline"], [*policies])])


def _report(
    config: dict[str, Any], env: BatchedEnv, files: RunFiles, evaluations: list[Evaluation], more: dict[str, Any]
) -> dict[str, Any]:
    """Write ``results.json`` and ``summary.json``."""
    name, algorithm, seed = config["env"]["name"], config["method"], config["seed"]
    last, compared, best_by = evaluations[-1], alike(evaluations), config["evaluation"]["best_by"]
    with env:
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
        "best_test_return_mean": max(e.mean for e in compared),
        "test_metrics": last.mean_metrics,
        "best_test_metrics": max(compared, key=lambda e: e.score(best_by)).mean_metrics,
        "references": references,
        **more,
        "peak_memory_mb": peak_memory_mb(),
        "versions": versions(),
        "machine": machine(),
    }
    files.write_results(name, f"{name}-{env.n_agents}", algorithm, seed, evaluations, best_by)
    return files.write_summary(summary)


def machine() -> str:
    """The system, and how many cores of which kind this process may use."""
    return f"{platform.system()}, {cores()} × {platform.machine()}"


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    packages = {name: version(name) for name in ("lomaq", "torch", "pytorch_lightning", "torch_geometric")}
    return {"python": platform.python_version(), **packages}
