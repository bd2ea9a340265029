"""Runs of a sweep on other machines, which share the sweep's folder with this one."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from secrets import token_hex

from lomaq.config import Job
from lomaq.runs import RunRecord
from lomaq.runs.files import replacing
from lomaq.studies.runner import error_line, run_name, run_one

#: Calls a function with 0, 1, … in jobs of a launcher, which may keep files in a folder: (folder, function, how many).
Launch = Callable[[Path, Callable[[int], "str | None"], int], "list[str | None]"]


def train_elsewhere(jobs: list[Job], folder: Path, launch: Launch) -> tuple[dict[str, RunRecord], dict[str, str]]:
    """Train the jobs that have not ended, and wait for all; by name, the runs that ended and the errors of others.

    A run is what is in its folder when the launcher is done, so that a job that dies costs no other run.
    """
    places = [folder / run_name(job.settings) for job in jobs]
    todo = [job for job, place in zip(jobs, places, strict=True) if not (place / "summary.json").is_file()]
    listed = folder.absolute() / f"jobs-{token_hex(4)}.pickle"  # jobs of a sweep that was stopped may wait with theirs
    with replacing(listed) as file:
        pickle.dump([(job.settings, job.config) for job in todo], file)
    try:
        lines = launch(folder, partial(train_listed, listed), len(todo)) if todo else []
        listed.unlink()
    except Exception as error:  # of a launcher, where a job died
        lines = [f"its job ended before it, {error_line(error):.300}; see the launcher's files in {folder}"] * len(todo)
    failed = {run_name(job.settings): line for job, line in zip(todo, lines, strict=True) if line is not None}
    ended = {}
    for job, place in zip(jobs, places, strict=True):
        if (place / "summary.json").is_file():
            try:
                ended[place.name] = run_one(job.settings, job.config, folder, None)  # reads and checks it
            except Exception as error:
                failed[place.name] = error_line(error)
    return ended, {name: line for name, line in failed.items() if name not in ended}


def train_listed(listed: Path, number: int) -> str | None:
    """In a job: train one of the runs that are ``listed`` in a sweep's folder; its error as one line, if it has one."""
    settings, config = pickle.loads(listed.read_bytes())[number]
    try:
        run_one(settings, config, listed.parent, None)
    except Exception as error:
        return error_line(error)
    return None
