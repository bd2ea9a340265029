"""One process at a time trains a run, and runs that start together get folders of their own."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lomaq.errors import InputError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run in ``folder``, which exists; a second holder is refused, in this process or in another.

    The system's lock on the file ``.lock`` decides, and ends with its process however that ends. The file stays, empty;
    ``.owner`` says meanwhile who holds the run, for the line that a second one gets.

    Raises:
        InputError: If somebody else holds it.
    """
    lock, owner = FileLock(folder / ".lock"), folder / ".owner"
    try:
        lock.acquire(blocking=False)
    except Timeout:
        expected, remedy = "a run that no other process trains", "wait for it or stop it"
        raise InputError("run_dir", expected, f"{folder}, which {_read(owner)} trains", remedy) from None
    try:
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _read(owner: Path) -> str:
    try:
        return owner.read_text(encoding="utf-8") or "another process"
    except OSError:  # it has only just begun, or just ended
        return "another process"


@contextmanager
def free_folder(path: Path) -> Iterator[Path]:
    """Make the folder ``path`` or, where that is taken, ``path-2``, ``path-3``…; in the end an empty one is removed."""
    above = [folder for folder in path.parents if not folder.exists()]
    for number in itertools.count(1):
        place = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            place.mkdir(parents=True)
            break
        except FileExistsError:
            continue
    try:
        yield place
    finally:
        with suppress(OSError):  # not empty: somebody wrote there
            for folder in (place, *above):
                folder.rmdir()
