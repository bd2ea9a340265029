"""What an error that ends a training says: how far it was, what is kept, and how to go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from lomaq.errors import InputError, NonFiniteLossError
from lomaq.training.module import LomaqModule


@contextmanager
def explained(module: LomaqModule, run_dir: Path, console: Console) -> Iterator[None]:
    """Add to an error of one line what is kept and how to go on; for any other, whose traceback comes, print that.

    Raises:
        InputError: The same kind as before (EnvError: of the environment), with its cause.
        NonFiniteLossError: Likewise.
    """
    try:
        yield
    except InputError as error:
        name, expected, got, remedy = error.parts
        more = f"{remedy}; {_kept(module, run_dir)}" if remedy else _kept(module, run_dir)
        raise type(error)(name, expected, got, more) from error.__cause__ or error
    except NonFiniteLossError as error:
        raise NonFiniteLossError(f"{error}; {_kept(module, run_dir)}") from error
    except Exception:
        console.print(_kept(module, run_dir), style="yellow", highlight=False, markup=False, soft_wrap=True)
        raise


def _kept(module: LomaqModule, run_dir: Path) -> str:
    last = run_dir / "checkpoints" / "last.ckpt"
    stopped = f"stopped at {module.env_steps:,} env steps"
    if not last.is_file():
        return f"{stopped}, before the first checkpoint: start it again"
    at = module.history.get("evaluated_at", 0)
    return f"{stopped}; the last checkpoint is kept, {last} of {at:,}: go on with resume={run_dir}"
