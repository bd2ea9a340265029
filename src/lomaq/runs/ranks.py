"""The processes of one run: the leading one watches those that it started, and they watch it.

Those on other machines, which torchrun or a scheduler starts, meet in torch's process group and compare their settings.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from lomaq.errors import InputError
from lomaq.inputs.text import typed
from lomaq.runs.stop import LAST, PERIOD, die, follow

#: Tell the processes that are started for a run its folder and who leads it.
RUN_DIR_VARIABLE, LEADER_VARIABLE = "LOMAQ_RUN_DIR", "LOMAQ_LEADER"
#: What may differ between the processes of a run: only the first one writes, and threads are a machine's own.
OWN = ("run_dir", "logger", "trainer.threads")
#: How torch's errors of a lost connection begin; they have no class in common.
LOST = re.compile(r"Dist\w*Error: |RuntimeError: (\[[^]]*gloo/transport|Gloo )")


class ProcessDiedError(RuntimeError):
    """One of the processes of a run has ended before the run."""


def check_alike(settings: Sequence[dict[str, Any]]) -> None:
    """Refuse a run whose processes, by rank, were started with different settings: they would wait for each other.

    >>> check_alike([{"seed": 0, "run_dir": "a"}, {"seed": 0, "run_dir": "b"}])

    Raises:
        InputError: With the first setting that differs.
    """
    for name, values in _differing(settings):
        rank = next(rank for rank, value in enumerate(values) if value != values[0])
        got = f"{values[0]!r:.100} in process 0 and {values[rank]!r:.100} in process {rank}"
        raise InputError(name, "the same in all processes of the run", got, "start all with the same command")


def _differing(settings: Sequence[Any], name: str = "") -> Iterator[tuple[str, Sequence[Any]]]:
    if name in OWN:
        return
    if all(isinstance(one, dict) for one in settings):
        for key in dict.fromkeys(chain.from_iterable(settings)):
            yield from _differing([one.get(key) for one in settings], f"{name}.{key}" if name else str(key))
    elif any(one != settings[0] for one in settings):
        yield name, settings


@contextmanager
def connected(run_dir: Path) -> Iterator[None]:
    """Train in a process of a run of several.

    Raises:
        ProcessDiedError: If the connection to another one is lost, instead of torch's error.
    """
    try:
        yield
    except RuntimeError as error:
        if not LOST.match(f"{type(error).__name__}: {error}"):
            raise
        raise ProcessDiedError(
            f"another process of this run has ended or cannot be reached; {_kept(run_dir)}"
        ) from error


def follow_leader() -> None:
    """In a process that was started for a run: end when the leading one has died."""
    if LEADER_VARIABLE in os.environ:
        follow(int(os.environ[LEADER_VARIABLE]))


@contextmanager
def watched(processes: Sequence[subprocess.Popen[bytes]], run_dir: Path) -> Iterator[None]:
    """Train with ``processes``, in the one that started them; with an error all of them end.

    Raises:
        ProcessDiedError: If one of them ended early, instead of the error that followed from it.
    """
    over = threading.Event()

    def watch() -> None:
        """End a process that waits for one that has died where no error tells it."""
        while not over.wait(PERIOD):
            if (died := _died(processes, run_dir)) is not None and not over.wait(LAST):
                die(died, 2)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except Exception as error:
        time.sleep(PERIOD)  # a connection is lost before its process is seen to have ended
        if (died := _died(processes, run_dir)) is not None:
            raise ProcessDiedError(died) from error
        raise
    finally:
        over.set()


def _died(processes: Sequence[subprocess.Popen[bytes]], run_dir: Path) -> str | None:
    for rank, process in enumerate(processes, 1):
        if process.poll():
            how = f"status {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
            return f"process {rank} of 0 to {len(processes)} of this run ended with {how}; {_kept(run_dir)}"
    return None


def _kept(run_dir: Path) -> str:
    return f"what was saved before is whole; continue with {typed('resume', run_dir)}"


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End ``processes``, which have done their part and have little time to end by themselves."""
    until = time.monotonic() + 1
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
