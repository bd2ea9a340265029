"""What every mixer is: utilities of all agents in, the value of every block out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from lomaq.errors import InputError, check_choice, check_float, check_int
from lomaq.graphs import AgentGraph, Partition
from lomaq.nn import observation_factors
from lomaq.nn.chunks import in_chunks
from lomaq.nn.monotone import ACTIVATIONS, CONSTRAINTS, INITS, Activation, Constraint, Init


class Mixer(nn.Module, ABC):
    """Monotone mixer of the utilities within kappa hops of each block (Assumption 2, Proposition 5).

    ∂F_J/∂U_i ≥ 0 everywhere (but for ``soft``), and exactly 0 for agents i beyond the kappa-hop neighbourhood of J.

    Args:
        graph: The agents.
        partition: The blocks J.
        kappa: Radius of a block's receptive field in hops, at least 0.
    """

    _block_scale: Tensor
    #: A warning to print before a run starts, such as a cost that grows out of hand; one line.
    note: str | None = None
    #: Whether it promises to be monotone everywhere; ``soft`` ones do not.
    hard: bool = True

    def __init__(self, graph: AgentGraph, partition: Partition, kappa: int) -> None:
        super().__init__()
        assert partition.n_agents == graph.n_agents
        self.graph, self.partition = graph, partition
        self.n_agents, self.n_blocks = graph.n_agents, partition.n_blocks
        self.kappa = check_int("kappa", kappa, 0)
        self.penalty = 0.0  # weight of the violation in the loss
        self.numbers = self.n_agents  # of the widest layer for one sample: as many samples as that allows run together
        self.register_buffer("_block_scale", torch.ones(self.n_blocks), persistent=False)

    def forward(self, utilities: Tensor, observations: Tensor | None = None) -> Tensor:
        """Block values ``[..., P]``.

        Args:
            utilities: ``[..., N]`` float32, one utility an agent.
            observations: ``[..., N, O]`` float32; only mixers whose weights depend on the state use them.
        """
        assert utilities.size(-1) == self.n_agents, (utilities.shape, self.n_agents)
        flat, seen = utilities.reshape(-1, self.n_agents).T, observations
        if seen is not None:
            seen = seen.reshape(-1, *seen.shape[-2:])  # [M, N, O]
        (values,) = in_chunks(lambda *x: (self._mix(*x),), (flat, seen), (1, 0), (1,), self.numbers)  # [P, M]
        return (values.T * self._block_scale).view(*utilities.shape[:-1], self.n_blocks)

    def forward_with_violation(self, utilities: Tensor, observations: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Block values ``[..., P]``, and how far the mixer is from monotone, Σ_J Σ_i ReLU(-∂F_J/∂U_i) (Section 4.1).

        Arguments are those of :meth:`forward`, ``utilities`` require a gradient; the violation ``[...]`` has one too.
        """
        raise NotImplementedError(f"{type(self).__name__} has no soft monotonicity")

    @abstractmethod
    def _mix(self, utilities: Tensor, observations: Tensor | None) -> Tensor:
        """Block values ``[P, M]`` of utilities ``[N, M]`` and observations ``[M, N, O]``."""

    @torch.no_grad()
    def proof(self) -> str | None:
        """Why no block falls in any utility, whatever these and the observations are; None where nothing shows it.

        It reads the weights as they are now and holds in exact arithmetic. A class has to define
        :meth:`_multipliers` itself: what a subclass adds could fall.
        """
        if "_multipliers" not in vars(type(self)):
            return None
        finite = all(bool(parameter.isfinite().all()) for parameter in self.parameters())
        rising = all(bool((factor >= 0).all()) for factor in (self._block_scale, *self._multipliers()))
        return "no weight is negative, no activation falls" if finite and rising else None

    def _multipliers(self) -> Iterable[Tensor]:
        """What utilities, and all that depends on them, are multiplied with, but for factors that cannot be negative.

        A class that defines it vouches that everything else on their way to the values is a sum or rises.
        """
        raise NotImplementedError(f"{type(self).__name__} proves nothing")

    def project_(self) -> None:
        """Make the mixer monotone again after an optimiser step, where that needs something (Algorithm 3, line 27)."""

    def head(self) -> list[nn.Parameter]:
        """The parameters of the last, linear layer; none where block values are plain sums of utilities."""
        return []

    @torch.no_grad()
    def rescale_(self, factor: float) -> None:
        """Multiply every block value by ``factor`` > 0, in the last layer."""
        for parameter in self.head():
            parameter.mul_(factor)


class StateMixer(Mixer):
    """A mixer of one block whose weights a hypernetwork computes from the state s: the observations of all agents.

    F uses their absolute values, and is monotone in every utility.

    Args:
        graph: The agents.
        partition: ``full``, one block of all agents.
        obs_size: Observation size O.
        hidden: Width H of the last hidden layer, at least 1.
        hyper_hidden: Width of the hypernetworks' hidden layers, at least 1.
        observation_scale: Fixed factor for each of the O observed numbers, or None.

    Raises:
        InputError: If there are several blocks.
    """

    _scale: Tensor

    def __init__(
        self,
        graph: AgentGraph,
        partition: Partition,
        obs_size: int,
        hidden: int = 32,
        hyper_hidden: int = 64,
        observation_scale: Sequence[float] | None = None,
    ) -> None:
        super().__init__(graph, partition, kappa=0)  # the block itself holds every agent
        if partition.n_blocks != 1:
            remedy = "partition=full, or mixer=mlp mixer.state=local for blocks with state"
            raise InputError("partition", f"full for {type(self).__name__}", f"{partition.n_blocks} blocks", remedy)
        self.hidden = check_int("mixer.hidden", hidden, 1)
        self.numbers = self.n_agents * hidden
        check_int("mixer.hyper_hidden", hyper_hidden, 1)
        scale = observation_factors("mixer.observation_scale", observation_scale, obs_size)
        self.register_buffer("_scale", scale, persistent=False)
        self._build(obs_size, hyper_hidden)

    def _build(self, obs_size: int, hyper_hidden: int) -> None:
        """Make the layers; a class with further settings makes them in its constructor instead."""


class MonotoneNetwork(Mixer):
    """A mixer whose weights do not depend on the state; their sign makes it monotone (Section 4.1).

    The first arguments are those of :class:`Mixer`.

    Args:
        hidden: Width of the hidden layers, at least 2; an even number for ``split``.
        monotonicity: ``projection`` clamps weights at 0 after every update (the paper's hard constraint);
            ``reparametrisation`` uses their absolute values; ``soft`` leaves them free and penalises falling mixers,
            see :meth:`forward_with_violation` (the paper's LOMAQ-s).
        activation: ``elu`` (the paper) or ``split``, see :func:`lomaq.nn.activate`.
        init: How weights and hidden biases are initialised, ``mean``, ``normal``, ``decayed``, ``negative_bias``
            or, for ``soft`` alone, ``free``, see :func:`lomaq.nn.init_weight_` and :func:`lomaq.nn.init_bias`.
        weight_sharing: How far the agents of a receptive field share their weights, in [0, 1]: 0 learns each weight
            freely, 1 gives all the same, so that a block is a monotone function of the sum of its inputs, and a utility
            carries the sum of its effects on every block that depends on it. With free weights a block comes to depend
            mostly on its owner, and an action that costs the owner and helps its neighbours has a low utility.
    """

    identity: ClassVar[tuple[str, ...]] = ("monotonicity",)

    def __init__(
        self,
        graph: AgentGraph,
        partition: Partition,
        kappa: int,
        hidden: int = 32,
        monotonicity: Constraint = "reparametrisation",
        activation: Activation = "elu",
        init: Init = "mean",
        weight_sharing: float = 0.0,
    ) -> None:
        super().__init__(graph, partition, kappa)
        self.hidden = check_int("mixer.hidden", hidden, 2)
        self.numbers = self.n_agents * hidden
        check_choice("mixer.monotonicity", monotonicity, CONSTRAINTS)
        check_choice("mixer.activation", activation, ACTIVATIONS)
        check_choice("mixer.init", init, INITS)
        if init == "free" and monotonicity != "soft":
            raise InputError("mixer.init", "free with mixer.monotonicity=soft alone", f"free with {monotonicity}")
        if activation == "split" and hidden % 2:
            raise InputError("mixer.hidden", "an even number for mixer.activation=split", hidden)
        self.monotonicity, self.activation, self.init = monotonicity, activation, init
        self.hard = monotonicity != "soft"
        self.weight_sharing = check_float("mixer.weight_sharing", weight_sharing, 0, 1)
        # a block's value is a sum over its agents, so large blocks have larger values; 1 where all blocks have one size
        sizes = partition.sizes.float()
        self._block_scale = sizes / sizes.mean()
        self._build(graph, partition)

    def _build(self, graph: AgentGraph, partition: Partition) -> None:
        """Make the layers; a class with further settings makes them in its constructor instead."""

    @abstractmethod
    def weights(self) -> list[nn.Parameter]:
        """The parameters that must not be negative."""

    @torch.no_grad()
    def project_(self) -> None:
        if self.monotonicity == "projection":
            for weight in self.weights():
                weight.clamp_(min=0)
