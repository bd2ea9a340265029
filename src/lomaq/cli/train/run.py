"""One run."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from lomaq.cli.tables import print_run
from lomaq.config import Job
from lomaq.plots.run import train
from lomaq.training.run import run_dir_of


def start(words: Sequence[str], jobs: Sequence[Job]) -> int:
    """Train the only one of the ``jobs``."""
    config = jobs[0].config
    with run_dir_of(config) as run_dir:
        print_run(config, train(config, run_dir, Console(stderr=True)), run_dir)
    return 0
