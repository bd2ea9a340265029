"""Speed of the recurrent unit against ``torch.nn.GRU``, with this machine's matrix-product rate for comparison.

    python benchmarks/gru.py [--repeat 9]

One thread. Every number is the median of several rounds, and the rounds of all rows are interleaved, so that a machine
that slows down or is shared slows all rows alike. Every time is given twice: wall-clock time, and processor time, which
other jobs on a shared machine affect less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lomaq.nn.gru import GRU

HIDDEN = 64


def clock() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def timed(work: Callable[[], object], times: int = 1) -> tuple[float, float]:
    """Milliseconds of one call: on the wall, of the processor."""
    begin = clock()
    for _ in range(times):
        work()
    wall, processor = (1e3 * (now - then) / times for then, now in zip(begin, clock(), strict=True))
    return wall, processor


def forward(network: nn.Module, x: Tensor, state: Tensor) -> Callable[[], object]:
    """As in acting and for targets."""

    def run() -> None:
        with torch.no_grad():
            network(x, state)

    return run


def both(network: nn.Module, x: Tensor, state: Tensor) -> Callable[[], object]:
    """Forward and backward, gradients of the inputs included."""
    weight = torch.rand(*x.shape[:2], HIDDEN)

    def run() -> None:
        x.grad = None
        network(x, state)[0].backward(weight)

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=9, help="rounds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    theirs, ours = nn.GRU(HIDDEN, HIDDEN), GRU(HIDDEN, HIDDEN)
    a = torch.rand(512, 512)
    rows: dict[str, tuple[Callable[[], object], int]] = {"matrix product": (lambda: a @ a, 40)}
    for steps, sequences, times in ((201, 750, 1), (1, 15, 200)):
        x, state = torch.randn(steps, sequences, HIDDEN, requires_grad=True), torch.zeros(1, sequences, HIDDEN)
        for what, make in (("forward", forward), ("forward + backward", both)):
            for name, network in (("torch", theirs), ("ours", ours)):
                rows[f"T={steps} M={sequences} {what}, {name}"] = make(network, x, state), times
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for _ in range(options.repeat):
        for name, (work, times) in rows.items():
            found[name].append(timed(work, times))
    table = Table("what", "wall", "processor", "lowest", "unit")
    for name, values in found.items():
        wall, processor = (list(column) for column in zip(*values, strict=True))
        figures = [statistics.median(wall), statistics.median(processor), min(processor)]
        if name == "matrix product":
            table.add_row(name, *(f"{2 * 512**3 / figure / 1e6:,.0f}" for figure in figures), "GFLOP/s")
        else:
            table.add_row(name, *(f"{figure:,.3f}" if figure < 1 else f"{figure:,.1f}" for figure in figures), "ms")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
