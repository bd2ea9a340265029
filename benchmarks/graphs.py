"""Time and memory to build large networks on large graphs, each in a process of its own.

    python benchmarks/graphs.py

Seconds are those of graph, mixer and utilities together; memory is the most that the process had, with its imports.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time

import networkx as nx
from rich.console import Console
from rich.table import Table

from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import MaskedMLPMixer
from lomaq.nn import Utilities
from lomaq.nn.slots import SHARES, Share
from lomaq.training.process import peak_memory_mb

#: Name → how it is made, and κ.
GRAPHS = {
    "random geometric, 10,000, mean degree 8": (
        lambda: nx.random_geometric_graph(10_000, math.sqrt(8 / (math.pi * 10_000)), seed=1),
        2,
    ),
    "Barabási–Albert, 10,000, 2 edges each": (lambda: nx.barabasi_albert_graph(10_000, 2, seed=1), 1),
    "hub of 2,000 leaves": (lambda: nx.star_graph(2000), 1),
    "complete, 300": (lambda: nx.complete_graph(300), 1),
}


def build(name: str, share: Share) -> str:
    """Seconds, parameters of the mixer, and peak memory, as text."""
    make, kappa = GRAPHS[name]
    drawn = make()
    begin = time.perf_counter()
    graph = AgentGraph.from_networkx(drawn)
    mixer = MaskedMLPMixer(graph, Partition.singletons(graph.n_agents), kappa, share=share)
    Utilities(graph, obs_size=4, n_actions=2)
    seconds = time.perf_counter() - begin
    return f"{seconds:.1f} s|{sum(p.numel() for p in mixer.parameters()):,}|{peak_memory_mb():,.0f} MB"


def main() -> None:
    """Measure and print; with two arguments one graph alone."""
    if len(sys.argv) == 3:
        print(build(sys.argv[1], SHARES[SHARES.index(sys.argv[2])]))
        return
    table = Table("graph", "κ", "share", "building", "mixer's parameters", "peak memory")
    for name, (_, kappa) in GRAPHS.items():
        for share in ("auto", "ego"):
            line = subprocess.check_output([sys.executable, __file__, name, share], text=True).splitlines()[-1]
            table.add_row(name, str(kappa), share, *line.split("|"))
    Console().print(table)


if __name__ == "__main__":
    main()
