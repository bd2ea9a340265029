"""Standard output and error that somebody closes while a command runs: ``| head -1``, a terminal that is gone."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

#: Exit status of a command whose output was closed: 128 and the number of SIGPIPE, as of any other program.
CLOSED = 141
#: The command line as scripts of a checkout.
SCRIPTS = ("train.py", "evaluate.py")


def refuse(line: str, status: int = 2) -> int:
    """Say what is wrong; the exit status."""
    print(f"error: {line}", file=sys.stderr)
    return status


def called(command: str) -> str:
    """``train`` or ``evaluate`` as it is typed where this process was started: as a script or of ``lomaq``."""
    started = Path(sys.argv[0])
    if started.name not in SCRIPTS:
        away = started.name == "lomaq" and shutil.which("lomaq") is None
        return shlex.join([str(started) if away else "lomaq", command])
    python = shutil.which("python")
    interpreter = "python" if python is not None and os.path.abspath(python) == sys.executable else sys.executable
    here = os.path.join(os.getcwd(), "")
    return shlex.join([interpreter.removeprefix(here), str(started.with_name(f"{command}.py"))])


class OutputClosedError(Exception):
    """Nobody reads what is written."""


class _Stream:
    """A stream that is written to nowhere once it is closed at the other end."""

    def __init__(self, stream: TextIO, ends: bool) -> None:
        self.stream, self.ends = stream, ends

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except OSError as error:
            return self._lose(error, len(text))

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError as error:
            self._lose(error, 0)

    def _lose(self, error: OSError, written: int) -> int:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())  # what is still in its buffer goes there, too, when Python ends
        os.close(nowhere)
        if self.ends:
            raise OutputClosedError from None
        return written


@contextmanager
def closable_output(*, ends: bool) -> Iterator[None]:
    """Go on when standard error is closed, and when standard output is: unless that ``ends`` the command.

    Raises:
        OutputClosedError: If standard output was closed and that ends the command.
    """
    before = sys.stdout, sys.stderr
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed from the start: a file of ours would take its place
            os.open(os.devnull, os.O_RDWR)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        out, err = (stream or nowhere for stream in before)
        sys.stdout, sys.stderr = cast(TextIO, _Stream(out, ends)), cast(TextIO, _Stream(err, False))
        try:
            yield
            sys.stdout.flush()
        finally:
            sys.stdout, sys.stderr = before
