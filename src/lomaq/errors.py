"""One kind of error for everything a person can get wrong, in one line: what, expected, got and remedy; and notes."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

#: How the packages of an extra of pyproject.toml are installed, from the checkout: no index has this package.
INSTALL = "pip install '.[{}]'"


class InputError(ValueError):
    """A setting, file or argument that cannot be used.

    Args:
        name: What is wrong, as the user wrote it (``kappa``, ``partition``, a path).
        expected: What is allowed.
        got: What came instead.
        remedy: What to do about it; empty if the expectation is enough.
    """

    def __init__(self, name: str, expected: str, got: object, remedy: str = "") -> None:
        line = f"{name}: expected {expected}, got {got}" + (f"; {remedy}" if remedy else "")
        super().__init__(" ".join(line.split()))
        self.parts = (name, expected, str(got), remedy)

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str, str]]:
        return type(self), self.parts  # so that it crosses between processes


class Note(UserWarning):
    """Something that a person should know, in one line; nothing is wrong with what goes on."""


def tell(note: str | None) -> None:
    """Warn with a :class:`Note`; None: there is nothing to tell."""
    if note is not None:
        warnings.warn(note, Note, stacklevel=3)


@contextmanager
def notes_as_lines(shown: bool = True) -> Iterator[None]:
    """Each different note is one line on stderr, as a command line has it; or none, where they are not ``shown``."""
    told: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", Note)
        theirs = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, Note):
                theirs(message, category, *where, **more)
            elif shown and str(message) not in told:
                told.add(str(message))
                print(f"note: {message}", file=sys.stderr)

        warnings.showwarning = show
        yield


class EnvError(InputError):
    """An environment that breaks its contract, or raised an exception, which is then the ``__cause__``."""


class NonFiniteLossError(RuntimeError):
    """Learning went out of bounds in an environment whose numbers are finite: the loss or a utility is not."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of Python, NumPy or torch says that memory is at its end."""
    said = str(error)
    known = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(word in said for word in known))


def check_int(name: str, value: object, minimum: int, maximum: int | None = None) -> int:
    """Return ``value`` when it is a whole number within ``[minimum, maximum]``.

    Raises:
        InputError: If it is anything else.
    """
    span = f"a whole number of at least {minimum}" if maximum is None else f"a whole number from {minimum} to {maximum}"
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or not minimum <= value <= (math.inf if maximum is None else maximum)
    ):
        raise InputError(name, span, repr(value))
    return value


def check_float(
    name: str, value: object, minimum: float, maximum: float = math.inf, *, above: bool = False, below: bool = False
) -> float:
    """Return ``value`` as a float when it lies in ``[minimum, maximum]``; ``above`` and ``below`` open the ends.

    Raises:
        InputError: If it is no finite number or outside.
    """
    left, right = ("(" if above else "["), (")" if below or maximum == math.inf else "]")
    span = f"a number in {left}{minimum:g}, {maximum:g}{right}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(name, span, repr(value))
    inside = (value > minimum if above else value >= minimum) and (value < maximum if below else value <= maximum)
    if abs(value) > sys.float_info.max:
        raise InputError(name, span, value if isinstance(value, float) else "a number that no float can hold")
    if not inside:
        raise InputError(name, span, value)
    return float(value)


def check_choice(name: str, value: object, choices: Collection[str]) -> str:
    """Return ``value`` when it is one of ``choices``.

    Raises:
        InputError: If it is not.
    """
    if not isinstance(value, str) or value not in choices:
        raise InputError(name, "one of " + ", ".join(choices), repr(value))
    return value


def check_bool(name: str, value: object) -> bool:
    """Return ``value`` when it is true or false.

    Raises:
        InputError: If it is neither.
    """
    if not isinstance(value, bool):
        raise InputError(name, "true or false", repr(value))
    return value
