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
from lomaq.training.process import keep_freed_memory

#: What a resumed run may change; everything else decides what the run is.
RESUMABLE = ("total_env_steps", "trainer.", "logger.")


def start(words: Sequence[str]) -> int:
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
