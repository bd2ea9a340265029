"""What an environment promises, checked while it is played; each breach is one line with class and remedy.

Shapes, types and devices are checked at every step (about a microsecond a tensor). What costs more is checked at the
first reset and step, or where the numbers of many steps are together: a rollout, a step of a test episode.
:func:`lomaq.testing.check_env` tries the rest.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import numbers
import os
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lomaq.envs.rollout import Rollout
from lomaq.errors import EnvError, InputError, check_int
from lomaq.graphs import AgentGraph

if TYPE_CHECKING:
    from lomaq.envs.base import BatchedEnv

_ENVS = os.path.dirname(__file__)
_PACKAGE = os.path.dirname(_ENVS)
#: Steps of the rehearsal.
REHEARSED = 2
_SUPER = "super().__init__(graph, n_envs=…, n_actions=…, obs_size=…, max_steps=…, seed=…, device=…)"


def title(env: object) -> str:
    """The class of an environment, as an import would name it."""
    cls = env if isinstance(env, type) else type(env)
    return f"{cls.__module__}.{cls.__qualname__}"


# ---------------------------------------------------------------- once


def check_graph(env: BatchedEnv, graph: object) -> AgentGraph:
    """Return the graph that a subclass gives.

    Raises:
        EnvError: If it is none of ours.
    """
    if not isinstance(graph, AgentGraph):
        remedy = "AgentGraph.from_edges(n, edges) makes one"
        raise EnvError(f"graph of {title(env)}", "a lomaq.AgentGraph", brief(graph), remedy)
    return graph


def check_size(env: BatchedEnv, name: str, value: object) -> int:
    """Return a number of actions or of observed numbers, at least 1."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return check_int(f"{name} of {title(env)}", int(value) if whole else value, 1)  # type: ignore[call-overload]


def check_made(env: BatchedEnv, n_envs: int | None = None, device: torch.device | None = None) -> torch.Generator:
    """Check what the constructor of a subclass leaves, and that it passed on what it was given; its generator.

    Raises:
        EnvError: If something is missing or was replaced.
    """
    name = title(env)
    if "generator" not in vars(env):
        raise EnvError(f"{name}.__init__", f"a call of {_SUPER}", "none")
    if n_envs is not None and env.n_envs != n_envs:
        remedy = "pass the n_envs that __init__ is given on to super().__init__"
        raise EnvError(f"n_envs of {name}", f"the {n_envs} that were asked for", env.n_envs, remedy)
    if device is not None and env.device != torch.empty(0, device=device).device:
        remedy = "pass the device that __init__ is given on to super().__init__"
        raise EnvError(f"device of {name}", str(device), env.device, remedy)
    names = env.state_names
    if not isinstance(names, (tuple, list)) or not all(isinstance(each, str) for each in names):
        remedy = 'state_names = ("position",), with the comma'
        raise EnvError(f"state_names of {name}", "a tuple of names", repr(names), remedy)
    if not isinstance(env.generator, torch.Generator) or env.generator.device.type != env.device.type:
        remedy = "leave self.generator to super().__init__"
        raise EnvError(f"generator of {name}", f"a torch.Generator on {env.device}", brief(env.generator), remedy)
    if env.n_agents != check_graph(env, env.graph).n_agents:
        remedy = "give the final graph to super().__init__"
        raise EnvError(f"graph of {name}", f"the {env.n_agents} agents of before", env.graph.n_agents, remedy)
    return env.generator


def check_same_graph(env: BatchedEnv, other: BatchedEnv, seed: int) -> None:
    """Check that an environment of another seed has the same graph: all networks of a run are made for one.

    Args:
        env: An environment.
        other: Another one, made alike, but with another number of parallel environments and another seed.
        seed: That seed.

    Raises:
        EnvError: If edges, agents or their types differ.
    """
    one, two = env.graph, other.graph
    if not (torch.equal(one.edge_index, two.edge_index) and torch.equal(one.types, two.types)):
        sizes = [f"{graph.n_agents} agents and {graph.n_edges} edges" for graph in (one, two)]
        got = f"{sizes[0]}, but with seed={seed} {'others' if sizes[0] == sizes[1] else sizes[1]}"
        remedy = "draw it from an argument of its own, __init__(…, graph_seed=0, …): each environment has another seed"
        raise EnvError(f"graph of {title(env)}", "the same graph in every environment", got, remedy)


def check_state(env: BatchedEnv) -> None:
    """Check that what ``state_names`` names is there, after the first reset."""
    for name in (*env.state_names, "time"):
        value = getattr(env, name, None)
        if not isinstance(value, Tensor):
            expected = "tensors in the attributes that it names"
            got = "no such attribute" if not hasattr(env, name) else brief(value)
            remedy = f"set self.{name} to a tensor, or leave it out of state_names"
            raise EnvError(f"state_names of {title(env)}", expected, f"{got} for {name!r}", remedy)


def check_reset(env: BatchedEnv, rows: Tensor, generator: torch.Generator) -> None:
    """Check after the first reset of ``rows``, that began with ``generator``."""
    check_state(env)
    _check_left_alone(env, torch.where(torch.isin(_all(env), rows), 0, env.time), generator)
    mask = env.allowed()
    if mask is not None:
        check_choices(mask, f"action mask of {title(env)}", EnvError, name_of=env.graph.name_of)


def check_step(env: BatchedEnv, time: Tensor, generator: torch.Generator) -> None:
    """Check after the first step, before the base counts it."""
    _check_left_alone(env, time, generator)


def _all(env: BatchedEnv) -> Tensor:
    return torch.arange(env.n_envs, device=env.device)


def _check_left_alone(env: BatchedEnv, time: Tensor, generator: torch.Generator) -> None:
    if env.generator is not generator:
        remedy = "draw with generator=self.generator, and never replace it"
        raise EnvError(f"generator of {title(env)}", "the one of super().__init__", "another one", remedy)
    if not isinstance(env.time, Tensor) or env.time.shape != time.shape or not torch.equal(env.time, time):
        remedy = "the base class counts the steps and begins anew at a reset; give a clock of your own another name"
        raise EnvError(f"time of {title(env)}", "a time step that the class leaves alone", "a changed one", remedy)


# ---------------------------------------------------------------- at every step


def check_observation(env: BatchedEnv, value: object) -> Tensor:
    """Return what ``observe`` returned, ``[B, N, O]`` float32."""
    return _tensor(env, "observe()", value, "[B, N, O]", (env.n_envs, env.n_agents, env.obs_size), torch.float32)


def check_advanced(env: BatchedEnv, value: object) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return what ``_advance`` returned: rewards ``[B, N]`` float32, ends ``[B]`` bool and own truncations, or None."""
    if not (isinstance(value, (tuple, list)) and len(value) in (2, 3)):
        expected = "two values, rewards [B, N] and terminated [B], or three, with truncated [B]"
        remedy = "observe() shows the observation and max_steps truncates"
        raise EnvError(f"{title(env)}._advance", expected, brief(value), remedy)
    rewards, terminated, *truncated = value
    rewards = _tensor(env, "reward of _advance", rewards, "[B, N]", (env.n_envs, env.n_agents), torch.float32)
    terminated = _tensor(env, "terminated of _advance", terminated, "[B]", (env.n_envs,), torch.bool)
    if not truncated:
        return rewards, terminated, None
    return rewards, terminated, _tensor(env, "truncated of _advance", truncated[0], "[B]", (env.n_envs,), torch.bool)


def read_metrics(env: BatchedEnv) -> dict[str, Tensor]:
    """What ``episode_metrics`` returns, checked but for numbers that are not finite.

    Raises:
        EnvError: If it is no dict of words → ``[B]`` float64.
    """
    metrics = env._call("episode_metrics")
    if not isinstance(metrics, dict) or not all(isinstance(name, str) and name.isidentifier() for name in metrics):
        expected, remedy = "a dict of words such as mean_delay", "return {} where there are none"
        raise EnvError(f"episode_metrics of {title(env)}", expected, brief(metrics), remedy)
    for name, value in metrics.items():
        _tensor(env, f"episode_metrics()[{name!r}]", value, "[B]", (env.n_envs,), torch.float64)
    return metrics


def check_mask(env: BatchedEnv, value: object) -> Tensor | None:
    """Return what ``action_mask`` returned: ``[B, N, A]`` bool, or always None."""
    if env._masks is None:
        env._masks = value is not None
    if env._masks != (value is not None):
        expected = "a mask at every step, or None at every step"
        got = "None after a mask" if value is None else "a mask after None"
        raise EnvError(f"{title(env)}.action_mask", expected, got, "return torch.ones where all are allowed")
    if value is None:
        return None
    return _tensor(env, "action_mask()", value, "[B, N, A]", (env.n_envs, env.n_agents, env.n_actions), torch.bool)


def _tensor(env: BatchedEnv, name: str, value: object, axes: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    if (
        isinstance(value, Tensor)
        and value.shape == shape
        and value.dtype is dtype
        and value.device == env.device
        and value.layout is torch.strided
        and not value.requires_grad
    ):
        return value
    kind, where = str(dtype).removeprefix("torch."), f" on {env.device}"
    expected = f"a tensor {axes} = {list(shape)} of {kind}{where}"
    if not isinstance(value, Tensor):
        remedy = "torch.from_numpy(…) makes it one" if isinstance(value, np.ndarray) else "return a tensor"
        raise EnvError(f"{name} of {title(env)}", expected, brief(value), remedy)
    got = f"{list(value.shape)} of {str(value.dtype).removeprefix('torch.')} on {value.device}"
    if value.layout is not torch.strided:
        got, remedy = f"{got}, sparse", "use .to_dense()"
    elif value.shape != shape:
        remedy = "B environments, N agents of the graph, O = obs_size, A = n_actions, in this order"
    elif value.dtype is not dtype:
        remedy = {torch.bool: "use .bool()", torch.float64: "use .double()"}.get(dtype, "use .float()")
    elif value.device != env.device:
        remedy = "make tensors with device=self.device"
    else:
        got, remedy = f"{got}, with gradients", "use .detach()"
    raise EnvError(f"{name} of {title(env)}", expected, got, remedy)


# ---------------------------------------------------------------- where there are numbers


def check_numbers(env: BatchedEnv, name: str, values: Tensor, step: int) -> None:
    """Check that ``values`` ``[B, N, …]`` of one step of an episode are finite."""
    _finite(env, name, values[None], lambda _: f"step {step} of the episode")


def check_rollout(env: BatchedEnv, rollout: Rollout) -> None:
    """Check that the numbers of a rollout are finite, and that every agent always had an action.

    Raises:
        EnvError: With environment, agent and step of the first that is not so.
    """

    def place(t: int) -> str:
        return f"step {t + 1} of a rollout"

    _finite(env, "observation", rollout.observations, place)
    _finite(env, "reward", rollout.rewards, place)
    if rollout.action_mask is not None:
        check_choices(rollout.action_mask, f"action mask of {title(env)}", EnvError, place, env.graph.name_of)


def _finite(env: BatchedEnv, name: str, values: Tensor, place: Callable[[int], str]) -> None:
    if bool(values.sum().isfinite()):  # a number that is not finite makes the sum so, and this is the fastest
        return
    bad = (~values.isfinite()).nonzero()
    if len(bad) == 0:  # the sum itself was too large
        return
    t, b, n, *number = bad[0].tolist()
    which = f", number {number[0]}" if number else ""
    agent = env.graph.name_of(n)
    got = f"{float(values[tuple(bad[0].tolist())])} (environment {b}, agent {agent}{which}, {place(t)})"
    remedy = "they must be finite also between the end of an episode and the reset"
    raise EnvError(f"{name} of {title(env)}", "finite numbers", got, remedy)


def check_choices(
    mask: Tensor,
    name: str,
    kind: type[InputError],
    place: Callable[[int], str] | None = None,
    name_of: Callable[[int], str] = str,
) -> None:
    """Check that every agent has an action that is allowed.

    Args:
        mask: ``[B, N, A]`` bool, or ``[T, B, N, A]`` with ``place``.
        name: What the message calls it.
        kind: The error to raise.
        place: Names the step t.
        name_of: Names an agent.
    """
    some = mask.any(dim=-1)
    if not bool(some.all()):
        *t, b, n = (~some).nonzero()[0].tolist()
        when = f", {place(t[0])}" if place is not None else ""
        got = f"none (environment {b}, agent {name_of(n)}{when})"
        raise kind(name, "at least one allowed action for every agent", got, "allow one that does nothing")


def endless(env: BatchedEnv) -> EnvError:
    """The error for an episode that goes on after its time limit."""
    expected = f"the end of all episodes after max_steps = {env.max_steps}"
    return EnvError(f"time of {title(env)}", expected, "none", "only the base class changes self.time")


# ---------------------------------------------------------------- exceptions


def failed(env: BatchedEnv, hook: str, error: Exception) -> EnvError:
    """The error for an exception in a method of an environment."""
    time = env.time if isinstance(getattr(env, "time", None), Tensor) else torch.zeros(1)
    first, last = (int(x) for x in (time.min(), time.max()))
    if hook == "_reset_state":
        when = "at a reset"
    else:
        first, last = (first + 1, last + 1) if hook == "_advance" else (first, last)
        steps = f"step {first} of its episode" if first == last else f"steps {first} to {last} of its episodes"
        when = f"in {steps}" if hook == "_advance" else f"after {steps}" if last else "after a reset"
    return EnvError(f"{title(env)}.{hook}", "no exception", f"{described(error)} {when}")


def described(error: Exception) -> str:
    """An exception in words: its kind, its message and, where that is known, the file and line of a person's code."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frames = [*itertools.dropwhile(_is_machinery, traceback.extract_tb(error.__traceback__))]
    if not frames:
        return text
    home = os.path.dirname(frames[0].filename)  # of the method that was called; what it calls there is theirs, too
    theirs = [f for f in frames if f.filename.startswith(home) and "site-packages" not in f.filename[len(home) :]]
    place = theirs[-1] if theirs else frames[0]
    inside = place.filename.startswith(os.getcwd() + os.sep)
    return f"{text} ({os.path.relpath(place.filename) if inside else place.filename}:{place.lineno})"


def _is_machinery(frame: traceback.FrameSummary) -> bool:
    """Whether a frame belongs to what makes, imports and plays environments."""
    if frame.filename.startswith("<frozen") or frame.filename == importlib.__file__:
        return True
    ours = os.path.dirname(frame.filename) == _ENVS and os.path.basename(frame.filename) not in (
        "base.py",
        "contract.py",
    )
    return frame.filename.startswith(_PACKAGE + os.sep) and not ours


# ---------------------------------------------------------------- rehearsal


@torch.no_grad()
def rehearse(env: BatchedEnv) -> None:
    """Reset an environment and take two steps with random allowed actions, so that what is wrong is seen at once.

    Nothing but the state of ``env`` is changed.

    Raises:
        EnvError: If it breaks its contract.
    """
    generator = torch.Generator(env.device).manual_seed(0)
    devices = [] if env.device.type == "cpu" else [env.device]
    with torch.random.fork_rng(devices):  # of those who draw from the global generator
        for _, _ in zip(range(REHEARSED), env.episode(lambda env, _: random_actions(env, generator)), strict=False):
            pass
    read_metrics(env)


def random_actions(env: BatchedEnv, generator: torch.Generator) -> Tensor:
    """``[B, N]`` int64, any of the allowed actions."""
    mask = env.allowed()
    shape = (env.n_envs, env.n_agents, env.n_actions)
    scores = torch.rand(shape, generator=generator, device=env.device)
    if mask is not None:
        check_choices(mask, f"action mask of {title(env)}", EnvError, name_of=env.graph.name_of)
        scores = scores.masked_fill(~mask, -1)
    return scores.argmax(dim=-1)


def brief(value: Any) -> str:
    """A value in words."""
    if value is None:
        return "None"
    if isinstance(value, (tuple, list)):
        return f"{len(value)} values"
    if isinstance(value, np.ndarray):
        return f"a NumPy array {list(value.shape)} of {value.dtype}"
    if isinstance(value, Tensor):
        return f"one tensor {list(value.shape)}"
    if inspect.isgenerator(value):
        return "a generator (yield in place of return)"
    return f"{type(value).__name__} {value!r}"[:80]
