"""QMIX's mixer: monotone in all utilities, with weights that hypernetworks make from the state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lomaq.errors import InputError, check_int
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers.base import Mixer
from lomaq.nn import observation_factors


class QMIXMixer(Mixer):
    """F(U, s) = |w_2(s)|ᵀ ELU(|W_1(s)| U + b_1(s)) + V(s) (Rashid et al., 2018, Section 4).

    The state s is what all agents observe, one behind the other; it moves weights of both signs, of which absolute
    values are taken, so that F is monotone in every utility.

    Args:
        graph: The agents.
        partition: ``full``, one block of all agents.
        kappa: Without effect, since the only block holds every agent.
        obs_size: Observation size O.
        hidden: Width of the hidden layer, at least 1.
        hyper_hidden: Width of the hypernetworks' common hidden layer, at least 1.
        observation_scale: Fixed factor for each of the O observed numbers, or None.

    Raises:
        InputError: If there are several blocks; for these, ``mixer=mlp mixer.state=local`` has weights that depend on
            the state.
    """

    _scale: Tensor

    def __init__(
        self,
        graph: AgentGraph,
        partition: Partition,
        kappa: int,
        obs_size: int,
        hidden: int = 32,
        hyper_hidden: int = 64,
        observation_scale: Sequence[float] | None = None,
    ) -> None:
        super().__init__(graph, partition, kappa)
        if partition.n_blocks != 1:
            raise InputError(
                "partition",
                "full for mixer=qmix",
                f"{partition.n_blocks} blocks",
                "partition=full, or mixer=mlp mixer.state=local for blocks with state",
            )
        self.hidden = check_int("mixer.hidden", hidden, 1)
        check_int("mixer.hyper_hidden", hyper_hidden, 1)
        scale = observation_factors("mixer.observation_scale", observation_scale, obs_size)
        self.register_buffer("_scale", scale, persistent=False)
        n = self.n_agents
        self.body = nn.Sequential(nn.Linear(n * obs_size, hyper_hidden), nn.LayerNorm(hyper_hidden), nn.ReLU())
        self.w1, self.b1 = nn.Linear(hyper_hidden, n * hidden), nn.Linear(hyper_hidden, hidden)
        self.w2 = nn.Linear(hyper_hidden, hidden)
        self.value = nn.Sequential(nn.Linear(hyper_hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def _mix(self, utilities: Tensor, observations: Tensor | None) -> Tensor:
        assert observations is not None
        state = observations.reshape(-1, *observations.shape[-2:]) * self._scale  # [M, N, O]
        x = self.body(state.flatten(1))
        w1 = self.w1(x).view(-1, self.n_agents, self.hidden).abs()  # [M, N, H]
        hidden = functional.elu(torch.bmm(utilities.T[:, None], w1)[:, 0] + self.b1(x))  # [M, H]
        return ((hidden * self.w2(x).abs()).sum(dim=1) + self.value(x)[:, 0])[None]  # [1, M]

    def head(self) -> list[nn.Parameter]:
        return [*self.w2.parameters(), *self.value[-1].parameters()]
