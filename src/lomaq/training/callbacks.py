"""What happens between iterations: evaluation, checkpoints, files and the progress line."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import Checkpoint
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from torch import distributed

from lomaq.envs import BatchedEnv
from lomaq.evaluation import Played, evaluate, make_test_env
from lomaq.evaluation.episodes import PER_AGENT
from lomaq.runs import Evaluation, RunFiles
from lomaq.runs.callback import Callback as OwnCallback
from lomaq.runs.callback import Progress as RunProgress
from lomaq.runs.checked import non_finite
from lomaq.runs.files import alike
from lomaq.runs.ranks import check_alike
from lomaq.runs.stop import asked, heed, listening
from lomaq.training.build import actor_of
from lomaq.training.checkpoint import save_atomic
from lomaq.training.module import EnvMaker, LomaqModule, NonFiniteLossError
from lomaq.training.settings import TestSettings

#: Metrics that are logged and left out of the progress line.
UNSHOWN = ("epsilon", "lr", "grad_norm", "clip_share", "value_scale", "reward_per_agent_step")
#: Evaluation starts are the same for every method and every run with one seed, and no training run uses them.
EVALUATION_SEED = 1_000_003


class EvaluationCallback(Callback):
    """A callback that is told of every evaluation, in the leading process, when its checkpoints are written."""

    def on_evaluation(self, trainer: pl.Trainer, module: LomaqModule) -> None:
        """The run was tested; ``module.history["evaluations"]`` holds the returns."""


#: What a person may hand to training.
AnyCallback = OwnCallback | Callback


class Teller(EvaluationCallback, Checkpoint):
    """Tells callbacks that know nothing of Lightning.

    A checkpoint callback in kind only, so that it runs after the module's own hook.

    Args:
        run_dir: The run folder.
        callbacks: Who is told.
    """

    def __init__(self, run_dir: Path, callbacks: Sequence[OwnCallback]) -> None:
        self.run_dir, self.callbacks = run_dir, callbacks

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            progress = self._progress(_module(pl_module))
            for callback in self.callbacks:
                callback.on_iteration(progress)

    def on_evaluation(self, trainer: pl.Trainer, module: LomaqModule) -> None:
        progress = self._progress(module)
        for callback in self.callbacks:
            callback.on_test(progress)

    def _progress(self, module: LomaqModule) -> RunProgress:
        tests = [Evaluation(**one) for one in module.history["evaluations"]]
        return RunProgress(self.run_dir, module.env_steps, module.total_env_steps, dict(module.metrics), tests)


class Recorder(Checkpoint):
    """Evaluates, saves and writes between iterations, and stops at the budget or where a test is good enough.

    It runs after the module's own hook, as Lightning runs checkpoint callbacks. What it must remember lives in
    ``module.history``, and so in the checkpoint. All tests step the same environments from the same seed, so that the
    first episodes of the last test are drawn as those of the tests before.

    Args:
        files: The run folder.
        make_env: Makes evaluation environments.
        tests: When to test, and what follows from it.
    """

    def __init__(self, files: RunFiles, make_env: EnvMaker, tests: TestSettings) -> None:
        self.files, self.make_env, self.tests = files, make_env, tests
        self.env: BatchedEnv | None = None
        self.rows: list[dict[str, float]] = []
        self.began = 0.0
        self.open = ExitStack()

    # -------------------------------------------------------------------- hooks

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if trainer.world_size > 1:
            begins = (
                None if trainer.ckpt_path is None else f"a checkpoint of {Path(trainer.ckpt_path).stat().st_size} bytes"
            )
            found: list[Any] = [None] * trainer.world_size
            distributed.all_gather_object(found, {**_module(pl_module).run_config, "resume": begins})
            check_alike(found)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_sigterm = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning has put a handler there that ends in the middle of an iteration and waits for other processes
        if self.on_sigterm is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.on_sigterm)
        module = _module(pl_module)
        if trainer.is_global_zero:
            self.env = make_test_env(self.make_env, self.tests.few, module.device)
        if module.history:
            if not module.collector.env.resumable:
                module.history["new_episodes_at"].append(module.env_steps)
            if trainer.is_global_zero:
                self.files.reopen(module.run_config)
                self.files.cut_metrics(module.env_steps)
            module.history["stopped"] = stays_stopped(self.tests, module.history)
        else:
            module.history = {"evaluations": [], "train_seconds": 0.0, "best": None, "evaluated_at": 0}
            module.history |= {"new_episodes_at": [], "stopped": False}
            if self.tests.at_start:
                self._evaluate_and_save(trainer, module)
            else:
                trainer.save_checkpoint(self.files.checkpoints / "last.ckpt")
        trainer.should_stop = finished(module)
        self.began = time.perf_counter()
        self.open.enter_context(listening())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = _module(pl_module)
        now = time.perf_counter()
        module.history["train_seconds"] += now - self.began
        row = {"env_steps": module.env_steps, "train_seconds": module.history["train_seconds"], **module.metrics}
        self.rows.append(row)
        for logger in trainer.loggers:
            logger.log_metrics({k: v for k, v in row.items() if k != "env_steps"}, step=module.env_steps)
        module.stopping |= trainer.world_size == 1 and asked()
        every = self.tests.every_env_steps
        if finished(module) or module.env_steps // every > module.history["evaluated_at"] // every:
            self._evaluate_and_save(trainer, module)
        elif module.stopping:
            self._save(trainer, module)
        trainer.should_stop = finished(module) or module.stopping
        self.began = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.open.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.open.close()

    def close(self) -> None:
        """Close its environments."""
        if self.env is not None:
            self.env.close()

    # -------------------------------------------------------------------- parts

    def _evaluate_and_save(self, trainer: pl.Trainer, module: LomaqModule) -> None:
        history = module.history
        if bad := non_finite(module.state_dict()):
            kept = "the last checkpoint is kept; lower learner.lr or learner.grad_clip"
            raise NonFiniteLossError(f"{bad} became NaN or infinite by {module.env_steps} env steps; {kept}")
        history["evaluated_at"] = module.env_steps
        if self.env is not None:
            result = self._test(module, self.tests.episodes if finished(module) else self.tests.few)
            if self.tests.good_enough(result) and len(result.returns) == self.tests.few < self.tests.episodes:
                result = self._test(module, self.tests.episodes)  # luck of the few, or not
            history["stopped"] = self.tests.good_enough(result)
            history["evaluations"].append(asdict(result))
            first = alike([Evaluation(**one) for one in history["evaluations"]])[-1]
            tested = {
                "test_return_mean": first.mean,
                "test_return_min": min(first.returns),
                "test_return_max": max(first.returns),
                **{f"test_{name}": value for name, value in first.mean_metrics.items()},
            }
            if self.rows:
                self.rows[-1] |= tested
            else:
                self.rows.append({"env_steps": module.env_steps, "train_seconds": 0.0, **tested})
            for logger in trainer.loggers:
                logger.log_metrics(tested, step=module.env_steps)
            score = first.score(self.tests.best_by)
            if history["best"] is None or score > history["best"]:
                history["best"] = score
                save_atomic(evaluation_checkpoint(module, result), self.files.checkpoints / "best.ckpt")
        history["stopped"] = trainer.strategy.broadcast(history["stopped"])
        self._save(trainer, module)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EvaluationCallback) and trainer.is_global_zero:
                callback.on_evaluation(trainer, module)

    def _test(self, module: LomaqModule, episodes: int) -> Evaluation:
        assert self.env is not None
        seed = EVALUATION_SEED + module.seed
        actor = actor_of(module.run_config, module.networks.utilities, seed)
        played = evaluate(actor, self.env, episodes, seed, module.run_config["evaluation"]["per_agent"])
        return evaluation_of(played, module.env_steps, module.history["train_seconds"])

    def _save(self, trainer: pl.Trainer, module: LomaqModule) -> None:
        """Write the metrics so far and ``last.ckpt``, from which the run continues as if it had not stopped here."""
        if module.stopping:
            heed()
        if trainer.is_global_zero:
            self.files.append_metrics(self.rows)
        self.rows = []
        trainer.save_checkpoint(self.files.checkpoints / "last.ckpt")


def finished(module: LomaqModule) -> bool:
    """Whether the budget is spent, or the last test was good enough."""
    return module.env_steps >= module.total_env_steps or module.history["stopped"]


def stays_stopped(tests: TestSettings, history: dict[str, Any]) -> bool:
    """Whether a run that ended with a test that was good enough ends there with the present ``stop_at``, too."""
    return history.get("stopped", False) and tests.good_enough(Evaluation(**history["evaluations"][-1]))


def evaluation_of(tests: Played, env_steps: int, train_seconds: float) -> Evaluation:
    """Test episodes as they are stored."""
    metrics = {name: values.tolist() for name, values in tests.metrics.items()}
    return Evaluation(env_steps, train_seconds, tests.returns.tolist(), metrics)


def evaluation_checkpoint(module: LomaqModule, result: Evaluation) -> dict[str, Any]:
    """What evaluation needs, without replay, optimiser and environments."""
    kept = ("networks.", "reward.")
    return {
        "state_dict": {name: value for name, value in module.state_dict().items() if name.startswith(kept)},
        "lomaq": {
            "config": module.run_config,
            "env_steps": module.env_steps,
            "sigma": module.scale.sigma,
            "test_return_mean": result.mean,
        },
    }


class ProgressLine(Checkpoint):
    """A bar in env steps with speed, remaining time, metrics and the last test return; plain lines off a terminal.

    A checkpoint callback in kind only, so that it runs after the recorder.

    Args:
        console: Where to write.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None
        self.shown = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = _module(pl_module)
        if not trainer.is_global_zero or not self.console.is_terminal:
            return
        self.bar = Progress(
            TextColumn("{task.completed:>9,.0f} of {task.total:,.0f} env steps"),
            BarColumn(),
            TextColumn("{task.fields[speed]:,.0f}/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=self.console,
        )
        self.bar.start()
        self.task = self.bar.add_task(
            "", total=module.total_env_steps, completed=module.env_steps, speed=0.0, metrics=""
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = _module(pl_module)
        if not trainer.is_global_zero:
            return
        evaluations = module.history["evaluations"]
        if self.bar is not None:
            speed = module.env_steps / max(module.history["train_seconds"], 1e-9)
            metrics = metrics_line(module.metrics, evaluations)
            self.bar.update(self.task, completed=module.env_steps, speed=speed, metrics=metrics)
        elif len(evaluations) > self.shown:
            self.console.print(
                f"{evaluations[-1]['env_steps']:>10,} env steps  {metrics_line(module.metrics, evaluations)}",
                highlight=False,
                soft_wrap=True,
            )
        self.shown = len(evaluations)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def metrics_line(metrics: Mapping[str, float], evaluations: list[dict[str, Any]]) -> str:
    """ε, what the objective and the reward measured, by its name, and the last test return."""
    parts = [f"ε {metrics['epsilon']:.2f}"]
    parts += [f"{name} {value:.3g}" for name, value in metrics.items() if not _unshown(name)]
    if evaluations:
        test = Evaluation(**evaluations[-1])
        parts.append(f"test return {test.mean:,.1f}")
        parts += [f"{name} {value:,.4g}" for name, value in test.mean_metrics.items() if not _unshown(name)]
    return "  ".join(parts)


def _unshown(name: str) -> bool:
    return name in UNSHOWN or name.startswith(("reward_agent_", PER_AGENT))


def _module(module: pl.LightningModule) -> LomaqModule:
    assert isinstance(module, LomaqModule)
    return module
