"""How a run is asked to end: by signals, which only the command line and processes of our own handle, and by death."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import psutil

#: Signals that end a run after its iteration; those that are missing or ignored (``nohup``) are left alone.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
#: Seconds that a training has for its iteration, and then the process for its end.
PATIENCE, LAST = 4.0, 3.0
#: Seconds between looks at other processes.
PERIOD = 0.3


class _Asked:
    """What this process was asked, and whether a training looks at it between iterations."""

    by: int | None = None  # signal
    heeded = False
    listeners = 0


def asked() -> bool:
    """Whether this process is to save and end."""
    return _Asked.by is not None


@contextmanager
def listening() -> Iterator[None]:
    """While it is open, a signal waits for :func:`asked` to be read, and does not interrupt at once."""
    _Asked.listeners += 1
    try:
        yield
    finally:
        _Asked.listeners -= 1


def heed() -> None:
    """A training saves and ends, as it was asked: it gets the time that this takes."""
    _Asked.heeded = True


def exit_status() -> int:
    """Of a process that was interrupted: 128 and the number of its signal."""
    return 128 + (signal.SIGINT if _Asked.by is None else _Asked.by)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP stop what runs here; afterwards they are handled as before.

    The first one asks a training to save after its iteration; a second one, or the first where none is trained or its
    iteration takes too long, raises KeyboardInterrupt. A process that does not come to that either ends at once.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS} if _in_main_thread() else {}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    _Asked.by, _Asked.heeded = None, False
    for number in before:
        signal.signal(number, _handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _Asked.by = None


def stopped_by_leader() -> None:
    """In a process of our own that was started :func:`unsignalled`: SIGTERM from there stops it, without a word."""

    def handle(number: int, frame: FrameType | None) -> None:
        if _Asked.by is not None or not _Asked.listeners:
            os._exit(128 + number)
        _handle(number, frame)

    signal.signal(signal.SIGTERM, handle)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _handle(number: int, frame: FrameType | None) -> None:
    first, _Asked.by = _Asked.by is None, number
    if first:
        threading.Thread(target=_lose_patience, args=[number], daemon=True).start()
    if not first or not _Asked.listeners:
        raise KeyboardInterrupt


def _lose_patience(number: int) -> None:
    """Interrupt a training whose iteration does not end, and end a process that hangs in a library."""
    time.sleep(PATIENCE)
    if _Asked.by is None or _Asked.heeded:
        return
    os.kill(os.getpid(), number)
    time.sleep(LAST)
    if _Asked.by is not None:
        die("interrupted", 128 + number)


@contextmanager
def unsignalled() -> Iterator[None]:
    """Processes that are started here never see those signals, unless they unblock them: who started them decides."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def follow(leader: int) -> None:
    """End this process, in one line, when the one with the id ``leader``, which started it, has died."""

    def watch() -> None:
        while os.getppid() == leader:
            time.sleep(PERIOD)
        die(f"the process {leader} that led this training has died; what was saved before is whole", 2)

    threading.Thread(target=watch, daemon=True).start()


def die(line: str, status: int) -> None:
    """End this process and those that it started, without their consent, and say why."""
    for child in psutil.Process().children(recursive=True):
        child.kill()
    try:
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"error: {line}\n".encode())
    finally:
        os._exit(status)
