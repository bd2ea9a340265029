"""Names of a package that are imported when they are first used, so that nobody waits for what he does not use."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def later(package: str, places: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The ``__getattr__`` and ``__dir__`` of a package whose names are elsewhere (PEP 562).

    The package says the same to type checkers by imports under ``TYPE_CHECKING``.

    Args:
        package: Name of the package.
        places: Each name → the module that has it.
    """

    def getattr_(name: str) -> Any:
        if name in places:
            return getattr(importlib.import_module(places[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def dir_() -> list[str]:
        return sorted({*vars(importlib.import_module(package)), *places})

    return getattr_, dir_
