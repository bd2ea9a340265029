"""A process that trains and is killed at a chosen moment; a script of ``test_kill.py``.

``victim.py serve`` reads ``[folder, words, death]`` in lines of JSON, trains each in a fork of its own, which saves the
seconds of the imports, and prints how it ended. ``victim.py FOLDER DEATH WORD...`` trains in this very process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any

import lomaq.cli.train.resume
import lomaq.cli.train.run  # which forks share
from lomaq.cli import train_main
from lomaq.training import LomaqModule


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(what: str, number: int) -> None:
    """Be killed before the ``number``-th ``what``, or after that many milliseconds."""
    if what == "time":
        threading.Timer(number / 1000, die).start()
        return
    place: Any = LomaqModule if what == "_collect" else os
    found, left = getattr(place, what), [number]

    def counted(*args: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            die()
        return found(*args)

    setattr(place, what, counted)


def train(folder: str, words: list[str], death: tuple[str, int] | None) -> None:
    os.chdir(folder)
    with open("log", "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.argv[1:] = words
    if death is not None and "LOMAQ_LEADER" not in os.environ:
        die_at(*death)
    train_main()


def serve() -> None:
    for line in sys.stdin:
        if not (child := os.fork()):
            status = 1
            try:
                train(*json.loads(line))
            except SystemExit as end:
                status = int(end.code or 0)
            finally:
                sys.stderr.flush()
                os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:  # the words stay where they are: a run of two processes starts its own command again
        place, death, words = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3:]
        os.chdir(place)
        if death is not None and "LOMAQ_LEADER" not in os.environ:
            die_at(*death)
        import lomaq.cli.main  # noqa: F401

        main = sys.modules["lomaq.cli.main"]
        sys.exit(main.guarded(lambda: main._train(words), ends=False))
