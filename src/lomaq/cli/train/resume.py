"""A run that goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rich.console import Console

from lomaq.analysis.stored import open_checkpoint
from lomaq.cli.tables import print_run
from lomaq.config import parse
from lomaq.errors import InputError
from lomaq.inputs.plain import changed
from lomaq.inputs.targets import import_modules, modules_of
from lomaq.plots.run import train
from lomaq.runs import RunFiles
from lomaq.runs.ranks import LEADER_VARIABLE
from lomaq.training.callbacks import stays_stopped
from lomaq.training.settings import TestSettings

#: What a resumed run may change; everything else decides what the run is.
RESUMABLE = ("total_env_steps", "evaluation.stop_at", "trainer.", "logger.")


def start(words: Sequence[str]) -> int:
    """Go on with the run that ``resume=`` names."""
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
    print_run(config, train(config, stored.run_dir, Console(stderr=True), stored.path), stored.run_dir)
    return 0
