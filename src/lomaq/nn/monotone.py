"""What makes a mixer monotone: non-negative weights, rising activations, and how both are initialised (Section 4.1)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Literal["elu", "split"]
Constraint = Literal["projection", "reparametrisation", "soft"]
Init = Literal["mean", "normal", "decayed", "negative_bias", "free"]
ACTIVATIONS, CONSTRAINTS, INITS = get_args(Activation), get_args(Constraint), get_args(Init)
#: Factors of ``decayed``: of an agent's first weight for each hop (the decay of Proposition 5 as a prior), of a layer.
DECAY, GAIN = 0.25, 2.5


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Rising activation along the last dimension.

    ``elu`` is the paper's. With non-negative weights it makes convex functions only, which cannot represent substitutes
    (the payoffs [[0, 1], [1, 1]]); ``split`` takes ELU(x) for the first half of the units and -ELU(-x), which is
    concave, for the second half, and can.
    """
    if activation == "elu":
        return functional.elu(x)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([functional.elu(first), -functional.elu(-second)], dim=-1)


def effective_weight(weight: Tensor, constraint: Constraint) -> Tensor:
    """The weight that the network uses.

    ``projection`` uses ``weight`` as it is, since it is clamped after every optimiser step (the paper's
    θ ← ReLU(θ)); ``reparametrisation`` uses its absolute value; ``soft`` leaves it free, since the loss is penalised
    where the network falls.
    """
    return weight.abs() if constraint == "reparametrisation" else weight


def init_weight_(weight: Tensor, fan_in: Tensor | float, init: Init, hops: Tensor | int = 0) -> None:
    """Fill ``weight`` in place with non-negative numbers, but for ``free``.

    ``mean`` and ``negative_bias``: uniform in [0, 2 / fan_in], so that a layer begins as about the mean of its inputs.
    ``decayed``: the same times :data:`GAIN`, and what a mixer's first layer gives to an agent times :data:`DECAY` for
    each hop to it; mixers of a larger gain keep up with targets that move every few episodes. ``normal``: the positive
    part of standard normals, as in the paper's released code. ``free``: normals of variance 1 / fan_in and of either
    sign, for soft monotonicity.

    Args:
        weight: Parameter of any shape; tensors below broadcast against it.
        fan_in: Number of inputs.
        init: Which of them.
        hops: Distance of the agents that a weight is for.
    """
    with torch.no_grad():
        if init == "normal":
            weight.normal_().clamp_(min=0)
        elif init == "free":
            weight.normal_().div_(torch.as_tensor(fan_in).sqrt())
        else:
            weight.uniform_(0, 2).div_(fan_in)
            if init == "decayed":
                weight.mul_(GAIN * DECAY**hops)


def init_bias(*shape: int, init: Init) -> nn.Parameter:
    """Biases of a hidden layer: zeros, or for ``negative_bias`` uniform in [-2, 0].

    Where values are positive, every unit that starts at zero lies on the linear side of ELU; the mixer is then
    additive, its best additive fit is a stationary point, and it may never learn more. With ``negative_bias`` units
    begin on both sides.
    """
    bias = torch.zeros(shape)
    return nn.Parameter(bias.uniform_(-2, 0) if init == "negative_bias" else bias)
