"""What a run is, and where settings come from."""

from __future__ import annotations

import shlex
from pathlib import Path

from lomaq.analysis.compare import describe_run
from lomaq.cli.origins import origins
from lomaq.cli.tables import print_table
from lomaq.config.words import word_of
from lomaq.errors import InputError
from lomaq.runs.record import runs_in

#: What is said of each run of a folder of runs.
COLUMNS = ("env", "algorithm", "state", "last test")


def info(run: str | None = None, config: list[str] | None = None) -> None:
    """What a run is, how far and how good: lomaq info RUN; where settings come from: lomaq info config=…

    For a run: its state, its last and best test, when it first reached each threshold, its speed, its files, and how to
    continue or play it; also while it runs. No checkpoint is opened.

    For settings: each setting that a training with them would have, and where its value comes from: the environment,
    the search for a method's settings, the learner, the method, the command line.

    Args:
        run: FOLDER of a run, or of runs, such as a sweep's, for a line each.
        config: SETTINGS as in training: config="env=nav algo=vdn learner.lr=0.1"; --config-dir FOLDER among them, too.
    """
    if (run is None) == (config is None):
        raise InputError("info", "run=PATH or config=SETTINGS", "neither" if run is None else "both")
    if run is not None and runs_in(folder := Path(str(run))) in ([], [folder]):
        lines = describe_run(folder)
        width = max(14, *(len(name) + 1 for name in lines))
        for name, text in lines.items():
            print(f"{name:<{width}}{text}")
    elif run is not None:
        print_table([["", *COLUMNS], *map(_line, runs_in(folder))], left=True)
    else:
        for key, (value, source) in origins(shlex.split(" ".join(config or []))).items():
            print(f"{key:<40}{word_of(value):<30} {source}")


def _line(folder: Path) -> list[str]:
    """A run of several; what is damaged says so."""
    try:
        lines = describe_run(folder)
    except InputError as error:
        return [folder.name, "", "", str(error), ""]
    return [folder.name, *(lines.get(column, "–") for column in COLUMNS)]
