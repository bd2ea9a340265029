"""The contract of an objective: what it can train, how agents act for it, its targets and its loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from lomaq.envs.rollout import Rollout
from lomaq.errors import InputError
from lomaq.mixers import Mixer
from lomaq.nn import ActionSelector, Utilities, epsilon_greedy
from lomaq.rewards.returns import Returns

#: Numbers by the name under which metrics.csv, loggers and the progress line show them.
Metrics = dict[str, Tensor]
T = TypeVar("T", bound="Targets")


class Critic(nn.Module, ABC):
    """What an objective learns besides utilities and mixer; it may see everything, since only training uses it.

    Args:
        utilities: Of the agents it values; its observations have the same fixed factors as theirs.
    """

    _scale: Tensor

    def __init__(self, utilities: Utilities) -> None:
        super().__init__()
        scale = utilities.observation_scale
        self.register_buffer("_scale", torch.ones(utilities.obs_size) if scale is None else scale, persistent=False)

    @abstractmethod
    def last_layer(self) -> list[nn.Parameter]:
        """The parameters of the last, linear layers of its values."""

    @torch.no_grad()
    def rescale_(self, factor: float) -> None:
        """Multiply every value by ``factor`` > 0, in the last layer."""
        for parameter in self.last_layer():
            parameter.mul_(factor)


class ValueNetworks(nn.Module):
    """The utilities and the mixer, and the critic of the objective where it has one: all that is learned.

    Block values come out in units of the run's value scale σ, see :class:`lomaq.objectives.scale.ValueScale`.
    """

    critic: Any  # each objective knows its own

    def __init__(self, utilities: Utilities, mixer: Mixer, critic: Critic | None = None) -> None:
        super().__init__()
        self.utilities = utilities
        self.mixer = mixer
        self.critic = critic

    def unroll(self, rollout: Rollout, steps: int | None = None) -> Tensor:
        """Utilities of every action along the first ``steps`` (all T + 1) observations: ``[steps, B, N, A]``."""
        observations, previous = rollout.observations[:steps], rollout.previous_actions()[:steps]
        mask = None if rollout.action_mask is None else rollout.action_mask[:steps]
        return self.utilities(observations, previous, rollout.is_first[:steps], rollout.hidden, mask)[0]

    def rescale_(self, factor: float) -> None:
        """Multiply every value by ``factor``: in the mixer's last layer or the utilities', and in the critic's."""
        (self.mixer if self.mixer.head() else self.utilities).rescale_(factor)
        if self.critic is not None:
            self.critic.rescale_(factor)


@dataclass(frozen=True)
class Batch:
    """What targets are made from.

    Attributes:
        online: The networks that are trained.
        target: The networks whose values follow each step.
        rollout: The sequences.
        rewards: ``[T, B, P]`` block rewards.
        scale: σ, what one unit of the networks' values is worth.
        unrolled: ``unroll(online, rollout)`` where it is known already.
        generator: Source of randomness for objectives that draw actions.
        progress: Share of the budget that is spent, in [0, 1]: what schedules follow.
    """

    online: ValueNetworks
    target: ValueNetworks
    rollout: Rollout
    rewards: Tensor
    scale: float = 1.0
    unrolled: Any = None
    generator: torch.Generator | None = None
    progress: float = 0.0


@dataclass(frozen=True)
class Targets:
    """What a loss needs besides the rollout; an objective that needs more adds fields of its own.

    Attributes:
        returns: ``[T, B, P]`` float32, returns of the blocks, meaningless where the rollout's mask is false; the only
            field that is divided by σ.
        scale: σ, what one unit of ``returns`` is worth in rewards; 1 while they are raw.
    """

    returns: Tensor
    scale: float = 1.0

    def in_units_of(self: T, sigma: float) -> T:
        """The raw returns divided by σ; all other fields as they are."""
        return replace(self, returns=self.returns / sigma, scale=sigma)

    def select(self: T, columns: Tensor) -> T:
        """The sequences ``columns`` (``[B']`` int64)."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors: dict[str, Any] = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **{name: value.index_select(1, columns) for name, value in tensors.items()})


class Ascent(NamedTuple):
    """Critics of blocks along a rollout and the policies that ascend their advantages.

    Attributes:
        kappa: Hops within which a critic sees agents, and an agent ascends blocks.
        critic: V_J ``[..., P]`` of what the agents see, ``[..., N, S]`` float32; in units of σ.
        seen: What they see, ``[T + 1, B, N, S]``.
        advantages: A_J of what was done, ``[T, B, P]`` float32 in units of rewards.
        log_probs: log π_i of what was done, ``[T, B, N]``, differentiable by the agents' networks.
    """

    kappa: int
    critic: Callable[[Tensor], Tensor]
    seen: Tensor
    advantages: Tensor
    log_probs: Tensor


class Objective(ABC):
    """What the networks are trained for.

    Args:
        returns: How returns are made of rewards and values.

    Attributes:
        on_policy: Whether it must see rollouts of the present networks only, and so no replay memory.
        selects_online: Whether the targets take their actions from the online networks' outputs.
        policy: How agents act on their networks' outputs while they collect; in tests each takes its best action.
        stochastic: Whether the outputs are logits of policies, so that agents may also draw in tests, and an export has
            the probabilities.
    """

    stochastic: ClassVar[bool] = False
    on_policy = False
    selects_online = False
    policy: ActionSelector = staticmethod(epsilon_greedy)

    def __init__(self, returns: Returns) -> None:
        self.returns = returns

    def check(self, networks: ValueNetworks) -> None:
        """Refuse what this objective cannot train; here agents that do not act alone.

        Raises:
            InputError: If it cannot.
        """
        if not networks.utilities.decentralised:
            expected = f"agents that act alone for {type(self).__name__}"
            raise InputError("agent._target_", expected, type(networks.utilities).__name__, "algo=dcg trains these")

    def make_critic(self, utilities: Utilities, mixer: Mixer) -> Critic | None:
        """What is learned besides ``utilities`` and ``mixer``; here nothing."""
        return None

    def trained_mixer(self, networks: ValueNetworks) -> Mixer | None:
        """The mixer whose block values are trained, which a certificate is about; None where there is none."""
        return networks.mixer

    def mixed_values(self, networks: ValueNetworks, rollout: Rollout, steps: int | None = None) -> Tensor:
        """What the trained mixer mixes, ``[steps, B, N, A]``: a value of every agent's every action; here utilities."""
        return networks.unroll(rollout, steps)

    def ascent(self, batch: Batch) -> Ascent | None:
        """The critics of blocks whose advantages the agents ascend; None where they ascend none."""
        return None

    def another_pass(self, metrics: Metrics) -> bool:
        """Whether to learn from the same rollout again, by the mean metrics of the last pass over it; here always."""
        return True

    def unroll(self, networks: ValueNetworks, rollout: Rollout, steps: int | None = None) -> Any:
        """Outputs of the agents' networks along the first ``steps`` (all T + 1) observations; here utilities."""
        return networks.unroll(rollout, steps)

    def rescale_(self, networks: ValueNetworks, factor: float) -> None:
        """Multiply every value that ``networks`` hold by ``factor`` > 0."""
        networks.rescale_(factor)

    @property
    def unrolls_outputs(self) -> bool:
        """Whether :meth:`unroll` gives the agents' networks' outputs alone, which are known from acting."""
        return type(self).unroll is Objective.unroll

    @abstractmethod
    def targets(self, batch: Batch) -> Targets:
        """Targets with raw returns, which are cut before a step that is no transition."""

    @abstractmethod
    def transition_loss(
        self, online: ValueNetworks, rollout: Rollout, targets: Targets, outputs: Any
    ) -> tuple[Tensor, Metrics]:
        """Loss ``[T, B]`` of each transition and metrics ``[T, B]``; ``outputs`` are ``unroll(online, rollout, T)``."""

    def loss(
        self, online: ValueNetworks, rollout: Rollout, targets: Targets, unrolled: Any = None
    ) -> tuple[Tensor, Metrics]:
        """The loss, 0-dim float32, and its metrics, averaged over transitions.

        Args:
            online: The networks to train.
            rollout: The sequences.
            targets: With returns in units of σ.
            unrolled: ``unroll(online, rollout)`` where it is known already.
        """
        steps = rollout.n_steps
        if unrolled is None:
            unrolled = self.unroll(online, rollout, steps)
        outputs = unrolled[:steps] if isinstance(unrolled, Tensor) else tuple(x[:steps] for x in unrolled)
        loss, metrics = self.transition_loss(online, rollout, targets, outputs)
        means = {name: mean_over_transitions(value.detach(), rollout) for name, value in metrics.items()}
        return mean_over_transitions(loss, rollout), means


def greedy_actions(utilities: Tensor, rollout: Rollout) -> Tensor:
    """Each agent's best allowed action: utilities ``[t, B, N, A]`` of the first t observations → ``[t, B, N]``."""
    if rollout.action_mask is not None:
        utilities = utilities.masked_fill(~rollout.action_mask[: len(utilities)], -torch.inf)
    return utilities.argmax(dim=-1)


def epsilon_of(rollout: Rollout) -> Tensor:
    """ε of each sequence, ``[B, 1, 1]``; a rollout from a replay memory has none."""
    assert rollout.epsilon is not None
    return rollout.epsilon[:, None, None]


def mean_over_transitions(values: Tensor, rollout: Rollout) -> Tensor:
    """Mean of ``values`` ``[T, B]`` over the transitions; a part of a rollout may have none."""
    return (values * rollout.mask).sum() / rollout.n_transitions


def td_error(error: Tensor, targets: Targets) -> Tensor:
    """Mean |error| over blocks in the unit of the rewards: ``[T, B, P]`` in units of σ → ``[T, B]``."""
    return error.detach().abs().mean(dim=-1) * targets.scale
