"""A run that goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rich.console import Console

from lomaq.analysis.resumed import open_resumed
from lomaq.cli.tables import print_run
from lomaq.config import parse
from lomaq.inputs.targets import import_modules, modules_of
from lomaq.plots.run import train
from lomaq.runs.ranks import LEADER_VARIABLE


def start(words: Sequence[str]) -> int:
    """Go on with the run that ``resume=`` names."""
    words, modules = modules_of(words)
    if modules:
        import_modules(modules)
    given = parse(words)
    path = given.pop("resume")
    stored, config = open_resumed(str(path), given)
    if LEADER_VARIABLE not in os.environ:
        followed = f"{'a new' if 'total_env_steps' in given else 'the stored'} total of {config['total_env_steps']:,}"
        at = f"resuming {stored.run_dir} at {stored.env_steps:,} env steps"
        print(f"{at}; schedules follow {followed} env steps", file=sys.stderr)
    print_run(config, train(config, stored.run_dir, Console(stderr=True), stored.path), stored.run_dir)
    return 0
