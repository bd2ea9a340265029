"""The side of the main process: starts the workers, gives orders, notices what dies or hangs, and ends all."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.util import Finalize
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from gymnasium.vector.async_vector_env import AsyncState

from lomaq.envs.pettingzoo.spec import SECONDS, Answer, Recipe, Spec, WorkerError
from lomaq.envs.pettingzoo.worker import BundleMaker, describe
from lomaq.errors import EnvError, InputError
from lomaq.runs.stop import unsignalled

#: Seconds that workers have to close their simulators, before they are killed.
PATIENCE = 5.0
#: The same where one of them is lost.
SHORT = 0.5
_STARTING = threading.RLock()
_SPECS: dict[str, Spec] = {}


class _Vector(AsyncVectorEnv):
    """Gymnasium's, which ends its processes whatever they do."""

    _state = AsyncState.DEFAULT  # also where a process cannot be started

    def close_extras(self, timeout: float | None = PATIENCE, terminate: bool = False) -> None:
        """Let the workers close their simulators, then kill what is left."""
        for pipe in [] if terminate else self.parent_pipes:
            try:
                pipe.send(("close", None))
            except OSError:  # it is dead
                continue
        until = time.monotonic() + (0 if terminate or timeout is None else timeout)
        for process in self.processes:
            process.join(max(0.0, until - time.monotonic()))
            process.kill()
            process.join()
        for pipe in self.parent_pipes:
            pipe.close()


class Workers:
    """Processes that hold ``n_envs`` parallel environments, as even as may be.

    Args:
        recipe: Makes one parallel environment.
        spec: What it is.
        n_envs: Parallel environments B.
        processes: Processes, at most B.
        max_steps: Steps after which the metrics of an episode are asked for in any case.
        timeout: Seconds that a step of all may take.

    Attributes:
        orders: ``[B or more, N + 2]`` int64: an action of each agent, the order, the seed of a reset.
        waited: Seconds that the simulators took, of the slowest process each time.
    """

    def __init__(self, recipe: Recipe, spec: Spec, n_envs: int, processes: int, max_steps: int, timeout: float) -> None:
        self.n_envs, self.timeout, self.waited = n_envs, timeout, 0.0
        self.size = -(-n_envs // processes)
        self.processes = -(-n_envs // self.size)
        self.output = tempfile.mkdtemp(prefix="lomaq-")
        makers = [
            BundleMaker(recipe, spec, self.size, max_steps, self.output, i, os.getpid()) for i in range(self.processes)
        ]
        try:
            with _light():
                self.vector = _Vector(makers, copy=False, context="spawn", autoreset_mode=AutoresetMode.DISABLED)
        except (EOFError, OSError) as error:
            shutil.rmtree(self.output, ignore_errors=True)
            raise WorkerError(None, "processes that start", f"{type(error).__name__}: {error}") from error
        # before multiprocessing ends its processes by a signal that these do not see, and waits
        self.close = Finalize(self, _end, args=(self.vector, self.output), exitpriority=10)
        self.orders = np.zeros((self.processes * self.size, len(spec.agents) + 2), np.int64)

    def obey(self) -> Answer:
        """Give the ``orders`` to the parallel environments and wait for all.

        Raises:
            WorkerError: If a worker dies, hangs or its environment raises; then all workers are ended.
        """
        try:
            self.vector.step_async(self.orders.reshape(self.processes, self.size, -1))
            seen, *_, infos = self.vector.step_wait(self.timeout)
        except BaseException as error:
            lost = self._lost(error)
            self.vector.close(timeout=SHORT)
            self.close()
            if lost is None:
                raise
            raise lost from error
        notes: dict[str, dict[int, Any]] = {}
        for process, note in enumerate(infos.get("notes", ())):
            for kind, rows in json.loads(note or "{}").items():
                notes.setdefault(kind, {}).update({process * self.size + int(row): rows[row] for row in rows})
        for row, parts in notes.get("refused", {}).items():
            self.close()
            raise WorkerError(row, *parts)
        for row, text in notes.get("errors", {}).items():
            self.close()
            raise WorkerError(row, "no exception", text)
        rows = {name: array.reshape(-1, *array.shape[2:])[: self.n_envs] for name, array in seen.items()}
        self.waited += float(seen["outcome"][..., SECONDS].sum(axis=1).max())
        return Answer(**rows, metrics=notes.get("metrics", {}), actions=notes.get("actions", {}))

    def _lost(self, error: BaseException) -> WorkerError | None:
        """The worker that does not answer; None for an error that is no worker's."""
        for number, (process, pipe) in enumerate(zip(self.vector.processes, self.vector.parent_pipes, strict=True)):
            first, last = number * self.size, min((number + 1) * self.size, self.n_envs) - 1
            where = f"environment {first}" if first == last else f"environments {first} to {last}"
            if isinstance(error, multiprocessing.TimeoutError):
                if not pipe.poll(0):
                    remedy = "a larger env.timeout= if that is not long"
                    return WorkerError(first, "an answer", f"none in {self.timeout:g} seconds ({where})", remedy)
            elif isinstance(error, (EOFError, OSError)):
                process.join(1.0)
                if process.exitcode is not None:
                    said = last_words(Path(self.output, str(number)))
                    return WorkerError(first, "a process that lives", f"{died(process.exitcode)} ({where}){said}")
        return None


def spec_of(recipe: Recipe, timeout: float) -> Spec:
    """The sizes of an environment, from a process that ends at once; known ones are remembered.

    Raises:
        InputError: If the factory does not give a PettingZoo parallel environment that can be used.
    """
    key = json.dumps([recipe.factory, recipe.args, recipe.graph], sort_keys=True, default=repr)
    if key not in _SPECS:
        _SPECS[key] = _ask_spec(recipe, timeout)
    return _SPECS[key]


def _ask_spec(recipe: Recipe, timeout: float) -> Spec:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="lomaq-") as folder:
        output = Path(folder, "output")
        process = context.Process(target=describe, args=(recipe, theirs, str(output)), daemon=True)
        try:
            with _light():
                process.start()
            theirs.close()
            if not mine.poll(timeout):
                raise InputError("env.factory", f"an environment within {timeout:g} seconds", "none", "env.timeout=…")
            kind, content = mine.recv()
        except EOFError as error:
            process.join(1.0)
            got = f"{recipe.factory}: its process {died(process.exitcode)}{last_words(output)}"
            raise InputError("env.factory", "one whose environment can be made", got) from error
        finally:
            process.kill()
            process.join()
            mine.close()
    if kind == "refused":
        expected, got, *remedy = content
        raise InputError("env.factory", expected, got, *remedy)
    if kind == "error":
        got = f"{recipe.factory}, which raised {content}"
        raise EnvError("env.factory", "one whose environment can be made", got, "env.args.NAME=… are its arguments")
    assert isinstance(content, Spec)
    return content


@contextmanager
def _light() -> Iterator[None]:
    """Processes that are started here import none of the main module, which would be torch; no signal reaches them."""
    with _STARTING, unsignalled():
        main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _end(vector: _Vector, output: str) -> None:
    vector.close(timeout=PATIENCE)
    shutil.rmtree(output, ignore_errors=True)


def died(status: int | None) -> str:
    """How a process ended, in words."""
    if status is None:
        return "closed its connection"
    return f"died of signal {-status}" if status < 0 else f"ended with status {status}"


def last_words(output: Path) -> str:
    """The last line that a process printed, in brackets; empty if there is none."""
    try:
        lines = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return f" ({lines[-1].strip()[:200]})" if lines else ""
