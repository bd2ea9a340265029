"""Our environments for those who speak PettingZoo; the package itself is needed only when it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lomaq.envs.base import BatchedEnv
from lomaq.errors import INSTALL, InputError

if TYPE_CHECKING:
    from pettingzoo import ParallelEnv


def to_pettingzoo(env: BatchedEnv) -> ParallelEnv:
    """One of our environments as a PettingZoo parallel environment.

    Observations are arrays ``[O]`` float32; where there are action masks, dictionaries of ``observation`` and
    ``action_mask`` ``[A]`` int8, as PettingZoo has them. Rewards are local. All agents leave together.

    Args:
        env: Environments with ``n_envs=1``.

    Raises:
        InputError: If it has several parallel environments.
    """
    if env.n_envs != 1:
        raise InputError("to_pettingzoo", "an environment with n_envs=1", f"n_envs={env.n_envs}")
    try:
        from lomaq.envs.pettingzoo.parallel import Parallel
    except ImportError as error:
        expected, got = "the packages gymnasium and pettingzoo", f"no {error.name}"
        raise InputError("to_pettingzoo", expected, got, INSTALL.format("pettingzoo")) from error
    return Parallel(env)
