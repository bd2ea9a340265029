"""Runs a study: a grid of training runs, each in its own folder, or one function.

What is there already is kept, so that a study that was stopped continues where it was.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import signal
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from rich.console import Console

from lomaq.analysis.compare import differing
from lomaq.analysis.stored import open_checkpoint
from lomaq.config import Job
from lomaq.config.words import word_of
from lomaq.errors import InputError, check_int
from lomaq.graphs.kept import kept_files
from lomaq.inputs.targets import import_targets
from lomaq.inputs.text import read_checked
from lomaq.plots.run import train
from lomaq.runs import RunFiles, RunRecord, read_run
from lomaq.runs.archive import ARCHIVE, read_archive, write_archive
from lomaq.runs.record import FOUND
from lomaq.runs.stop import follow, heed, stopped_by_leader, unsignalled
from lomaq.training.process import keep_freed_memory

#: Longest name of a run, in bytes; file systems take 255.
LONGEST = 160
#: How often ``extend`` of a study is asked for further runs.
EXTENSIONS = 2


def run_study(
    study: dict[str, Any],
    compose: Callable[[list[str]], dict[str, Any]],
    folder: Path,
    console: Console,
    command: str = "",
) -> dict[str, Any]:
    """Train every combination of ``study["grid"]``, then report; or call ``study["run"]``.

    Args:
        study: ``grid`` (setting → values, or several of these), ``report`` (path of a function of folder and runs) and
            ``jobs``, how many runs train at once, each in its own process if several; perhaps ``each`` (path of a
            function of a run that has ended: what the report needs to know beyond its tests, as JSON) and ``extend``
            (path of a function from the runs so far to the settings of further runs, asked twice). Or ``run`` (path of
            a function of folder, settings and console) and its settings.
        compose: Makes the configuration of a run of the grid from further ``key=value`` words.
        folder: Where the runs and the report go; what is there already is kept. The runs of a grid are also written to
            one file, ``runs.json.xz``, and read from there where their folders are gone; see :mod:`lomaq.runs.archive`.
        console: Where progress is shown.
        command: That runs this study, for ``runs.json.xz``.

    Returns:
        What the function returned, also written to ``summary.json``; with ``run`` its ``settings`` too.

    Raises:
        InputError: If a setting is impossible, or the folder holds another study.
    """
    if ("run" in study) == ("grid" in study):
        raise InputError("study", "either grid or run", ", ".join(study))
    if "run" in study:
        return _call(study, folder, console)
    jobs, report = check_int("study.jobs", study["jobs"], 1), _function(study["report"])
    grids: list[dict[str, list[Any]]] = study["grid"] if isinstance(study["grid"], list) else [study["grid"]]
    cells = [dict(zip(grid, values, strict=True)) for grid in grids for values in itertools.product(*grid.values())]
    extend = [_function(study["extend"])] * EXTENSIONS if "extend" in study else []
    each = study.get("each")
    if each is not None:
        _function(each)
    ended = read_archive(folder)
    before = len(ended)
    try:
        runs = _train(cells, compose, folder, jobs, console, each, ended)
        for further in extend:
            cells += (more := further(runs))
            runs += _train(more, compose, folder, jobs, console, each, ended)
    finally:
        if len(ended) > before:
            order = {run_name(cell): place for place, cell in enumerate(cells)}  # not that in which they ended
            names = sorted(ended, key=lambda name: order.get(name, -1))
            write_archive(folder, command, {name: ended[name] for name in names})
    result: dict[str, Any] = report(folder, runs)
    RunFiles(folder).write_checked("summary.json", result)
    return result


def _train(
    cells: list[dict[str, Any]],
    compose: Callable[[list[str]], dict[str, Any]],
    folder: Path,
    at_once: int,
    console: Console,
    each: str | None,
    ended: dict[str, RunRecord],
) -> list[RunRecord]:
    """The runs with these settings, in their order; those that have ``ended`` are taken, and the others added there."""

    def composed(cell: dict[str, Any]) -> Job:
        return Job(cell, compose([f"{key}={word_of(value)}" for key, value in cell.items()]))

    for cell in cells:
        if (run := ended.get(run_name(cell))) is not None:
            _check_same(run.config, composed(cell).config, folder / ARCHIVE)
    todo = [cell for cell in cells if run_name(cell) not in ended]
    # composed when it is a run's turn, since that takes a good part of a second
    jobs = map(composed, todo)
    if at_once == 1:
        for job in jobs:
            ended[run_name(job.settings)] = run_one(job.settings, job.config, folder, console, each)
    elif todo:
        train_all(jobs, len(todo), folder, min(at_once, len(todo)), console, keep_going=False, each=each, done=ended)
    return [ended[run_name(cell)] for cell in cells]


def _check_same(stored: dict[str, Any], config: dict[str, Any], place: Path) -> None:
    if rows := differing([stored, config]):
        (key, (was, now)), *_ = rows.items()
        remedy = f"{key} is {now} here, not {was}; choose another run_dir"
        raise InputError("run_dir", "a folder of the same study", place, remedy)


def _call(study: dict[str, Any], folder: Path, console: Console) -> dict[str, Any]:
    """A study that is one function; done already where ``summary.json`` has the same settings."""
    settings = {key: value for key, value in study.items() if key != "run"}
    done = folder / "summary.json"
    if done.is_file():
        result: dict[str, Any] = read_checked(done)
        if result.get("settings") != settings:
            raise InputError("run_dir", "a folder of the same study", folder, "choose another run_dir")
        return result
    if folder.exists() and not folder.is_dir():
        raise InputError("run_dir", "a folder", folder, "choose another run_dir")
    result = {"settings": settings, **_function(study["run"])(folder, settings, console)}
    RunFiles(folder).write_checked("summary.json", result)
    return result


def _function(path: str) -> Callable[..., Any]:
    try:
        function: Callable[..., Any] = resolve_name(":".join(path.rsplit(".", 1)))
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError("study", "the path of a function, such as my_module.report", path, str(error)) from error
    if not callable(function):
        raise InputError("study", "the path of a function, such as my_module.report", path)
    return function


def train_all(
    jobs: Iterable[Job],
    n_jobs: int,
    folder: Path,
    at_once: int,
    console: Console,
    *,
    keep_going: bool,
    each: str | None = None,
    done: dict[str, RunRecord] | None = None,
) -> tuple[dict[str, RunRecord], dict[str, str]]:
    """By name, the runs that ended and the errors of those that failed; without ``keep_going`` the first is raised.

    Runs that end are added to ``done`` as they do.
    """
    done = {} if done is None else done
    failed: dict[str, str] = {}
    with closing(train_together(jobs, folder, at_once, each)) as ended:
        for number, (job, run) in enumerate(ended, 1):
            name = run_name(job.settings)
            if not isinstance(run, Exception):
                done[name] = run
                line = f"test return {run.summary['test_return_mean']:,.1f}"
            elif keep_going:
                failed[name] = error_line(run)
                line = f"failed: {failed[name]}"
            else:
                raise run
            console.print(f"{number} of {n_jobs}: {name}: {line}", highlight=False, markup=False, soft_wrap=True)
    return done, failed


def error_line(error: Exception) -> str:
    """What ended a run, in one line."""
    kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
    return " ".join(f"{kind}{error}".split())


def train_together(
    jobs: Iterable[Job], folder: Path, at_once: int, each: str | None = None
) -> Generator[tuple[Job, RunRecord | Exception], None, None]:
    """Train jobs in ``at_once`` processes and yield each when it ends, with its run or its exception.

    A process that dies ends its job alone and is replaced. Close the generator to end the processes.
    """
    waiting, idle = iter(jobs), [_Worker() for _ in range(at_once)]
    running: dict[Future[RunRecord], tuple[Job, _Worker]] = {}
    try:
        while True:
            for job in itertools.islice(waiting, len(idle)):
                process = idle.pop()
                try:
                    future = process.executor.submit(run_one, job.settings, job.config, folder, None, each)
                except BrokenProcessPool as died:  # while it waited
                    future = Future()
                    future.set_exception(died)
                running[future] = job, process
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job, process = running.pop(future)
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    process, expected = _Worker(), "a process that lives to the end of its run"
                    remedy = "it had too little memory perhaps; jobs=1 takes the least"
                    error = InputError("jobs", expected, "one that died", remedy)
                idle.append(process)
                if error is not None and not isinstance(error, Exception):
                    raise error  # an interrupt
                yield job, error or future.result()
    except BaseException:
        heed()
        for _, process in running.values():
            process.stop()
        raise
    finally:
        for process in [*idle, *(process for _, process in running.values())]:
            process.executor.shutdown()


def _process() -> Executor:
    """A new process, in which nothing is imported yet."""
    return ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin, initargs=(os.getpid(),))


class _Worker:
    """A process that trains one run after the other; signals reach it only from here."""

    def __init__(self) -> None:
        self.executor = _process()
        with unsignalled():
            self.pid = self.executor.submit(os.getpid)  # starts it

    def stop(self) -> None:
        """Ask it to save and end."""
        with suppress(BrokenProcessPool, ProcessLookupError):
            if (pid := self.pid.result()) != os.getpid():
                os.kill(pid, signal.SIGTERM)


def _begin(leader: int) -> None:
    keep_freed_memory()
    follow(leader)
    stopped_by_leader()


def run_name(settings: dict[str, Any]) -> str:
    """Name of the folder of a run.

    >>> run_name({"algo": "lomaq", "partition": [[0, 1], [2]]})
    'algo=lomaq,partition=[[0, 1], [2]]'

    A long one is cut, and ends with a hash of the whole.
    """
    name = ",".join(f"{key}={word_of(value)}" for key, value in settings.items()).replace("/", "_")
    if len(name.encode()) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name.encode()[: LONGEST - 13].decode(errors='ignore')}-{digest}"


def run_one(
    settings: dict[str, Any],
    config: dict[str, Any],
    folder: Path,
    console: Console | None,
    each: str | None = None,
) -> RunRecord:
    """Train the run that ``settings`` name below ``folder``, resume it, or, if it has ended, read it.

    Args:
        settings: The settings that the study varies.
        config: The whole configuration, of the user's own words; a process that was just started imports what it names.
        folder: Of the study.
        console: Where progress is shown; None: nowhere.
        each: Path of a function of the run that has ended; what it returns is kept in the run's ``found.json``.

    Raises:
        InputError: If a setting is impossible, or a run of another configuration is there.
    """
    import_targets(config)
    place = folder / run_name(settings)
    if console is None:
        console = Console(file=io.StringIO(), force_jupyter=False)
    console.print(place.name, highlight=False, soft_wrap=True)
    begun = place / "config.yaml"
    if begun.is_file():
        _check_same(RunFiles(place).read_config(), config, place)
    if not (place / "summary.json").is_file():
        checkpoint = place / "checkpoints" / "last.ckpt"
        if checkpoint.is_file():  # with the files that it was begun with
            kept = kept_files(open_checkpoint(checkpoint, resume=True).config)
            train({**config, "files": kept}, place, console, checkpoint)
        else:
            train(config, place, console)
    run = replace(read_run(place), settings=settings, config=config)
    if each is not None and not (place / FOUND).is_file():
        run = replace(run, found=_function(each)(run))
        RunFiles(place).write_checked(FOUND, run.found)
    return run
