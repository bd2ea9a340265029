"""The critic of blocks: values of what the agents within κ hops of each block see, all blocks at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lomaq.envs.rollout import Rollout
from lomaq.errors import check_int
from lomaq.graphs import AgentGraph, Partition
from lomaq.nn import Utilities
from lomaq.nn.chunks import in_chunks
from lomaq.nn.slots import Share, Slots
from lomaq.objectives.base import Critic, ValueNetworks


class BlockCritic(Critic):
    """Linear – LayerNorm – ReLU twice, then Linear, of what the agents in the receptive field of block J see.

    An agent sees its observation and, where it is recurrent, its memory. Blocks are laid out as in
    :class:`lomaq.mixers.MaskedMLPMixer`, so that nothing loops over agents, blocks or classes. A value is exactly blind
    to agents beyond κ hops.

    Args:
        utilities: The networks of the agents.
        graph: The agents.
        partition: The blocks J.
        kappa: Radius of a block's receptive field in hops, at least 0.
        hidden: Width of the layers, at least 1.
        share: Which blocks use the same network, see :class:`lomaq.nn.slots.Slots`.
        outputs: Values of each block.
    """

    def __init__(
        self,
        utilities: Utilities,
        graph: AgentGraph,
        partition: Partition,
        kappa: int,
        hidden: int,
        share: Share = "auto",
        outputs: int = 1,
    ) -> None:
        super().__init__(utilities)
        self.hidden, self.n_blocks = check_int("learner.objective.hidden", hidden, 1), partition.n_blocks
        self.slots = Slots(graph, partition.blocks, kappa, share)
        size, n_networks = utilities.obs_size + utilities.memory_size, self.slots.n_networks
        bound = (self.slots.fan_in * size).rsqrt()[:, None, None]
        self.w1 = nn.Parameter((torch.rand(len(bound), size, hidden) * 2 - 1) * bound)
        self.w2 = nn.Parameter((torch.rand(n_networks, hidden, hidden) * 2 - 1) * hidden**-0.5)
        self.w3 = nn.Parameter((torch.rand(n_networks, hidden, outputs) * 2 - 1) * hidden**-0.5)
        self.b1, self.b2 = (nn.Parameter(torch.zeros(n_networks, hidden)) for _ in range(2))
        self.b3 = nn.Parameter(torch.zeros(n_networks, outputs))
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)

    def forward(self, seen: Tensor) -> Tensor:
        """Values ``[T, B, P, outputs]`` of what the agents see, ``[T, B, N, O + H]`` float32."""
        flat = seen.flatten(0, -3).transpose(0, 1)  # [N, M, S]
        numbers = max(self.slots.size * seen.size(-1), self.n_blocks * self.hidden)
        (values,) = in_chunks(self._of_blocks, (flat,), (1,), (1,), numbers)  # [P, M, outputs]
        return values.transpose(0, 1).unflatten(0, seen.shape[:-2])  # [..., P, outputs]

    def _of_blocks(self, seen: Tensor) -> tuple[Tensor]:
        """Values ``[P, M, outputs]`` of ``[N, M, S]``."""
        return (self.slots.in_order([self._values(seen, bucket) for bucket in range(self.slots.n_buckets)]),)

    def _values(self, seen: Tensor, bucket: int) -> Tensor:
        row, factor, network = self.slots.bucket(bucket, "row", "factor", "network")
        x = self.slots.gather(seen, bucket).transpose(1, 2).flatten(2)  # [P, M, W * S]
        first = self.w1.index_select(0, row.flatten()).unflatten(0, row.shape) * factor[..., None, None]
        x = self.norm1(torch.baddbmm(self.b1[network][:, None], x, first.flatten(1, 2))).relu()
        x = self.norm2(_linear(x, self.w2, self.b2, network)).relu()
        return _linear(x, self.w3, self.b3, network)

    def last_layer(self) -> list[nn.Parameter]:
        return [self.w3, self.b3]


def _linear(x: Tensor, weight: Tensor, bias: Tensor, network: Tensor) -> Tensor:
    """``[P, M, I]`` → ``[P, M, O]`` with the weights of each block's network; those of a single one are not copied."""
    if len(weight) == 1:
        return x @ weight[0] + bias[0]
    return torch.baddbmm(bias[network][:, None], x, weight[network])


def unroll_with_memories(networks: ValueNetworks, rollout: Rollout, steps: int | None = None) -> tuple[Tensor, Tensor]:
    """Logits ``[steps, B, N, A]`` of the agents, and their memories after each step ``[steps, B, N, H]``."""
    observations, previous = rollout.observations[:steps], rollout.previous_actions()[:steps]
    return networks.utilities.with_memories(observations, previous, rollout.is_first[:steps], rollout.hidden)


def seen_by_agents(networks: ValueNetworks, observations: Tensor, memories: Tensor) -> Tensor:
    """What a critic is given, ``[..., N, O + H]``; what it learns does not change the agents' memories."""
    scaled = networks.utilities.scaled(observations)
    return torch.cat([scaled, memories.detach()], dim=-1) if memories.size(-1) else scaled
