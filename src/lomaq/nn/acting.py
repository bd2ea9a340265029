"""How agents act: what they carry from step to step, and how actions follow from the outputs of their networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: Chooses actions ``[B, N]`` int64: (outputs ``[B, N, A]``, ε, generator, action mask ``[B, N, A]`` or None) → actions.
ActionSelector = Callable[[Tensor, "float | Tensor", torch.Generator | None, Tensor | None], Tensor]


@dataclass
class ActingState:
    """What the agents of B environments carry from step to step.

    Attributes:
        previous: ``[B, N]`` int64, the actions taken before, -1 for none.
        is_first: ``[B]`` bool, an episode begins.
        hidden: ``[B, N, H]`` float32, recurrent state before the step (H = 0: none).
    """

    previous: Tensor
    is_first: Tensor
    hidden: Tensor

    def acted(self, actions: Tensor, is_first: Tensor) -> None:
        """Store ``actions`` ``[B, N]`` and where a new episode begins, ``[B]`` bool."""
        self.previous, self.is_first = actions.masked_fill(is_first[:, None], -1), is_first


def gather_actions(utilities: Tensor, actions: Tensor) -> Tensor:
    """Entries ``[..., N]`` of ``utilities`` ``[..., N, A]`` at ``actions`` ``[..., N]``."""
    return utilities.gather(-1, actions[..., None])[..., 0]


def epsilon_greedy(
    utilities: Tensor, epsilon: float | Tensor, generator: torch.Generator | None, action_mask: Tensor | None = None
) -> Tensor:
    """Each agent takes its best action, or with probability ε a random one.

    Args:
        utilities: ``[B, N, A]``.
        epsilon: Probability of a random action, in [0, 1]; a tensor must broadcast against ``[B, N, 1]``.
        generator: May be None for ε = 0.
        action_mask: ``[B, N, A]`` bool, the allowed actions; None for all.

    Returns:
        Actions ``[B, N]`` int64.
    """
    scores = utilities
    if not isinstance(epsilon, float) or epsilon > 0:
        assert generator is not None
        draw = torch.rand(utilities.shape[:-1], generator=generator, device=utilities.device)
        noise = torch.rand(utilities.shape, generator=generator, device=utilities.device)
        scores = torch.where(draw[..., None] < epsilon, noise, utilities)
    if action_mask is not None:
        scores = scores.masked_fill(~action_mask, -torch.inf)
    return scores.argmax(dim=-1)


def softmax_policy(logits: Tensor, epsilon: float | Tensor, action_mask: Tensor | None = None) -> Tensor:
    """Probabilities (1 - ε) softmax(z) + ε / |A| (Foerster et al., 2018, Section 4), over the allowed actions.

    Args:
        logits: z, ``[..., A]``.
        epsilon: Share of random actions, in [0, 1]; a tensor must broadcast against ``[..., 1]``.
        action_mask: ``[..., A]`` bool, the allowed actions A; None for all.

    Returns:
        ``[..., A]``, which sum to 1.
    """
    allowed = torch.ones_like(logits, dtype=torch.bool) if action_mask is None else action_mask
    chosen = logits.masked_fill(~allowed, -torch.inf).softmax(dim=-1)
    return (1 - epsilon) * chosen + epsilon * allowed / allowed.sum(dim=-1, keepdim=True)


def epsilon_softmax(
    logits: Tensor, epsilon: float | Tensor, generator: torch.Generator | None, action_mask: Tensor | None = None
) -> Tensor:
    """Each agent draws an action ``[...]`` int64 from :func:`softmax_policy`; no generator means torch's default."""
    probabilities = softmax_policy(logits, epsilon, action_mask)
    # the largest of p / E, E exponential, is a draw from p
    waiting = torch.empty_like(probabilities).exponential_(generator=generator)
    return (probabilities / waiting).argmax(dim=-1)
