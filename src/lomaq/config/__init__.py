"""Settings: what there is to choose from, words of a command line, and configurations composed from both.

The only room that knows hydra, which is imported with the first name of :mod:`~lomaq.config.composition` that is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lomaq.later import later

if TYPE_CHECKING:
    from lomaq.config.composition import Job, compose, compose_jobs, hydra_flag, layers, parse
    from lomaq.config.groups import CONF, choices, methods, read_yaml
    from lomaq.config.words import CONFIG_DIR, MULTIRUN, RENAMED, flat, folders_of

__all__ = [
    "CONF",
    "CONFIG_DIR",
    "MULTIRUN",
    "RENAMED",
    "Job",
    "choices",
    "compose",
    "compose_jobs",
    "flat",
    "folders_of",
    "hydra_flag",
    "layers",
    "methods",
    "parse",
    "read_yaml",
]
__getattr__, __dir__ = later(
    __name__,
    {
        **dict.fromkeys(("CONF", "choices", "methods", "read_yaml"), "lomaq.config.groups"),
        **dict.fromkeys(("CONFIG_DIR", "MULTIRUN", "RENAMED", "flat", "folders_of"), "lomaq.config.words"),
        **dict.fromkeys(
            ("Job", "compose", "compose_jobs", "hydra_flag", "layers", "parse"), "lomaq.config.composition"
        ),
    },
)
