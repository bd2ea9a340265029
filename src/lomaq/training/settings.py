"""Settings of the learner, one code path with three presets (conf/learner), and of its tests."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
from torch import nn

from lomaq.errors import InputError, check_bool, check_choice, check_float, check_int
from lomaq.nn.exploration import Epsilon
from lomaq.objectives import Objective, QLearning
from lomaq.runs import Evaluation

OPTIMIZERS = {"radam": torch.optim.RAdam, "adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}
CHOICES: dict[str, Collection[str]] = {
    "optimizer": OPTIMIZERS,
    "lr_decay": ("linear", "none"),
    "target": ("none", "hard", "soft"),
    "value_scale": ("running", "none"),
}


@dataclass(frozen=True)
class LearnerSettings:
    """How much is collected, kept and learned in one iteration, and how.

    Args:
        objective: The loss.
        n_envs: Parallel environments of each process.
        rollout_steps: Steps of a rollout in each copy, at least 2; None for one whole episode each.
        replay_capacity: Sequences kept; None for the last rollout only.
        batch_size: Sequences drawn from the replay memory for an iteration; None (with no capacity) for all.
        epochs: Passes over what was drawn.
        minibatches: Parts, along sequences, that a pass is split into.
        optimizer: ``radam``, ``adam`` or ``rmsprop``.
        optimizer_options: Further arguments of the optimiser, such as ``{alpha: 0.99, eps: 1.0e-5}``.
        lr: Learning rate, above 0.
        lr_decay: ``linear`` to 0 at the end of the budget, or ``none``.
        grad_clip: Largest norm of the gradient, above 0.
        target: Networks that make the targets: ``none`` the online ones, ``hard`` a copy renewed every
            ``target_every`` rollouts, ``soft`` a moving average with rate ``target_rate``.
        target_every: Rollouts between two renewals.
        target_rate: Rate of the average, in (0, 1].
        value_scale: ``running`` learns values in units of one running scale, ``none`` raw.
        scale_decay: Weight of the past in that scale at each iteration, in [0, 1).
        epsilon: Schedule of exploration.
    """

    objective: Objective
    n_envs: int = 32
    rollout_steps: int | None = 25
    replay_capacity: int | None = None
    batch_size: int | None = None
    epochs: int = 2
    minibatches: int = 4
    optimizer: Literal["radam", "adam", "rmsprop"] = "radam"
    optimizer_options: dict[str, Any] = field(default_factory=dict)
    lr: float = 3e-3
    lr_decay: Literal["linear", "none"] = "linear"
    grad_clip: float = 10.0
    target: Literal["none", "hard", "soft"] = "none"
    target_every: int = 50
    target_rate: float = 0.01
    value_scale: Literal["running", "none"] = "running"
    scale_decay: float = 0.99
    epsilon: Epsilon = field(default_factory=Epsilon)

    def __post_init__(self) -> None:
        if not isinstance(self.objective, Objective):
            raise InputError("learner.objective", "an objective with its _target_", "none", "algo=coma has its own")
        for name in ("n_envs", "epochs", "minibatches", "target_every"):
            check_int(f"learner.{name}", getattr(self, name), 1)
        for name, choices in CHOICES.items():
            check_choice(f"learner.{name}", getattr(self, name), choices)
        for name in ("lr", "grad_clip"):
            check_float(f"learner.{name}", getattr(self, name), 0, above=True)
        check_float("learner.target_rate", self.target_rate, 0, 1, above=True)
        check_float("learner.scale_decay", self.scale_decay, 0, 1, below=True)
        if self.rollout_steps is not None:
            check_int("learner.rollout_steps", self.rollout_steps, 2)  # one could be a reset alone
        if (self.replay_capacity is None) != (self.batch_size is None):
            expected = "a number exactly when learner.replay_capacity is one"
            remedy = "set both for a replay memory, neither for the last rollout"
            raise InputError("learner.batch_size", expected, self.batch_size, remedy)
        if self.replay_capacity is not None:
            check_int("learner.replay_capacity", self.replay_capacity, self.n_envs)
            check_int("learner.batch_size", self.batch_size, 1, self.replay_capacity)
            if self.objective.on_policy:
                expected = f"null for {type(self.objective).__name__}, which learns from the present policy alone"
                remedy = "learner.replay_capacity=null learner.batch_size=null"
                if isinstance(self.objective, QLearning):
                    remedy += ", or learner.objective.target=greedy"
                raise InputError("learner.replay_capacity", expected, self.replay_capacity, remedy)
        if self.minibatches > (sequences := self.batch_size or self.n_envs):
            whole = "learner.batch_size" if self.batch_size else "learner.n_envs"
            remedy = f"learner.minibatches={sequences}, or a larger {whole}"
            raise InputError("learner.minibatches", f"at most {whole}, {sequences}", self.minibatches, remedy)
        self._try_optimizer()

    def _try_optimizer(self) -> None:
        """Take one step of nothing, since some options are used only then."""
        parameter = nn.Parameter(torch.zeros(1))
        parameter.grad = torch.zeros(1)
        with self._naming_options():
            self.make_optimizer([parameter]).step()

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser with its options.

        Raises:
            InputError: If an option is unknown to it or impossible.
        """
        with self._naming_options():
            return OPTIMIZERS[self.optimizer](parameters, lr=self.lr, foreach=True, **self.optimizer_options)

    @contextmanager
    def _naming_options(self) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            name, options = "learner.optimizer_options", self.optimizer_options
            raise InputError(name, f"options of {self.optimizer}", options, str(error)) from error


@dataclass(frozen=True)
class TestSettings:
    """When the utilities are tested while they are trained, with how many episodes, and what a test decides.

    Args:
        episodes: Episodes of the last test, at least 1.
        every_env_steps: Env steps between tests, at least 1.
        episodes_while_training: Episodes of the tests before; None, or more, for as many as in the last.
        at_start: Whether there is one before training, too.
        best_by: What best.ckpt goes by, see :meth:`lomaq.runs.Evaluation.score`.
        stop_at: The run ends with the first test whose mean of ``best_by`` is as good; None: with its budget alone.
    """

    __test__ = False  # to pytest

    episodes: int
    every_env_steps: int
    episodes_while_training: int | None = None
    at_start: bool = True
    best_by: str = "return"
    stop_at: float | None = None

    def __post_init__(self) -> None:
        check_int("evaluation.episodes", self.episodes, 1)
        check_int("evaluation.every_env_steps", self.every_env_steps, 1)
        if self.episodes_while_training is not None:
            check_int("evaluation.episodes_while_training", self.episodes_while_training, 1)
        check_bool("evaluation.at_start", self.at_start)
        if self.stop_at is not None:
            check_float("evaluation.stop_at", self.stop_at, -math.inf)

    @classmethod
    def of(cls, evaluation: dict[str, Any]) -> TestSettings:
        """Those among the settings ``evaluation.*`` of a run."""
        return cls(**{field.name: evaluation[field.name] for field in fields(cls)})

    @property
    def few(self) -> int:
        """Episodes of a test before the last one."""
        return min(self.episodes, self.episodes_while_training or self.episodes)

    def good_enough(self, test: Evaluation) -> bool:
        """Whether the run ends with this test."""
        if self.stop_at is None:
            return False
        return test.score(self.best_by) >= (-self.stop_at if self.best_by.startswith("-") else self.stop_at)
