"""Runs a study: a grid of training runs, each in a folder of its own, or a function that does it all.

What is there already is kept, so that a study that was stopped goes on where it was.
"""

from __future__ import annotations

import importlib
import io
import itertools
import json
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from lomaq.config import word_of
from lomaq.errors import InputError, check_int
from lomaq.plots.run import train
from lomaq.runs import RunFiles
from lomaq.training.build import Run
from lomaq.training.stored import open_checkpoint

#: Settings that say nothing about what a run finds.
ASIDE = ("run_dir", "jobs", "logger", "method", "algo.label", "algo.reads", "algo.identity")
#: Keys, at any depth, of values that settings refer to; in a resolved configuration those settings hold them.
NOTED = ("recommended", "searched")


@dataclass(frozen=True)
class StudyRun:
    """One finished run of a study.

    Attributes:
        settings: What this run varies.
        folder: Its run folder.
        summary: Its ``summary.json``.
    """

    settings: dict[str, Any]
    folder: Path
    summary: dict[str, Any]

    @cached_property
    def label(self) -> str:
        """Name of its method, as legends and tables call it."""
        return str(self._config["algo"]["label"]) if self._config["method"] != "custom" else "custom"

    @cached_property
    def reads(self) -> str:
        """Kind of reward that its method learns from, in words."""
        return {"local": "local rewards", "team": "the team reward"}[self._config["algo"]["reads"]]

    @cached_property
    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = yaml.safe_load((self.folder / "config.yaml").read_text())
        return config

    def restore(self) -> tuple[Run, float]:
        """The run with the networks of its last checkpoint, and what one unit of their values is worth."""
        stored = open_checkpoint(self.folder / "checkpoints" / "last.ckpt", resume=True)
        return stored.run(), stored.sigma


def run_study(
    study: dict[str, Any], compose: Callable[[list[str]], dict[str, Any]], folder: Path, console: Console
) -> dict[str, Any]:
    """Train every combination of ``study["grid"]``, then draw and summarise; or call ``study["run"]``.

    Args:
        study: ``grid`` (setting → values, or several of these), ``report`` (path of a function of folder and runs) and
            ``jobs``, how many runs train at once, each in a process of its own where there are several. Or ``run``
            (path of a function of folder, settings and console) and its settings.
        compose: Makes the configuration of a run of the grid from further ``key=value`` words.
        folder: Where the runs and the report go; what is there already is kept.
        console: Where progress is shown.

    Returns:
        What the function returned, also written to ``summary.json``; with ``run`` its ``settings`` too.

    Raises:
        InputError: If a setting is impossible, or the folder holds another study.
    """
    if ("run" in study) == ("grid" in study):
        raise InputError("study", "either grid or run", ", ".join(study))
    if "run" in study:
        return _call(study, folder, console)
    jobs = check_int("study.jobs", study["jobs"], 1)
    grids: list[dict[str, list[Any]]] = study["grid"] if isinstance(study["grid"], list) else [study["grid"]]
    cells = [dict(zip(grid, values, strict=True)) for grid in grids for values in itertools.product(*grid.values())]
    # composed when it is a run's turn, since that takes a good part of a second
    todo = ((cell, compose([f"{key}={word_of(value)}" for key, value in cell.items()])) for cell in cells)
    if jobs == 1:
        runs = [run_one(settings, config, folder, console) for settings, config in todo]
    else:
        runs = _run_together(todo, len(cells), folder, jobs, console)
    result: dict[str, Any] = _function(study["report"])(folder, runs)
    RunFiles(folder).write_json("summary.json", result)
    return result


def _call(study: dict[str, Any], folder: Path, console: Console) -> dict[str, Any]:
    """A study that is one function; done already where ``summary.json`` has the same settings."""
    settings = {key: value for key, value in study.items() if key != "run"}
    done = folder / "summary.json"
    if done.is_file():
        result: dict[str, Any] = json.loads(done.read_text())
        if result.get("settings") != settings:
            raise InputError("run_dir", "a folder of the same study", folder, "choose another run_dir")
        return result
    if folder.exists() and not folder.is_dir():
        raise InputError("run_dir", "a folder", folder, "choose another run_dir")
    result = {"settings": settings, **_function(study["run"])(folder, settings, console)}
    RunFiles(folder).write_json("summary.json", result)
    return result


def _function(path: str) -> Callable[..., dict[str, Any]]:
    module, _, name = path.rpartition(".")
    function: Callable[..., dict[str, Any]] = getattr(importlib.import_module(module), name)
    return function


def _run_together(
    todo: Iterable[tuple[dict[str, Any], dict[str, Any]]], count: int, folder: Path, jobs: int, console: Console
) -> list[StudyRun]:
    """All ``count`` runs, ``jobs`` at a time; each answers with one line."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        try:
            waiting = [pool.submit(run_one, settings, config, folder, None) for settings, config in todo]
            for number, future in enumerate(as_completed(waiting), start=1):
                run = future.result()
                result = f"test return {run.summary['test_return_mean']:,.1f}"
                console.print(f"{number} of {count}: {run.folder.name}: {result}", highlight=False, soft_wrap=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in waiting]


def run_name(settings: dict[str, Any]) -> str:
    """Name of the folder of a run.

    >>> run_name({"algo": "lomaq", "partition": [[0, 1], [2]]})
    'algo=lomaq,partition=[[0, 1], [2]]'
    """
    return ",".join(f"{key}={word_of(value)}" for key, value in settings.items()).replace("/", "_")


def run_one(settings: dict[str, Any], config: dict[str, Any], folder: Path, console: Console | None) -> StudyRun:
    """Train one run below ``folder``, go on with it, or, where it has ended, read it.

    Args:
        settings: What it varies, and so its name.
        config: Its whole configuration.
        folder: Where its run folder goes.
        console: Where progress is shown; None in a process of its own, where nothing is.

    Raises:
        InputError: If a setting is impossible, or a run of another configuration is there.
    """
    place = folder / run_name(settings)
    if console is None:
        console = Console(file=io.StringIO(), force_jupyter=False)
    console.print(place.name, highlight=False, soft_wrap=True)
    if (place / "config.yaml").is_file():
        stored = yaml.safe_load((place / "config.yaml").read_text())
        if _decisive(stored) != _decisive(config):
            raise InputError("run_dir", "a folder of the same study", place, "choose another run_dir")
    if (place / "summary.json").is_file():
        return StudyRun(settings, place, json.loads((place / "summary.json").read_text()))
    checkpoint = place / "checkpoints" / "last.ckpt"
    if checkpoint.is_file():
        return StudyRun(settings, place, train(config, place, console, checkpoint))
    if (place / "config.yaml").is_file():  # stopped before anything was learned
        shutil.rmtree(place)
    return StudyRun(settings, place, train(config, place, console))


def _decisive(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``config`` without what says nothing about what a run finds."""
    return {
        key: _decisive(value, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in config.items()
        if f"{prefix}{key}" not in ASIDE and key not in NOTED
    }
