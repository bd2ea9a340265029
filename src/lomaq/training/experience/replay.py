"""Replay memory of whole sequences."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from lomaq.envs import BatchedEnv
from lomaq.envs.rollout import AT_START, Rollout
from lomaq.errors import InputError
from lomaq.inputs.memory import free_memory
from lomaq.nn.chunks import MOST_NUMBERS
from lomaq.objectives import ValueNetworks

#: Bytes of a run that are announced before it begins, and what the program itself takes.
ANNOUNCED, PROGRAM = 1e9, 0.45e9


def sequence_bytes(env: BatchedEnv, memory_size: int, steps: int) -> int:
    """What one stored sequence of ``steps`` steps costs, in bytes."""
    mask = env.allowed()
    floats = (steps + 1) * env.n_agents * env.obs_size + steps * env.n_agents + env.n_agents * memory_size
    actions = (steps + 1) * env.n_agents
    flags = 3 * steps + (steps + 1) + (0 if mask is None else (steps + 1) * mask[0].numel())
    return 4 * floats + 2 * actions + flags


def announced_memory(
    n_envs: int, bytes_each: int, batches: tuple[int, int, int], capacity: int | None, networks: ValueNetworks
) -> str | None:
    """Refuse what does not fit into the memory that is free; say what takes more than :data:`ANNOUNCED` bytes.

    Args:
        n_envs: Parallel environments.
        bytes_each: Of a sequence, see :func:`sequence_bytes`.
        batches: Steps of a sequence, sequences of an iteration, minibatches that they are learned in.
        capacity: Sequences that the replay memory keeps; None for the last rollout alone.
        networks: What learns. Each layer keeps about six numbers for each of its outputs, of as much at a time as
            :mod:`lomaq.nn.chunks` has, a mixer twelve for its widest; parameters have a copy, a gradient, two moments.

    Returns:
        A line for a person to read, or None.

    Raises:
        InputError: If it does not fit.
    """
    (steps, sequences, minibatches), utilities = batches, networks.utilities
    widths = [p.size(0) for p in utilities.networks.parameters() if p.dim() == 2]
    outputs, in_batch = sum(widths) / len(utilities.networks), -(-sequences // minibatches)
    at_once = min(in_batch * (steps + 1) * utilities.n_agents, MOST_NUMBERS / max(widths))
    mixed = min(in_batch * steps * networks.mixer.numbers, MOST_NUMBERS)
    parts = {
        "the program": PROGRAM,
        "rollouts": (n_envs + in_batch) * bytes_each,
        "utilities": 24 * outputs * max(at_once, n_envs * utilities.n_agents / 3),
        "mixer": 48 * mixed,
        "parameters": 5 * 4 * sum(p.numel() for p in networks.parameters()),
        "replay memory": (capacity or 0) * bytes_each,
    }
    free, needed = free_memory(), sum(parts.values())
    about = f"for {n_envs:,} environments, {steps:,} steps and {utilities.n_agents:,} agents"
    if needed - parts["replay memory"] - PROGRAM > 0.8 * free:
        remedy = "smaller learner.n_envs, learner.rollout_steps, agent.hidden or number of agents"
        expected = f"rollouts that fit into {free / 1e9:,.1f} GB of free memory"
        raise InputError("learner", expected, f"{needed / 1e9:,.1f} GB {about}", remedy)
    if needed <= ANNOUNCED:
        return None
    largest = ", ".join(f"{name} {size / 1e9:,.1f}" for name, size in parts.items() if size > 0.1 * needed)
    return f"takes about {needed / 1e9:,.1f} GB of memory {about}: {largest}"


class Replay:
    """Keeps the newest sequences, or with ``capacity`` None the last rollout only.

    Sequences are concatenated, actions as 16-bit numbers; a shorter one is padded, and what is sampled is cut
    to the longest of the batch.

    Args:
        capacity: Sequences to keep, at least 1; None for the last rollout as it is.
    """

    def __init__(self, capacity: int | None) -> None:
        self.capacity = capacity
        self.last: Rollout | None = None
        self.store: dict[str, Tensor] = {}
        self.size, self.next, self.length = 0, 0, 0

    def add(self, rollout: Rollout, max_steps: int) -> None:
        """Take in every sequence of ``rollout``.

        Args:
            rollout: The sequences, at most ``capacity``.
            max_steps: The most steps that any sequence can have.
        """
        if self.capacity is None:
            self.last = rollout
            return
        parts = {f.name: getattr(rollout, f.name) for f in fields(rollout) if f.name != "epsilon"}  # on-policy only
        parts = {
            name: (x if name in AT_START else x.transpose(0, 1)) for name, x in parts.items() if x is not None
        }  # [B, T, …]
        if not self.store:
            self._allocate(parts, max_steps)
        rows = (self.next + torch.arange(rollout.n_sequences)) % self.capacity
        for name, value in parts.items():
            memory = self.store[name]
            if name in AT_START:
                memory[rows] = value.to(memory)
            else:
                memory[rows, value.size(1) :] = False if memory.dtype == torch.bool else 0
                memory[rows, : value.size(1)] = value.to(memory)
        self.next = (self.next + rollout.n_sequences) % self.capacity
        self.size = min(self.capacity, self.size + rollout.n_sequences)

    def _allocate(self, parts: dict[str, Tensor], max_steps: int) -> None:
        assert self.capacity is not None
        self.length = max_steps
        steps = parts["actions"].size(1)
        shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
        for name, value in parts.items():
            dtype = torch.int16 if value.dtype == torch.int64 else value.dtype
            inner = value.shape[1:] if name in AT_START else (max_steps + value.size(1) - steps, *value.shape[2:])
            shapes[name] = ((self.capacity, *inner), dtype)
        self.store = {name: torch.zeros(shape, dtype=dtype) for name, (shape, dtype) in shapes.items()}

    def check_memory(self, bytes_each: int) -> None:
        """Refuse a capacity that does not fit into what memory is free.

        Raises:
            InputError: If it does not.
        """
        assert self.capacity is not None
        free = free_memory()
        if self.capacity * bytes_each > 0.8 * free:
            most = int(0.8 * free // bytes_each)
            raise InputError(
                "learner.replay_capacity",
                f"at most {most} sequences of {bytes_each / 1e3:.1f} kB in {free / 1e9:.1f} GB of free memory",
                self.capacity,
            )

    def sample(self, batch_size: int | None, generator: torch.Generator, device: torch.device) -> Rollout | None:
        """Draw ``batch_size`` different sequences, uniformly; None while there are fewer.

        Without a capacity, the last rollout itself.
        """
        if self.capacity is None:
            return self.last
        assert batch_size is not None
        if self.size < batch_size:
            return None
        rows = torch.randperm(self.size, generator=generator)[:batch_size]
        valid = self.store["mask"][rows]
        steps = int(valid.any(dim=0).nonzero().max()) + 1
        parts: dict[str, Any] = {}
        for name, memory in self.store.items():
            value = memory[rows] if name in AT_START else memory[rows, : steps + memory.size(1) - self.length]
            value = value.long() if value.dtype == torch.int16 else value
            value = value if name in AT_START else value.transpose(0, 1)
            parts[name] = value.contiguous().to(device)
        return Rollout(**parts)

    def state_dict(self) -> dict[str, Any]:
        """What decides future samples; the last rollout is not needed, since it is used once."""
        return {
            "store": {name: value[: self.size].clone() for name, value in self.store.items()},
            "next": self.next,
            "size": self.size,
            "length": self.length,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.next, self.size, self.length = state["next"], state["size"], state["length"]
        self.store = {}
        for name, value in state["store"].items():
            assert self.capacity is not None
            self.store[name] = value.new_zeros(self.capacity, *value.shape[1:])
            self.store[name][: self.size] = value
