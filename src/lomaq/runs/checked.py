"""Whether the content of a checkpoint is what was written, and numbers."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch


def check_bytes(path: Path) -> None:
    """Compare what a checkpoint holds with its checksums (CRC-32), which torch writes and does not read.

    Raises:
        zipfile.BadZipFile: If they differ.
    """
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED or member.external_attr for member in archive.infolist()):
            # of a folder, torch would return memory as it happens to be
            raise zipfile.BadZipFile("a compressed part or a folder, which torch does not write")
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"the checksum of {damaged} differs")


def non_finite(content: Any) -> str | None:
    """Where the first number that is not finite stands in nested containers of tensors; None: nowhere.

    >>> non_finite({"weights": {"a": torch.zeros(2), "b": torch.tensor([0.0, float("nan")])}})
    'weights.b'
    """
    return next((".".join(keys) for keys, value in _tensors(content) if not _is_finite(value)), None)


def _tensors(content: Any) -> Iterator[tuple[tuple[str, ...], torch.Tensor]]:
    if isinstance(content, torch.Tensor):
        yield (), content
    elif isinstance(content, (dict, list, tuple)):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            for keys, tensor in _tensors(value):
                yield (str(key), *keys), tensor


def _is_finite(tensor: torch.Tensor) -> bool:
    values = tensor if tensor.layout == torch.strided else tensor.values()
    return not values.is_floating_point() or bool(values.isfinite().all())
