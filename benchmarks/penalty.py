"""Soft monotonicity: one backward pass for all blocks against one for each block, with 50 agents.

python benchmarks/penalty.py
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from lomaq import AgentGraph, Partition
from lomaq.mixers import MaskedMLPMixer


def naive(mixer: MaskedMLPMixer, utilities: Tensor) -> Tensor:
    """Σ_J Σ_i ReLU(-∂F_J/∂U_i), a backward pass for each block."""
    values = mixer(utilities)
    total = torch.zeros(len(utilities))
    for block in range(mixer.n_blocks):
        (slope,) = torch.autograd.grad(values[:, block].sum(), utilities, create_graph=True)
        total = total + (-slope).relu().sum(dim=1)
    return total


def main() -> None:
    """Measure both, gradients included, and compare."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    mixer = MaskedMLPMixer(AgentGraph.line(50), Partition.singletons(50), 1, monotonicity="soft")
    for parameter in mixer.parameters():
        torch.nn.init.normal_(parameter)
    utilities = torch.randn(200, 50, requires_grad=True)
    seconds: dict[str, list[float]] = {"one pass": [], "a pass a block": []}
    results = {}
    for _ in range(7):
        for name, function in (
            ("one pass", lambda: mixer.forward_with_violation(utilities)[1]),
            ("a pass a block", lambda: naive(mixer, utilities)),
        ):
            begin = time.perf_counter()
            results[name] = function()
            torch.autograd.grad(results[name].sum(), mixer.w1, retain_graph=True)
            seconds[name].append(time.perf_counter() - begin)
    one, many = results.values()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name:<16}{1e3 * value:8.1f} ms")
    print(f"ratio           {medians['a pass a block'] / medians['one pass']:8.1f}")
    print(f"relative difference {((one - many).abs().max() / many.abs().max()).item():.1e}")


if __name__ == "__main__":
    main()
