"""Runs a grid of settings, each in a folder of its own, so that a study that was stopped goes on where it was."""

from __future__ import annotations

import importlib
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from lomaq.analysis import RunFiles
from lomaq.errors import InputError
from lomaq.training.run import train
from lomaq.training.stored import open_checkpoint


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


def run_study(
    study: dict[str, Any], compose: Callable[[list[str]], dict[str, Any]], folder: Path, console: Console
) -> dict[str, Any]:
    """Train every combination of ``study["grid"]``, then draw and summarise.

    Args:
        study: ``grid`` (setting → values) and ``report`` (path of a function of folder and runs).
        compose: Makes the configuration of a run from further ``key=value`` words.
        folder: Where the runs and the report go; runs that are there already are kept.
        console: Where progress is shown.

    Returns:
        What the report returned, also written to ``summary.json``.
    """
    grid: dict[str, list[Any]] = study["grid"]
    runs = []
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        config = compose([f"{key}={_word(value)}" for key, value in settings.items()])
        runs.append(_run(settings, config, folder, console))
    module, _, name = str(study["report"]).rpartition(".")
    report = getattr(importlib.import_module(module), name)
    result: dict[str, Any] = report(folder, runs)
    RunFiles(folder).write_json("summary.json", result)
    return result


def _run(settings: dict[str, Any], config: dict[str, Any], folder: Path, console: Console) -> StudyRun:
    name = ",".join(f"{key}={_word(value)}" for key, value in settings.items())
    place = folder / name.replace("/", "_")
    console.print(f"{place.name}", highlight=False)
    if (place / "summary.json").is_file():
        return StudyRun(settings, place, json.loads((place / "summary.json").read_text()))
    checkpoint = place / "checkpoints" / "last.ckpt"
    if checkpoint.is_file():
        stored = open_checkpoint(checkpoint, resume=True)
        if {**stored.config, "run_dir": None} != {**config, "run_dir": None}:
            raise InputError("run_dir", "a folder of the same study", place, "choose another run_dir")
        return StudyRun(settings, place, train(stored.config, place, console, checkpoint))
    return StudyRun(settings, place, train(config, place, console))


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (list, bool)) or value is None else str(value)
