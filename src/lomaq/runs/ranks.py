"""The processes of one run: the leading one watches those that it started, and they watch it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lomaq.runs.stop import LAST, PERIOD, die, follow

#: Tell the processes that are started for a run its folder and who leads it.
RUN_DIR_VARIABLE, LEADER_VARIABLE = "LOMAQ_RUN_DIR", "LOMAQ_LEADER"


class ProcessDiedError(RuntimeError):
    """One of the processes of a run has ended before the run."""


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
            kept = f"what was saved before is whole; continue with resume={run_dir}"
            return f"process {rank} of 0 to {len(processes)} of this run ended with {how}; {kept}"
    return None


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End ``processes``, which have done their part and have little time to end by themselves."""
    until = time.monotonic() + 1
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
