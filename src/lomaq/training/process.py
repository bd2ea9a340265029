"""What a training needs of the process it runs in, and puts back: a library leaves no global state changed."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.utilities.seed import isolate_rng

from lomaq.runs.ranks import LEADER_VARIABLE, RUN_DIR_VARIABLE

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]

#: Environment variables that Lightning or a run sets.
VARIABLES = (
    LEADER_VARIABLE,
    RUN_DIR_VARIABLE,
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_DEVICE_ORDER",
    "LOCAL_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "NODE_RANK",
    "WORLD_SIZE",
)
_LOCK = threading.RLock()
_HELD = threading.local()


class _Trainings:
    """The trainings that run in this process, and how the first of them found it."""

    running = 0
    threads = 1
    found = ExitStack()


@contextmanager
def borrowed_process(threads: int | None) -> Iterator[None]:
    """Let a training change the process; of several at once, the last to end puts back what the first one found.

    That is: the random generators of torch, NumPy and Python, torch's deterministic flags, warning filters, the level
    of Lightning's logger, its rank, and the environment variables that it sets.

    Args:
        threads: Threads of torch in this thread of Python meanwhile; None leaves their number alone.
    """
    with _LOCK:
        if _Trainings.running == 0:
            _Trainings.found, _Trainings.threads = _find(), torch.get_num_threads()
        _Trainings.running += 1
        before = _Trainings.threads
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        let_build()
        with _LOCK:
            _Trainings.running -= 1
            if _Trainings.running == 0:
                _Trainings.found.close()
            torch.set_num_threads(before)  # each thread of Python has a number of its own


def _find() -> ExitStack:
    """What puts everything back as it is now; Lightning is quiet until then."""
    found, logger = ExitStack(), logging.getLogger("pytorch_lightning")
    found.enter_context(isolate_rng())
    found.enter_context(warnings.catch_warnings())
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
    found.callback(logger.setLevel, logger.level)
    logger.setLevel(logging.WARNING)
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled()
    found.callback(torch.use_deterministic_algorithms, deterministic, warn_only=warn_only)
    found.callback(setattr, torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    found.callback(setattr, rank_zero_only, "rank", vars(rank_zero_only)["rank"])
    for name in VARIABLES:
        found.callback(_set_variable, name, os.environ.get(name))
    return found


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


@contextmanager
def building() -> Iterator[None]:
    """Networks are drawn from torch's global generator: one run at a time, and the generator is put back."""
    with _LOCK, isolate_rng():
        yield


def let_nobody_build() -> None:
    """Until :func:`let_build`, no other thread builds a run.

    Lightning notes the global generators' states before a fit and puts them back: networks that another thread was
    drawing meanwhile would have numbers twice.
    """
    let_build()
    _LOCK.acquire()
    _HELD.here = True


def let_build() -> None:
    """The end of :func:`let_nobody_build`, where this thread called it."""
    if vars(_HELD).pop("here", False):
        _LOCK.release()


def seed_global(seed: int) -> None:
    """Seed torch's global generator, for parts of a person's own that draw from it; no other run is built meanwhile."""
    with _LOCK:
        torch.manual_seed(seed)


def keep_freed_memory() -> None:
    """Ask glibc to keep freed buffers for the next use, in a process that is our own.

    By default it returns large ones to the system, and every use of a fresh one pays for page faults; a learner that
    makes the same buffers thousands of times loses up to a quarter of its time there. Other C libraries have no such
    switch and are left alone.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        max_mapped, trim_threshold = -4, -1
        library.mallopt(max_mapped, 0)
        library.mallopt(trim_threshold, 2**31 - 1)


def peak_memory_mb() -> float:
    """Most memory that this process has had so far, in MB."""
    if resource is None:
        memory = psutil.Process().memory_info()
        return round(float(getattr(memory, "peak_wset", memory.rss)) / 2**20, 1)  # as Windows calls it
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kilobytes elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
