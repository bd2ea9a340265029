"""Imports of what is heavy, in a process of our own."""

from __future__ import annotations

import gc
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: New objects from one search for cycles to the next, and how many searches from one among older ones to the next.
SELDOM = (100_000, 20, 20)


@contextmanager
def imports() -> Iterator[None]:
    """Look for cycles more seldom among what is imported here, and never after: it lasts as long as the process.

    Python looks every few hundred objects, and torch and Lightning make a million. A process that has torch already is
    left alone.
    """
    if "torch" in sys.modules:
        yield
        return
    usual = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*usual)


def imported(path: str) -> Any:
    """What ``module:name`` names."""
    with imports():
        return pkgutil.resolve_name(path)
