"""The command line."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from lomaq import __version__, config
from lomaq.cli.ascii import fall_back_to_ascii
from lomaq.cli.command import HELP
from lomaq.cli.commands import COMMANDS
from lomaq.cli.imports import imported, imports
from lomaq.cli.output import CLOSED, OutputClosedError, closable_output, refuse
from lomaq.cli.usage import train_usage, usage
from lomaq.config.words import CONFIG_DIR, MULTIRUN, folders_of, launcher_of
from lomaq.errors import InputError, NonFiniteLossError, did_you_mean, is_out_of_memory, notes_as_lines
from lomaq.inputs.targets import modules_of
from lomaq.inputs.text import file_error
from lomaq.runs.ranks import LEADER_VARIABLE, RUN_DIR_VARIABLE, ProcessDiedError
from lomaq.runs.stop import LAST, exit_status, stopped_by_signals

#: Where what is trained is; with it comes all that is heavy.
TRAIN = "lomaq.cli.train"

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
    if name == "--version":
        print(f"lomaq {__version__}")
        return 0
    if name in ("", *HELP, "help"):
        print(usage(COMMANDS))
        return 0 if name else 2
    if words and f"{name} {words[0]}" in COMMANDS:
        name, words = f"{name} {words[0]}", words[1:]
    if name not in COMMANDS:
        known = ("train", *COMMANDS)
        raise InputError("lomaq", f"one of {', '.join(known)}", repr(name), did_you_mean(name, known, "lomaq "))
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
        return refuse(f"interrupted; {stop}" if str(stop) else "interrupted", exit_status())
    except OutputClosedError:
        raise
    except Exception as error:
        if LEADER_VARIABLE in os.environ:
            time.sleep(LAST)  # if the leading process has met the same error it says so, and ends this one
        if (line := _line(error)) is None:
            raise
        return refuse(line)


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


# ---------------------------------------------------------------------- train


def _train(words: Sequence[str]) -> int:
    if any(word.startswith("resume=") and word != "resume=null" for word in words):
        return _start("resume", words)
    if {"-sc", "--shell-completion"} & {*words} and not sys.argv[0].endswith(".py"):
        remedy = "see lomaq completion --help"
        raise InputError("--shell-completion", "python train.py before it", "lomaq train", remedy)
    if {*words} & {*HELP}:
        print(train_usage(folders_of([word for word in words if word not in HELP])[1]))
        return 0
    if any(word.startswith("-") and word.partition("=")[0] not in (*MULTIRUN, *CONFIG_DIR) for word in words):
        config.hydra_flag(modules_of(words)[0])  # --cfg, --info and the like
        return 0
    with imports():  # composing imports the classes of the settings
        jobs = config.compose_jobs(words)
        kind = "study" if jobs[0].config["study"] is not None else "sweep" if len(jobs) > 1 else "run"
        if (launcher := launcher_of(words)) is not None and kind != "sweep":
            expected = "several runs, such as -m seed=0,1"
            raise InputError("hydra/launcher", expected, f"{launcher} and none", "leave it out")
    return _start(kind, words, jobs)


def _start(kind: str, *arguments: Any) -> int:
    """Import what trains a run, a sweep or a study, or goes on with a run, and start it."""
    start = imported(f"{TRAIN}.{kind}:start")
    imported("lomaq.training.process:keep_freed_memory")()
    return int(start(*arguments))
