"""Settings of learned rewards (the groups' networks, their fit, which are used) and of learned sharing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lomaq.errors import InputError, check_choice, check_float, check_int


@dataclass(frozen=True)
class NetworkSettings:
    """The networks of the groups' rewards r_I.

    Args:
        inputs: What r_I depends on, of each member of the group: ``observations`` (the released code) or
            ``observations_actions`` (as printed), actions one-hot.
        share: Which groups use the same network: ``size`` those of equal size (the paper), their members in order of
            agent index; ``class`` those of equal size whose surroundings look alike, members in matching order;
            ``own`` none.
        hidden: Sizes of the three hidden layers. Table 2 gives 64 and 128 and leaves out the third.
    """

    inputs: Literal["observations", "observations_actions"] = "observations"
    share: Literal["size", "class", "own"] = "size"
    hidden: Sequence[int] = (64, 128, 64)

    def __post_init__(self) -> None:
        check_choice("reward.networks.inputs", self.inputs, ("observations", "observations_actions"))
        check_choice("reward.networks.share", self.share, ("size", "class", "own"))
        if isinstance(self.hidden, str) or not isinstance(self.hidden, Sequence) or len(self.hidden) != 3:
            raise InputError("reward.networks.hidden", "three layer sizes such as [64, 128, 64]", repr(self.hidden))
        for size in self.hidden:
            check_int("reward.networks.hidden", size, 1)


@dataclass(frozen=True)
class FitSettings:
    """How r_I are fitted to the team reward (Algorithm 4).

    Args:
        loss: For regression, ``squared`` (Eq. 2) or ``log_cosh`` (the released code).
        lr: Learning rate of Adam, above 0; follows ``learner.lr_decay``.
        batch_size: Sequences of a step, drawn from the batch of the values; None for all of them.
        updates: Steps in each iteration, at least 1.
        settled_updates: Steps in an iteration whose new rollout the networks know before they have learned from it (see
            :meth:`lomaq.rewards.DecomposedReward.observe`), at least 1; None, or more than ``updates``, for as many.
        regularisation: λ ≥ 0 of λ Σ_I w(|I|)·|r_I|, averaged over samples (Algorithm 4 as printed sums, as it does
            with the error).
        weights: w(1), w(2), … for at least every size that occurs, each at least 0; Figure 6 has w(1) = 0, w(2) = 1.
            The paper wants them to grow with |I|.
    """

    loss: Literal["squared", "log_cosh"] = "log_cosh"
    lr: float = 0.01
    batch_size: int | None = None
    updates: int = 1
    settled_updates: int | None = None
    regularisation: float = 0.0
    weights: Sequence[float] = (0.0, 1.0, 2.0, 3.0, 4.0)

    def __post_init__(self) -> None:
        check_choice("reward.fit.loss", self.loss, ("squared", "log_cosh"))
        check_float("reward.fit.lr", self.lr, 0, above=True)
        if self.batch_size is not None:
            check_int("reward.fit.batch_size", self.batch_size, 1)
        check_int("reward.fit.updates", self.updates, 1)
        if self.settled_updates is not None:
            check_int("reward.fit.settled_updates", self.settled_updates, 1)
        check_float("reward.fit.regularisation", self.regularisation, 0)
        if isinstance(self.weights, str) or not isinstance(self.weights, Sequence):
            raise InputError("reward.fit.weights", "a list of numbers, w(1), w(2), …", repr(self.weights))
        for weight in self.weights:
            check_float("reward.fit.weights", weight, 0)


@dataclass(frozen=True)
class GateSettings:
    """Which samples, by their error |Σ_I r_I - r| ≤ Δ, and when values are learned from them (Algorithm 5).

    Args:
        tolerance: Δ ≥ 0, in the unit of the team reward; None for Table 2's 0.1 an agent.
        relative_tolerance: Δ is also at most this share ≥ 0 of the standard deviation of all team rewards so far; None
            for no such bound, as in the paper. That deviation grows like √n while 0.1·n grows like n, so that with many
            agents a network that knows only the mean would pass.
        pass_rate: Share of valid samples that must pass before values are learned, in [0, 1].
    """

    tolerance: float | None = None
    relative_tolerance: float | None = None
    pass_rate: float = 0.9

    def __post_init__(self) -> None:
        if self.tolerance is not None:
            check_float("reward.gate.tolerance", self.tolerance, 0)
        if self.relative_tolerance is not None:
            check_float("reward.gate.relative_tolerance", self.relative_tolerance, 0)
        check_float("reward.gate.pass_rate", self.pass_rate, 0, 1)


@dataclass(frozen=True)
class SharingSettings:
    """How shares are learned.

    Args:
        share: Which agents have the same shares, and effects: ``ego`` those with isomorphic surroundings, so that they
            suit graphs of other sizes; ``none`` each its own.
        every: Iterations from one step to the next, at least 1.
        rate: Step of the shares, above 0.
        price: What a share must spare the blocks, of all that actions change, for each hop that it travels; at least 0.
        margin: Share in [0, 1] of an equal share of the team's gain that each block ought to have.
        hidden: Width of the effects' hidden layer, at least 1.
        updates: Steps in the one pass that the effects take over a batch, at least 1.
        lr: Their learning rate (Adam), above 0; follows ``learner.lr_decay``.
        gamma: Discount in [0, 1) of the returns that actions change.
        lam: λ of these returns, in [0, 1].
    """

    share: Literal["ego", "none"] = "ego"
    every: int = 2
    rate: float = 0.5
    price: float = 0.03
    margin: float = 1.0
    hidden: int = 32
    updates: int = 6
    lr: float = 0.02
    gamma: float = 0.95
    lam: float = 0.5

    def __post_init__(self) -> None:
        check_choice("reward.sharing.share", self.share, ("ego", "none"))
        check_int("reward.sharing.every", self.every, 1)
        check_float("reward.sharing.rate", self.rate, 0, above=True)
        check_float("reward.sharing.price", self.price, 0)
        check_float("reward.sharing.margin", self.margin, 0, 1)
        check_int("reward.sharing.hidden", self.hidden, 1)
        check_int("reward.sharing.updates", self.updates, 1)
        check_float("reward.sharing.lr", self.lr, 0, above=True)
        check_float("reward.sharing.gamma", self.gamma, 0, 1, below=True)
        check_float("reward.sharing.lam", self.lam, 0, 1)
