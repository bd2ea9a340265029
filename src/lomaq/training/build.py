"""From a resolved configuration (plain containers) to the objects of a run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from lomaq.envs import BatchedEnv, contract
from lomaq.errors import EnvError, InputError, check_bool, check_int, did_you_mean
from lomaq.evaluation import Actor, GreedyActor, SampleActor
from lomaq.graphs import AgentGraph, Partition
from lomaq.graphs.kept import keeping, kept_files
from lomaq.inputs.memory import fitting
from lomaq.inputs.targets import TARGET, check_function, find_class, our_class, parameter_kinds
from lomaq.mixers import Mixer
from lomaq.nn import Utilities
from lomaq.objectives import Objective, ValueNetworks
from lomaq.rewards import BlockReward
from lomaq.training.experience.replay import Replay, announced_memory, sequence_bytes
from lomaq.training.module import EnvMaker, LomaqModule
from lomaq.training.process import building
from lomaq.training.settings import LearnerSettings

T = TypeVar("T")

#: Keys of a group that describe it and are no arguments.
NOTES = ("_target_", "name", "recommended", "tuned")
#: Seed of a second environment, whose graph must be that of the first.
OTHER_SEED = 1


def build(node: dict[str, Any], kind: Callable[..., T], offered: dict[str, Any] | None = None, **extra: Any) -> T:
    """Make what ``node["_target_"]`` names, with the node's other keys and ``extra`` as arguments.

    Nodes inside that have a ``_target_`` are made first, of the kind that the parameter is annotated with. Only classes
    that :func:`lomaq.inputs.targets.find_class` finds are made: no module is imported.

    Args:
        node: The target and its settings.
        kind: What it must be.
        offered: Further arguments, given where the target has one of that name.
        extra: Further arguments, given always.

    Raises:
        InputError: If the target is unknown, is no ``kind``, or does not take these arguments.
        EnvError: If an environment's constructor raises.
    """
    assert isinstance(kind, type)  # abstract classes are no type[T] to a type checker
    return _make(node, (kind,), offered or {}, extra)


def _make(node: object, kinds: Sequence[type[T]], offered: dict[str, Any], extra: dict[str, Any]) -> T:
    if not isinstance(node, dict):
        raise InputError(TARGET, f"settings of a {kinds[0].__name__}", repr(node))
    target = find_class(node.get(TARGET), kinds)
    arguments = {str(key): _argument(target, str(key), value) for key, value in node.items() if key not in NOTES}
    signature = inspect.signature(target)
    more = extra | {key: value for key, value in offered.items() if key in signature.parameters}
    try:
        signature.bind(**arguments, **more)
    except TypeError as error:
        unknown = next((key for key in arguments if key not in signature.parameters), None)
        meant = did_you_mean(unknown, signature.parameters) if unknown is not None else ""
        remedy = f"{error}; {meant}".removesuffix("; ")
        raise InputError(node[TARGET], "arguments it takes", sorted({*arguments, *more}), remedy) from error
    try:
        with fitting(node[TARGET], arguments | {"n_envs": more.get("n_envs")}):
            return target(**arguments, **more)
    except InputError:
        raise
    except Exception as error:
        said = contract.described(error)
        if issubclass(target, BatchedEnv) or our_class(node[TARGET]) is None:  # somebody else's
            kind = EnvError if issubclass(target, BatchedEnv) else InputError
            raise kind(f"{node[TARGET]}.__init__", "no exception", said) from error
        if isinstance(error, TypeError):
            raise InputError(node[TARGET], "arguments it can use", sorted(arguments), said) from error
        raise


def _argument(target: type, key: str, value: Any) -> Any:
    """A plain value, or what a node makes; nodes anywhere else in a value are refused."""
    if not isinstance(value, dict) or TARGET not in value:
        if _holds_node(value):
            raise InputError(f"{target.__name__}.{key}", "plain values, or one node", f"a {TARGET} inside of them")
        check_function(target, key, value)
        return value
    kinds = parameter_kinds(target, key)
    if not kinds:
        remedy = f"annotate {key} in the constructor of {target.__name__} with the class that it takes"
        raise InputError(f"{target.__name__}.{key}", "a plain value", f"a {TARGET}", remedy)
    return _make(value, kinds, {}, {})


def _holds_node(value: Any) -> bool:
    if isinstance(value, dict):
        return TARGET in value or any(map(_holds_node, value.values()))
    return isinstance(value, list) and any(map(_holds_node, value))


def env_maker(config: dict[str, Any]) -> EnvMaker:
    """Makes environments of ``config["env"]``; the files that they read are those in ``config["files"]``, if there."""
    kept = kept_files(config)

    def make(n_envs: int, seed: int, device: torch.device) -> BatchedEnv:
        with keeping(kept):
            env = build(config["env"], BatchedEnv, n_envs=n_envs, seed=seed, device=device)
        contract.check_made(env, n_envs, device)
        return env

    return make


@dataclass(frozen=True)
class Run:
    """The objects of a run.

    Attributes:
        module: What Lightning trains.
        make_env: Makes its environments.
        partition: The blocks.
        notes: Lines that a person should read before it is trained.
        metric_names: What its environments measure of an episode.
        resumable: Whether a checkpoint holds the state of its environments.
    """

    module: LomaqModule
    make_env: EnvMaker
    partition: Partition
    notes: list[str]
    metric_names: list[str]
    resumable: bool


def build_utilities(config: dict[str, Any], env: BatchedEnv) -> Utilities:
    """The utilities for the agents of ``env``."""
    return build(config["agent"], Utilities, graph=env.graph, obs_size=env.obs_size, n_actions=env.n_actions)


def is_stochastic(config: dict[str, Any]) -> bool:
    """Whether the outputs of the agents' networks are logits of policies.

    Raises:
        InputError: If the objective is a class of a module that is not imported.
    """
    return find_class(config["learner"]["objective"].get(TARGET), [Objective]).stochastic  # type: ignore[type-abstract]


def samples(config: dict[str, Any]) -> bool:
    """Whether agents draw their actions in tests.

    Raises:
        InputError: If they are to, but their networks' outputs are no policies.
    """
    if not check_bool("evaluation.sample", config["evaluation"]["sample"]):
        return False
    if not is_stochastic(config):
        objective = str(config["learner"]["objective"][TARGET]).rpartition(".")[2]
        expected = f"false for {objective}, whose networks' outputs are values and no policy to draw from"
        raise InputError("evaluation.sample", expected, True, "train a policy, such as algo=coma")
    return True


def with_sample(config: dict[str, Any], sample: bool | None) -> dict[str, Any]:
    """``config`` with another ``evaluation.sample``; None for its own."""
    return config if sample is None else {**config, "evaluation": {**config["evaluation"], "sample": sample}}


def actor_of(config: dict[str, Any], utilities: Utilities, seed: int) -> Actor:
    """Who plays the tests of a run: each agent takes its best action, or draws it, as ``evaluation.sample`` says.

    Args:
        config: Its configuration.
        utilities: Its networks.
        seed: Seed of the episodes, which are the same again with an actor made anew.

    Raises:
        InputError: As :func:`samples`.
    """
    return SampleActor(utilities, seed) if samples(config) else GreedyActor(utilities)


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
    with make_env(2, 0, torch.device("cpu")) as env, make_env(1, OTHER_SEED, torch.device("cpu")) as other:
        contract.check_same_graph(env, other, OTHER_SEED)
        contract.rehearse(env)
        metrics = [*contract.read_metrics(env)]
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
    with fitting(type(settings.objective).__name__, config["agent"]):
        networks = ValueNetworks(utilities, mixer, settings.objective.make_critic(utilities, mixer))
    settings.objective.check(networks)
    samples(config)
    reward = build(
        _with_partition(config["reward"], "redistribute", env.graph),
        BlockReward,
        {"graph": env.graph, "kappa": kappa, **sizes},
        partition=partition,
    )
    reward.check(settings.batch_size or settings.n_envs)
    steps = settings.rollout_steps or env.max_steps
    each = sequence_bytes(env, networks.utilities.memory_size, steps)
    if settings.replay_capacity is not None:
        Replay(settings.replay_capacity).check_memory(each)
    batches = steps, settings.batch_size or settings.n_envs, settings.minibatches
    memory = announced_memory(settings.n_envs, each, batches, settings.replay_capacity, networks)
    module = LomaqModule(networks, reward, make_env, settings, total, seed, config)
    notes = [getattr(env.graph, "note", None), mixer.note, memory]
    return Run(module, make_env, partition, [note for note in notes if note is not None], metrics, env.resumable)
