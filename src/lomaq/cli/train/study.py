"""An experiment of several runs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lomaq.api import study
from lomaq.config import MULTIRUN, Job
from lomaq.errors import InputError


def start(words: Sequence[str], jobs: Sequence[Job]) -> int:
    """Run the experiment that the words name."""
    if set(MULTIRUN).intersection(words):
        raise InputError("-m", "runs without a study", "an experiment", "which varies what it must by itself")
    name = next((word.partition("=")[2] for word in words if word.startswith("experiment=")), None)
    if name is None:
        raise InputError("study", "an experiment, which has a name and a file", "settings alone", "see experiment=NAME")
    rest = [word for word in words if not word.startswith("experiment=")]
    try:
        result = study(name, *rest, progress=True)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command continues it") from None
    print(json.dumps(result, indent=2))
    return 0
