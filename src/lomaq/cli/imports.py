"""Imports of what is heavy, in a process of our own."""

from __future__ import annotations

import gc
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def imports() -> Iterator[None]:
    """Do not look for cycles among what is imported here, now or ever after: it lasts as long as the process.

    Python looks again and again while torch makes its million objects, which is a fifth of the time of the imports. A
    process that has torch already is left alone.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def imported(path: str) -> Any:
    """What ``module:name`` names."""
    with imports():
        return pkgutil.resolve_name(path)
