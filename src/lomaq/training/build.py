"""From a resolved configuration (plain containers) to the objects of a run."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch

from lomaq.envs import BatchedEnv
from lomaq.errors import InputError, check_int
from lomaq.graphs import AgentGraph, Partition
from lomaq.graphs.kept import keeping, kept_files
from lomaq.mixers import Mixer
from lomaq.nn import Utilities
from lomaq.objectives import ValueNetworks
from lomaq.rewards import BlockReward
from lomaq.training.module import EnvMaker, LomaqModule
from lomaq.training.process import building
from lomaq.training.replay import Replay, sequence_bytes
from lomaq.training.settings import LearnerSettings

T = TypeVar("T")

#: Keys of a group that describe it and are no arguments.
NOTES = ("_target_", "name", "recommended", "tuned")


def build(node: dict[str, Any], kind: Callable[..., T], offered: dict[str, Any] | None = None, **extra: Any) -> T:
    """Make what ``node["_target_"]`` names, with the node's other keys and ``extra`` as arguments.

    Nodes inside that have a ``_target_`` are made first.

    Args:
        node: The target and its settings.
        kind: What it must be.
        offered: Further arguments, given where the target has one of that name.
        extra: Further arguments, given always.

    Raises:
        InputError: If the target is unknown, is no ``kind``, or does not take these arguments.
    """
    path = str(node["_target_"])
    where, _, name = path.rpartition(".")
    try:
        target = getattr(importlib.import_module(where), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError("_target_", "something importable", path, str(error)) from error
    assert isinstance(kind, type)  # abstract classes are no type[T] to a type checker
    if not (isinstance(target, type) and issubclass(target, kind)):
        raise InputError("_target_", f"a {kind.__name__}", path)
    arguments = {
        key: build(value, object) if isinstance(value, dict) and "_target_" in value else value
        for key, value in node.items()
        if key not in NOTES
    }
    taken = inspect.signature(target).parameters
    extra |= {key: value for key, value in (offered or {}).items() if key in taken}
    try:
        return cast(T, target(**arguments, **extra))
    except TypeError as error:
        raise InputError(path, "arguments it takes", sorted(arguments), str(error)) from error


def env_maker(config: dict[str, Any]) -> EnvMaker:
    """Makes environments of ``config["env"]``; the files that they read are those in ``config["files"]``, if there."""
    kept = kept_files(config)

    def make(n_envs: int, seed: int, device: torch.device) -> BatchedEnv:
        with keeping(kept):
            return build(config["env"], BatchedEnv, n_envs=n_envs, seed=seed, device=device)

    return make


@dataclass(frozen=True)
class Run:
    """The objects of a run.

    Attributes:
        module: What Lightning trains.
        make_env: Makes its environments.
        partition: The blocks.
        notes: Lines that a person should read before it is trained.
    """

    module: LomaqModule
    make_env: EnvMaker
    partition: Partition
    notes: list[str]


def build_utilities(config: dict[str, Any], env: BatchedEnv) -> Utilities:
    """The utilities for the agents of ``env``."""
    return build(config["agent"], Utilities, graph=env.graph, obs_size=env.obs_size, n_actions=env.n_actions)


def _with_partition(node: dict[str, Any], key: str, graph: AgentGraph) -> dict[str, Any]:
    """``node`` with the partition that its ``key`` describes, where it does."""
    return {**node, key: Partition.from_spec(node[key], graph)} if node.get(key) is not None else node


@building()
def build_run(config: dict[str, Any]) -> Run:
    """Everything that a training run needs, checked.

    Graph and partition files are read from ``config["files"]``, where it has that, and else put there.

    Raises:
        InputError: If a setting is impossible.
    """
    with keeping(kept_files(config)):
        return _build_run(config)


def _build_run(config: dict[str, Any]) -> Run:
    seed = check_int("seed", config["seed"], 0, 2**32 - 1)
    total = check_int("total_env_steps", config["total_env_steps"], 1)
    torch.manual_seed(seed)
    make_env = env_maker(config)
    env = make_env(1, 0, torch.device("cpu"))
    partition = Partition.from_spec(config["partition"], env.graph)
    kappa = check_int("kappa", config["kappa"], 0)
    sizes: dict[str, Any] = {"obs_size": env.obs_size, "n_actions": env.n_actions}
    mixer = build(
        _with_partition(config["mixer"], "enforce", env.graph),
        Mixer,
        {"kappa": kappa, **sizes},
        graph=env.graph,
        partition=partition,
    )
    settings = build(config["learner"], LearnerSettings)
    utilities = build_utilities(config, env)
    networks = ValueNetworks(utilities, mixer, settings.objective.make_critic(utilities, mixer))
    settings.objective.check(networks)
    reward = build(
        _with_partition(config["reward"], "redistribute", env.graph),
        BlockReward,
        {"graph": env.graph, "kappa": kappa, **sizes},
        partition=partition,
    )
    if settings.replay_capacity is not None:
        steps = settings.rollout_steps or env.max_steps
        Replay(settings.replay_capacity).check_memory(sequence_bytes(env, networks.utilities.memory_size, steps))
    module = LomaqModule(networks, reward, make_env, settings, total, seed, config)
    notes = [getattr(env.graph, "note", None), mixer.note]
    return Run(module, make_env, partition, [note for note in notes if note is not None])
