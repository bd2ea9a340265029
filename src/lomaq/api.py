"""Train, load, compare and act from Python: what ``lomaq`` itself offers."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from rich.console import Console
from torch import Tensor

from lomaq.analysis.certificate.checkpoint import certify_checkpoint, probe_mixer, visit
from lomaq.analysis.certificate.critic import CriticCertificate
from lomaq.analysis.certificate.locality import influence
from lomaq.analysis.certificate.mixer import MixerCertificate
from lomaq.analysis.compare import Comparison
from lomaq.analysis.compare import compare as compare_runs
from lomaq.analysis.episode import EpisodeRewards, decompose_checkpoint
from lomaq.analysis.stored import FRESH_SEED, Checkpoint, open_checkpoint
from lomaq.config import choices, compose
from lomaq.config.own import write_env
from lomaq.config.words import word_of
from lomaq.envs import BatchedEnv, contract, to_pettingzoo
from lomaq.errors import INSTALL, InputError, check_int
from lomaq.evaluation import Actor, evaluate, make_test_env
from lomaq.inputs.plain import changed
from lomaq.nn import ActingState, epsilon_greedy, epsilon_softmax
from lomaq.objectives import ValueNetworks
from lomaq.plots.film import LONG_FILM, Film, check_render, play
from lomaq.plots.run import train as train_run
from lomaq.runs.files import read_returns
from lomaq.studies.runner import run_study
from lomaq.training.build import actor_of, env_maker, samples, with_sample
from lomaq.training.callbacks import Callback
from lomaq.training.run import run_dir_of

if TYPE_CHECKING:
    from pettingzoo import ParallelEnv


class Policy:
    """The trained utilities of all agents, each acting on what it observes: by its best action, or by a draw.

    ``sample`` of its methods is true to draw from policies, which methods such as COMA learn, false for best actions,
    and None for what ``evaluation.sample`` of the run says.

    Args:
        stored: The checkpoint.
        **env_settings: Settings of the environment to change, such as ``n_agents``.

    Raises:
        InputError: If the environment has no such setting, or the utilities do not fit it.
    """

    def __init__(self, stored: Checkpoint, **env_settings: Any) -> None:
        self.stored = stored
        self.config = changed(stored.config, {f"env.{name}": value for name, value in env_settings.items()})
        self.utilities = stored.utilities(self.env())
        self.reset(seed=0)

    def env(self, n_envs: int = 1, seed: int = 0) -> BatchedEnv:
        """``n_envs`` parallel environments, on the CPU."""
        return env_maker(self.config)(n_envs, seed, torch.device("cpu"))

    def reset(self, seed: int | None = None) -> None:
        """Forget what was observed; call it before the first step of new episodes.

        Args:
            seed: Of the actions that :meth:`act` draws from now on, 0 at first; None to go on with what comes next.
        """
        self._state: ActingState | None = None
        if seed is not None:
            self._generator = torch.Generator().manual_seed(check_int("seed", seed, 0))

    @torch.no_grad()
    def act(
        self,
        observations: ArrayLike | Tensor,
        action_mask: ArrayLike | Tensor | None = None,
        sample: bool | None = None,
    ) -> Tensor:
        """The action of every agent; recurrent utilities remember earlier observations.

        Args:
            observations: ``[B, N, O]`` numbers, for B parallel environments.
            action_mask: ``[B, N, A]`` bool, the actions allowed; None for all.
            sample: Whether actions are drawn.

        Returns:
            ``[B, N]`` int64.

        Raises:
            InputError: If a shape is not that, a number is not finite, an agent has no allowed action, B changed
                without :meth:`reset`, or there are no policies to draw from.
        """
        policy = epsilon_softmax if samples(with_sample(self.config, sample)) else epsilon_greedy
        seen = torch.as_tensor(observations, dtype=torch.float32)
        n, o, a = self.utilities.n_agents, self.utilities.obs_size, self.utilities.n_actions
        if seen.dim() != 3 or list(seen.shape[1:]) != [n, o]:
            raise InputError("observations", f"shape [B, {n}, {o}]", list(seen.shape))
        mask = None if action_mask is None else torch.as_tensor(action_mask, dtype=torch.bool)
        if mask is not None and list(mask.shape) != [len(seen), n, a]:
            raise InputError("action_mask", f"shape [{len(seen)}, {n}, {a}]", list(mask.shape))
        if not bool(seen.isfinite().all()):
            place = (~seen.isfinite()).nonzero()[0].tolist()
            got = f"{float(seen[tuple(place)])} at {place}"
            raise InputError("observations", "finite numbers", got, "the place is [environment, agent, number]")
        if mask is not None:
            contract.check_choices(mask, "action_mask", InputError)
        if self._state is None:
            self._state = self.utilities.initial_state(len(seen), seen.device)
        if (before := len(self._state.previous)) != len(seen):
            expected = f"{before} parallel environments, as before"
            raise InputError("observations", expected, len(seen), "reset() between episodes")
        return self.utilities.act(seen, self._state, mask, policy, self._generator)

    @property
    def networks(self) -> ValueNetworks:
        """The utilities and the mixer of the checkpoint, built anew as its run built them."""
        return self.stored.run().module.networks.eval()

    def certify(self, **options: Any) -> MixerCertificate | CriticCertificate:
        """Whether the mixer is monotone and local; options as of ``lomaq certify``, and a ``mixer`` to examine instead.

        Such a function is examined as a mixer that promises to be monotone everywhere; nothing is proved of it. Where
        agents ascend advantages of critics, whether these are local, and how far away the gradient comes from.
        See :func:`lomaq.analysis.certificate.checkpoint.certify_checkpoint`.
        """
        return certify_checkpoint(self.stored, **options)

    def influence(self, states: int = 64, epsilon: float = 0.1, seed: int = 0) -> np.ndarray:
        """How strongly each block's mixer depends on each edge, ``[E]``, mean over visited states.

        The arguments are those of :func:`lomaq.analysis.certificate.checkpoint.certify_checkpoint`.
        """
        run = self.stored.run()
        return influence(probe_mixer(run, visit(run, states, epsilon, seed))[0])

    def decompose(self, seed: int = 0) -> EpisodeRewards:
        """Learned and true rewards of one greedy episode, as ``lomaq decompose`` plays it."""
        return decompose_checkpoint(self.stored, self.config, seed)

    def film(
        self,
        path: str | Path,
        seed: int = 0,
        actor: Actor | None = None,
        moments: int = LONG_FILM,
        sample: bool | None = None,
    ) -> None:
        """Film one episode, the one that :meth:`evaluate` plays with ``episodes=1`` and this seed.

        Args:
            path: A ``.gif`` or ``.mp4`` file; needs the extra film.
            seed: Seed of the start and of what happens in the episode, at least 0.
            actor: Who acts in place of the policy, such as ``lomaq.RandomActor(seed=0)``.
            moments: Most moments of the episode that are shown.
            sample: Whether the policy draws its actions.

        Raises:
            InputError: If the path has another ending, a package is missing, or there are no policies to draw from.
        """
        env, file = self.env(), Path(check_render(str(path)))
        actor = actor or self._actor(seed, sample)
        Film(env, play(actor, env, FRESH_SEED + seed, moments)).write(file)

    def evaluate(self, episodes: int = 20, seed: int = 0, sample: bool | None = None) -> Tensor:
        """Test returns ``[episodes]``, as ``lomaq evaluate`` plays them.

        Args:
            episodes: Episodes to play.
            seed: Seed of their starts, and of actions that are drawn.
            sample: Whether actions are drawn.

        Raises:
            InputError: If there are no policies to draw from.
        """
        actor = self._actor(seed, sample)
        with make_test_env(env_maker(self.config), episodes, torch.device("cpu")) as env:
            return evaluate(actor, env, episodes, FRESH_SEED + seed).returns

    def _actor(self, seed: int, sample: bool | None) -> Actor:
        return actor_of(with_sample(self.config, sample), self.utilities, FRESH_SEED + seed)


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
    callbacks: Sequence[Callback] = (),
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
        callbacks: Lightning callbacks, called as in any training with Lightning.
        progress: Show the progress line on stderr.
        **settings: Further settings, a dot written as two underscores: ``mixer="gcn", mixer__hidden=16``.

    Raises:
        InputError: If a setting is unknown or impossible.

    Example:
        >>> folder = tempfile.TemporaryDirectory()
        >>> trained = train("cartpole", "env.n_agents=3", total_env_steps=2000, run_dir=folder.name, learner__n_envs=4)
        >>> policy = trained.policy
        >>> policy.act(policy.env(n_envs=2).reset()).shape
        torch.Size([2, 3])
        >>> folder.cleanup()
    """
    given = [*words, *_words(settings, config_dir)]
    if isinstance(env, str):
        if recommended is not None:
            raise InputError("recommended", "a class as env", f"env={env}", 'give words such as "learner.lr=0.001"')
        config = compose([f"env={env}", *given])
    else:
        with tempfile.TemporaryDirectory() as folder:
            name = write_env(env, recommended or {}, Path(folder))
            config = compose([f"env={name}", f"--config-dir={folder}", *given])
    if config["study"] is not None:
        raise InputError("experiment", "settings of one run", "a study", "call lomaq.study")
    with run_dir_of(config) if run_dir is None else nullcontext(Path(run_dir)) as place:
        return Trained(place, train_run(config, place, _console(progress), callbacks=callbacks))


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
        progress: Show the progress on stderr.
        **settings: Further settings, a dot written as two underscores.

    Returns:
        Its ``summary.json``.

    Raises:
        InputError: If a setting is unknown or impossible, or the experiment is one run.
    """
    given = [f"experiment={experiment}", *words, *_words(settings, config_dir)]
    config = compose(given)
    if config["study"] is None:
        raise InputError("experiment", "a study", f"{experiment}, which is one run", "call lomaq.train")
    for key in (word.partition("=")[0] for word in given if "run" in config["study"]):
        if not key.startswith(("experiment", "seed", "run_dir", "study.", "modules", "-")):
            expected = f"only seed, run_dir and study.* with experiment={experiment}"
            raise InputError(key, expected, key, "no training run reads it, leave it out")

    def configuration(more: list[str]) -> dict[str, Any]:
        return {**compose([*given, *more]), "run_dir": None, "study": None}

    folder = Path(run_dir or config["run_dir"] or Path("runs") / experiment)
    return run_study(config["study"], configuration, folder, _console(progress))


def compare(*runs: Trained | str | Path) -> Comparison:
    """Set runs side by side: the settings that differ, their results and their curves.

    Args:
        *runs: Finished runs, run folders, or patterns such as ``"runs/cartpole-*"``; at least two together.

    Raises:
        InputError: If one means no run, or there is nothing to compare.
    """
    return compare_runs([str(run.run_dir if isinstance(run, Trained) else run) for run in runs])


def load(path: str | Path, **env_settings: Any) -> Policy:
    """The policy of a run folder (its best checkpoint) or of a checkpoint file.

    Nothing that these name is imported: import the modules of classes of your own first.

    Args:
        path: The folder or the file.
        **env_settings: Settings of the environment to change, such as ``n_agents=200``.

    Raises:
        InputError: If there is no checkpoint, or it does not fit the changed environment.
    """
    return Policy(open_checkpoint(path, resume=False), **env_settings)


def make(env: str, *, seed: int = 0, **settings: Any) -> ParallelEnv:
    """One of our environments as a PettingZoo parallel environment, by the name that it has on the command line.

    Args:
        env: Its name: cartpole, nav, sysadmin, …; ``lomaq --help`` lists them.
        seed: Of its first episode, until ``reset(seed=…)``.
        **settings: Its settings, such as ``n_agents=5``.

    Raises:
        InputError: If it is unknown, does not take these settings, or PettingZoo is not installed.

    Example:
        >>> env = make("nav", n_agents=5)  # doctest: +SKIP
        >>> observations, infos = env.reset(seed=0)  # doctest: +SKIP
    """
    words = [f"env.{key.replace('__', '.')}={word_of(value)}" for key, value in settings.items()]
    return to_pettingzoo(env_maker(compose([f"env={env}", *words]))(1, seed, torch.device("cpu")))


def register_envs() -> list[str]:
    """Let ``pettingzoo.make("parallel", "lomaq/nav-v0", n_agents=5)`` make our environments (PettingZoo 1.27 or later).

    Returns:
        Their ids.

    Raises:
        InputError: If PettingZoo is not installed, or earlier.
    """
    try:
        from pettingzoo import parallel_registry, register
    except ImportError as error:
        remedy = INSTALL.format("pettingzoo")
        raise InputError("register_envs", "PettingZoo 1.27 or later", str(error), remedy) from error
    ids = {f"lomaq/{name}-v0": name for name in choices()["env"]}
    for number, name in ids.items():
        if number not in parallel_registry:
            register("parallel", number, "lomaq.api:make", kwargs={"env": name})
    return [*ids]


def _words(settings: Mapping[str, Any], config_dir: str | Path | None) -> list[str]:
    folders = [] if config_dir is None else [f"--config-dir={config_dir}"]
    return [*folders, *(f"{key.replace('__', '.')}={word_of(value)}" for key, value in settings.items())]


def _console(progress: bool) -> Console:
    return Console(stderr=True) if progress else Console(file=io.StringIO(), force_jupyter=False)
