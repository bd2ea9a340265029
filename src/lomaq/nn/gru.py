"""Gated recurrent unit over whole sequences: what ``torch.nn.GRU`` computes, faster on a processor."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lomaq.errors import InputError
from lomaq.nn.chunks import chunks

_ROWS = 384  # sequences that run together, so that what a step needs stays in a core's cache


class _Parameters(NamedTuple):
    w_ih: Tensor  # [3H, I] for r, z, n
    w_hh: Tensor  # [3H, H] for r, z, n
    b_ih: Tensor  # [3H]
    b_hh: Tensor  # [3H]


class _Gates:
    """The gates n, r, z, m of one step for some rows, in buffers that every step reuses.

    r, z and n as in :class:`GRU`, and m = W_hn h + b_hn. In this order two products fill them all: x goes to the first
    three and h to the last three.
    """

    def __init__(self, parameters: _Parameters, rows: int) -> None:
        w_ih, w_hh, b_ih, b_hh = parameters
        size = w_hh.size(1)
        self.w_x, self.w_h = w_ih.roll(size, 0).t().contiguous(), w_hh.t().contiguous()
        b_x = b_ih.roll(size, 0)
        self.bias = torch.cat([b_x[:size], b_x[size:] + b_hh[: 2 * size], b_hh[2 * size :]])
        self.all = w_hh.new_empty(rows, 4 * size)
        self.of_x, self.of_h, self.both = self.all[:, : 3 * size], self.all[:, size:], self.all[:, size : 3 * size]
        self.raw, self.r, self.z, self.m = self.all.chunk(4, dim=1)
        self.n = w_hh.new_empty(rows, size)

    def step(self, x: Tensor, h: Tensor, after: Tensor) -> None:
        """Write the memory ``after`` inputs ``[rows, I]``, given the memory ``[rows, H]`` before them."""
        self.all.copy_(self.bias)
        self.of_x.addmm_(x, self.w_x)
        self.of_h.addmm_(h, self.w_h)
        self.both.sigmoid_()
        torch.addcmul(self.raw, self.r, self.m, out=self.n).tanh_()  # tanh is much faster on memory without gaps
        torch.lerp(self.n, h, self.z, out=after)

    def keep(self, place: Tensor) -> None:
        """Copy the gates to ``[rows, 4H]``; to compute them there, outside the cache, would be slower."""
        self.raw.copy_(self.n)
        place.copy_(self.all)


class _Gradients:
    """The gradients of the parameters and, where ``of_x`` asks for it, of the inputs."""

    def __init__(self, parameters: _Parameters, x: Tensor, of_x: bool) -> None:
        self.size = parameters.w_hh.size(1)
        self.w_x, self.w_h = parameters.w_ih.roll(self.size, 0), parameters.w_hh
        self.ones = x.new_ones(x.size(1))
        self.x = x.new_empty(x.shape) if of_x else None
        self.of_w_x = torch.zeros_like(self.w_x)
        self.of_w_h = torch.zeros_like(self.w_h, memory_format=torch.contiguous_format)
        self.of_bias = x.new_zeros(4 * self.size)

    def add(self, gates: Tensor, x: Tensor, h: Tensor) -> None:
        """Add one step's share: its gradients ``[rows, 4H]`` before the activations, its inputs and memory."""
        self.of_w_x.addmm_(gates[:, : 3 * self.size].t(), x)
        self.of_w_h.addmm_(gates[:, self.size :].t(), h)
        self.of_bias.addmv_(gates.t(), self.ones[: len(gates)])

    def result(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of the parameters, in their own order."""
        of_b_ih, of_b_hh = self.of_bias[: 3 * self.size].roll(-self.size, 0), self.of_bias[self.size :].clone()
        return self.of_w_x.roll(-self.size, 0), self.of_w_h, of_b_ih, of_b_hh


def _go_back(
    found: _Gradients, rows: slice, x: Tensor, kept: Tensor, before: Tensor, output: Tensor, grad: Tensor, carry: Tensor
) -> None:
    """Go back through all steps of the sequences ``rows``, and add their gradients to ``found``.

    With u = (1 - z) dh the gradients before the activations are

        dn = u (1 - n²),   dm = r dn,   dr = m dm (1 - r),   dz = z (h - n) u,   where z (h - n) = h' - n.

    ``kept`` are the gates ``[T, M, 4H]``, ``before`` is the memory ``[rows, H]`` before the first step, ``grad``
    ``[T, M, H]`` the gradient of ``output``, and ``carry`` ``[rows, H]`` that of the last memory; it becomes that of
    ``before``.
    """
    xs, gates_at, grads = (tensor[:, rows].unbind(0) for tensor in (x, kept, grad))
    memories = (before, *output[:, rows].unbind(0))
    gates, d_gates = torch.empty_like(gates_at[0]), torch.empty_like(gates_at[0])
    (n, r, z, m), (dn, dr, dz, dm) = gates.chunk(4, dim=1), d_gates.chunk(4, dim=1)
    u, work, following = torch.empty_like(carry), torch.empty_like(carry), torch.empty_like(carry)
    dh = carry + grads[-1]
    for t in range(len(xs) - 1, -1, -1):
        gates.copy_(gates_at[t])
        torch.addcmul(dh, dh, z, value=-1, out=u)
        torch.mul(n, n, out=work)
        torch.addcmul(u, u, work, value=-1, out=dn)
        torch.mul(dn, r, out=dm)
        torch.mul(dm, m, out=work)
        torch.addcmul(work, work, r, value=-1, out=dr)
        torch.sub(memories[t + 1], n, out=work)
        torch.mul(work, u, out=dz)
        if t > 0:
            torch.addcmul(grads[t - 1], dh, z, out=following)
        else:
            torch.mul(dh, z, out=following)
        following.addmm_(d_gates[:, carry.size(1) :], found.w_h)
        dh, following = following, dh
        found.add(d_gates, xs[t], memories[t])
        if found.x is not None:
            torch.mm(d_gates[:, : -carry.size(1)], found.w_x, out=found.x[t, rows])
    carry.copy_(dh)


class _Recurrence(torch.autograd.Function):
    """The whole sequence as one node of the graph, which keeps the inputs, the output and the gates ``[T, M, 4H]``."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, state: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor]:
        parameters, size = _Parameters(w_ih, w_hh, b_ih, b_hh), w_hh.size(1)
        output = x.new_empty(*x.shape[:2], size)
        kept = x.new_empty(*x.shape[:2], 4 * size) if keep else None
        last = state.clone(memory_format=torch.contiguous_format)
        for rows in chunks(x.size(1), _ROWS):
            gates = _Gates(parameters, rows.stop - rows.start)
            h = last[0, rows]
            outputs = output[:, rows].unbind(0)
            places = kept[:, rows].unbind(0) if kept is not None else ()
            for t, x_t in enumerate(x[:, rows].unbind(0)):
                gates.step(x_t, h, outputs[t])
                h = outputs[t]
                if places:
                    gates.keep(places[t])
            last[0, rows] = h
        if keep:
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(x, state, *parameters, output, kept)
        return output, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
        x, state, *parameters, output, kept = ctx.saved_tensors
        found = _Gradients(_Parameters(*parameters), x, ctx.needs_input_grad[0])
        if grad is None:
            grad = output.new_zeros(()).expand_as(output)
        carry = torch.zeros_like(state, memory_format=torch.contiguous_format)
        if grad_last is not None:
            carry.copy_(grad_last)
        for rows in reversed(chunks(x.size(1), _ROWS)):
            _go_back(found, rows, x, kept, state[0, rows], output, grad, carry[0, rows])
        return found.x, carry, *found.result(), None


class GRU(nn.GRU):
    """One layer of gated recurrent units, ``torch.nn.GRU(inputs, hidden)`` with the same parameters and start.

        r = σ(W_ir x + b_ir + W_hr h + b_hr)
        z = σ(W_iz x + b_iz + W_hz h + b_hz)
        n = tanh(W_in x + b_in + r (W_hn h + b_hn))
        h' = (1 - z) n + z h

    Gradients of gradients are not available where T > 1.
    """

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Run M sequences.

        Args:
            x: ``[T, M, I]`` inputs.
            state: ``[1, M, H]`` memory before the first step.

        Returns:
            The memory after each step, ``[T, M, H]``, and after the last, ``[1, M, H]``.

        Raises:
            InputError: If ``state`` does not fit ``x``.
        """
        steps, rows = x.shape[:2]
        if state.shape != (1, rows, self.hidden_size):
            raise InputError("state", f"shape [1, {rows}, {self.hidden_size}]", list(state.shape))
        parameters = _Parameters(self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0)
        if steps == 1:
            state = torch.gru_cell(x[0], state[0], *parameters)[None]
            return state, state.clone()
        if x.is_cuda:
            return super().forward(x, state)  # cuDNN
        keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, state, *parameters))
        return cast(tuple[Tensor, Tensor], _Recurrence.apply(x, state, *parameters, keep))
