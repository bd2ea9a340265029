"""Files that decide what a run is: read once, kept with the run, and read from there ever after."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from lomaq.errors import InputError

#: Most bytes of a file of a graph or a partition: some millions of edges.
MOST_BYTES = 32 * 2**20
_KEPT: ContextVar[dict[str, str] | None] = ContextVar("kept", default=None)


@contextmanager
def keeping(kept: dict[str, str]) -> Iterator[None]:
    """Within, files that ``kept`` has are read from there, and what is read from a disk is kept there.

    Args:
        kept: Name of each file, as it was written → its packed content; changed in place.
    """
    token = _KEPT.set(kept)
    try:
        yield
    finally:
        _KEPT.reset(token)


def kept_files(config: Mapping[str, Any]) -> dict[str, str]:
    """``config["files"]``, the files of a run for :func:`keeping`; a dictionary of its own where there is none.

    Raises:
        InputError: If it is something else, in a damaged checkpoint.
    """
    files: dict[str, str] = config.get("files", {})
    if not isinstance(files, dict):
        raise InputError("files", "names of files and their contents", type(files).__name__)
    return files


def read_bytes(path: str | Path, name: str = "file") -> bytes:
    """The content of a file that decides what a run is: of the run's own copy, where it has one.

    An environment or mixer of one's own that reads further files with this has them stored with its runs, too.

    Args:
        path: The file, at most 32 MB.
        name: What it is, for errors.

    Raises:
        InputError: If there is none, it cannot be read or is too large.
    """
    kept = _KEPT.get()
    if kept is not None and str(path) in kept:
        return unpack(str(path), kept[str(path)])
    data = _read(Path(path), name)
    if kept is not None:
        kept[str(path)] = _packed(data)
    return data


def made_once(name: str, make: Callable[[], bytes]) -> bytes:
    """What ``make`` gives, kept with the run like a file of that name; of the run's own copy, where it has one.

    For what takes long, or is another time not the same.
    """
    kept = _KEPT.get()
    if kept is None:
        return make()
    if name not in kept:
        kept[name] = _packed(make())
    return unpack(name, kept[name])


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()  # plain text, as a configuration holds


def is_there(path: str | Path) -> bool:
    """Whether :func:`read_bytes` finds such a file."""
    try:
        return str(path) in (_KEPT.get() or {}) or Path(path).is_file()
    except (OSError, ValueError):  # no name that a file can have
        return False


def unpack(name: str, content: str) -> bytes:
    """The bytes of a kept file.

    Raises:
        InputError: If ``content`` is damaged.
    """
    try:
        data = zlib.decompressobj().decompress(base64.b64decode(content, validate=True), MOST_BYTES + 1)
    except (ValueError, TypeError, zlib.error) as error:
        raise InputError(f"stored file {name}", "content that is whole", error) from error
    if len(data) > MOST_BYTES:
        raise InputError(f"stored file {name}", f"at most {MOST_BYTES:,} bytes", "more")
    return data


def changed_files(kept: Mapping[str, str]) -> list[str]:
    """Names of the kept files that are on the disk under these names with another content."""
    return [name for name, content in kept.items() if _differs(name, unpack(name, content))]


def _differs(name: str, data: bytes) -> bool:
    try:
        return is_there(name) and _read(Path(name), name) != data
    except InputError:  # it cannot be read any more, so it is no longer what it was
        return True


def _read(path: Path, name: str) -> bytes:
    if not is_there(path):
        raise InputError(name, "an existing file", path)
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(name, "a file that can be read", path, str(error.strerror)) from error
    if len(data) > MOST_BYTES:
        raise InputError(f"{name} {path}", f"at most {MOST_BYTES:,} bytes", f"{path.stat().st_size:,}")
    return data
