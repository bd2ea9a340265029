"""Runs from Python: trained, resumed, certified, compared."""

from __future__ import annotations

import io
import shlex
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from lomaq.analysis.certificate.critic import CriticCertificate
from lomaq.analysis.certificate.mixer import MixerCertificate
from lomaq.analysis.compare import Comparison
from lomaq.analysis.compare import compare as compare_runs
from lomaq.analysis.episode import EpisodeRewards
from lomaq.analysis.resumed import open_resumed
from lomaq.api.environments import composed, words_of
from lomaq.api.policy import Policy, load
from lomaq.config import compose
from lomaq.envs import BatchedEnv
from lomaq.errors import InputError
from lomaq.inputs.text import at_home
from lomaq.objectives import ValueNetworks
from lomaq.plots.run import train as train_run
from lomaq.runs.files import read_returns
from lomaq.studies.runner import run_study
from lomaq.training.callbacks import AnyCallback
from lomaq.training.run import run_dir_of


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        run_dir: Its folder.
        summary: The content of its ``summary.json``.
    """

    run_dir: Path
    summary: dict[str, Any]

    @property
    def policy(self) -> Policy:
        """The best policy of the run."""
        return load(self.run_dir)

    @property
    def networks(self) -> ValueNetworks:
        """The utilities and the mixer of the best policy."""
        return self.policy.networks

    def certify(self, **options: Any) -> MixerCertificate | CriticCertificate:
        """:meth:`Policy.certify` of the best policy."""
        return self.policy.certify(**options)

    def decompose(self, seed: int = 0) -> EpisodeRewards:
        """:meth:`Policy.decompose` of the last checkpoint, whose rewards were learned the longest."""
        return load(self.run_dir / "checkpoints" / "last.ckpt").decompose(seed)

    @property
    def curve(self) -> tuple[list[int], list[float]]:
        """Env steps and mean returns of the tests."""
        tests = read_returns(self.run_dir)
        return [test.env_steps for test in tests], [test.mean for test in tests]


def train(
    env: str | type[BatchedEnv],
    *words: str,
    run_dir: str | Path | None = None,
    config_dir: str | Path | None = None,
    recommended: Mapping[str, Any] | None = None,
    callbacks: Sequence[AnyCallback] = (),
    progress: bool = False,
    **settings: Any,
) -> Trained:
    """Train, with the settings of the command line.

    Args:
        env: Name of an environment, or a subclass of BatchedEnv. The arguments of its constructor become settings
            ``env.…``; its module must be imported where its checkpoints are loaded.
        *words: Settings as on the command line, for those with a dot: ``"env.n_agents=30"``.
        run_dir: Folder of the run, new; None for ``runs/<env>-<algo>-<date-time>``.
        config_dir: Folder of settings of your own: ``config_dir="my_conf", mixer="hops"`` takes
            ``my_conf/mixer/hops.yaml``.
        recommended: For a class: what suits it, such as ``{"gamma": 0.95, "lr": 1e-3}``, instead of the values in
            ``conf/custom_env.yaml``.
        callbacks: Objects of subclasses of :class:`lomaq.Callback`, or Lightning callbacks.
        progress: Show the progress line on stderr and, at the end, where the run was saved.
        **settings: Further settings, a dot written as two underscores: ``mixer="gcn", mixer__hidden=16``.

    Raises:
        InputError: If a setting is unknown or impossible, or ``resume`` is given.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> trained = train("cartpole", "env.n_agents=3", total_env_steps=2000, run_dir=folder.name, learner__n_envs=4)
        >>> policy = trained.policy
        >>> policy.act(policy.env(n_envs=2).reset()).shape
        torch.Size([2, 3])
        >>> folder.cleanup()
    """
    given = [*words, *words_of(settings, config_dir)]
    for word in given:
        if word.startswith("resume=") and word != "resume=null":
            raise InputError("resume", "settings of a new run", word, "call lomaq.resume(run, total_env_steps=…)")
    config = composed(env, given, recommended)
    if config["study"] is not None:
        raise InputError("experiment", "settings of one run", "a study", "call lomaq.study")
    with run_dir_of(config) if run_dir is None else nullcontext(Path(at_home(str(run_dir)))) as place:
        return _trained(config, place, progress, None, callbacks)


def resume(
    run: Trained | str | Path, *, callbacks: Sequence[AnyCallback] = (), progress: bool = False, **settings: Any
) -> Trained:
    """Go on with a run that was stopped, or, with a larger budget, with one that had ended, in its own folder.

    Args:
        run: The run, its folder or its ``last.ckpt``.
        callbacks: As of :func:`train`.
        progress: Show the progress line on stderr and, at the end, where the run was saved.
        **settings: What may change: ``total_env_steps=…``, ``evaluation__stop_at``, ``trainer__…`` and ``logger__…``.

    Raises:
        InputError: If there is no such run, it has no steps left, or another setting is given.
    """
    given = {key.replace("__", "."): value for key, value in settings.items()}
    stored, config = open_resumed(run.run_dir if isinstance(run, Trained) else run, given)
    return _trained(config, stored.run_dir, progress, stored.path, callbacks)


def study(
    experiment: str,
    *words: str,
    run_dir: str | Path | None = None,
    config_dir: str | Path | None = None,
    progress: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Run an experiment of many runs, such as a figure of the paper, and draw it; what is there already is kept.

    Args:
        experiment: Its name, as in ``python train.py experiment=fig9``.
        *words: Settings as on the command line.
        run_dir: Its folder; None for ``runs/<experiment>``.
        config_dir: Folder of settings of your own, for ``config_dir/experiment/<experiment>.yaml``.
        progress: Show the progress on stderr and, at the end, where the results are.
        **settings: Further settings, a dot written as two underscores.

    Returns:
        Its ``summary.json``.

    Raises:
        InputError: If a setting is unknown or impossible, or the experiment is one run.
    """
    given = [f"experiment={experiment}", *words, *words_of(settings, config_dir)]
    config = compose(given)
    if config["study"] is None:
        raise InputError("experiment", "a study", f"{experiment}, which is one run", "call lomaq.train")
    for key in (word.partition("=")[0] for word in given if "run" in config["study"]):
        if not key.startswith(("experiment", "seed", "run_dir", "study.", "modules", "-")):
            expected = f"only seed, run_dir and study.* with experiment={experiment}"
            raise InputError(key, expected, key, "no training run reads it, leave it out")

    def configuration(more: list[str]) -> dict[str, Any]:
        return {**compose([*given, *more]), "run_dir": None, "study": None}

    folder = Path(at_home(str(run_dir or config["run_dir"] or Path("runs") / experiment)))
    command = shlex.join(["python", "train.py", *(word for word in given if not word.startswith("run_dir="))])
    console = _console(progress)
    result = run_study(config["study"], configuration, folder, console, command)
    place = f"summary.json, the picture and any runs are in {folder}"
    console.print(place, highlight=False, markup=False, soft_wrap=True)
    return result


def certify(run: Trained | Policy | str | Path, **options: Any) -> MixerCertificate | CriticCertificate:
    """Whether the mixer of a run is monotone and local; :meth:`Policy.certify` of its best policy.

    Args:
        run: The run, its policy, its folder or a checkpoint file.
        **options: As of :meth:`Policy.certify`, such as ``states=64``.

    Raises:
        InputError: If there is no such run, or an option is impossible.
    """
    return (load(run) if isinstance(run, (str, Path)) else run).certify(**options)


def compare(*runs: Trained | str | Path) -> Comparison:
    """Set runs side by side: the settings that differ, their results and their curves.

    Args:
        *runs: Finished runs, run folders, or patterns such as ``"runs/cartpole-*"``; at least two together.

    Raises:
        InputError: If one means no run, or there is nothing to compare.
    """
    return compare_runs([str(run.run_dir if isinstance(run, Trained) else run) for run in runs])


def _trained(
    config: dict[str, Any], run_dir: Path, progress: bool, checkpoint: Path | None, callbacks: Sequence[AnyCallback]
) -> Trained:
    """Train or go on, and say where the run was saved."""
    console = _console(progress)
    summary = train_run(config, run_dir, console, checkpoint, callbacks)
    if summary:  # empty in a process that does not lead
        console.print(f"saved in {run_dir}", highlight=False, markup=False, soft_wrap=True)
    return Trained(run_dir, summary)


def _console(progress: bool) -> Console:
    return Console(stderr=True) if progress else Console(file=io.StringIO(), force_jupyter=False)
