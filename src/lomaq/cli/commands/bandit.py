"""Partitions in Multi-OFUL."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from lomaq.inputs.text import folder_named
from lomaq.runs.lock import free_folder
from lomaq.studies.paper.bandit import run_bandits


def bandit(run_dir: str | None = None, **settings: Any) -> None:
    """Compare partitions in Multi-OFUL of Section 3.2: lomaq bandit n=6 K=3.

    Plays Algorithm 1 with each partition, and writes bandit.json and bandit.png.

    Args:
        run_dir: FOLDER for the two files; by default a new one in runs.
    """
    default = Path("runs", f"bandit-{time.strftime('%Y%m%d-%H%M%S')}")
    with free_folder(default) if run_dir is None else nullcontext(folder_named("run_dir", run_dir)) as folder:
        run_bandits(folder, Console(stderr=True), **settings)
    print(f"bandit.json and bandit.png are in {folder}", file=sys.stderr)
