"""Gated recurrent unit over whole sequences: what ``torch.nn.GRU`` computes, faster on a processor."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lomaq.errors import InputError

_ROWS = 256  # sequences that run together, so that what a step needs stays in a core's cache


class Block(NamedTuple):
    """Steps at which the same sequences run."""

    times: slice
    running: slice  # sequences
    ended: slice  # sequences of the same chunk that are over


def blocks(lengths: list[int], steps: int) -> list[Block]:
    """Cut a padded batch into blocks that are full, in the order in which they run.

    Args:
        lengths: Steps of each of the M sequences, longest first, each in [0, ``steps``].
        steps: T.

    Example:
        >>> [(b.times.start, b.times.stop, b.running.stop, b.ended.stop) for b in blocks([4, 2, 2], 5)]
        [(0, 2, 3, 3), (2, 4, 1, 3), (4, 5, 0, 3)]
    """
    found = []
    chunks = max(1, -(-len(lengths) // _ROWS))
    size = max(1, -(-len(lengths) // chunks))
    for top in range(0, len(lengths), size):
        chunk = lengths[top : top + size]
        begin = 0
        for end in sorted({*chunk, steps} - {0}):
            bottom = top + sum(length >= end for length in chunk)
            found.append(Block(slice(begin, end), slice(top, bottom), slice(bottom, top + len(chunk))))
            begin = end
    return found


class _Weights(NamedTuple):
    """Parameters so that a step takes two products: the gates stand in the order n, r, z, m, see :class:`_Gates`."""

    w_x: Tensor  # [3H, I] for n, r, z
    w_h: Tensor  # [3H, H] for r, z, m
    w_x_t: Tensor  # the same, transposed in memory
    w_h_t: Tensor
    bias: Tensor  # [4H]


def _arrange(w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> _Weights:
    size = w_hh.size(1)
    w_x, b_x = w_ih.roll(size, 0), b_ih.roll(size, 0)
    bias = torch.cat([b_x[:size], b_x[size:] + b_hh[: 2 * size], b_hh[2 * size :]])
    return _Weights(w_x, w_hh, w_x.t().contiguous(), w_hh.t().contiguous(), bias)


class _Gates:
    """The gates of one step for some rows, in buffers that every step uses anew.

    r and z as in :class:`GRU`, m = W_hn h + b_hn, and n = tanh(W_in x + b_in + r m).
    """

    def __init__(self, weights: _Weights, rows: int) -> None:
        self.weights, size = weights, weights.w_h.size(1)
        self.all = weights.bias.new_empty(rows, 4 * size)
        self.from_x, self.from_h, self.both = self.all[:, : 3 * size], self.all[:, size:], self.all[:, size : 3 * size]
        self.raw, self.r, self.z, self.m = self.all.chunk(4, dim=1)
        self.n = torch.empty_like(self.raw, memory_format=torch.contiguous_format)

    def compute(self, x: Tensor, h: Tensor) -> None:
        """Gates of inputs ``[rows, I]`` and the memory ``[rows, H]`` before them."""
        self.all.copy_(self.weights.bias)
        self.from_x.addmm_(x, self.weights.w_x_t)
        self.from_h.addmm_(h, self.weights.w_h_t)
        self.both.sigmoid_()
        torch.addcmul(self.raw, self.r, self.m, out=self.n).tanh_()


class _Gradients:
    """What the way back adds up over all steps; None is what nobody asked for."""

    def __init__(self, weights: _Weights, x: Tensor, needed: tuple[bool, ...]) -> None:
        self.weights = weights
        self.x = x.new_empty(x.shape) if needed[0] else None
        self.w_x = torch.zeros_like(weights.w_x) if needed[2] else None
        self.w_h = torch.zeros_like(weights.w_h) if needed[3] else None
        self.bias = torch.zeros_like(weights.bias) if needed[4] or needed[5] else None

    def run(self, block: Block, x: Tensor, before: Tensor, output: Tensor, grad: Tensor, carry: Tensor) -> None:
        """Go back through one block.

        With u = (1 - z) dh the gradients in front of the activations are

            dn = u (1 - n²),   dm = r dn,   dr = m dm (1 - r),   dz = z (h - n) u,   where z (h - n) = h' - n.

        Args:
            block: Where.
            x: ``[T, M, I]`` inputs.
            before: ``[rows, H]`` memory before the block.
            output: ``[T, M, H]`` memory after each step.
            grad: ``[T, M, H]`` gradient of ``output``.
            carry: ``[rows, H]`` gradient of the memory behind the block; becomes that before it.
        """
        times, rows, size = block.times, block.running, carry.size(1)
        gates = _Gates(self.weights, len(carry))
        all_ = torch.empty_like(gates.all)
        from_x, from_h = all_[:, : 3 * size], all_[:, size:]
        dn, dr, dz, dm = all_.chunk(4, dim=1)
        u, work, following = torch.empty_like(carry), torch.empty_like(carry), torch.empty_like(carry)
        ones = carry.new_ones(len(carry))
        xs, grads = x[times, rows].unbind(0), grad[times, rows].unbind(0)
        memories = (before, *output[times, rows].unbind(0))
        x_grads = None if self.x is None else self.x[times, rows].unbind(0)
        dh = carry + grads[-1]
        for t in range(len(xs) - 1, -1, -1):
            gates.compute(xs[t], memories[t])
            torch.addcmul(dh, dh, gates.z, value=-1, out=u)
            torch.mul(gates.n, gates.n, out=work)
            torch.addcmul(u, u, work, value=-1, out=dn)
            torch.mul(dn, gates.r, out=dm)
            torch.mul(dm, gates.m, out=work)
            torch.addcmul(work, work, gates.r, value=-1, out=dr)
            torch.sub(memories[t + 1], gates.n, out=work)
            torch.mul(work, u, out=dz)
            if t > 0:
                torch.addcmul(grads[t - 1], dh, gates.z, out=following)
            else:
                torch.mul(dh, gates.z, out=following)
            following.addmm_(from_h, self.weights.w_h)
            dh, following = following, dh
            if self.w_x is not None:
                self.w_x.addmm_(from_x.t(), xs[t])
            if self.w_h is not None:
                self.w_h.addmm_(from_h.t(), memories[t])
            if self.bias is not None:
                self.bias.addmv_(all_.t(), ones)
            if x_grads is not None:
                torch.mm(from_x, self.weights.w_x, out=x_grads[t])
        carry.copy_(dh)


class _Recurrence(torch.autograd.Function):
    """The whole sequence as one node of the graph.

    Kept for the way back are only the inputs and the output; the gates are computed a second time. That costs two
    products a step, which is less than to write four times the output to memory and to read it again.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, state: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, plan: list[Block]
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        weights = _arrange(w_ih, w_hh, b_ih, b_hh)
        output = x.new_empty(*x.shape[:2], w_hh.size(1))
        last = state.clone(memory_format=torch.contiguous_format)
        for times, rows, ended in plan:
            output[times, ended] = 0
            if rows.stop == rows.start:
                continue
            gates = _Gates(weights, rows.stop - rows.start)
            h = last[0, rows]
            for x_t, output_t in zip(x[times, rows].unbind(0), output[times, rows].unbind(0), strict=True):
                gates.compute(x_t, h)
                h = torch.lerp(gates.n, h, gates.z, out=output_t)
            last[0, rows] = h
        ctx.plan = plan
        ctx.save_for_backward(x, state, w_ih, w_hh, b_ih, b_hh, output)
        return output, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
        x, state, *parameters, output = ctx.saved_tensors
        weights = _arrange(*parameters)
        if grad is None:
            grad = output.new_zeros(()).expand_as(output)
        carry = torch.zeros_like(state, memory_format=torch.contiguous_format)
        if grad_last is not None:
            carry.copy_(grad_last)
        sums = _Gradients(weights, x, ctx.needs_input_grad)
        for block in reversed(ctx.plan):
            times, rows, ended = block
            if sums.x is not None:
                sums.x[times, ended] = 0
            if rows.stop > rows.start:
                before = output[times.start - 1, rows] if times.start else state[0, rows]
                sums.run(block, x, before, output, grad, carry[0, rows])
        size = weights.w_h.size(1)
        w_ih = None if sums.w_x is None else sums.w_x.roll(-size, 0)
        b_ih = None if sums.bias is None else sums.bias[: 3 * size].roll(-size, 0)
        b_hh = None if sums.bias is None else sums.bias[size:].clone()
        return sums.x, carry, w_ih, sums.w_h, b_ih, b_hh, None


class _Permute(torch.autograd.Function):
    """Sequences in another order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return x.index_select(1, order)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.index_select(1, torch.argsort(ctx.saved_tensors[0])), None


class GRU(nn.GRU):
    """One layer of gated recurrent units, ``torch.nn.GRU(inputs, hidden)`` with the same parameters and start.

        r = σ(W_ir x + b_ir + W_hr h + b_hr)
        z = σ(W_iz x + b_iz + W_hz h + b_hz)
        n = tanh(W_in x + b_in + r (W_hn h + b_hn))
        h' = (1 - z) n + z h

    Gradients of gradients are not available where T > 1.

    Args:
        inputs: Input size I.
        hidden: Size H of the memory.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden)

    def forward(  # type: ignore[override]
        self, x: Tensor, state: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run M sequences.

        Args:
            x: ``[T, M, I]`` inputs.
            state: ``[1, M, H]`` memory before the first step.
            lengths: ``[M]`` int64 in [0, T], how many steps each sequence has; None for T. Steps behind the end cost
                nothing. Sequences that come with the longest first need not be copied.

        Returns:
            The memory after each step, ``[T, M, H]``, zero behind the end of a sequence, and that at the end of each
            sequence, ``[1, M, H]``.

        Raises:
            InputError: If ``state`` or ``lengths`` does not fit ``x``.
        """
        steps, rows = x.shape[:2]
        if state.shape != (1, rows, self.hidden_size):
            raise InputError("state", f"shape [1, {rows}, {self.hidden_size}]", list(state.shape))
        parameters = (self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0)
        if lengths is None:
            if steps == 1:
                state = torch.gru_cell(x[0], state[0], *parameters)[None]
                return state, state
            if x.is_cuda:
                return super().forward(x, state)  # cuDNN
            return _run(x, state, parameters, blocks([steps] * rows, steps))
        ends = lengths.tolist()
        if lengths.shape != (rows,) or not all(0 <= end <= steps for end in ends):
            raise InputError("lengths", f"{rows} numbers from 0 to {steps}", ends)
        ordered = sorted(ends, reverse=True)
        plan = blocks(ordered, steps)
        if ends == ordered:
            return _run(x, state, parameters, plan)
        order = torch.argsort(lengths, descending=True, stable=True)
        output, last = _run(_permute(x, order), _permute(state, order), parameters, plan)
        back = torch.argsort(order)
        return _permute(output, back), _permute(last, back)


def _run(x: Tensor, state: Tensor, parameters: tuple[Tensor, ...], plan: list[Block]) -> tuple[Tensor, Tensor]:
    return cast(tuple[Tensor, Tensor], _Recurrence.apply(x, state, *parameters, plan))


def _permute(x: Tensor, order: Tensor) -> Tensor:
    return cast(Tensor, _Permute.apply(x, order))
