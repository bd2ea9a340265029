"""Mixer of kappa graph convolutions (Appendix B: "the number of convolution layers is kappa")."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch_geometric.nn import SimpleConv
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition, csr_matrix
from lomaq.mixers.base import MonotoneNetwork
from lomaq.nn.monotone import Activation, Constraint, Init, activate, effective_weight, init_bias, init_weight_


class _Convolution(nn.Module):
    """act(Â x W + x W_self + b) with non-negative W; Â is symmetrically normalised, with self loops."""

    def __init__(self, inputs: int, outputs: int, init: Init) -> None:
        super().__init__()
        self.around = nn.Parameter(torch.empty(inputs, outputs))
        self.self = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = init_bias(outputs, init=init)
        self.aggregate = SimpleConv(aggr="sum")
        for hops, weight in ((1, self.around), (0, self.self)):
            init_weight_(weight, 2 * inputs, init, hops)

    def forward(
        self, x: Tensor, adjacency: Tensor, constraint: Constraint, activation: Activation, weight_sharing: float
    ) -> Tensor:
        near = self.aggregate(x.flatten(1), adjacency).view_as(x)  # [N, M, F]
        weight = self.weight(constraint, weight_sharing)
        return activate(torch.cat([near, x], dim=-1) @ weight + self.bias, activation)

    def weight(self, constraint: Constraint, weight_sharing: float) -> Tensor:
        """The weights that are used, W above W_self, ``[2 * inputs, outputs]``."""
        around, own = (effective_weight(w, constraint) for w in (self.around, self.self))
        return torch.cat([around * (1 + weight_sharing), own * (1 - weight_sharing)])


class GCNMixer(MonotoneNetwork):
    """kappa graph convolutions over the utilities, the mean over each block's agents, and a read-out shared by all.

    Nothing depends on the size of the graph, so the weights of one graph load into the mixer of another. Convolutions
    are sparse products (CSR), so cost grows with edges.

    Arguments are those of :class:`lomaq.mixers.MonotoneNetwork`; ``weight_sharing`` moves the weight of an agent
    itself, which a graph convolution adds to that of its neighbourhood, over to the neighbourhood.
    """

    _adjacency: Tensor
    _mean: Tensor | None

    def _build(self, graph: AgentGraph, partition: Partition) -> None:
        if self.monotonicity == "soft":
            expected = "projection or reparametrisation for mixer=gcn"
            raise InputError("mixer.monotonicity", expected, "soft", "use mixer=mlp")
        widths = [1] + [self.hidden] * self.kappa
        self.convolutions = nn.ModuleList(
            _Convolution(inputs, outputs, self.init) for inputs, outputs in itertools.pairwise(widths)
        )
        self.w1 = nn.Parameter(torch.empty(widths[-1], self.hidden))
        self.w2 = nn.Parameter(torch.empty(self.hidden, 1))
        self.b1, self.b2 = init_bias(self.hidden, init=self.init), nn.Parameter(torch.zeros(1))
        init_weight_(self.w1, widths[-1], self.init)
        init_weight_(self.w2, self.hidden, self.init)
        index, weight = gcn_norm(graph.edge_index, None, graph.n_agents, add_self_loops=True)
        adjacency = csr_matrix(index[0], index[1], weight, (self.n_agents, self.n_agents))
        self.register_buffer("_adjacency", adjacency, persistent=False)
        mean = None
        if self.n_blocks < self.n_agents:
            share = 1 / partition.sizes[partition.block_of].float()
            mean = csr_matrix(partition.block_of, torch.arange(self.n_agents), share, (self.n_blocks, self.n_agents))
        self.register_buffer("_mean", mean, persistent=False)

    def _mix(self, utilities: Tensor, observations: Tensor | None) -> Tensor:
        x = utilities[..., None]  # [N, M, 1]
        for convolution in self.convolutions:
            x = convolution(x, self._adjacency, self.monotonicity, self.activation, self.weight_sharing)
        if self._mean is not None:
            x = (self._mean @ x.flatten(1)).view(self.n_blocks, *x.shape[1:])  # [P, M, H]
        w1, w2 = (effective_weight(w, self.monotonicity) for w in (self.w1, self.w2))
        x = activate(x @ w1 + self.b1, self.activation)
        return (x @ w2 + self.b2)[..., 0]

    def weights(self) -> list[nn.Parameter]:
        inner = [w for convolution in self.convolutions for w in (convolution.around, convolution.self)]
        return [*inner, self.w1, self.w2]  # type: ignore[list-item]

    def head(self) -> list[nn.Parameter]:
        return [self.w2, self.b2]

    def _multipliers(self) -> Iterable[Tensor]:
        yield self._adjacency.values()
        if self._mean is not None:
            yield self._mean.values()
        for convolution in self.convolutions:
            assert isinstance(convolution, _Convolution)
            yield convolution.weight(self.monotonicity, self.weight_sharing)
        yield from (effective_weight(w, self.monotonicity) for w in (self.w1, self.w2))
