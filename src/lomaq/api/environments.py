"""Environments from Python, by their names."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lomaq.config import choices, compose
from lomaq.config.own import name_of, write_env
from lomaq.config.words import word_of
from lomaq.envs import BatchedEnv, to_pettingzoo
from lomaq.errors import INSTALL, InputError, check_int
from lomaq.evaluation import RandomActor, evaluate, make_test_env
from lomaq.training.build import env_maker

if TYPE_CHECKING:
    from pettingzoo import ParallelEnv


def random_return(
    env: str | type[BatchedEnv], *words: str, episodes: int = 100, seed: int = 0, **settings: Any
) -> Tensor:
    """Returns ``[episodes]`` float64 of agents that act by chance: what a policy must beat.

    Args:
        env: Name of an environment, or a subclass of BatchedEnv.
        *words: Settings as on the command line, such as ``"env.n_agents=30"``.
        episodes: Episodes to play, at least 1.
        seed: Seed of their starts and of the actions, at least 0.
        **settings: Further settings, a dot written as two underscores: ``env__n_agents=30``.

    Raises:
        InputError: If a setting is unknown or impossible.

    Example:
        >>> random_return("cartpole", env__n_agents=3, episodes=4).shape
        torch.Size([4])
    """
    config = composed(env, [*words, *words_of(settings)])
    check_int("episodes", episodes, 1)
    check_int("seed", seed, 0)
    with make_test_env(env_maker(config), episodes, torch.device("cpu")) as made:
        return evaluate(RandomActor(seed), made, episodes, seed).returns


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


def composed(
    env: str | type[BatchedEnv], given: Sequence[str], recommended: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The configuration of a run on an environment, by its name or its class; a class of ours is its name."""
    env = env if isinstance(env, str) else name_of(env) or env
    if isinstance(env, str):
        if recommended is not None:
            remedy = 'give words such as "learner.lr=0.001"'
            raise InputError("recommended", "a class of your own", f"env={env}", remedy)
        return compose([f"env={env}", *given])
    with tempfile.TemporaryDirectory() as folder:
        name = write_env(env, recommended or {}, Path(folder))
        return compose([f"env={name}", f"--config-dir={folder}", *given])


def words_of(settings: Mapping[str, Any], config_dir: str | Path | None = None) -> list[str]:
    """Keyword arguments as words of the command line."""
    folders = [] if config_dir is None else [f"--config-dir={config_dir}"]
    return [*folders, *(f"{key.replace('__', '.')}={word_of(value)}" for key, value in settings.items())]
