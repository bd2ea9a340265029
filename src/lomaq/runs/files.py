"""The files of a run: metrics.csv, results.json, summary.json, config.yaml."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from lomaq.errors import InputError
from lomaq.inputs.plain import read_config
from lomaq.inputs.text import (
    at_home,
    checked,
    checked_yaml,
    checksum_of,
    damaged,
    read_checked,
    read_checked_yaml,
    read_json,
    read_text,
    typed,
)

#: The first columns of ``metrics.csv``; all others appear by the names of what is measured.
COLUMNS = ("env_steps", "train_seconds")
#: Names of the temporary files of :func:`replacing`.
TEMPORARY = re.compile(r".+\.[0-9a-f]{16}\.tmp")
#: Files by which the processes that train a run keep each other out; see :mod:`lomaq.runs.lock`.
HIDDEN = (".lock", ".owner")
#: What a run and its loggers may have written before its first checkpoint, besides ``config.yaml``.
AT_START = (
    *("inputs", "code.json", "code.diff", "init_from.json", "metrics.csv", "checkpoints"),
    *("tensorboard", "wandb", "mlflow", "mlflow.db"),
)
#: The files of which ``summary.json`` has checksums.
CHECKED = ("config.yaml", "metrics.csv", "results.json")


@dataclass(frozen=True)
class Evaluation:
    """Test episodes after ``env_steps`` and ``train_seconds`` of training.

    Attributes:
        returns: Of each episode, summed over agents.
        metrics: Name of a metric of the environment → its value in each episode.
    """

    env_steps: int
    train_seconds: float
    returns: list[float]
    metrics: dict[str, list[float]] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean return."""
        return sum(self.returns) / len(self.returns)

    @property
    def mean_metrics(self) -> dict[str, float]:
        """Mean of each metric."""
        return {name: sum(values) / len(values) for name, values in self.metrics.items()}

    def score(self, best_by: str) -> float:
        """What the best test has most of: the mean ``return``, or a metric, with ``-`` in front its negative."""
        means = {"return": self.mean, **self.mean_metrics}
        return -means[best_by[1:]] if best_by.startswith("-") else means[best_by]

    def first(self, episodes: int) -> Evaluation:
        """The same test, had it ended after so many episodes."""
        metrics = {name: values[:episodes] for name, values in self.metrics.items()}
        return replace(self, returns=self.returns[:episodes], metrics=metrics)


def alike(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Tests as they are compared with each other: with equally many episodes, the first, which are drawn alike."""
    episodes = min((len(e.returns) for e in evaluations), default=0)
    return [e.first(episodes) for e in evaluations]


class RunFiles:
    """Writes into one run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.metrics = folder / "metrics.csv"

    def begin(self, config: dict[str, Any]) -> None:
        """Start a new run, also in a folder where the same one was killed before its first checkpoint.

        Call it while no other process may write the folder: :func:`lomaq.runs.lock.locked`.

        Raises:
            InputError: If the folder is in use already.
        """
        self.check_new(config)
        self.remove_temporaries()
        (self.checkpoints / "best.ckpt").unlink(missing_ok=True)  # its last.ckpt was never written
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / "config.yaml", checked_yaml(settings_of(config)))
        self._write_metrics(COLUMNS, [])

    def check_new(self, config: dict[str, Any]) -> None:
        """Refuse a folder that holds anything but what the start of this run may have left there.

        Raises:
            InputError: If the folder is in use already.
        """
        expected, remedy = "a new or empty folder", f"choose another, or {typed('resume', self.folder)}"
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise InputError("run_dir", expected, self.folder, remedy)
        found = {place.name for place in self.folder.iterdir() if not _is_trace(place)}
        begun = self.folder / "config.yaml"
        if begun.is_file() and not (self.checkpoints / "last.ckpt").exists():
            if not _same_run(begun, config):
                got = f"{self.folder}, where a run of other settings was stopped before its first checkpoint"
                raise InputError("run_dir", expected, got, "give its settings, or choose another")
            found -= {"config.yaml", *AT_START}
        if "checkpoints" in found and all(map(_is_trace, self.checkpoints.iterdir())):  # killed before config.yaml
            found.remove("checkpoints")
        if found:
            raise InputError("run_dir", expected, self.folder, remedy)

    def remove_temporaries(self) -> None:
        """Remove what a kill left of files that were being written; only for who holds the run."""
        for folder in (self.folder, self.checkpoints):
            for file in folder.glob("*.tmp"):
                if _is_trace(file):
                    file.unlink(missing_ok=True)

    def has_ended(self, env_steps: int) -> bool:
        """Whether everything that a run leaves in the end is there, with ``env_steps`` in its summary."""
        try:
            summary = read_checked(self.folder / "summary.json")
            return bool(summary["env_steps"] == env_steps) and (self.folder / "curve.png").is_file()
        except (OSError, ValueError, TypeError, KeyError):
            return False

    def reopen(self, config: dict[str, Any]) -> None:
        """Go on with a run, perhaps one that had ended: with its changed configuration, and nothing checked for now."""
        if (self.folder / "summary.json").is_file():
            self.write_checked("summary.json", self.read_summary() | {"files": {}})
        write_atomic(self.folder / "config.yaml", checked_yaml(settings_of(config)))

    def cut_metrics(self, env_steps: int) -> None:
        """Drop the rows after a checkpoint, from which a run is resumed."""
        columns, rows = self.read_metrics()
        self._write_metrics(columns, [row for row in rows if int(row["env_steps"]) <= env_steps])

    def append_metrics(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Add rows; a name that is new becomes a column, and a column that a row lacks stays empty."""
        columns, before = self.read_metrics()
        written = [
            {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in row.items()}
            for row in rows
        ]
        new = dict.fromkeys(name for row in written for name in row if name not in columns)
        if new:
            self._write_metrics([*columns, *new], [*before, *written])
            return
        with self.metrics.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, columns, restval="", lineterminator="\n").writerows(written)

    def read_metrics(self) -> tuple[Sequence[str], list[dict[str, str]]]:
        """Columns and whole rows of ``metrics.csv``, as text; none where it is missing.

        Raises:
            InputError: If it is damaged; the last line of a run that is being written may be incomplete.
        """
        if not self.metrics.exists():
            return COLUMNS, []
        text, steps = read_text(self.metrics), 0
        lines = csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""), strict=True)
        try:
            columns = next(lines, [])
            if tuple(columns[: len(COLUMNS)]) != COLUMNS or len({*columns}) < len(columns):
                raise ValueError(f"columns {','.join(columns)[:60]!r}")
            rows = []
            for cells in lines:
                row = dict(zip(columns, cells, strict=True))
                before, steps = steps, int(row["env_steps"])
                if steps < before or any(_number(cell) is None for cell in cells):
                    raise ValueError(f"{','.join(cells)[:60]!r}")
                rows.append(row)
        except (ValueError, csv.Error) as error:
            expected = f"{','.join(COLUMNS)}, … and below them numbers"
            raise InputError(f"{self.metrics}, line {lines.line_num}", expected, str(error)) from error
        return columns, rows

    def _write_metrics(self, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(self.metrics, text.getvalue())

    def write_results(
        self, env: str, task: str, algorithm: str, seed: int, evaluations: list[Evaluation], best_by: str = "return"
    ) -> None:
        """``results.json`` in marl-eval's layout: env → task → algorithm → seed → step → numbers of each episode."""
        scores = [e.score(best_by) for e in alike(evaluations)]
        best = evaluations[scores.index(max(scores))]
        steps: dict[str, Any] = {
            f"step_{i}": {"step_count": e.env_steps, "elapsed_time": round(e.train_seconds, 3), **_episodes(e)}
            for i, e in enumerate(evaluations)
        }
        steps["absolute_metrics"] = _episodes(best)
        self.write_json("results.json", {env: {task: {algorithm: {f"seed_{seed}": steps}}}})

    def write_json(self, name: str, content: Any) -> None:
        """Write one JSON file, whole or not at all."""
        write_atomic(self.folder / name, json.dumps(content, indent=2) + "\n")

    def write_checked(self, name: str, content: dict[str, Any]) -> None:
        """Write one JSON file with a checksum of itself, which :func:`lomaq.inputs.text.read_checked` compares."""
        self.write_json(name, checked(content))

    def write_summary(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Write ``summary.json``, the last file of a run, and return its content: with checksums of the others."""
        content = summary | {"files": self._checksums(*CHECKED)}
        self.write_checked("summary.json", content)
        return content

    def read_summary(self) -> dict[str, Any]:
        """``summary.json``; empty where the run has not ended.

        Raises:
            InputError: If it, or one of the files that it has checksums of, is damaged.
        """
        path = self.folder / "summary.json"
        if not path.exists():
            return {}
        summary, whole = read_checked(path), self.metrics.exists()  # copies of results may leave other files out
        files = summary.get("files", {})
        for name, checksum in files.items() if isinstance(files, dict) else ():
            place = self.folder / name
            if (whole or place.exists()) and checksum_of(place) != checksum:
                raise damaged(place)
        return summary

    def read_config(self) -> dict[str, Any]:
        """``config.yaml``; empty where it was not kept.

        Raises:
            InputError: If it is damaged.
        """
        path = self.folder / "config.yaml"
        return read_config(path) if path.exists() else {}

    def _checksums(self, *names: str) -> dict[str, str]:
        """Of the files that are there."""
        return {name: checksum_of(self.folder / name) for name in names if (self.folder / name).is_file()}


def _episodes(test: Evaluation) -> dict[str, list[float]]:
    return {"return": test.returns, **test.metrics}


def _number(cell: str) -> float | None:
    """What a cell holds, 0 where it is empty; None for what ``append_metrics`` does not write."""
    try:
        return float(cell or 0) if cell == cell.strip() else None
    except ValueError:
        return None


def read_returns(folder: Path) -> list[Evaluation]:
    """All tests in a run's ``results.json``."""
    _, steps = read_results(folder)
    points = [entry for name, entry in steps.items() if name.startswith("step_")]
    known = ("step_count", "elapsed_time", "return")
    return [
        Evaluation(p["step_count"], p["elapsed_time"], p["return"], {k: v for k, v in p.items() if k not in known})
        for p in points
    ]


def read_results(folder: Path) -> tuple[tuple[str, ...], dict[str, Any]]:
    """A run's ``results.json``: its env, task, algorithm and seed, and the content below them.

    Raises:
        InputError: If it is damaged.
    """
    file = folder / "results.json"
    content, path = read_json(file), []
    for _ in range(4):
        if not isinstance(content, dict) or len(content) != 1:
            raise InputError(str(file), "env → task → algorithm → seed → tests, one of each", "another layout")
        ((key, content),) = content.items()
        path.append(key)
    if not isinstance(content, dict) or not all(map(_is_test, content.items())):
        raise InputError(str(file), "tests with step_count, elapsed_time and return", "others")
    return tuple(path), content


def _is_test(entry: tuple[str, Any]) -> bool:
    name, test = entry
    numbers = ("step_count", "elapsed_time") if name.startswith("step_") else ()
    if (
        not isinstance(test, dict)
        or "return" not in test
        or any(type(test.get(key)) not in (int, float) for key in numbers)
    ):
        return False
    episodes = [values for key, values in test.items() if key not in numbers]
    return all(
        isinstance(values, list) and values and all(type(x) in (int, float) for x in values) for values in episodes
    )


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write in place of ``path``: a temporary one, moved there whole or, on any error, not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:  # the system applies the umask
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name survives a power cut, too; elsewhere folders cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _is_trace(place: Path) -> bool:
    """Whether a file is one that every run may leave: its lock, or a temporary one."""
    return place.name in HIDDEN or TEMPORARY.fullmatch(place.name) is not None


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as a person reads it: without the content of files, which its checkpoints have."""
    return {key: value for key, value in config.items() if key != "files"}


def _same_run(begun: Path, config: dict[str, Any]) -> bool:
    """Whether ``config.yaml`` is that of this configuration; how its folder was named is not compared."""
    try:
        stored = read_checked_yaml(begun)
    except InputError:  # not a run's, or cut
        return False
    return {**stored, "run_dir": None} == {**json.loads(json.dumps(settings_of(config))), "run_dir": None}


def free_path(path: str | Path, *endings: str) -> Path:
    """``path`` or, where that is taken, the same with a number, as in ``graph-2.png``: nothing is overwritten.

    Args:
        path: Where a person or a default wants a file or a folder; a leading ``~/`` is the home folder.
        endings: Of further files of the same name, which must be free, too.
    """
    path = Path(at_home(str(path)))
    for number in itertools.count(1):
        place = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        if not any(place.with_suffix(ending).exists() for ending in (path.suffix, *endings)):
            return place
    raise AssertionError


def write_atomic(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())
