"""Do exported policies act as the network that was trained? Both are run along the same episodes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lomaq.envs import BatchedEnv
from lomaq.errors import InputError
from lomaq.export.policy import Act
from lomaq.nn import Utilities, epsilon_greedy, gather_actions, softmax_policy

#: Largest difference of a number between an exported policy and the network that was trained, and the share of the
#: largest |utility| that is allowed where it is more (above 5): float32 rounds in proportion.
TOLERANCE, RELATIVE_TOLERANCE = 1e-5, 2e-6
#: Steps that are played in each parallel environment, and the share of random actions.
STEPS, EPSILON = 125, 0.1


class ParityError(Exception):
    """What was exported does not compute what was trained; nothing was written."""


@dataclass(frozen=True)
class Parity:
    """How exported policies compare with the network that was trained.

    Attributes:
        observations: Compared observations, each of one agent at one step.
        max_abs_difference: Largest |Δ| of a utility, or of a logit.
        max_abs_difference_hidden: Largest |Δ| of the memory, which each side carries along; None where there is none.
        largest_utility: Largest |utility|.
        equal_actions: Observations with the same greedy action.
        largest_loss: Most utility that an exported action gives away, 0 where all are equal and infinite for one that
            is not allowed.
        max_abs_difference_probabilities: Largest |Δ| of a probability; None where the policies give none.
    """

    observations: int
    max_abs_difference: float
    max_abs_difference_hidden: float | None
    largest_utility: float
    equal_actions: int
    largest_loss: float
    max_abs_difference_probabilities: float | None = None

    @property
    def tolerance(self) -> float:
        """Largest |Δ| of a utility that is allowed; that of the memory, whose entries are within ±1, is 1e-5.

        It holds for logits and probabilities, too: a probability moves by at most half as much as the logits.
        """
        return max(TOLERANCE, RELATIVE_TOLERANCE * self.largest_utility)

    @property
    def passed(self) -> bool:
        """Whether all differences are within the tolerance, and actions differ only where they are as good."""
        hidden, probabilities = self.max_abs_difference_hidden, self.max_abs_difference_probabilities
        close = self.max_abs_difference <= self.tolerance and (hidden is None or hidden <= TOLERANCE)
        close = close and (probabilities is None or probabilities <= self.tolerance)
        return close and self.largest_loss <= 2 * self.tolerance

    def line(self) -> str:
        """What a person reads."""
        hidden, probabilities = self.max_abs_difference_hidden, self.max_abs_difference_probabilities
        memory = "" if hidden is None else f", {hidden:.1e} in memory"
        values = "utilities" if probabilities is None else "logits"
        chances = "" if probabilities is None else f", {probabilities:.1e} in probabilities"
        return (
            f"largest difference {self.max_abs_difference:.1e} in {values} up to {self.largest_utility:.2g}"
            f"{chances}{memory}; same action in {self.equal_actions:,} of {self.observations:,} observations"
        )


@torch.no_grad()
def compare(
    policies: list[Act],
    agents: list[Tensor],
    inputs: list[str],
    outputs: list[str],
    utilities: Utilities,
    env: BatchedEnv,
) -> Parity:
    """Play episodes with the trained network, ε of the actions random, and let exported policies act alongside.

    Args:
        policies: One for each agent type.
        agents: The agents of each type, int64.
        inputs: Names of what the policies take.
        outputs: Names of what they return, the actions first, then utilities or logits.
        utilities: The network that was trained.
        env: B parallel environments; they are reset, and again wherever an episode ends.

    Raises:
        InputError: If the utilities are not finite.
    """
    shape, generator = (env.n_envs, env.n_agents), torch.Generator().manual_seed(0)
    all_allowed = torch.ones(*shape, env.n_actions, dtype=torch.bool)
    numbers = torch.arange(env.n_agents).expand(shape)
    observation, state = env.reset(), utilities.initial_state(env.n_envs, env.device)
    exported = state.hidden
    steps = []
    for _ in range(STEPS):
        allowed = env.allowed()
        mask = all_allowed if allowed is None else allowed
        given = {"observation": observation, "action_mask": mask, "previous_action": state.previous, "agent": numbers}
        given["hidden"] = exported * ~state.is_first[:, None, None]
        values = utilities.step(observation, state)
        found = dict(zip(outputs, _act(policies, agents, {name: given[name] for name in inputs}), strict=True))
        exported = found.get("next_hidden", exported)
        chances = softmax_policy(values, 0.0, mask)
        off_chances = (found.get("probabilities", chances) - chances).abs().amax()
        differences = _differences(values, state.hidden, mask, found["action"], found[outputs[1]], exported)
        steps.append((*differences, off_chances))
        taken = epsilon_greedy(values, EPSILON, generator, mask)
        observation, _, terminated, truncated = env.step(taken)
        ended = terminated | truncated
        observation = env.reset(ended) if bool(ended.any()) else observation
        state.acted(taken, ended)
    off, off_hidden, largest, equal, loss, off_chances = (torch.stack(column) for column in zip(*steps, strict=True))
    if not bool(largest.isfinite().all()):
        raise InputError("checkpoint", "finite utilities", "NaN or infinity", "its training has diverged")
    return Parity(
        observations=STEPS * env.n_envs * env.n_agents,
        max_abs_difference=float(off.max()),
        max_abs_difference_hidden=float(off_hidden.max()) if utilities.memory_size else None,
        largest_utility=float(largest.max()),
        equal_actions=int(equal.sum()),
        largest_loss=float(loss.max()),
        max_abs_difference_probabilities=float(off_chances.max()) if "probabilities" in outputs else None,
    )


def _act(policies: list[Act], agents: list[Tensor], given: dict[str, Tensor]) -> list[Tensor]:
    """Outputs ``[B, N, …]`` for inputs ``[B, N, …]``, each agent by the policy of its type."""
    parts = []
    for act, mine in zip(policies, agents, strict=True):
        outputs = act({name: value[:, mine].flatten(0, 1) for name, value in given.items()})
        parts.append([output.unflatten(0, (-1, len(mine))) for output in outputs])
    place = torch.cat(agents).argsort()
    return [torch.cat(columns, dim=1)[:, place] for columns in zip(*parts, strict=True)]


def _differences(
    values: Tensor, trained: Tensor, mask: Tensor, actions: Tensor, found: Tensor, exported: Tensor
) -> tuple[Tensor, ...]:
    """Of one step: largest |Δ| of utilities and memory, largest |utility|, equal actions, largest loss by an action."""
    allowed = values.masked_fill(~mask, -torch.inf)
    best, wanted = allowed.max(dim=-1)  # [B, N]
    loss = best - gather_actions(allowed, actions)  # [B, N]
    off_hidden = (exported - trained).abs().amax() if trained.numel() else torch.zeros(())
    off = (found - values).abs().amax()
    return off, off_hidden, values.abs().amax(), (actions == wanted).sum(), loss.amax()
