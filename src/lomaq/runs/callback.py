"""What training tells a person's own code while it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lomaq.runs.files import Evaluation


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        run_dir: Its folder.
        env_steps: Env steps done.
        total_env_steps: Its budget.
        metrics: Numbers of the last iteration by their names, as in ``metrics.csv``; none before the first.
        tests: All tests so far, the last one last; each has ``env_steps``, ``returns`` and ``mean``.
    """

    run_dir: Path
    env_steps: int
    total_env_steps: int
    metrics: Mapping[str, float]
    tests: Sequence[Evaluation]


class Callback:
    """Is told how a run goes on, in its leading process; a subclass has the methods that it needs.

    An exception in one of them ends the run; what was saved before stays.

    Example:
        >>> class Printing(Callback):
        ...     def on_test(self, progress: Progress) -> None:
        ...         print(progress.env_steps, progress.tests[-1].mean)
    """

    def on_iteration(self, progress: Progress) -> None:
        """A rollout was collected and learned from; a test that follows is not in ``progress`` yet."""

    def on_test(self, progress: Progress) -> None:
        """The run was tested, and its checkpoints were written."""
