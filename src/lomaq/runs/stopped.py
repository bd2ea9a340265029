"""What an error that ends a training says: how far it was, what is kept, and how to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from lomaq.errors import InputError, NonFiniteLossError
from lomaq.inputs.text import typed


@contextmanager
def explained(run_dir: Path, steps: Callable[[], tuple[int, int]], console: Console) -> Iterator[None]:
    """Add to an error of one line what is kept and how to go on; for any other, whose traceback comes, print that.

    Args:
        run_dir: The run folder.
        steps: Gives the env steps trained, and those of the last checkpoint.
        console: Where to print.

    Raises:
        InputError: The same kind as before (EnvError: of the environment), with its cause.
        NonFiniteLossError: Likewise.
    """
    try:
        yield
    except InputError as error:
        name, expected, got, remedy = error.parts
        more = f"{remedy}; {_kept(run_dir, *steps())}" if remedy else _kept(run_dir, *steps())
        raise type(error)(name, expected, got, more) from error.__cause__ or error
    except NonFiniteLossError as error:
        raise NonFiniteLossError(f"{error}; {_kept(run_dir, *steps())}") from error
    except Exception:
        console.print(_kept(run_dir, *steps()), style="yellow", highlight=False, markup=False, soft_wrap=True)
        raise


def _kept(run_dir: Path, trained: int, saved: int) -> str:
    last = run_dir / "checkpoints" / "last.ckpt"
    stopped = f"stopped at {trained:,} env steps"
    if not last.is_file():
        return f"{stopped}, before the first checkpoint: start it again"
    return f"{stopped}; the last checkpoint is kept, {last} of {saved:,}: go on with {typed('resume', run_dir)}"
