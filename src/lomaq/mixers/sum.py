"""Plain sums of utilities: VDN, its local form, and no mixing at all."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from lomaq.errors import check_bool
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers.base import Mixer


class SumMixer(Mixer):
    """F_J = Σ_i U_i over the agents i within kappa hops of block J.

    With the partition ``full`` it is VDN (Sunehag et al., 2018); with singletons and local rewards each block is the
    plain sum of the utilities it sees (local VDN).

    Args:
        graph: The agents.
        partition: The blocks J.
        kappa: Number of hops a block sees, at least 0.
        own: Sum over the agents of J alone, whatever ``kappa``: with singletons nothing is mixed (independent
            Q-learning).

    Attributes:
        alone: Whether each block is one agent that sees itself alone, so that nothing is mixed.

    Example:
        >>> import torch
        >>> line = AgentGraph.line(3)
        >>> SumMixer(line, Partition.singletons(3), kappa=1)(torch.tensor([1.0, 10.0, 100.0]))
        tensor([ 11., 111., 110.])
    """

    identity: ClassVar[tuple[str, ...]] = ("own",)
    _sees: Tensor

    def __init__(self, graph: AgentGraph, partition: Partition, kappa: int, own: bool = False) -> None:
        super().__init__(graph, partition, kappa)
        matrix = partition.reach(graph, 0 if check_bool("mixer.own", own) else kappa)
        self.register_buffer("_sees", matrix, persistent=False)
        self.alone = self.n_blocks == self.n_agents == len(matrix.values())

    def _mix(self, utilities: Tensor, observations: Tensor | None) -> Tensor:
        return utilities if self.alone else self._sees @ utilities
