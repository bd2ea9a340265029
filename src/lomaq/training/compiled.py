"""``compile=true``: networks as ``torch.compile`` makes them."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from lomaq.objectives import ValueNetworks


def compile_networks(networks: Iterable[ValueNetworks], device: torch.device) -> str | None:
    """Let every call of utilities, mixers and critics run code that is compiled at its first use.

    Weights, checkpoints and results stay what they are, but for rounding. Shapes are static: one compilation each for
    acting, targets and minibatches.

    Args:
        networks: What to compile, in place.
        device: Where it runs.

    Returns:
        None, or why nothing can be compiled here; then everything runs as it is.
    """
    try:
        torch.compile(torch.sin, dynamic=False)(torch.zeros(1, device=device))
    except Exception as error:  # whatever a missing compiler makes of itself
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return (
            f"compile=true needs a C++ compiler on a CPU and Triton on a GPU; running without ({reason.strip()[:100]})"
        )
    for each in networks:
        for part in (each.utilities, each.mixer, each.critic):
            if part is not None:
                part.compile(dynamic=False)
    return None
