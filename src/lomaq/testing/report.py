"""Examines an environment check by check, and reports."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from lomaq.envs import BatchedEnv, contract
from lomaq.errors import InputError
from lomaq.testing.checks import CHECKS, NEEDED, Failure, Make, Warned, made


@dataclass(frozen=True)
class Check:
    """One line of a report.

    Attributes:
        name: What was examined.
        status: ``passed``, ``failed``, or ``warning``, which is no failure.
        found: What was found.
        remedy: What to do about it, if it did not pass.
    """

    name: str
    status: Literal["passed", "failed", "warning"]
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Report:
    """What :func:`check_env` found.

    Attributes:
        env: The class of the environment.
        checks: All that was examined; nothing after a first failure that leaves nothing to examine.
    """

    env: str
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """What failed."""
        return tuple(check for check in self.checks if check.status == "failed")

    def __str__(self) -> str:
        lines = (f"{c.name}: {c.found}" + (f"; {c.remedy}" if c.remedy else "") for c in self.failures)
        return "\n".join([f"{self.env} breaks its contract", *lines]) if self.failures else f"{self.env} passed"


class EnvCheckError(AssertionError):
    """An environment breaks its contract; the message has a line for each failure.

    Attributes:
        report: All that was found.
    """

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


def check_env(env: type[BatchedEnv] | Callable[..., BatchedEnv], **settings: Any) -> Report:
    """Examine an environment; the whole contract is in ``docs/how-to/own-environment.md``.

    Args:
        env: A subclass of BatchedEnv, or a function that makes one; called with ``n_envs``, ``seed`` and ``device``.
        **settings: Further arguments for it.

    Returns:
        What was found, warnings among it.

    Raises:
        EnvCheckError: If it breaks its contract.
    """
    name = contract.title(env) if isinstance(env, type) else "the environment"
    report = examine(lambda n_envs, seed, device: env(n_envs=n_envs, seed=seed, device=device, **settings), name)
    if report.failures:
        raise EnvCheckError(report)
    return report


@torch.no_grad()
def examine(make: Make, name: str = "the environment") -> Report:
    """Examine the environments that ``make`` makes; the random generators of the process are left as they are.

    Args:
        make: Makes them.
        name: What the report calls them.
    """
    n_envs = 1
    checks: list[Check] = []
    with _own_randomness():
        for what, check in CHECKS.items():
            checks.append(_run(what, check, make, n_envs))
            if what in NEEDED and checks[-1].status == "failed":
                break
            if n_envs == 1:  # a size that no other axis has
                env = made(make, 1)
                n_envs = next(b for b in range(5, 9) if b not in (env.n_agents, env.n_actions, env.obs_size))
    return Report(name, tuple(checks))


def _run(name: str, check: Callable[[Make, int], str], make: Make, n_envs: int) -> Check:
    with ExitStack() as opened:
        return _outcome(name, check, lambda *sizes: _closed_by(opened, make(*sizes)), n_envs)


def _closed_by(opened: ExitStack, env: BatchedEnv) -> BatchedEnv:
    if isinstance(env, BatchedEnv):
        opened.callback(env.close)
    return env


def _outcome(name: str, check: Callable[[Make, int], str], make: Make, n_envs: int) -> Check:
    try:
        return Check(name, "passed", check(make, n_envs))
    except Failure as failure:
        return Check(name, "warning" if isinstance(failure, Warned) else "failed", *failure.args)
    except InputError as error:
        what, expected, got, remedy = error.parts
        return Check(name, "failed", f"{what}: expected {expected}, got {got}", remedy)
    except Exception as error:  # whatever the class does
        return Check(name, "failed", contract.described(error))


@contextmanager
def _own_randomness() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
