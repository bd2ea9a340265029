"""Several runs, as ``-m`` asks for them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from rich.console import Console

from lomaq.cli.output import refuse
from lomaq.cli.tables import print_table
from lomaq.config import Job
from lomaq.config.launch import launch
from lomaq.config.words import launcher_of
from lomaq.inputs.text import typed
from lomaq.runs.lock import free_folder
from lomaq.studies.sweep import run_sweep


def start(words: Sequence[str], jobs: list[Job]) -> int:
    """Train all ``jobs``."""
    elsewhere = None if launcher_of(words) is None else partial(launch, words)
    given = jobs[0].config["run_dir"]
    default = Path("runs", f"sweep-{time.strftime('%Y%m%d-%H%M%S')}")
    with free_folder(default) if given is None else nullcontext(Path(str(given))) as folder:
        try:
            summary = run_sweep(jobs, folder, Console(stderr=True), elsewhere)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"continue with the same settings and {typed('run_dir', folder)}") from None
    rows = [
        [name, g["env"], f"{g['n_agents']:,}", str(len(g["seeds"])), f"{g['last_mean']:,.1f}", f"{g['best_mean']:,.1f}"]
        for name, g in summary["groups"].items()
    ]
    print_table([["", "env", "agents", "seeds", "last test", "best test"], *rows])
    pictures = ", curves.png" if rows else ""
    print(f"results.json, summary.json{pictures} and the runs are in {folder}", file=sys.stderr)
    for name, line in summary["failed"].items():
        refuse(f"{name}: {line}")
    return 2 if summary["failed"] else 0
