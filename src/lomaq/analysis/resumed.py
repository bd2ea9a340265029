"""Runs that go on: what of them may change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lomaq.analysis.stored import Checkpoint, open_checkpoint
from lomaq.errors import InputError
from lomaq.inputs.plain import changed
from lomaq.runs import RunFiles
from lomaq.training.callbacks import stays_stopped
from lomaq.training.settings import TestSettings

#: What a resumed run may change; everything else decides what the run is.
RESUMABLE = ("total_env_steps", "evaluation.stop_at", "trainer.", "logger.")


def open_resumed(path: str | Path, given: Mapping[str, Any]) -> tuple[Checkpoint, dict[str, Any]]:
    """The checkpoint of a run that goes on, and its configuration.

    Args:
        path: Its folder, or its ``last.ckpt``.
        given: The settings that change.

    Raises:
        InputError: If one may not change, there is no such checkpoint, or the run has no steps left.
    """
    for key in given:
        if not key.startswith(RESUMABLE):
            expected = "only total_env_steps, evaluation.stop_at, trainer.* and logger.* with resume"
            raise InputError(key, expected, given[key], "start a new run to change it")
    stored = open_checkpoint(path, resume=True)
    config = changed(stored.config, dict(given))
    total, done = config["total_env_steps"], stored.env_steps
    if RunFiles(stored.run_dir).has_ended(done):
        expected, stop_at = "a run with steps left", config["evaluation"]["stop_at"]
        if isinstance(total, int) and total <= done:
            raise InputError("resume", expected, f"{done} of {total} env steps done", "give a larger total_env_steps=")
        if stays_stopped(TestSettings.of(config["evaluation"]), stored.state["lomaq"]["history"]):
            got = f"one that ended with evaluation.stop_at={stop_at} at {done} env steps"
            raise InputError("resume", expected, got, "give evaluation.stop_at=null, or one that it has not reached")
    return stored, config
