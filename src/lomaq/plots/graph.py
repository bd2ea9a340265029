"""The picture of a run's graph, or of a file's: ``lomaq graph``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch
from scipy.sparse import csr_matrix

from lomaq.analysis.episode import play_episode
from lomaq.analysis.stored import Checkpoint
from lomaq.errors import InputError, check_choice, check_int, tell
from lomaq.graphs import AgentGraph, Partition
from lomaq.graphs.kept import keeping, kept_files
from lomaq.plots.graph_html import write_graph_html
from lomaq.plots.graph_plot import FORMATS, draw_graph
from lomaq.plots.graph_view import GraphView, classes_of
from lomaq.rewards import RewardSource
from lomaq.training.build import env_maker

#: What agents are coloured by; the last three are those of a checkpoint: of an episode that it plays, and its shares.
COLOURS = ("partition", "classes", "degree", "reward", "utility", "share")
PLAYED = {"reward": "reward of a step", "utility": "utility of the chosen action"}


def picture_graph(
    config: dict[str, Any] | None,
    file: str | None,
    stored: Checkpoint | None,
    *,
    partition: Any = None,
    kappa: int | None = None,
    agent: int | str | None = None,
    colour: str = "partition",
    output: str = "graph.png",
    seed: int = 0,
) -> str:
    """Draw the graph of an environment or of a file.

    Args:
        config: A configuration, whose environment has the graph; None where a file has it.
        file: Graph file; None where there is a configuration.
        stored: The checkpoint of the configuration, needed for ``reward``, ``utility`` and ``share``.
        partition: BLOCKS as in training; by default those of the run, else singletons.
        kappa: HOPS of neighbourhood and ego classes; by default those of the run, else 1.
        agent: NUMBER or name of an agent whose neighbourhood is outlined.
        colour: What colours the agents: partition (blocks that touch differ), classes (ego classes, equal
            surroundings), degree; with a checkpoint reward or utility of one greedy episode, or share, the part of its
            own reward that an agent passes on to others (reward.share), with widths by what is passed along an edge.
        output: File to write: .png, .svg, .pdf, or .html to zoom, to point at and to play (needs the extra html). A
            picture shows the mean of an episode over its steps, .html plays them.
        seed: Seed of the episode.

    Returns:
        One line: the graph in numbers and the path.

    Raises:
        InputError: If something does not fit.
    """
    path = Path(output)
    check_choice("colour", colour, COLOURS)
    check_choice("ending of output", path.suffix, (*FORMATS, ".html"))
    check_int("seed", seed, 0, 2**32 - 1)
    if path.is_dir():
        raise InputError("output", "a file to write", f"the folder {path}")
    if colour in (*PLAYED, "share") and stored is None:
        remedy = "give checkpoint=PATH " + (
            "to play an episode" if colour in PLAYED else "of a run that shares rewards"
        )
        raise InputError("colour", "partition, classes or degree", colour, remedy)
    if config is None:
        assert file is not None
        graph, name = AgentGraph.from_file(file), Path(file).name
        settings: dict[str, Any] = {"partition": "singletons", "kappa": 1}
    else:
        graph, name, settings = env_maker(config)(1, 0, torch.device("cpu")).graph, config["env"]["name"], config
    tell(getattr(graph, "note", None))
    with keeping(kept_files(settings)):
        blocks = Partition.from_spec(settings["partition"] if partition is None else partition, graph)
    hops = check_int("kappa", settings["kappa"] if kappa is None else kappa, 0)
    title = f"{name}, {graph.n_agents:,} agents"
    if stored is not None:
        title += f", after {stored.env_steps:,} env steps"
    if isinstance(agent, str):
        if agent not in graph.labels:
            raise InputError("agent", "the number or the name of an agent", repr(agent))
        agent = graph.labels.index(agent)
    shown: dict[str, Any] = {"classes": colour == "classes", "title": title, "edge_weights": graph.pair_weight}
    shown |= _shares(stored, graph) if stored is not None and colour == "share" else {}
    if colour == "degree" or colour in PLAYED:
        shown["values"], shown["value_name"] = _values(graph, config, stored, colour, seed)
    view = GraphView(graph, blocks, agent, hops, **shown)
    (write_graph_html if path.suffix == ".html" else draw_graph)(path, view)
    return f"{describe(graph, blocks, hops)}: {path}"


def _values(
    graph: AgentGraph, config: dict[str, Any] | None, stored: Checkpoint | None, colour: str, seed: int
) -> tuple[np.ndarray, str]:
    """Numbers ``[N]`` or ``[T, N]`` that colour the agents, and what they are."""
    if colour == "degree":
        return graph.degree.numpy(), "degree"
    assert stored is not None
    assert config is not None
    return play_episode(stored, config, seed)[colour], PLAYED[colour]


def _shares(stored: Checkpoint, graph: AgentGraph) -> dict[str, Any]:
    """What a view shows of W: the share of each agent's reward that others get, and the sum of both along each edge.

    Raises:
        InputError: If the run shares no rewards, or the graph is another one.
    """
    run = stored.run()
    reward, trained = run.module.reward, run.module.networks.mixer.graph
    if not isinstance(reward, RewardSource) or reward.matrix is None:
        got = f"one with reward={stored.config['reward']['name']}, reward.share={stored.config['reward'].get('share')}"
        raise InputError(
            "checkpoint", "a run that shares rewards, with colour=share", got, "train with reward.share=learned"
        )
    if trained.n_agents != graph.n_agents or not torch.equal(trained.edge_index, graph.edge_index):
        got = f"another one, of {graph.n_agents} agents"
        raise InputError("env", "the graph of the training, with colour=share", got, "leave out what changes it")
    w = reward.matrix.matrix()
    parts = (w.values().numpy(), w.col_indices().numpy(), w.crow_indices().numpy())
    shares, (one, other) = csr_matrix(parts, shape=w.shape), graph.pairs.numpy().T
    return {
        "values": reward.matrix.passed_on,
        "value_name": "share of its reward that an agent passes on",
        "edge_weights": np.asarray(shares[one, other] + shares[other, one]).ravel(),
        "edge_name": "share passed along an edge, both ways:",
    }


def describe(graph: AgentGraph, partition: Partition, kappa: int) -> str:
    """A graph in one line of numbers.

    Example:
        >>> describe(AgentGraph.line(5), Partition.full(5), kappa=1)
        '5 agents, 4 edges, degree 1 to 2 (mean 1.6), 1 component, 1 block, 2 ego classes (κ = 1)'
    """
    n, degree = graph.n_agents, graph.degree
    parts = nx.number_connected_components(graph.to_networkx())
    found = classes_of(graph, kappa)
    counts = [(n, "agent"), (graph.n_edges, "edge"), (parts, "component"), (partition.n_blocks, "block")]
    agents, edges, components, blocks = (f"{count:,} {what}{'s' * (count != 1)}" for count, what in counts)
    degrees = f"degree {int(degree.min())} to {int(degree.max())} (mean {float(degree.double().mean()):.3g})"
    count = 0 if found is None else int(found.max()) + 1
    classes = f"{count:,} ego class{'es' * (count > 1)}" if count else "ego classes not counted"
    weight = graph.pair_weight
    if weight is not None and len(weight):
        edges += f" (weights {float(weight.min()):.3g} to {float(weight.max()):.3g}, mean {float(weight.mean()):.3g})"
    return f"{agents}, {edges}, {degrees}, {components}, {blocks}, {classes} (κ = {kappa})"
