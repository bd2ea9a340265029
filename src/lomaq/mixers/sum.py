"""Plain sums of utilities: VDN, its local form, and no mixing at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor

from lomaq.errors import check_bool
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers.base import Mixer


class SumMixer(Mixer):
    """F_J = Σ_i U_i over the agents i within kappa hops of block J.

    With the partition ``full`` it is VDN (Sunehag et al., 2018); with singletons and local rewards each block is the
    plain sum of the utilities in its receptive field (local VDN).

    Args:
        graph: The agents.
        partition: The blocks J.
        kappa: Radius of a block's receptive field in hops, at least 0.
        independent: Sum over the agents of J alone, whatever ``kappa``: with singletons nothing is mixed (independent
            Q-learning).

    Attributes:
        independent: Whether each block is the utility of one agent, so that nothing is mixed.
    """

    identity: ClassVar[tuple[str, ...]] = ("independent",)
    _receptive_field: Tensor

    def __init__(self, graph: AgentGraph, partition: Partition, kappa: int, independent: bool = False) -> None:
        super().__init__(graph, partition, kappa)
        matrix = partition.receptive_field(graph, 0 if check_bool("mixer.independent", independent) else kappa)
        self.register_buffer("_receptive_field", matrix, persistent=False)
        self.independent = self.n_blocks == self.n_agents == len(matrix.values())

    def _mix(self, utilities: Tensor, observations: Tensor | None) -> Tensor:
        return utilities if self.independent else self._receptive_field @ utilities

    def _multipliers(self) -> Iterable[Tensor]:
        return [self._receptive_field.values()]
