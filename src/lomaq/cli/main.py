"""The command line."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from lomaq.analysis.decompose import decompose_checkpoint
from lomaq.cli.commands import COMMANDS as SIMPLE
from lomaq.cli.commands import COMPOSED, Options, folder_named, print_table
from lomaq.cli.report import report
from lomaq.cli.usage import train_usage, usage
from lomaq.config import (
    CONFIG_DIR,
    MULTIRUN,
    PLACES,
    Job,
    changed,
    compose,
    compose_jobs,
    folders_of,
    hydra_answers,
    parse,
)
from lomaq.errors import InputError
from lomaq.plots.decomposition import draw_decomposition
from lomaq.plots.film import check_render, film_checkpoint
from lomaq.plots.graph import picture_graph
from lomaq.plots.run import train
from lomaq.runs import RunFiles
from lomaq.runs.files import write_atomic
from lomaq.studies.runner import run_study
from lomaq.studies.sweep import run_sweep
from lomaq.training import NonFiniteLossError
from lomaq.training.run import RUN_DIR_VARIABLE, default_run_dir
from lomaq.training.stored import evaluate_checkpoint, open_checkpoint

HELP = ("-h", "--help")
#: What a resumed run may change; everything else decides what the run is.
RESUMABLE = ("total_env_steps", "trainer.", "logger.")


def main() -> None:
    """``lomaq``."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help", "help"):
        print(usage())
        sys.exit(0 if len(sys.argv) > 1 else 2)
    if sys.argv[1] not in COMMANDS:
        sys.exit(_refuse(f"lomaq: expected one of {', '.join(COMMANDS)}, got {sys.argv[1]!r}"))
    sys.exit(guarded(COMMANDS[sys.argv[1]]))


def train_main() -> None:
    """``python train.py`` and ``lomaq train``."""
    sys.exit(guarded(_train))


def evaluate_main() -> None:
    """``python evaluate.py`` and ``lomaq evaluate``."""
    sys.exit(guarded(_evaluate))


def arguments() -> list[str]:
    """What stands behind the command."""
    rest = sys.argv[1:]
    return rest[1:] if rest and rest[0] in COMMANDS else rest


def guarded(command: Callable[[], int]) -> int:
    """Run ``command``; a person's mistake ends in one line and exit status 2."""
    try:
        return command()
    except InputError as error:
        return _refuse(str(error))
    except NonFiniteLossError as error:
        return _refuse(str(error))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOTDIR):
            place = error.filename or "to the run folder"
            return _refuse(f"cannot write {place}: {error.strerror}; what was saved before is whole")
        raise
    except RuntimeError as error:
        if "No space left" in str(error) or "unexpected pos" in str(error):  # how torch's writer reports a full disk
            return _refuse("cannot write the checkpoint: the disk is full; what was saved before is whole")
        raise
    except KeyboardInterrupt as stop:
        return _refuse(f"interrupted; go on with resume={stop or 'FOLDER'}", 130)


def _refuse(line: str, status: int = 2) -> int:
    print(f"error: {line}", file=sys.stderr)
    return status


# ---------------------------------------------------------------------- train


def _train() -> int:
    console = Console(stderr=True)
    words = arguments()
    if any(word.startswith("resume=") and word != "resume=null" for word in words):
        _resume(words, console)
        return 0
    if {"-sc", "--shell-completion"} & {*words} and not sys.argv[0].endswith(".py"):
        raise InputError(
            "--shell-completion", "python train.py before it", "lomaq train", "see lomaq completion --help"
        )
    if {*words} & {*HELP}:
        print(train_usage(folders_of([word for word in words if word not in HELP])[1]))
        return 0
    if any(word.startswith("-") and word.partition("=")[0] not in (*MULTIRUN, *CONFIG_DIR) for word in words):
        hydra_answers(words)  # --cfg, --info and the like
        return 0
    jobs = compose_jobs(words)
    config = jobs[0].config
    if config["study"] is not None:
        _study(words, config, console)
        return 0
    if len(jobs) > 1:
        return _sweep(jobs, console)
    run_dir = Path(str(config["run_dir"] or default_run_dir(config)))
    report(train(config, run_dir, console), run_dir)
    return 0


def _sweep(jobs: list[Job], console: Console) -> int:
    folder = Path(str(jobs[0].config["run_dir"] or f"runs/sweep-{time.strftime('%Y%m%d-%H%M%S')}"))
    try:
        summary = run_sweep(jobs, folder, console)
    except KeyboardInterrupt:
        return _refuse(f"interrupted; go on with the same settings and run_dir={folder}", 130)
    heading = ["", "env", "agents", "seeds", "last test", "best test"]
    rows = [
        [name, g["env"], f"{g['n_agents']:,}", str(len(g["seeds"])), f"{g['last_mean']:,.1f}", f"{g['best_mean']:,.1f}"]
        for name, g in summary["groups"].items()
    ]
    print_table([heading, *rows])
    pictures = ", curves.png" if rows else ""
    console.print(f"results.json, summary.json{pictures} and the runs are in {folder}", highlight=False, soft_wrap=True)
    for name, line in summary["failed"].items():
        _refuse(f"{name}: {line}")
    return 2 if summary["failed"] else 0


def _study(words: Sequence[str], config: dict[str, Any], console: Console) -> None:
    if set(MULTIRUN).intersection(words):
        raise InputError("-m", "runs without a study", "an experiment", "which varies what it must by itself")
    name = next(word.partition("=")[2] for word in words if word.startswith("experiment="))
    for key in (word.partition("=")[0] for word in words if "run" in config["study"]):
        if not key.startswith(("experiment", "seed", "run_dir", "study.", "-")):
            expected = f"only seed, run_dir and study.* with experiment={name}"
            raise InputError(key, expected, key, "no training run reads it, leave it out")
    folder = Path(str(config["run_dir"] or Path("runs") / name))

    def configuration(more: list[str]) -> dict[str, Any]:
        return {**compose([*words, *more]), "run_dir": None, "study": None}

    result = run_study(config["study"], configuration, folder, console)
    print(json.dumps(result, indent=2))
    console.print(f"summary.json, the picture and any runs are in {folder}", highlight=False, soft_wrap=True)


def _resume(words: Sequence[str], console: Console) -> None:
    given = parse(words)
    path = given.pop("resume")
    refused = [key for key in given if not key.startswith(RESUMABLE)]
    if refused:
        raise InputError(
            refused[0],
            "only total_env_steps, trainer.* and logger.* with resume",
            given[refused[0]],
            "start a new run to change it",
        )
    stored = open_checkpoint(str(path), resume=True)
    before = stored.config["logger"]
    if "name" in before:  # before there could be several
        stored.config["logger"] = compose([f"logger={before['name']}"])["logger"]
    config = changed(stored.config, given)
    total, done = config["total_env_steps"], stored.env_steps
    if isinstance(total, int) and total <= done:
        raise InputError(
            "resume", "a run with steps left", f"{done} of {total} env steps done", "give a larger total_env_steps="
        )
    followed = f"a new total of {total:,}" if "total_env_steps" in given else f"the stored total of {total:,}"
    run_dir = stored.run_dir
    if RUN_DIR_VARIABLE not in os.environ:
        console.print(
            f"resuming {run_dir} at {done:,} env steps; schedules follow {followed} env steps", highlight=False
        )
    report(train(config, run_dir, console, stored.path), run_dir)


# ------------------------------------------------------------------- evaluate


def _evaluate() -> int:
    given = _options(COMPOSED["evaluate"])
    if given is None:
        return 0
    path, episodes, seed, render = (given.pop(name) for name in ("checkpoint", "episodes", "seed", "render"))
    render = None if render is None else check_render(render)
    stored = open_checkpoint(str(path), resume=False)
    config = changed(stored.config, given)
    result = evaluate_checkpoint(stored, config, episodes, seed)
    if render is not None:
        film_checkpoint(stored, config, seed, render)
        result |= {} if render == "human" else {"film": render}
    print(json.dumps(result))
    return 0


def _decompose() -> int:
    given = _options(COMPOSED["decompose"])
    if given is None:
        return 0
    path, seed, output = (given.pop(name) for name in ("checkpoint", "seed", "output"))
    stored = open_checkpoint(str(path), resume=False)
    folder = stored.run_dir if output is None else folder_named("output", output)
    config, env_steps = changed(stored.config, given), stored.env_steps
    episode = decompose_checkpoint(stored, config, seed)
    name = config["env"]["name"]
    about = {"checkpoint": str(stored.path), "env": name, "trained_env_steps": env_steps, "seed": seed}
    summary = {**about, **episode.to_json()}
    write_atomic(folder / "decomposition.csv", episode.to_csv())
    RunFiles(folder).write_json("decomposition.json", summary)
    title = f"Learned rewards on {name} after {env_steps:,} env steps"
    draw_decomposition(folder / "decomposition.png", episode.learned, episode.true, episode.tolerance, title)
    print(json.dumps(summary, indent=2))
    where = folder / "decomposition"
    Console(stderr=True).print(
        f"{where}.csv, .json and .png are written", highlight=False, markup=False, soft_wrap=True
    )
    return 0


def _graph() -> int:
    given = _options(COMPOSED["graph"])
    if given is None:
        return 0
    env, file, checkpoint = (given.pop(name) for name in ("env", "file", "checkpoint"))
    changes = {key: given.pop(key) for key in [*given] if key.startswith("env.")}
    if [env, file, checkpoint].count(None) != 2:
        sources = [f"{k}={v}" for k, v in (("env", env), ("file", file), ("checkpoint", checkpoint)) if v is not None]
        raise InputError("graph", "one of env=NAME, file=PATH and checkpoint=PATH", " and ".join(sources) or "none")
    if file is not None and changes:
        raise InputError(next(iter(changes)), "only with env=NAME or checkpoint=PATH", f"file={file}", "leave it out")
    stored = None if checkpoint is None else open_checkpoint(str(checkpoint), resume=False)
    config = None if stored is None else changed(stored.config, changes)
    if env is not None:
        config = compose([word for word in arguments() if word.startswith(("env=", "env."))])
    print(picture_graph(config, None if file is None else str(file), stored, **given))
    return 0


def _simple(name: str) -> int:
    options, act = SIMPLE[name]
    given = _options(options)
    return 0 if given is None else act(given)


def _options(options: Options) -> dict[str, Any] | None:
    """What stands behind a command, over its defaults; None where help was asked for and given.

    Raises:
        InputError: For other keys, or where one that is needed is not given.
    """
    words = arguments()
    if {*words} & {*HELP}:
        print(options.usage)
        return None
    words, folders = folders_of(words) if options.folders else (words, [])
    given = options.check(parse(words, options.repeated, (*PLACES, "config")))
    return {**given, "config_dirs": folders} if options.folders else given


COMMANDS: dict[str, Callable[[], int]] = {
    "train": _train,
    "evaluate": _evaluate,
    "decompose": _decompose,
    "graph": _graph,
    **{name: partial(_simple, name) for name in SIMPLE},
}
