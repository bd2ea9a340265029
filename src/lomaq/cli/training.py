"""A run, a sweep or a study that the command line starts or continues."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from lomaq.analysis.stored import open_checkpoint
from lomaq.api import study
from lomaq.cli.tables import print_run, print_table
from lomaq.config import MULTIRUN, Job, parse
from lomaq.errors import InputError
from lomaq.inputs.plain import changed
from lomaq.inputs.targets import import_modules, modules_of
from lomaq.plots.run import train
from lomaq.runs import RunFiles
from lomaq.runs.lock import free_folder
from lomaq.runs.ranks import LEADER_VARIABLE
from lomaq.studies.sweep import run_sweep
from lomaq.training.process import keep_freed_memory
from lomaq.training.run import run_dir_of

#: What a resumed run may change; everything else decides what the run is.
RESUMABLE = ("total_env_steps", "trainer.", "logger.")


def start(words: Sequence[str], jobs: list[Job]) -> int:
    """Train what the words ask for, which make these jobs."""
    keep_freed_memory()
    console, config = Console(stderr=True), jobs[0].config
    if config["study"] is not None:
        return _study(words, config)
    if len(jobs) > 1:
        return _sweep(jobs, console)
    with run_dir_of(config) as run_dir:
        print_run(train(config, run_dir, console), run_dir)
    return 0


def resume(words: Sequence[str]) -> int:
    """Go on with the run that ``resume=`` names."""
    keep_freed_memory()
    words, modules = modules_of(words)
    if modules:
        import_modules(modules)
    given = parse(words)
    path = given.pop("resume")
    for key in given:
        if not key.startswith(RESUMABLE):
            expected = "only total_env_steps, trainer.* and logger.* with resume"
            raise InputError(key, expected, given[key], "start a new run to change it")
    stored = open_checkpoint(str(path), resume=True)
    config = changed(stored.config, given)
    total, done = config["total_env_steps"], stored.env_steps
    if isinstance(total, int) and total <= done and RunFiles(stored.run_dir).has_ended(done):
        got = f"{done} of {total} env steps done"
        raise InputError("resume", "a run with steps left", got, "give a larger total_env_steps=")
    if LEADER_VARIABLE not in os.environ:
        followed = f"{'a new' if 'total_env_steps' in given else 'the stored'} total of {total:,} env steps"
        print(f"resuming {stored.run_dir} at {done:,} env steps; schedules follow {followed}", file=sys.stderr)
    print_run(train(config, stored.run_dir, Console(stderr=True), stored.path), stored.run_dir)
    return 0


def _sweep(jobs: list[Job], console: Console) -> int:
    given = jobs[0].config["run_dir"]
    default = Path("runs", f"sweep-{time.strftime('%Y%m%d-%H%M%S')}")
    with free_folder(default) if given is None else nullcontext(Path(str(given))) as folder:
        try:
            summary = run_sweep(jobs, folder, console)
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
        print(f"error: {name}: {line}", file=sys.stderr)
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
