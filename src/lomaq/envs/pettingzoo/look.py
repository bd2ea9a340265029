"""How a worker makes a parallel environment and looks at it; imports no torch."""

from __future__ import annotations

import importlib
import os
import random
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces

from lomaq.envs.pettingzoo.spec import Edges, Recipe, Refused, Spec

_HERE = os.path.dirname(__file__)


def made(recipe: Recipe) -> Any:
    """One parallel environment.

    Raises:
        Refused: If the factory gives none.
    """
    factory = imported(recipe.factory)
    random.seed(0)  # a factory that draws, a graph for example, always makes the same
    np.random.seed(0)
    env = factory(**recipe.args)
    if hasattr(env, "agent_iter"):
        remedy = "wrap it: pettingzoo.utils.conversions.aec_to_parallel"
        raise Refused("a PettingZoo parallel environment", f"the turn-based {type(env).__name__}", remedy)
    missing = [name for name in ("reset", "step", "possible_agents", "action_space") if not hasattr(env, name)]
    if missing:
        got = f"{type(env).__name__} without {', '.join(missing)}"
        raise Refused("a PettingZoo parallel environment", got, "see pettingzoo.ParallelEnv")
    return env


def imported(path: str) -> Callable[..., Any]:
    """What ``package.module:function`` names.

    Raises:
        Refused: If there is no such module or function.
    """
    module, _, name = path.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a file of this folder, where nothing that is installed has its name
    expected = "package.module:function of what can be imported here"
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise Refused(expected, path, f"there is no module {error.name}; install it or go to its folder") from error
    if not hasattr(found, name):
        functions = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
        raise Refused(expected, path, f"{module} has no {name}, but {', '.join(sorted(functions)[:12]) or 'none'}")
    found = getattr(found, name)
    if (getattr(found, "__module__", None) or "").partition(".")[0] in sys.stdlib_module_names:
        raise Refused("a function of that package", path, "this one is Python's")
    return found


def described(recipe: Recipe) -> Spec:
    """Make one parallel environment, look at it and close it."""
    env = made(recipe)
    agents = list(env.possible_agents)
    if not agents:
        raise Refused("an environment with possible_agents", "none", "name all agents that there may be")
    seen = [observed_space(env.observation_space(agent)) for agent in agents]
    acted = [env.action_space(agent) for agent in agents]
    for agent, space in zip(agents, acted, strict=True):
        if not isinstance(space, spaces.Discrete):
            remedy = "let each agent choose from a list of actions; continuous ones must be made steps"
            raise Refused(f"a Discrete action space for {agent!r}", str(space), remedy)
    for agent, space in zip(agents, seen, strict=True):
        if not space.is_np_flattenable:
            raise Refused(f"an observation space of fixed size for {agent!r}", str(space))
    env.reset(seed=0)
    own = env.unwrapped
    graph, positions = _graph_and_positions(recipe, env, agents)
    spec = Spec(
        title=f"{type(own).__module__}.{type(own).__qualname__}",
        agents=agents,
        obs_sizes=[spaces.flatdim(space) for space in seen],
        n_actions=[int(space.n) for space in acted],
        first_actions=[int(space.start) for space in acted],
        signatures=[f"{one} {two}" for one, two in zip(seen, acted, strict=True)]
        if not hasattr(own, "signature")
        else [str(own.signature(agent)) for agent in agents],
        metrics=metric_names(own),
        baselines=tuple(getattr(own, "baselines", ())),
        max_envs=getattr(own, "max_envs", None),
        per_process=getattr(own, "per_process", None),
        graph=graph,
        positions=positions,
    )
    env.close()
    if spec.per_process is None and (graph is not None or positions is not None):
        other = made(recipe)
        other.reset(seed=1)
        again, moved = _graph_and_positions(recipe, other, agents)
        other.close()
        if again != graph:
            remedy = "draw it from an argument of the factory, such as env.args.graph_seed=0"
            raise Refused("one graph in every parallel environment", "another one after reset(seed=1)", remedy)
        spec = replace(spec, still=moved == positions)
    return spec


def _graph_and_positions(recipe: Recipe, env: Any, agents: list[Any]) -> tuple[Edges | None, list[list[float]] | None]:
    """The graph and the positions of an environment just after a reset, where it has them."""
    asked = imported(recipe.graph) if recipe.graph else None
    graph = getattr(env.unwrapped, "graph", None) if asked is None else lambda: asked(env)
    positions = getattr(env.unwrapped, "positions", None)
    positions = positions() if callable(positions) else positions
    return (
        plain_graph(graph(), agents) if callable(graph) else None,
        None if positions is None else np.asarray(positions, dtype=float).tolist(),
    )


def metric_names(env: Any) -> tuple[str, ...]:
    """What its ``metrics`` names, or what ``episode_metrics()`` has just after a reset."""
    if hasattr(env, "metrics"):
        return tuple(env.metrics)
    return tuple(env.episode_metrics()) if hasattr(env, "episode_metrics") else ()


def observed_space(space: Any) -> Any:
    """An observation space without PettingZoo's ``action_mask``."""
    if isinstance(space, spaces.Dict) and "action_mask" in space.spaces:
        return spaces.Dict({key: value for key, value in space.spaces.items() if key != "action_mask"})
    return space


def plain_graph(graph: Any, agents: list[Any]) -> Edges:
    """A networkx graph, an edge list or an adjacency matrix (i, j: i has an effect on j) in plain values.

    Args:
        graph: Nodes are the names of the agents or their numbers.
        agents: Names of all agents.

    Raises:
        Refused: If it is something else, or names an unknown agent.
    """
    n, number = len(agents), {agent: i for i, agent in enumerate(agents)}
    if hasattr(graph, "nodes") and hasattr(graph, "is_directed"):
        weighted = [(a, b, float(weight)) for a, b, weight in graph.edges(data="weight", default=1.0)]
        return Edges([(*_ends(a, b, number), w) for a, b, w in weighted], graph.is_directed())
    rows = graph if isinstance(graph, np.ndarray) else list(graph)
    if isinstance(rows, np.ndarray) or (len(rows) == n and all(np.shape(row) == (n,) for row in rows) and n > 2):
        matrix = np.asarray(rows, dtype=float)
        if matrix.shape != (n, n):
            raise Refused(f"an adjacency matrix [{n}, {n}]", f"shape {list(matrix.shape)}")
        directed = not np.array_equal(matrix != 0, matrix.T != 0)
        pairs = np.argwhere(matrix if directed else np.triu(matrix))
        return Edges([(int(i), int(j), float(matrix[i, j])) for i, j in pairs], directed)
    return Edges([(*_ends(pair[0], pair[1], number), 1.0) for pair in rows])


def _ends(one: Any, two: Any, number: dict[Any, int]) -> tuple[int, int]:
    ends = [number.get(end, end) for end in (one, two)]
    if not all(isinstance(end, (int, np.integer)) and 0 <= end < len(number) for end in ends):
        raise Refused("edges between the names of agents, or their numbers", f"an edge from {one!r} to {two!r}")
    return int(ends[0]), int(ends[1])


def told(error: BaseException, factory: str) -> str:
    """An exception in words, with file and line of the innermost place in the package or folder of the factory."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frames = traceback.extract_tb(error.__traceback__)
    module = sys.modules.get(factory.partition(":")[0])
    home = os.path.dirname(getattr(module, "__file__", None) or "")
    own = [frame for frame in frames if home and frame.filename.startswith(home + os.sep)]
    places: Iterable[traceback.FrameSummary] = own or [f for f in frames if os.path.dirname(f.filename) != _HERE]
    return text if not places else f"{text} ({[*places][-1].filename}:{[*places][-1].lineno})"
