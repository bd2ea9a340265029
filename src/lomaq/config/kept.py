"""Configurations kept in memory: most words of a command line change values alone, and hydra reads all files each time.

What the choices of files make (``env=nav mixer=gcn``) is composed once and copied; values (``seed=3``) are then set in
the copy, by hydra itself. It takes a quarter of the
time for each further run of a sweep or a study.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl  # what hydra.compose sets values with
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict

from lomaq.config.groups import CONF


def composed(words: Sequence[str], search: Sequence[str], folders: Sequence[str | Path]) -> DictConfig:
    """What ``hydra.compose`` makes of ``train.yaml`` and these words; hydra's own section has its choices alone.

    Args:
        words: Words as hydra takes them.
        search: Further words, which make hydra read ``folders``.
        folders: Further folders of settings.
    """
    places = [CONF, *map(Path, folders)]
    groups = {entry.name for place in places for entry in place.iterdir() if entry.is_dir()}
    choices: list[Override] = []
    values: list[Override] = []
    for override in OverridesParser.create().parse_overrides([*words]):
        key = override.key_or_group
        of_files = key in groups or override.package is not None or "/" in key or key.startswith("hydra.")
        (choices if of_files else values).append(override)
    files = [file for place in places for file in (*place.glob("*.yaml"), *place.glob("*/*.yaml"))]
    stamps = tuple((str(file), (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files)
    config = copy.deepcopy(_of_choices((*(str(choice.input_line) for choice in choices), *search), stamps))
    ConfigLoaderImpl._apply_overrides_to_config(values, config)
    return config


@lru_cache(maxsize=64)
def _of_choices(words: tuple[str, ...], stamps: tuple[tuple[str, int, int], ...]) -> DictConfig:
    """The same for words that choose files; ``stamps`` change with the files."""
    config = hydra.compose("train", [*words], return_hydra_config=True)
    with open_dict(config):
        config.hydra = {"runtime": {"choices": config.hydra.runtime.choices}}
    return config
