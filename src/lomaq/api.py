"""Train, load and act from Python: ``lomaq.train``, ``lomaq.load`` and what they give back."""

from __future__ import annotations

import inspect
import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from numpy.typing import ArrayLike
from rich.console import Console
from torch import Tensor

from lomaq.config import CONF, compose, word_of
from lomaq.envs import BatchedEnv
from lomaq.errors import InputError
from lomaq.plots.run import train as train_run
from lomaq.runs.files import read_curve
from lomaq.training.build import env_maker
from lomaq.training.evaluation import EVALUATION_BATCH, GreedyActor, evaluate
from lomaq.training.run import default_run_dir
from lomaq.training.stored import FRESH_SEED, Checkpoint, open_checkpoint

#: What an environment's constructor is given by whoever makes it.
_GIVEN = ("n_envs", "seed", "device")


class Policy:
    """The trained utilities of all agents, each acting greedily on what it sees.

    Args:
        stored: The checkpoint.
        **env_settings: Settings of the environment to change, such as ``n_agents``.

    Raises:
        InputError: If the environment has no such setting, or the utilities do not fit it.
    """

    def __init__(self, stored: Checkpoint, **env_settings: Any) -> None:
        unknown = [key for key in env_settings if key not in stored.config["env"]]
        if unknown:
            known = ", ".join(key for key in stored.config["env"] if not key.startswith("_"))
            raise InputError(f"env.{unknown[0]}", f"one of {known}", "an unknown setting")
        self.stored = stored
        self.config = {**stored.config, "env": {**stored.config["env"], **env_settings}}
        self.utilities = stored.utilities(self.env())
        self._actor = GreedyActor(self.utilities)
        self.reset()

    def env(self, n_envs: int = 1, seed: int = 0) -> BatchedEnv:
        """An environment of ``n_envs`` copies, on the CPU."""
        return env_maker(self.config)(n_envs, seed, torch.device("cpu"))

    def reset(self) -> None:
        """Forget what was seen; call it before the first step of new episodes."""
        self._copies: int | None = None

    @torch.no_grad()
    def act(self, observations: ArrayLike | Tensor, action_mask: ArrayLike | Tensor | None = None) -> Tensor:
        """The greedy action of every agent; recurrent utilities remember what they were shown before.

        Args:
            observations: ``[B, N, O]`` numbers, what each agent of each copy sees.
            action_mask: ``[B, N, A]`` bool, the actions allowed; None for all.

        Returns:
            ``[B, N]`` int64.

        Raises:
            InputError: If a shape is not that, or the number of copies changed without :meth:`reset`.
        """
        seen = torch.as_tensor(observations, dtype=torch.float32)
        n, o, a = self.utilities.n_agents, self.utilities.obs_size, self.utilities.n_actions
        if seen.dim() != 3 or list(seen.shape[1:]) != [n, o]:
            raise InputError("observations", f"shape [B, {n}, {o}]", list(seen.shape))
        mask = None if action_mask is None else torch.as_tensor(action_mask, dtype=torch.bool)
        if mask is not None and list(mask.shape) != [len(seen), n, a]:
            raise InputError("action_mask", f"shape [{len(seen)}, {n}, {a}]", list(mask.shape))
        if self._copies is None:
            self._copies = len(seen)
            self._actor.begin(len(seen), seen.device)
        if self._copies != len(seen):
            raise InputError("observations", f"{self._copies} copies as before", len(seen), "reset() between episodes")
        return self._actor.choose(seen, mask)

    def evaluate(self, episodes: int = 20, seed: int = 0) -> Tensor:
        """Test returns ``[episodes]`` of greedy episodes, as ``lomaq evaluate`` plays them."""
        env = self.env(min(episodes, EVALUATION_BATCH))
        return evaluate(GreedyActor(self.utilities), env, episodes, FRESH_SEED + seed)


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
    def curve(self) -> tuple[list[int], list[float]]:
        """Env steps and mean returns of the tests."""
        return read_curve(self.run_dir)


def train(
    env: str | type[BatchedEnv],
    *words: str,
    run_dir: str | Path | None = None,
    recommended: Mapping[str, Any] | None = None,
    progress: bool = False,
    **settings: Any,
) -> Trained:
    """Train, with the settings of the command line.

    Args:
        env: Name of an environment, or a class of your own. The arguments of its constructor become settings
            ``env.…``; it must be importable where its checkpoints are to be loaded.
        *words: Settings as on the command line, for those with a dot: ``"env.n_agents=30"``.
        run_dir: Folder of the run, new; None for ``runs/<env>-<algo>-<date-time>``.
        recommended: For a class: what suits it, such as ``{"gamma": 0.95, "lr": 1e-3}``, instead of the values in
            ``conf/custom_env.yaml``.
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
    with tempfile.TemporaryDirectory() as own:
        if isinstance(env, str):
            if recommended is not None:
                raise InputError(
                    "recommended", "a class of your own as env", f"env={env}", 'words such as "learner.lr=0.001"'
                )
            name = env
        else:
            name = _describe(env, recommended or {}, Path(own))
        named = [f"{key.replace('__', '.')}={word_of(value)}" for key, value in settings.items()]
        config = compose([f"env={name}", *words, *named], [own])
    if config["study"] is not None:
        raise InputError("experiment", "settings of one run", "a study", "use the command line for it")
    folder = Path(run_dir or config["run_dir"] or default_run_dir(config))
    console = Console(stderr=True) if progress else Console(file=io.StringIO(), force_jupyter=False)
    return Trained(folder, train_run(config, folder, console))


def load(path: str | Path, **env_settings: Any) -> Policy:
    """The policy of a run folder (its best checkpoint) or of a checkpoint file.

    Args:
        path: The folder or the file.
        **env_settings: Settings of the environment to change, such as ``n_agents=200``.

    Raises:
        InputError: If there is no checkpoint, or it does not fit the changed environment.
    """
    return Policy(open_checkpoint(path, resume=False), **env_settings)


def _describe(env: type[BatchedEnv], recommended: Mapping[str, Any], folder: Path) -> str:
    """Write the YAML of a class into ``folder/env`` and return its name."""
    if not (isinstance(env, type) and issubclass(env, BatchedEnv)):
        raise InputError("env", "the name of an environment or a subclass of BatchedEnv", repr(env))
    common = yaml.safe_load((CONF / "custom_env.yaml").read_text())["recommended"]
    unknown = [key for key in recommended if key not in common]
    if unknown:
        raise InputError(f"recommended.{unknown[0]}", f"one of {', '.join(common)}", "an unknown setting")
    arguments = {
        name: parameter.default
        for name, parameter in inspect.signature(env).parameters.items()
        if name not in _GIVEN and parameter.default is not parameter.empty
    }
    name = env.__name__.lower()
    node = {"_target_": f"{env.__module__}.{env.__qualname__}", "name": name, **arguments}
    (folder / "env").mkdir()
    content = yaml.safe_dump({**node, "recommended": {**common, **recommended}}, sort_keys=False)
    (folder / "env" / f"own_{name}.yaml").write_text(content)  # a name that hides no environment of ours
    return f"own_{name}"
