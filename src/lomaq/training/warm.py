"""A run that begins with what another one learned."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from lomaq.errors import InputError
from lomaq.inputs.plain import check_config
from lomaq.training.checkpoint import find_checkpoint, load_checkpoint
from lomaq.training.module import LomaqModule

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class WarmStart:
    """What a run has of another one.

    Attributes:
        checkpoint: The other one's checkpoint.
        env: Name of its environment.
        env_steps: Env steps it was trained.
        taken: The parts that were taken: utilities, perhaps mixer and critic.
        new: Those that begin anew, since they do not fit.
    """

    checkpoint: str
    env: str
    env_steps: int
    taken: list[str]
    new: list[str]

    @property
    def line(self) -> str:
        """The same in one line."""
        anew = f"; new, since of other shapes there: {', '.join(self.new)}" if self.new else ""
        of = f"{self.env}, {self.env_steps:,} env steps"
        return f"taken from {self.checkpoint} ({of}): {', '.join(self.taken)}{anew}; the optimiser begins anew"


def warm_start(module: LomaqModule, path: str) -> WarmStart:
    """Give the networks of a new run the weights of another run: the utilities, and what else fits.

    The mixer and the critic are taken where all of their weights have the same names and shapes, and the value scale
    with them, in whose units they are. Replay memory, learned rewards and optimiser begin anew.

    Args:
        module: The new run.
        path: A run folder (its best checkpoint) or a checkpoint file.

    Raises:
        InputError: If there is no checkpoint, or its utilities do not fit.
    """
    file = find_checkpoint(path, ("best.ckpt", "last.ckpt"))
    content = load_checkpoint(file)
    own = content["lomaq"]
    config = check_config(own.get("config") if isinstance(own, dict) else own, str(file))
    state, networks = content["state_dict"], module.networks
    utilities = _part(state, "utilities")
    if (why := _misfit(networks.utilities, utilities)) is not None:
        expected = "a run whose agents observe and act alike, with the same agent.*"
        raise InputError("init_from", expected, path, why)
    networks.utilities.load_state_dict(utilities)
    taken, new = ["utilities"], []
    for name in ("mixer", "critic"):
        part: nn.Module | None = getattr(networks, name)
        if part is None or not part.state_dict():
            continue
        weights = _part(state, name)
        same = name != "mixer" or config["mixer"]["name"] == module.run_config["mixer"]["name"]
        if same and _misfit(part, weights) is None:
            part.load_state_dict(weights)
            taken.append(name)
        else:
            new.append(name)
    if module.target_copy is not None:
        module.target_copy.load_state_dict(networks.state_dict())
    if module.settings.value_scale == "running":
        module.scale.start(float(own["sigma"]))
    return WarmStart(str(file), config["env"]["name"], int(own["env_steps"]), taken, new)


def _part(state: Weights, name: str) -> Weights:
    prefix = f"networks.{name}."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _misfit(part: nn.Module, weights: Weights) -> str | None:
    """In which weight the first difference is, None where all fit."""
    mine = {key: list(value.shape) for key, value in part.state_dict().items()}
    for key, value in weights.items():
        if mine.get(key) != list(value.shape):
            return f"its {key} has shape {list(value.shape)}, here {mine.get(key, 'there is none')}"
    missing = next((key for key in mine if key not in weights), None)
    return None if missing is None else f"it has no {missing}"
