"""The command line."""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from lomaq.analysis.stored import open_checkpoint
from lomaq.api import study
from lomaq.cli.ascii import fall_back_to_ascii
from lomaq.cli.command import HELP
from lomaq.cli.commands import COMMANDS
from lomaq.cli.output import CLOSED, OutputClosedError, closable_output
from lomaq.cli.tables import print_run, print_table
from lomaq.cli.usage import train_usage, usage
from lomaq.config import CONFIG_DIR, MULTIRUN, Job, compose_jobs, folders_of, hydra_flag, parse
from lomaq.config.launch import launch, launcher_of
from lomaq.errors import InputError, notes_as_lines
from lomaq.inputs.memory import is_out_of_memory
from lomaq.inputs.plain import changed
from lomaq.inputs.targets import import_modules, modules_of
from lomaq.inputs.text import file_error
from lomaq.plots.run import train
from lomaq.runs import RunFiles
from lomaq.runs.lock import free_folder
from lomaq.runs.ranks import LEADER_VARIABLE, RUN_DIR_VARIABLE, ProcessDiedError
from lomaq.runs.stop import LAST, exit_status, stopped_by_signals
from lomaq.studies.elsewhere import Launch
from lomaq.studies.sweep import run_sweep
from lomaq.training import NonFiniteLossError
from lomaq.training.callbacks import stays_stopped
from lomaq.training.process import keep_freed_memory
from lomaq.training.run import run_dir_of
from lomaq.training.settings import TestSettings

#: What a resumed run may change; everything else decides what the run is.
RESUMABLE = ("total_env_steps", "evaluation.stop_at", "trainer.", "logger.")

#: When Python ends it looks for cycles among all objects of torch, which takes a second; the system frees them at once.
atexit.register(gc.freeze)


def main() -> None:
    """``lomaq``."""
    name, words = "".join(sys.argv[1:2]), sys.argv[2:]
    sys.exit(guarded(lambda: _train(words) if name == "train" else _command(name, words), ends=name != "train"))


def train_main() -> None:
    """``python train.py``."""
    sys.exit(guarded(lambda: _train(sys.argv[1:]), ends=False))


def evaluate_main() -> None:
    """``python evaluate.py``."""
    sys.exit(guarded(lambda: _command("evaluate", sys.argv[1:])))


def _command(name: str, words: Sequence[str]) -> int:
    if name in ("", *HELP, "help"):
        print(usage(COMMANDS))
        return 0 if name else 2
    if words and f"{name} {words[0]}" in COMMANDS:
        name, words = f"{name} {words[0]}", words[1:]
    if name not in COMMANDS:
        return _refuse(f"lomaq: expected one of {', '.join(('train', *COMMANDS))}, got {name!r}")
    return COMMANDS[name].run(name, words)


def guarded(command: Callable[[], int], *, ends: bool = True) -> int:
    """Run ``command`` and return its exit status; a person's mistake ends in one line and exit status 2.

    Signals stop it (128 and their number), and a standard output that is closed where that ``ends`` the command (141).
    In a process that another one has started for its run, the latter speaks for both.
    """
    fall_back_to_ascii()
    try:
        with closable_output(ends=ends), stopped_by_signals():
            return _answered(command)
    except OutputClosedError:
        return CLOSED


def _answered(command: Callable[[], int]) -> int:
    try:
        with notes_as_lines(shown=RUN_DIR_VARIABLE not in os.environ):  # of the processes of a strategy, one speaks
            return command()
    except KeyboardInterrupt as stop:
        if LEADER_VARIABLE in os.environ:
            return 0
        return _refuse(f"interrupted; {stop}" if str(stop) else "interrupted", exit_status())
    except OutputClosedError:
        raise
    except Exception as error:
        if LEADER_VARIABLE in os.environ:
            time.sleep(LAST)  # if the leading process has met the same error it says so, and ends this one
        if (line := _line(error)) is None:
            raise
        return _refuse(line)


def _line(error: Exception) -> str | None:
    """What to say of an error that a person can do something about; None: it is ours."""
    if isinstance(error, (InputError, NonFiniteLossError, ProcessDiedError)):
        return str(error)
    if isinstance(error, OSError):
        return file_error(error)
    if is_out_of_memory(error):
        return f"out of memory ({' '.join(str(error).split())[:200]}); smaller sizes need less"
    if isinstance(error, RuntimeError) and ("No space left" in str(error) or "unexpected pos" in str(error)):
        return "cannot write the checkpoint: the disk is full; what was saved before is whole"  # as torch's writer says
    return None


def _refuse(line: str, status: int = 2) -> int:
    print(f"error: {line}", file=sys.stderr)
    return status


# ---------------------------------------------------------------------- train


def _train(words: Sequence[str]) -> int:
    console = Console(stderr=True)
    keep_freed_memory()
    if any(word.startswith("resume=") and word != "resume=null" for word in words):
        return _resume(words, console)
    if {"-sc", "--shell-completion"} & {*words} and not sys.argv[0].endswith(".py"):
        remedy = "see lomaq completion --help"
        raise InputError("--shell-completion", "python train.py before it", "lomaq train", remedy)
    if {*words} & {*HELP}:
        print(train_usage(folders_of([word for word in words if word not in HELP])[1]))
        return 0
    if any(word.startswith("-") and word.partition("=")[0] not in (*MULTIRUN, *CONFIG_DIR) for word in words):
        hydra_flag(modules_of(words)[0])  # --cfg, --info and the like
        return 0
    jobs = compose_jobs(words)
    config = jobs[0].config
    if (launcher := launcher_of(words)) is not None and (len(jobs) == 1 or config["study"] is not None):
        raise InputError("hydra/launcher", "several runs, such as -m seed=0,1", f"{launcher} and none", "leave it out")
    if config["study"] is not None:
        return _study(words, config)
    if len(jobs) > 1:
        return _sweep(jobs, console, None if launcher is None else partial(launch, words))
    with run_dir_of(config) as run_dir:
        print_run(train(config, run_dir, console), run_dir)
    return 0


def _sweep(jobs: list[Job], console: Console, launch: Launch | None) -> int:
    given = jobs[0].config["run_dir"]
    default = Path("runs", f"sweep-{time.strftime('%Y%m%d-%H%M%S')}")
    with free_folder(default) if given is None else nullcontext(Path(str(given))) as folder:
        try:
            summary = run_sweep(jobs, folder, console, launch)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"continue with the same settings and run_dir={folder}") from None
    rows = [
        [name, g["env"], f"{g['n_agents']:,}", str(len(g["seeds"])), f"{g['last_mean']:,.1f}", f"{g['best_mean']:,.1f}"]
        for name, g in summary["groups"].items()
    ]
    print_table([["", "env", "agents", "seeds", "last test", "best test"], *rows])
    pictures = ", curves.png" if rows else ""
    print(f"results.json, summary.json{pictures} and the runs are in {folder}", file=sys.stderr)
    for name, line in summary["failed"].items():
        _refuse(f"{name}: {line}")
    return 2 if summary["failed"] else 0


def _study(words: Sequence[str], config: dict[str, Any]) -> int:
    if set(MULTIRUN).intersection(words):
        raise InputError("-m", "runs without a study", "an experiment", "which varies what it must by itself")
    name = next((word.partition("=")[2] for word in words if word.startswith("experiment=")), None)
    if name is None:
        raise InputError("study", "an experiment, which has a name and a file", "settings alone", "see experiment=NAME")
    rest = [word for word in words if not word.startswith("experiment=")]
    try:
        result = study(name, *rest, progress=True)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command continues it") from None
    print(json.dumps(result, indent=2))
    folder = config["run_dir"] or Path("runs") / name
    print(f"summary.json, the picture and any runs are in {folder}", file=sys.stderr)
    return 0


def _resume(words: Sequence[str], console: Console) -> int:
    words, modules = modules_of(words)
    if modules:
        import_modules(modules)
    given = parse(words)
    path = given.pop("resume")
    for key in given:
        if not key.startswith(RESUMABLE):
            expected = "only total_env_steps, evaluation.stop_at, trainer.* and logger.* with resume"
            raise InputError(key, expected, given[key], "start a new run to change it")
    stored = open_checkpoint(str(path), resume=True)
    config = changed(stored.config, given)
    total, done = config["total_env_steps"], stored.env_steps
    if RunFiles(stored.run_dir).has_ended(done):
        expected, stop_at = "a run with steps left", config["evaluation"]["stop_at"]
        if isinstance(total, int) and total <= done:
            raise InputError("resume", expected, f"{done} of {total} env steps done", "give a larger total_env_steps=")
        if stays_stopped(TestSettings.of(config["evaluation"]), stored.state["lomaq"]["history"]):
            got = f"one that ended with evaluation.stop_at={stop_at} at {done} env steps"
            raise InputError("resume", expected, got, "give evaluation.stop_at=null, or one that it has not reached")
    if LEADER_VARIABLE not in os.environ:
        followed = f"{'a new' if 'total_env_steps' in given else 'the stored'} total of {total:,} env steps"
        print(f"resuming {stored.run_dir} at {done:,} env steps; schedules follow {followed}", file=sys.stderr)
    print_run(train(config, stored.run_dir, console, stored.path), stored.run_dir)
    return 0
