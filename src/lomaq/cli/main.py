"""The command line."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from lomaq.api import study
from lomaq.cli.ascii import fall_back_to_ascii
from lomaq.cli.command import HELP
from lomaq.cli.commands import COMMANDS
from lomaq.cli.tables import print_run, print_table
from lomaq.cli.usage import train_usage, usage
from lomaq.config import CONFIG_DIR, MULTIRUN, Job, changed, compose_jobs, folders_of, hydra_flag, parse
from lomaq.errors import InputError
from lomaq.plots.run import train
from lomaq.studies.sweep import run_sweep
from lomaq.text import file_error
from lomaq.training import NonFiniteLossError
from lomaq.training.process import keep_freed_memory
from lomaq.training.run import RUN_DIR_VARIABLE, default_run_dir
from lomaq.training.stored import open_checkpoint

#: What a resumed run may change; everything else decides what the run is.
RESUMABLE = ("total_env_steps", "trainer.", "logger.")


def main() -> None:
    """``lomaq``."""
    fall_back_to_ascii()
    name, words, names = "".join(sys.argv[1:2]), sys.argv[2:], ("train", *COMMANDS)
    if name in ("", *HELP, "help"):
        print(usage(COMMANDS))
        sys.exit(0 if name else 2)
    if name not in names:
        sys.exit(_refuse(f"lomaq: expected one of {', '.join(names)}, got {name!r}"))
    sys.exit(guarded(lambda: _train(words) if name == "train" else COMMANDS[name].run(name, words)))


def train_main() -> None:
    """``python train.py``."""
    sys.exit(guarded(lambda: _train(sys.argv[1:])))


def evaluate_main() -> None:
    """``python evaluate.py``."""
    sys.exit(guarded(lambda: COMMANDS["evaluate"].run("evaluate", sys.argv[1:])))


def guarded(command: Callable[[], int]) -> int:
    """Run ``command``; a person's mistake ends in one line and exit status 2."""
    fall_back_to_ascii()
    try:
        return command()
    except (InputError, NonFiniteLossError) as error:
        return _refuse(str(error))
    except OSError as error:
        if (line := file_error(error)) is not None:
            return _refuse(line)
        raise
    except RuntimeError as error:
        if "No space left" in str(error) or "unexpected pos" in str(error):  # how torch's writer reports a full disk
            return _refuse("cannot write the checkpoint: the disk is full; what was saved before is whole")
        raise
    except KeyboardInterrupt as stop:
        return _refuse(f"interrupted; continue with resume={stop or 'FOLDER'}", 130)


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
        hydra_flag(words)  # --cfg, --info and the like
        return 0
    jobs = compose_jobs(words)
    config = jobs[0].config
    if config["study"] is not None:
        return _study(words, config)
    if len(jobs) > 1:
        return _sweep(jobs, console)
    run_dir = Path(str(config["run_dir"] or default_run_dir(config)))
    print_run(train(config, run_dir, console), run_dir)
    return 0


def _sweep(jobs: list[Job], console: Console) -> int:
    folder = Path(str(jobs[0].config["run_dir"] or f"runs/sweep-{time.strftime('%Y%m%d-%H%M%S')}"))
    try:
        summary = run_sweep(jobs, folder, console)
    except KeyboardInterrupt:
        return _refuse(f"interrupted; continue with the same settings and run_dir={folder}", 130)
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
    print(json.dumps(study(name, *rest, progress=True), indent=2))
    folder = config["run_dir"] or Path("runs") / name
    print(f"summary.json, the picture and any runs are in {folder}", file=sys.stderr)
    return 0


def _resume(words: Sequence[str], console: Console) -> int:
    given = parse(words)
    path = given.pop("resume")
    for key in given:
        if not key.startswith(RESUMABLE):
            expected = "only total_env_steps, trainer.* and logger.* with resume"
            raise InputError(key, expected, given[key], "start a new run to change it")
    stored = open_checkpoint(str(path), resume=True)
    config = changed(stored.config, given)
    total, done = config["total_env_steps"], stored.env_steps
    if isinstance(total, int) and total <= done:
        got = f"{done} of {total} env steps done"
        raise InputError("resume", "a run with steps left", got, "give a larger total_env_steps=")
    if RUN_DIR_VARIABLE not in os.environ:
        followed = f"{'a new' if 'total_env_steps' in given else 'the stored'} total of {total:,} env steps"
        print(f"resuming {stored.run_dir} at {done:,} env steps; schedules follow {followed}", file=sys.stderr)
    print_run(train(config, stored.run_dir, console, stored.path), stored.run_dir)
    return 0
