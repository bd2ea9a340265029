"""The runs of ``-m`` on other machines, through the plugins of hydra that launch jobs: Ray, SLURM by submitit, ….

A plugin gets as many empty jobs as there are runs: each calls one function with its number. What is trained is composed
here, once, and does not pass through the plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, RunMode
from omegaconf import open_dict

from lomaq.config.composition import _hydra
from lomaq.config.words import folders_of, opened
from lomaq.inputs.targets import modules_of

Found = TypeVar("Found")


def launch(words: Sequence[str], folder: Path, work: Callable[[int], Found], n_jobs: int) -> list[Found]:
    """What ``work`` returns for 0, 1, …, each called in a job of the launcher that the words choose and set up.

    Args:
        words: Those of the command line.
        folder: Where the launcher keeps files of its own, which all machines reach.
        work: Travels to the jobs, by pickle.
        n_jobs: How many.

    Raises:
        Exception: That of the launcher where a job died; others may still run.
    """
    words = [opened(word) for word in folders_of(modules_of(words)[0])[0] if word.startswith("hydra")]
    with _hydra([]):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        words = [*words, "hydra.job.chdir=false"]
        config = hydra.compose_config("train", words, RunMode.MULTIRUN, with_log_configuration=False)
        with open_dict(config):
            config.hydra.sweep.dir = str(folder)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
        task = _Task(work)
        launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)
    ended: Sequence[JobReturn] = launcher.launch([[] for _ in range(n_jobs)], initial_job_idx=0)
    return [job.return_value for job in ended]


class _Task:
    """What a job of hydra calls, with a configuration that says nothing; its number is what counts."""

    def __init__(self, work: Callable[[int], Any]) -> None:
        self.work = work

    def __call__(self, _: Any) -> Any:
        return self.work(int(HydraConfig.get().job.num))
