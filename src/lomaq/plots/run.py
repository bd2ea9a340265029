"""Training with its pictures: the curve of the test returns, and films where they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from lomaq.plots.curves import draw_curve
from lomaq.plots.film import FilmCallback, check_format
from lomaq.runs.files import read_returns
from lomaq.training.callbacks import AnyCallback
from lomaq.training.run import train as train_alone


def train(
    config: dict[str, Any],
    run_dir: Path,
    console: Console,
    checkpoint: Path | None = None,
    callbacks: Sequence[AnyCallback] = (),
) -> dict[str, Any]:
    """Train as :func:`lomaq.training.run.train` does, and draw ``curve.png`` and the films of ``evaluation.film``."""
    film = config["evaluation"]["film"]
    films = [] if film is None else [FilmCallback(run_dir, check_format("evaluation.film", film))]
    summary = train_alone(config, run_dir, console, checkpoint, [*callbacks, *films])
    if summary:  # empty in a process that does not lead
        mixing = f" ({summary['mixer']}, κ={summary['kappa']})" if "mixer" in summary else ""
        title = (
            f"{summary['algorithm']}{mixing} on {summary['env']}, {summary['n_agents']} agents, seed {summary['seed']}"
        )
        draw_curve(run_dir / "curve.png", title, read_returns(run_dir), summary["references"])
    return summary
