"""Damaged files: each is refused in one line that names it, or it gives what the whole file gave."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lomaq.analysis.compare import compare, describe_run
from lomaq.analysis.stored import evaluate_checkpoint, open_checkpoint
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.graphs.files import write
from lomaq.runs import RunFiles
from lomaq.studies.figures import draw

SEED = 18


def flip(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]


def change_a_digit(content: bytes, draw: random.Random) -> bytes:
    digits = [at for at, byte in enumerate(content[:100_000]) if chr(byte).isdigit()] or [0]
    at = draw.choice(digits)
    return content[:at] + bytes([48 + (content[at] - 47) % 10]) + content[at + 1 :]


def insert(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + draw.randbytes(draw.choice((1, 2, 50))) + content[at:]


def zeros(content: bytes, draw: random.Random) -> bytes:
    at, length = draw.randrange(len(content)), draw.choice((1, 16, 512))
    return content[:at] + bytes(min(length, len(content) - at)) + content[at + length :]


def lose_a_line(content: bytes, draw: random.Random) -> bytes:
    rows = content.splitlines(keepends=True)
    del rows[draw.randrange(len(rows))]
    return b"".join(rows)


def repeat_a_line(content: bytes, draw: random.Random) -> bytes:
    rows = content.splitlines(keepends=True)
    at = draw.randrange(len(rows))
    return b"".join([*rows[: at + 1], *rows[at:]])


#: What becomes of the bytes of a file.
CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip,
    flip,
    change_a_digit,
    insert,
    zeros,
    lose_a_line,
    repeat_a_line,
    lambda content, draw: content[: draw.randrange(len(content))],
    lambda content, draw: content[: len(content) - draw.randrange(1, min(80, len(content)))],
    lambda content, draw: content + content,
    lambda content, draw: b"\xef\xbb\xbf" + content,
    lambda content, draw: content.replace(b"\n", b"\r\n"),
    lambda content, draw: draw.randbytes(len(content)),
    lambda content, draw: b"[" * 100_000,
    lambda content, draw: b"",
)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def put_a_link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


#: What becomes of the place of a file.
PLACES: tuple[Callable[[Path], object], ...] = (
    Path.unlink,
    put_a_folder,
    put_a_link_to_itself,
    *(() if os.geteuid() == 0 else (lambda path: path.chmod(0),)),  # root reads everything
)


def damages(path: Path, count: int) -> Iterator[str]:
    """Damage a file ``count`` times, and put it back after each."""
    draw, whole = random.Random(SEED), path.read_bytes()
    for number in range(count):
        if draw.random() < 0.85:
            change = draw.choice(CHANGES)
            damaged, name = change(whole, draw), getattr(change, "__name__", "")
            if damaged == whole:
                continue
            path.write_bytes(damaged)
        else:
            place = draw.choice(PLACES)
            place(path)
            name = getattr(place, "__name__", "")
        yield f"{path.name}, damage {number}, {name}"
        remove(path)
        path.write_bytes(whole)


def faults(path: Path, count: int, read: Callable[[], Any], foreign: bool = False) -> list[str]:
    """Damages after which ``read`` answers otherwise than before; of ``foreign`` files every answer is taken."""
    right, found = read(), []
    for damage in damages(path, count):
        try:
            answer = read()
        except InputError as error:
            if "\n" in str(error):
                found.append(f"{damage}: {error}")
        except Exception as error:
            found.append(f"{damage}: {type(error).__name__}: {error}")
        else:
            if answer != right and not foreign:
                found.append(f"{damage}: another answer")
    assert read() == right
    return found


#: Kind of file → whether its damages cannot be told from what somebody wants, since it is not ours.
KINDS = {
    **dict.fromkeys(("config.yaml", "metrics.csv", "results.json", "summary.json"), False),
    **dict.fromkeys(("checkpoints/last.ckpt", "checkpoints/best.ckpt", "sweep/summary.json"), False),
    **dict.fromkeys(("graph.json", "graph.graphml", "graph.csv", "partition.json"), True),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory, small) -> Path:
    """A folder with a file of each kind: two runs, a sweep, graphs and a partition."""
    from rich.console import Console

    from lomaq.config import compose
    from lomaq.plots.run import train

    folder = tmp_path_factory.mktemp("damage")
    with (folder / "log").open("w") as log:
        for name in ("run", "other"):
            train(compose([*small, f"seed={len(name)}"]), folder / name, Console(file=log))
    (folder / "sweep").mkdir()
    (folder / "sweep" / "sweep.json").write_text("[]")
    curve = {"steps": [0, 9], "mean": [1.0, 2.0], "low": [0.0, 1.0], "high": [2.0, 3.0]}
    groups = {"vdn": {"env": "nav", "n_agents": 3, "curve": curve}}
    RunFiles(folder / "sweep").write_checked("summary.json", {"groups": groups, "failed": {}})
    content = {"n_agents": 4, "edges": [[0, 1], [1, 2], [2, 3]], "pos": [[0.0, 0.5]] * 4}
    for ending in ("json", "graphml"):
        write(folder / f"graph.{ending}", content)
    (folder / "graph.csv").write_text("0,1\n1,2\n2,3\n")
    (folder / "partition.json").write_text(json.dumps([[0, 1], [2], [3]]))
    return folder


def reader(folder: Path, kind: str) -> tuple[Path, Callable[[], Any]]:
    """The file of a kind, and what reads it."""
    run = folder / "run"
    if kind.startswith("checkpoints"):
        file = run / kind

        def play() -> Any:
            stored = open_checkpoint(file, resume="last" in kind)
            return evaluate_checkpoint(stored, stored.config, 2, 0)["test_return_mean"]

        return file, play
    if kind.startswith("sweep"):
        return folder / kind, lambda: [
            (folder / "sweep" / "curves.png").unlink(missing_ok=True),
            draw(folder / "sweep"),
        ]
    if kind == "partition.json":
        chain = AgentGraph.line(4)
        return folder / kind, lambda: Partition.from_spec(str(folder / kind), chain).blocks
    if kind.startswith("graph"):
        return folder / kind, lambda: AgentGraph.from_file(folder / kind).edge_index.tolist()

    def both() -> Any:
        lines = describe_run(run)
        table = compare([str(run), str(folder / "other")])
        return {key: text for key, text in lines.items() if key != "files"}, table.rows, table.panels

    return run / kind, both


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_refused_in_one_line_or_gives_what_it_gave(place: Path, kind: str) -> None:
    file, read = reader(place, kind)
    assert faults(file, 8, read, KINDS[kind]) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_damages_are_refused_or_give_what_the_file_gave(place: Path, kind: str, request) -> None:
    count = 230 if request.config.getoption("--torture", default=False) else 200
    file, read = reader(place, kind)
    assert faults(file, count, read, KINDS[kind]) == []


def test_files_that_a_run_lacks_are_named(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    for name in ("summary.json", "results.json", "config.yaml", "metrics.csv"):
        kept = (tmp_path / "run" / name).read_bytes()
        (tmp_path / "run" / name).unlink()
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            describe_run(tmp_path / "run")
        (tmp_path / "run" / name).write_bytes(kept)
