"""Exact AC power flow of radial feeders, batched."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

#: Largest change of a voltage in the last product, per unit, and the most products that may be needed for it.
TOLERANCE, MOST_PRODUCTS = 1e-8, 200


class Flow:
    """Voltages of a radial feeder whose substation holds 1, from the power that its buses draw.

    The flow is the fixed point V = g(V) = 1 - Z conj(S / V) of Z, the impedance that the ways to two buses share. A few
    products of it in single precision come near. One product in double precision gives what is left, r = g(V) - V, and
    the linear fixed point δ = r + Z (conj(S / V²) conj(δ)), in single precision again, the step to the solution. The
    number of products is fixed by the hardest case, so that no environment depends on another one of its batch.

    Args:
        shared: ``[N, N]`` complex128, Z per unit.
        products: As many as :func:`products_needed` says.
        device: Where the tensors live.
    """

    def __init__(self, shared: np.ndarray, products: int, device: torch.device | str = "cpu") -> None:
        self.first = -(-2 * products // 5)
        self.rest = products - self.first
        blocks = np.block([[shared.real, -shared.imag], [shared.imag, shared.real]])
        self.exact = torch.from_numpy(blocks).to(device)  # [2N, 2N], for real parts and then imaginary parts
        self.single = self.exact.float()
        self.one = (torch.arange(len(blocks), device=device) < len(shared)).float()[:, None]  # [2N, 1]

    def __call__(self, active: Tensor, reactive: Tensor) -> tuple[Tensor, Tensor]:
        """Solve it.

        Args:
            active: ``[B, N]`` float32 or float64, what each bus draws, P of S = P + jQ per unit.
            reactive: The same of Q.

        Returns:
            Magnitudes of the voltages ``[B, N]``, and the losses of all lines ``[B]``; float64, exact to 1e-8.
        """
        given = active.T.contiguous(), reactive.T.contiguous()  # [N, B]: halves of a tensor are then contiguous
        p, q = (x.float() for x in given)
        p_, q_ = (x.double() for x in given)
        voltage = torch.addmm(self.one, self.single, torch.cat([p, -q]), alpha=-1)  # [2N, B], from V = 1
        for _ in range(self.first - 1):
            voltage = torch.addmm(self.one, self.single, torch.cat(_current(p, q, voltage)), alpha=-1)
        near = voltage.double()
        a, b = _current(p_, q_, near)
        left = torch.addmm(self.one.double(), self.exact, torch.cat([a, b]), alpha=-1).sub_(near).float()
        u, v = _current(a.float(), -b.float(), voltage)  # conj(S / V²)
        step = left
        for _ in range(self.rest):
            x, y = step.chunk(2)
            current = torch.cat([torch.addcmul(u * x, v, y), torch.addcmul(v * x, u, y, value=-1)])
            step = torch.addmm(left, self.single, current)
        e, f = (near + step).chunk(2)
        square = torch.addcmul(e * e, f, f)
        supplied = torch.addcmul(p_ * e, q_, f) / square
        return square.sqrt().T.contiguous(), (supplied - p_).sum(dim=0)


def _current(p: Tensor, q: Tensor, voltage: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part ``[N, B]`` of conj((P + jQ) / V)."""
    e, f = voltage.chunk(2)
    square = torch.addcmul(e * e, f, f)
    return torch.addcmul(p * e, q, f) / square, torch.addcmul(p * f, q, e, value=-1) / square


def products_needed(power: np.ndarray, shared: np.ndarray) -> int | None:
    """How many products of the fixed point make ``power`` ``[K, N]`` complex128 exact; None where voltages collapse."""
    return next((count for count, _, change in _products(power, shared) if change < TOLERANCE), None)


def lowest(power: np.ndarray, shared: np.ndarray) -> float:
    """Lowest voltage where ``[N]`` complex128 is drawn, exact to a millionth; 0 where voltages collapse."""
    found = (np.abs(voltage).min() for _, voltage, change in _products(power, shared) if change < 1e-6)
    return float(next(found, 0.0))


def _products(power: np.ndarray, shared: np.ndarray) -> Iterator[tuple[int, np.ndarray, float]]:
    """The fixed point from V = 1: count, voltages and their largest change after each product."""
    voltage = np.ones_like(power)
    with np.errstate(all="ignore"):
        for count in range(1, MOST_PRODUCTS):
            before, voltage = voltage, 1 - (power / voltage).conj() @ shared
            yield count, voltage, float(np.abs(voltage - before).max())
