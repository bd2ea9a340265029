"""Masked MLP over kappa-hop neighbourhoods, all blocks at once (Section 4.1, Table 1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lomaq.errors import InputError, check_choice, check_float
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers.base import MonotoneNetwork
from lomaq.nn.monotone import Activation, Constraint, Init, activate, effective_weight, init_bias, init_weight_
from lomaq.nn.slots import SHARES, Share, Slots

State = Literal["none", "local"]


class MaskedMLPMixer(MonotoneNetwork):
    """F_J = Linear – act – Linear – act – Linear of the utilities in the receptive field of block J.

    Blocks are gathered into padded arrays (:class:`lomaq.nn.slots.Slots`) and multiplied with the weights of their
    class in batched products, so nothing loops over agents, blocks or classes, and cost is O(sum of neighbourhoods).

    Args:
        share: Which blocks use the same network: ``ego`` those with isomorphic surroundings (on the paper's line, the
            interior agents), ``none`` every block its own, ``all`` a single one, whose first layer has one row a hop
            distance, for the mean utility at that distance; ``auto`` is ``ego`` where that makes at most 256 networks,
            and else ``all``.
        penalty: Weight λ of the violation in the loss where ``monotonicity`` is ``soft``, at least 0.
        enforce: Partition P′ whose blocks are to be monotone where ``monotonicity`` is ``soft``; every block of
            ``partition`` must lie in one of them. None for ``partition`` itself.
        state: ``none``, or ``local``: a hypernetwork on the observations of the agents within ``kappa`` hops of
            the block scales the weights and shifts the biases (Appendix B: "hyper-networks and
            global sub-states"). It starts without effect.
        obs_size: Observation size O; needed for ``state="local"``.

    The other arguments are those of :class:`lomaq.mixers.MonotoneNetwork`.
    """

    _pair: Tensor | None

    def __init__(
        self,
        graph: AgentGraph,
        partition: Partition,
        kappa: int,
        hidden: int = 32,
        share: Share = "auto",
        monotonicity: Constraint = "reparametrisation",
        activation: Activation = "elu",
        init: Init = "mean",
        weight_sharing: float = 0.0,
        penalty: float = 1.0,
        enforce: Partition | None = None,
        state: State = "none",
        obs_size: int | None = None,
    ) -> None:
        super().__init__(graph, partition, kappa, hidden, monotonicity, activation, init, weight_sharing)
        self.penalty = check_float("mixer.penalty", penalty, 0) if monotonicity == "soft" else 0.0
        check_choice("mixer.share", share, SHARES)
        self.slots = Slots(graph, partition.blocks, kappa, share)
        self.share, self.note = self.slots.share, self.slots.note("mixer.share")
        self.numbers = max(self.n_blocks * hidden, self.slots.size)
        n_networks, fan_in = self.slots.n_networks, self.slots.fan_in
        self.w1 = nn.Parameter(torch.empty(len(fan_in), hidden))
        self.w2 = nn.Parameter(torch.empty(n_networks, hidden, hidden))
        self.w3 = nn.Parameter(torch.empty(n_networks, hidden))
        self.b1, self.b2 = (init_bias(n_networks, hidden, init=self.init) for _ in range(2))
        self.b3 = nn.Parameter(torch.zeros(n_networks))
        init_weight_(self.w1, fan_in[:, None], self.init, self.slots.hops[:, None])
        init_weight_(self.w2, hidden, self.init)
        init_weight_(self.w3, hidden, self.init)
        self.hyper: _Hypernetwork | None = None
        if check_choice("mixer.state", state, ("none", "local")) == "local":
            if obs_size is None:
                raise InputError("obs_size", "the observation size for mixer.state=local", None)
            self.hyper = _Hypernetwork(n_networks, fan_in, obs_size, hidden)
        self.register_buffer("_pair", None, persistent=False)
        if enforce is not None and enforce != partition:
            self._build_parents(partition, enforce)

    def _build_parents(self, partition: Partition, enforce: Partition) -> None:
        """Which slopes of a bucket add up to the slope of one block of P′ in one agent."""
        breaker = partition.refinement_breaker(enforce)
        if breaker is not None:
            got = f"block {list(breaker)} in several of its blocks"
            raise InputError(
                "mixer.enforce", "a partition that the training partition refines", got, "merge those blocks"
            )
        parent = torch.stack([enforce.block_of[block[0]] for block in partition.blocks])
        buckets = [self.slots.bucket(number, "blocks", "agent") for number in range(self.slots.n_buckets)]
        keys = [(parent[blocks][:, None] * self.n_agents + agent).flatten() for blocks, agent in buckets]
        found, self._pair = torch.cat(keys).unique(return_inverse=True)
        self._n_pairs = len(found)

    def _mix(self, utilities: Tensor, observations: Tensor | None) -> Tensor:
        seen = [self.slots.gather(utilities, bucket) for bucket in range(self.slots.n_buckets)]
        return self.slots.in_order([self._mix_bucket(x, observations, bucket) for bucket, x in enumerate(seen)])

    def forward_with_violation(self, utilities: Tensor, observations: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As in :class:`Mixer`; the gathered copy keeps blocks apart, so one backward pass yields every ∂F_J/∂U_i."""
        flat = utilities.reshape(-1, self.n_agents).T
        if observations is not None:
            observations = observations.reshape(-1, *observations.shape[-2:])  # [M, N, O]
        seen = [self.slots.gather(flat, bucket) for bucket in range(self.slots.n_buckets)]
        values = self.slots.in_order([self._mix_bucket(x, observations, bucket) for bucket, x in enumerate(seen)])
        values = values.T * self._block_scale  # [M, P]
        slopes = torch.autograd.grad(values.sum(), seen, create_graph=True)
        slope = torch.cat([x.flatten(0, 1) for x in slopes])  # [slots, M]
        if self._pair is not None:
            total = slope.new_zeros(self._n_pairs, slope.size(1))
            slope = total.index_add(0, self._pair, slope)
        violation = (-slope).relu().sum(dim=0)
        return values.view(*utilities.shape[:-1], self.n_blocks), violation.view(utilities.shape[:-1])

    def _mix_bucket(self, seen: Tensor, observations: Tensor | None, bucket: int) -> Tensor:
        agent, row, factor, network = self.slots.bucket(bucket, "agent", "row", "factor", "network")
        free, positive = (self.b1, self.b2, self.b3), (self.w2, self.w3)
        b1, b2, b3 = (bias.index_select(0, network) for bias in free)
        w2, w3 = (effective_weight(weight, self.monotonicity).index_select(0, network) for weight in positive)
        first = self._first(bucket)
        if self.hyper is None:
            x = activate(torch.baddbmm(b1[:, None], seen.transpose(1, 2), first), self.activation)  # [P, M, H]
            x = activate(torch.baddbmm(b2[:, None], x, w2), self.activation)
            return torch.baddbmm(b3[:, None, None], x, w3[..., None])[..., 0]  # [P, M]
        assert observations is not None
        scale1, shift1, scale2, shift2, shift3 = self.hyper(observations, agent, row, factor, network)
        x = torch.bmm(seen.transpose(1, 2), first) * scale1 + b1[:, None] + shift1  # [P, M, H]
        x = activate(x, self.activation)
        x = activate(torch.bmm(x, w2) * scale2 + b2[:, None] + shift2, self.activation)
        return (torch.bmm(x, w3[..., None]) + b3[:, None, None] + shift3)[..., 0]

    def _first(self, bucket: int) -> Tensor:
        """The weights of the first layer that are used, ``[P, W, H]``."""
        row, factor = self.slots.bucket(bucket, "row", "factor")
        w1 = effective_weight(self.w1, self.monotonicity)
        first = w1.index_select(0, row.flatten()).view(*row.shape, self.hidden) * factor[..., None]
        if self.weight_sharing > 0:
            seen_by = (factor > 0).to(first.dtype)[..., None]  # [P, W, 1], without the padding
            mean = first.sum(dim=1, keepdim=True) / seen_by.sum(dim=1, keepdim=True)
            first = first.lerp(mean * seen_by, self.weight_sharing)
        return first

    def _multipliers(self) -> Iterable[Tensor]:  # and the hypernetwork's scales, ELU + 1
        yield from (self._first(bucket) for bucket in range(self.slots.n_buckets))
        yield from (effective_weight(w, self.monotonicity) for w in (self.w2, self.w3))

    def weights(self) -> list[nn.Parameter]:
        return [self.w1, self.w2, self.w3]

    def head(self) -> list[nn.Parameter]:
        return [self.w3, self.b3]

    @torch.no_grad()
    def rescale_(self, factor: float) -> None:
        super().rescale_(factor)
        if self.hyper is not None:
            self.hyper.w2[..., -1] *= factor


class _Hypernetwork(nn.Module):
    """Linear – ReLU – Linear from the observations in a block's slots to factors ≥ 0 and shifts of its layers."""

    def __init__(self, n_networks: int, fan_in: Tensor, obs_size: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        bound = (fan_in * obs_size).rsqrt()[:, None, None]
        self.w1 = nn.Parameter((torch.rand(len(fan_in), obs_size, hidden) * 2 - 1) * bound)
        self.b1 = nn.Parameter(torch.zeros(n_networks, hidden))
        self.w2 = nn.Parameter(torch.zeros(n_networks, hidden, 4 * hidden + 1))  # so that it starts without effect

    def forward(
        self, observations: Tensor, agent: Tensor, row: Tensor, factor: Tensor, network: Tensor
    ) -> tuple[Tensor, ...]:
        """Observations ``[M, N, O]`` → scale, shift, scale, shift ``[P, M, H]`` and the last shift ``[P, M, 1]``."""
        blocks, width = agent.shape
        seen = observations.transpose(0, 1).index_select(0, agent.flatten()).unflatten(0, (blocks, width))
        seen = seen.permute(0, 2, 1, 3).flatten(2)  # [P, M, W * O]
        first = self.w1.index_select(0, row.flatten()).unflatten(0, (blocks, width)) * factor[..., None, None]
        x = torch.baddbmm(self.b1[network][:, None], seen, first.flatten(1, 2)).relu()
        out = torch.bmm(x, self.w2[network])  # [P, M, 4 H + 1]
        scale1, shift1, scale2, shift2, shift3 = out.split([self.hidden] * 4 + [1], dim=-1)
        return functional.elu(scale1) + 1, shift1, functional.elu(scale2) + 1, shift2, shift3
