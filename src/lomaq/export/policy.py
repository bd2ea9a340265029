"""One agent type's policy: as a module, as a file, and run from that file."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lomaq.nn import Utilities
from lomaq.nn.norm import LARGEST

Format = Literal["onnx", "torch"]
#: An exported policy at work: its inputs by name to its outputs in order.
Act = Callable[[dict[str, Tensor]], list[Tensor]]


class ExportedPolicy(nn.Module):
    """What the agents of one type compute to act: their network and all that :class:`Utilities` does around it.

    Args:
        utilities: The utilities of all agents.
        agent_type: Whose network to take.
        stochastic: Whether its outputs are logits of a policy.

    Attributes:
        inputs: What ``forward`` takes, as the contract has it: name, dtype, shape and meaning; ``at_start`` is given
            at the beginning of an episode and the output ``then`` afterwards.
        outputs: What it returns.
    """

    scale: Tensor | None
    shift: Tensor | None
    factor: Tensor | None

    def __init__(self, utilities: Utilities, agent_type: int, stochastic: bool = False) -> None:
        super().__init__()
        network = copy.deepcopy(utilities.networks[agent_type]).requires_grad_(False)
        self.body, self.head = cast(nn.Sequential, network.get_submodule("body")), network.get_submodule("head")
        self.memory = network.get_submodule("memory") if utilities.memory_size else None
        self.register_buffer("scale", utilities.observation_scale)
        shift, factor = (None, None) if utilities.norm is None else utilities.norm.factors()
        self.register_buffer("shift", None if shift is None else shift[agent_type])
        self.register_buffer("factor", None if factor is None else factor[agent_type])
        self.n_actions = utilities.n_actions
        memory = utilities.memory_size > 0
        optional = {"previous_action": utilities.last_action, "agent": utilities.agent_id, "hidden": memory}
        self.inputs = _ports(utilities, stochastic, {"observation": True, "action_mask": True, **optional})
        self.stochastic = stochastic
        values = {"utilities": not stochastic, "logits": stochastic, "probabilities": stochastic}
        self.outputs = _ports(utilities, stochastic, {"action": True, **values, "next_hidden": memory})

    def forward(
        self,
        observation: Tensor,
        action_mask: Tensor,
        previous_action: Tensor | None = None,
        agent: Tensor | None = None,
        hidden: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """One step of B agents of the type; the last three are given exactly where the network uses them.

        Args:
            observation: ``[B, O]`` float32, as the environment gives it.
            action_mask: ``[B, A]`` bool, the allowed actions.
            previous_action: ``[B]`` int64, -1 where there is none.
            agent: ``[B]`` int64, which agent each row is.
            hidden: ``[B, H]`` float32 memory before the step, zeros at the beginning of an episode.

        Returns:
            Best actions ``[B]`` int64 (the first of equals); then, float32, utilities ``[B, A]``, or logits and
            probabilities, both ``[B, A]``; and the memory after the step ``[B, H]`` where there is one.
        """
        x = observation
        if self.shift is not None and self.factor is not None:
            x = ((x - self.shift) * self.factor).clamp(-LARGEST, LARGEST)
        x = x if self.scale is None else x * self.scale
        if previous_action is not None:
            x = torch.cat([x, _one_hot(previous_action, self.n_actions)], dim=-1)
        x = self.body[1:](self.body[0](x, agent))  # [B, H]
        if self.memory is not None:
            assert hidden is not None
            x = self.memory(x[None], hidden[None])[0][0]  # [B, H], output and memory are the same
        values = self.head(x)
        allowed = values.masked_fill(~action_mask, -torch.inf)
        probabilities = (allowed.softmax(dim=-1),) if self.stochastic else ()
        return allowed.argmax(dim=-1), values, *probabilities, *(() if self.memory is None else (x,))


def _one_hot(number: Tensor, size: int) -> Tensor:
    """``[B, size]`` float32; a number outside makes a row of zeros."""
    return (number[:, None] == torch.arange(size, device=number.device)).to(torch.float32)


#: dtype and meaning of what goes in and comes out.
PORTS = {
    "observation": ("float32", "what the agent observes, as the environment gives it"),
    "action_mask": ("bool", "the actions that are allowed now; all true for any"),
    "previous_action": ("int64", "the action that the agent took one step before, -1 for none"),
    "agent": ("int64", "the agent's own number, from 0"),
    "hidden": ("float32", "the agent's memory"),
    "action": ("int64", "the allowed action of largest utility, the first of equals"),
    "utilities": ("float32", "of each action, also of those that are not allowed"),
    "logits": ("float32", "of each action, also of those that are not allowed"),
    "probabilities": ("float32", "of each action, to draw one: softmax of the allowed ones' logits, 0 for others"),
    "next_hidden": ("float32", "the memory after this step"),
}
#: The same where actions may also be drawn.
DRAWN = {
    "action": ("int64", "the most probable allowed action, the first of equals"),
    "previous_action": ("int64", "the action that the agent took one step before, drawn or not, -1 for none"),
}
#: Inputs that a later step takes from the outputs of the one before.
CARRIED = {"previous_action": {"at_start": -1, "then": "action"}, "hidden": {"at_start": 0, "then": "next_hidden"}}


def _ports(utilities: Utilities, stochastic: bool, used: dict[str, bool]) -> list[dict[str, Any]]:
    """Those of ``used`` that are true, as the contract has them."""
    n_actions, memory = [utilities.n_actions], [utilities.memory_size]
    sizes = {"observation": [utilities.obs_size], "hidden": memory, "next_hidden": memory}
    sizes |= dict.fromkeys(("action_mask", "utilities", "logits", "probabilities"), n_actions)
    ports = PORTS | (DRAWN if stochastic else {})
    return [
        {"name": name, "dtype": ports[name][0], "shape": ["batch", *sizes.get(name, [])], "meaning": ports[name][1]}
        | CARRIED.get(name, {})
        for name in used
        if used[name]
    ]


def write_policy(policy: ExportedPolicy, path: Path, format: Format) -> None:
    """Write a policy for any batch size, weights included."""
    batch = torch.export.Dim("batch", min=1)
    shapes = {port["name"]: {0: batch} for port in policy.inputs}
    example = {
        port["name"]: torch.zeros([2, *port["shape"][1:]], dtype=getattr(torch, port["dtype"]))
        for port in policy.inputs
    }
    with _quiet():
        program = torch.export.export(policy, (), example, dynamic_shapes=shapes)
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # names folders of this machine
        if format == "torch":
            torch.export.save(program, path)
            return
        onnx = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(shapes),
            output_names=[port["name"] for port in policy.outputs],
            dynamic_shapes=shapes,
            verbose=False,
        )
        assert onnx is not None
        onnx.save(path, external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings about itself: its deprecated calls, and that torchvision is missing."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\).*", FutureWarning)
            warnings.filterwarnings("ignore", r".*The axis name: batch will not be used.*", UserWarning)
            yield
    finally:
        log.setLevel(level)


def open_policy(path: Path, format: Format) -> Act:
    """A written policy, run by what will run it."""
    if format == "torch":
        module = torch.export.load(path).module()
        return lambda given: list(module(**given))
    import onnxruntime  # only the extra brings it

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda given: [
        torch.from_numpy(output) for output in session.run(None, {name: x.numpy() for name, x in given.items()})
    ]
