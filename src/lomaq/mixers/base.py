"""What every mixer is: utilities of all agents in, the value of every block out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from lomaq.errors import InputError, check_choice, check_float, check_int
from lomaq.graphs import AgentGraph, Partition
from lomaq.nn.monotone import ACTIVATIONS, CONSTRAINTS, STARTS, Activation, Constraint, Start


class Mixer(nn.Module, ABC):
    """Monotone mixer of the utilities within kappa hops of each block (Assumption 2, Proposition 5).

    ∂F_J/∂U_i ≥ 0 everywhere (but for ``soft``), and exactly 0 for agents i beyond the kappa-hop neighbourhood of J.

    Args:
        graph: The agents.
        partition: The blocks J.
        kappa: Number of hops a block sees, at least 0.
    """

    _loudness: Tensor
    #: What a user should know before a run starts, such as a cost that grows out of hand; one line.
    note: str | None = None

    def __init__(self, graph: AgentGraph, partition: Partition, kappa: int) -> None:
        super().__init__()
        assert partition.n_agents == graph.n_agents
        self.n_agents, self.n_blocks = graph.n_agents, partition.n_blocks
        self.kappa = check_int("kappa", kappa, 0)
        self.penalty = 0.0  # weight of the violation in the loss
        self.register_buffer("_loudness", torch.ones(self.n_blocks), persistent=False)

    def forward(self, utilities: Tensor, observations: Tensor | None = None) -> Tensor:
        """Mix.

        Args:
            utilities: ``[..., N]`` float32, one utility an agent.
            observations: ``[..., N, O]`` float32, what each agent sees; only mixers with local state look at them.

        Returns:
            Block values ``[..., P]``.
        """
        assert utilities.size(-1) == self.n_agents, (utilities.shape, self.n_agents)
        values = self._mix(utilities.reshape(-1, self.n_agents).T, observations)  # [P, M]
        return (values.T * self._loudness).view(*utilities.shape[:-1], self.n_blocks)

    def forward_with_violation(self, utilities: Tensor, observations: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mix, and measure how far the mixer is from being monotone: Σ_J Σ_i ReLU(-∂F_J/∂U_i) (Section 4.1).

        Args:
            utilities: ``[..., N]``, requiring a gradient.
            observations: ``[..., N, O]``, as in :meth:`forward`.

        Returns:
            Block values ``[..., P]`` and the violation ``[...]``, both differentiable.
        """
        raise NotImplementedError(f"{type(self).__name__} has no soft monotonicity")

    @abstractmethod
    def _mix(self, utilities: Tensor, observations: Tensor | None) -> Tensor:
        """Block values ``[P, M]`` of utilities ``[N, M]`` and observations ``[..., N, O]``."""

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


class MonotoneNetwork(Mixer):
    """A mixer with weights of its own, which are what makes it monotone (Section 4.1).

    Args:
        graph: The agents.
        partition: The blocks J.
        kappa: Number of hops a block sees, at least 0.
        hidden: Width of the hidden layers, at least 2; an even number for ``split``.
        monotonicity: ``projection`` clamps weights at 0 after every update (the paper's hard constraint);
            ``reparametrisation`` uses their absolute values; ``soft`` leaves them free and penalises falling mixers,
            see :meth:`forward_with_violation` (the paper's LOMAQ-s).
        activation: ``elu`` (the paper) or ``split``, see :func:`lomaq.nn.activate`.
        start: Where weights and hidden biases begin, ``mean``, ``normal``, ``decayed`` or ``bent``, see
            :func:`lomaq.nn.start_weight_` and :func:`lomaq.nn.start_bias`.
        tie: How far the agents that a block sees share their weights, in [0, 1]: 0 learns each weight freely, 1 gives
            all the same, so that a block is a monotone function of the sum of what it sees. With free weights a block
            comes to listen to its owner, whose state decides most of its reward, and an action that costs the owner
            and helps the neighbours looks bad in the only utility that could want it; with equal weights a utility
            answers for the sum of its effects on every block that sees it.
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
        start: Start = "mean",
        tie: float = 0.0,
    ) -> None:
        super().__init__(graph, partition, kappa)
        self.hidden = check_int("mixer.hidden", hidden, 2)
        check_choice("mixer.monotonicity", monotonicity, CONSTRAINTS)
        check_choice("mixer.activation", activation, ACTIVATIONS)
        check_choice("mixer.start", start, STARTS)
        if activation == "split" and hidden % 2:
            raise InputError("mixer.hidden", "an even number for mixer.activation=split", hidden)
        self.monotonicity, self.activation, self.start = monotonicity, activation, start
        self.tie = check_float("mixer.tie", tie, 0, 1)
        # a block's value is a sum over its agents, so large blocks speak louder; 1 where all blocks are of one size
        sizes = partition.sizes.float()
        self._loudness = sizes / sizes.mean()

    @abstractmethod
    def weights(self) -> list[nn.Parameter]:
        """The parameters that must not be negative."""

    @torch.no_grad()
    def project_(self) -> None:
        if self.monotonicity == "projection":
            for weight in self.weights():
                weight.clamp_(min=0)
