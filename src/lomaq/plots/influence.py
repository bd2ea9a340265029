"""The influence of agents on each other, as a picture and a graph file: ``lomaq graph discover``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lomaq.envs.influence import measure_influence
from lomaq.errors import check_int, tell
from lomaq.plots.graph_plot import draw_graph
from lomaq.plots.graph_view import GraphView
from lomaq.runs.files import free_path, write_atomic
from lomaq.training.build import env_maker


def picture_influence(
    config: dict[str, Any],
    folder: Path,
    *,
    threshold: float = 0.01,
    rounds: int = 10,
    horizon: int = 25,
    ahead: int = 1,
    n_envs: int = 4,
    seed: int = 0,
) -> list[str]:
    """Measure who influences whom; write ``influence.csv``, ``influence.json``, a graph file, and ``influence.png``.

    Args:
        config: A configuration, whose environment is played.
        folder: Where the files go.
        threshold: Least effect of an edge in standard deviations, 0 to 1; 0 takes any.
        rounds: Rounds of play; in each, another step is changed.
        horizon: Steps of an episode among which that step is drawn.
        ahead: Steps whose observations and rewards are compared; 2 where an action shows a step later.
        n_envs: Parallel environments, each a probe of every round.
        seed: Seed of all that is random.

    Returns:
        Lines that tell of it.

    Raises:
        InputError: If a setting is impossible.
    """
    check_int("n_envs", n_envs, 1)
    with env_maker(config)(n_envs, seed, torch.device("cpu")) as env:
        found = measure_influence(env, seed=seed, rounds=rounds, horizon=horizon, ahead=ahead)
        graph = found.graph(threshold, env.graph)
    name = config["env"]["name"]
    if not found.repeatable:
        tell(f"{name}: the same seed and actions give other episodes, so that influence is what a rank test finds")
    named = zip(graph.labels, found.effect.tolist(), strict=True)
    rows = [["", *graph.labels], *([label, *(f"{value:.6g}" for value in row)] for label, row in named)]
    folder.mkdir(parents=True, exist_ok=True)
    file = free_path(folder / "influence.json", ".csv", ".png")
    write_atomic(file.with_suffix(".csv"), "".join(",".join(row) + "\n" for row in rows))
    graph.to_file(file)
    title = f"Influence of actions on {name}"
    draw_graph(file.with_suffix(".png"), GraphView(graph, edge_weights=graph.pair_weight, title=title))
    most = f", largest {found.weights().max():.3g}" if graph.n_edges else ""
    pairs = graph.n_agents * (graph.n_agents - 1) // 2
    return [
        f"{graph.n_agents:,} agents, {graph.n_edges:,} of {pairs:,} pairs with an influence of at least {threshold:g} "
        f"standard deviations{most}; {found.probes:,} probes",
        f"matrix     {file.with_suffix('.csv')}: of the row's action on the column",
        f"picture    {file.with_suffix('.png')}",
        f"graph      {file}, which env.graph= takes",
    ]
