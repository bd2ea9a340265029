"""Checkpoints on disk: written whole or not at all, read without executing anything."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins import TorchCheckpointIO

from lomaq.errors import InputError
from lomaq.inputs.text import at_home, typed
from lomaq.runs.checked import check_bytes, non_finite
from lomaq.runs.files import replacing
from lomaq.runs.record import runs_in


def save_atomic(content: dict[str, Any], path: Path) -> None:
    """Write through a temporary file in the same folder, so that a crash or a full disk leaves the old file whole."""
    with replacing(path) as file:
        torch.save(content, file)


def find_checkpoint(path: str | Path, names: tuple[str, ...]) -> Path:
    """The checkpoint file that ``path`` means: itself, or the first of ``names`` in a run's ``checkpoints``.

    Raises:
        InputError: If there is none.
    """
    path, asked = Path(at_home(str(path))), "checkpoint" if "best.ckpt" in names else "resume"
    expected = f"a checkpoint file or a run folder with {' or '.join(names)}"
    if path.is_file() and path.suffix != ".ckpt" and not zipfile.is_zipfile(path):
        run = next((folder for folder in path.parents if (folder / "checkpoints").is_dir()), None)
        raise InputError(
            asked, expected, f"the file {path}", "" if run is None else f"give its run, {typed(asked, run)}"
        )
    if path.is_file():
        return path
    for name in names:
        if (path / "checkpoints" / name).is_file():
            return path / "checkpoints" / name
    remedy = ""
    if (path / "config.yaml").is_file():
        remedy = (
            f"it was stopped before its first one: start it again with the same settings and {typed('run_dir', path)}"
        )
    elif runs := runs_in(path):
        remedy = f"it holds {len(runs)} run{'s' * (len(runs) > 1)}, the last of which is {typed(asked, runs[-1])}"
    raise InputError(asked, expected, path, remedy)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this project, as tensors and plain containers only.

    Raises:
        InputError: If the file is damaged or something else, or a weight in it is no finite number.
    """
    try:
        check_bytes(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of protocols that it does not write
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make its reader fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(str(path), "a checkpoint file", f"a damaged or foreign file ({reason[:80]})") from error
    if not isinstance(content, dict) or "lomaq" not in content:
        raise InputError(str(path), "a checkpoint of lomaq", "a file of something else")
    if bad := non_finite({key: content[key] for key in ("state_dict", "optimizer_states") if key in content}):
        raise InputError(str(path), "finite numbers", f"NaN or infinity in {bad}", "use an earlier checkpoint")
    return content


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's way to :func:`save_atomic`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        save_atomic(checkpoint, Path(path))
