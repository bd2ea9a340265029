"""The runs of a study in one file, ``runs.json.xz``: their settings, tests and results, and the code that made them.

A run with the same seed, code and machine gives the same bytes; what differs each time, such as seconds, is in
``timings.csv``.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lomaq.errors import InputError
from lomaq.inputs.text import checked, damaged, parse_json, read_text
from lomaq.runs.curve import Curve
from lomaq.runs.files import replacing, settings_of, write_atomic
from lomaq.runs.record import RunRecord

ARCHIVE, TIMINGS = "runs.json.xz", "timings.csv"
#: Entries of a run's summary that another run of the same seed does not repeat; in ``timings.csv``.
MEASURED = ("wall_seconds", "env_steps_per_second", "peak_memory_mb")
#: Entries that are not kept: seconds again, and checksums of the files of the run's folder.
DROPPED = ("first_seconds_at", "files")


def write_archive(folder: Path, command: str, runs: Mapping[str, RunRecord]) -> None:
    """Write ``runs.json.xz`` and ``timings.csv`` of runs that have ended.

    Args:
        folder: Of the study.
        command: That trains them.
        runs: By their names, in the order of the study's grid, which is kept.
    """
    entries, times = {}, io.StringIO()
    writer = csv.writer(times, lineterminator="\n")
    writer.writerow(("run", "train_seconds", *MEASURED))
    for name, run in runs.items():
        writer.writerow((name, run.train_seconds, *(run.summary.get(key, "") for key in MEASURED)))
        entries[name] = {
            "settings": run.settings,
            "config": {**settings_of(run.config), "run_dir": None},
            "summary": {key: value for key, value in run.summary.items() if key not in (*MEASURED, *DROPPED)},
            "tests": vars(run.tests),
            "found": run.found,
            "code": run.code,
        }
    text = json.dumps(checked({"command": command, "runs": entries}), ensure_ascii=False, separators=(",", ":"))
    with replacing(folder / ARCHIVE) as file:
        file.write(lzma.compress(text.encode(), preset=9))
    write_atomic(folder / TIMINGS, times.getvalue())


def read_archive(folder: Path) -> dict[str, RunRecord]:
    """The runs in ``runs.json.xz`` by their names, whose folders need not be there; none where there is no archive.

    Raises:
        InputError: If it is damaged.
    """
    path = folder / ARCHIVE
    if not path.exists():
        return {}
    times = _timings(folder / TIMINGS)
    try:
        content = parse_json(str(path), lzma.decompress(path.read_bytes()).decode())
        if content != checked({key: content[key] for key in ("command", "runs")}):
            raise damaged(path)
        return {name: _record(folder / name, entry, times.get(name, {})) for name, entry in content["runs"].items()}
    except (OSError, lzma.LZMAError, ValueError, KeyError, TypeError) as error:
        raise damaged(path) from error


def _timings(path: Path) -> dict[str, dict[str, float]]:
    """Run → what was measured of it; none where the file was not kept."""
    if not path.exists():
        return {}
    try:
        rows = {row.pop("run"): row for row in csv.DictReader(io.StringIO(read_text(path)), strict=True)}
        return {name: {key: float(value) for key, value in row.items() if value} for name, row in rows.items()}
    except (csv.Error, ValueError, KeyError, TypeError) as error:
        raise InputError(str(path), "a row of numbers for each run", str(error)) from error


def _record(folder: Path, entry: dict[str, Any], times: dict[str, float]) -> RunRecord:
    seconds = times.pop("train_seconds", 0.0)
    summary = {**entry["summary"], **times}
    tests, steps = Curve(**entry["tests"]), int(summary["env_steps"])
    rest = {key: entry[key] for key in ("settings", "found", "code")}
    return RunRecord(folder, entry["config"], summary, tests, steps, seconds, **rest)
