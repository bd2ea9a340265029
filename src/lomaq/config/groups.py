"""What there is to choose from: the groups of the configuration, and the methods, as ``conf`` has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lomaq.errors import InputError
from lomaq.inputs.text import read_yaml as read_any_yaml

CONF = Path(__file__).resolve().parents[1] / "conf"


def choices(config_dirs: Sequence[str | Path] = ()) -> dict[str, list[str]]:
    """The groups of the configuration and what each can be, further folders of settings included."""
    groups = sorted(place.name for place in CONF.iterdir() if place.is_dir())
    return {group: sorted(file.stem for file in _files(group, config_dirs)) for group in groups}


def read_yaml(file: Path) -> dict[str, Any]:
    """The settings in a file, as they are written."""
    content = read_any_yaml(file) or {}
    if not isinstance(content, dict):
        raise InputError(str(file), "a file of settings", type(content).__name__)
    return content


def methods(config_dirs: Sequence[str | Path] = (), learning: bool = True) -> dict[str, dict[str, Any]]:
    """Name of each method → its ``algo`` settings, in the order of the reward that they read, then of their labels.

    ``learning`` leaves out the oracle and random actions; ``config_dirs`` are further folders of settings.
    """
    default = read_yaml(CONF / "train.yaml")["algo"]
    found = {
        file.stem: {**default, "name": file.stem, "label": file.stem, **read_yaml(file).get("algo", {})}
        for file in _files("algo", config_dirs)
    }
    order = sorted(found, key=lambda name: (found[name]["reads"] or "~", found[name]["label"].casefold()))
    return {name: found[name] for name in order if found[name]["policy"] == "utilities" or not learning}


def _files(group: str, config_dirs: Sequence[str | Path]) -> list[Path]:
    """The files of a group; one of ours hides one of the same name elsewhere, as hydra has it."""
    places = (file for folder in (*config_dirs, CONF) for file in Path(folder, group).glob("*.yaml"))
    return list({file.stem: file for file in places}.values())
