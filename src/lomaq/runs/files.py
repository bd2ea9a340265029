"""The files of a run: metrics.csv, results.json, summary.json, config.yaml."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from lomaq.errors import InputError

#: The first columns of ``metrics.csv``; all others appear by the names of what is measured.
COLUMNS = ("env_steps", "train_seconds")


@dataclass(frozen=True)
class Evaluation:
    """Greedy episodes after ``env_steps`` and ``train_seconds`` of training: their returns, summed over agents."""

    env_steps: int
    train_seconds: float
    returns: list[float]

    @property
    def mean(self) -> float:
        """Mean return."""
        return sum(self.returns) / len(self.returns)


class RunFiles:
    """Writes into one run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.metrics = folder / "metrics.csv"

    def begin(self, config: dict[str, Any]) -> None:
        """Start a new run.

        Raises:
            InputError: If the folder is in use already.
        """
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            remedy = f"choose another, or resume={self.folder}"
            raise InputError("run_dir", "a new or empty folder", self.folder, remedy)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        self._write_metrics(COLUMNS, [])

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
        with self.metrics.open("a", newline="") as file:
            csv.DictWriter(file, columns, restval="", lineterminator="\n").writerows(written)

    def read_metrics(self) -> tuple[Sequence[str], list[dict[str, str]]]:
        """Columns and whole rows of ``metrics.csv``, as text; none where it is missing."""
        if not self.metrics.is_file():
            return COLUMNS, []
        with self.metrics.open(newline="") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if row["env_steps"].isdigit() and None not in row.values()]  # written whole
            return reader.fieldnames or COLUMNS, rows

    def _write_metrics(self, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(self.metrics, text.getvalue())

    def write_results(self, env: str, task: str, algorithm: str, seed: int, evaluations: list[Evaluation]) -> None:
        """``results.json`` in marl-eval's layout: env → task → algorithm → seed → step → per-episode returns."""
        best = max(evaluations, key=lambda e: e.mean)
        steps: dict[str, Any] = {
            f"step_{i}": {"step_count": e.env_steps, "elapsed_time": round(e.train_seconds, 3), "return": e.returns}
            for i, e in enumerate(evaluations)
        }
        steps["absolute_metrics"] = {"return": best.returns}
        self.write_json("results.json", {env: {task: {algorithm: {f"seed_{seed}": steps}}}})

    def write_json(self, name: str, content: Any) -> None:
        """Write one JSON file, whole or not at all."""
        write_atomic(self.folder / name, json.dumps(content, indent=2) + "\n")


def read_returns(folder: Path) -> list[Evaluation]:
    """All tests in a run's ``results.json``."""
    _, steps = read_results(folder)
    points = [entry for name, entry in steps.items() if name.startswith("step_")]
    return [Evaluation(p["step_count"], p["elapsed_time"], p["return"]) for p in points]


def read_results(folder: Path) -> tuple[tuple[str, ...], dict[str, Any]]:
    """A run's ``results.json``: its env, task, algorithm and seed, and the content below them."""
    content, path = json.loads((folder / "results.json").read_text()), []
    for _ in range(4):
        ((key, content),) = content.items()
        path.append(key)
    return tuple(path), content


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write in place of ``path``: a temporary one, moved there whole or, on any error, not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_atomic(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())
