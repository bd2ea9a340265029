"""Loc-FACMAC (Shek et al., 2025): actors that maximise the sum of block values which LOMAQ's mixers make of critics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lomaq.envs.rollout import Rollout
from lomaq.errors import check_float, check_int
from lomaq.graphs import Partition
from lomaq.mixers import Mixer
from lomaq.nn import Utilities, epsilon_softmax, gather_actions, softmax_policy
from lomaq.objectives.base import Batch, Metrics, Objective, Targets, ValueNetworks, td_error
from lomaq.objectives.block_critic import BlockCritic, seen_by_agents, unroll_with_memories
from lomaq.objectives.coma import entropy
from lomaq.rewards.returns import Returns


@dataclass(frozen=True, kw_only=True)
class ActorTargets(Targets):
    """Targets with actions drawn from the present policies.

    Attributes:
        drawn: ``[T, B, N]`` int64, an action of every agent before each step.
    """

    drawn: Tensor


class LocFACMAC(Objective):
    """Σ_J (F_J(Q(a)) - y_J)² - Σ_i [Σ_a π_i(a) ∂_i F(Q(u)) Q_i(a) / s + β H(π_i)], F = Σ_J F_J.

    Every agent has a critic Q_i(τ_i, ·) of its own. Mixers F_J make block values of them as LOMAQ's make them of
    utilities, trained on block rewards by the λ-returns that follow actions u' drawn from the target's policies.
    Actors π_i ascend F.

    F depends on the action of agent i through Q_i alone, so at the drawn actions u of the others its expectation over
    the agent's own actions has, to first order in Q_i(a) - Q_i(u_i), the gradient Σ_a ∇π_i(a) ∂_i F(Q(u)) Q_i(a): exact
    where F is linear in Q_i, and of the right sign wherever F is monotone. This is the straight-through estimator with
    the whole policy in place of one Gumbel sample: one backward pass for all agents, no temperature, and no noise from
    the agent's own draw. s, the root mean square of ∂_i F (Q_i(a) - mean_b Q_i(b)) over actions and agents, makes β
    weigh alike in every environment.

    Args:
        returns: How returns are made of rewards and values.
        hidden: Width of the critics' layers, at least 1.
        entropy: β, at least 0.
    """

    stochastic = True
    policy = staticmethod(epsilon_softmax)

    def __init__(self, returns: Returns, hidden: int = 64, entropy: float = 0.01) -> None:
        super().__init__(returns)
        self.hidden = check_int("learner.objective.hidden", hidden, 1)
        self.entropy = check_float("learner.objective.entropy", entropy, 0)

    def make_critic(self, utilities: Utilities, mixer: Mixer) -> BlockCritic:
        alone = Partition.singletons(mixer.n_agents)
        return BlockCritic(utilities, mixer.graph, alone, 0, self.hidden, outputs=utilities.n_actions)

    def rescale_(self, networks: ValueNetworks, factor: float) -> None:
        (networks.mixer if networks.mixer.head() else networks.critic).rescale_(factor)  # logits are no values

    def unroll(self, networks: ValueNetworks, rollout: Rollout, steps: int | None = None) -> tuple[Tensor, Tensor]:
        """Logits ``[steps, B, N, A]`` and memories ``[steps, B, N, H]``."""
        return unroll_with_memories(networks, rollout, steps)

    def mixed_values(self, networks: ValueNetworks, rollout: Rollout, steps: int | None = None) -> Tensor:
        _, memories = self.unroll(networks, rollout, steps)
        return networks.critic(seen_by_agents(networks, rollout.observations[:steps], memories))

    @torch.no_grad()
    def targets(self, batch: Batch) -> ActorTargets:
        rollout, target, mask = batch.rollout, batch.target, batch.rollout.action_mask
        logits, memories = self.unroll(target, rollout)
        following = drawn = epsilon_softmax(logits, 0.0, batch.generator, mask)  # [T + 1, B, N]
        if batch.online is not target:
            drawn = epsilon_softmax(self.unroll(batch.online, rollout)[0], 0.0, batch.generator, mask)
        seen = seen_by_agents(target, rollout.observations, memories)[1:]
        values = target.mixer(gather_actions(target.critic(seen), following[1:]), rollout.observations[1:])
        return ActorTargets(self.returns(batch.rewards, values * batch.scale, rollout), drawn=drawn[:-1])

    def transition_loss(
        self, online: ValueNetworks, rollout: Rollout, targets: Targets, outputs: Any
    ) -> tuple[Tensor, Metrics]:
        assert isinstance(targets, ActorTargets)
        (logits, memories), observations = outputs, rollout.observations[:-1]
        critics = online.critic(seen_by_agents(online, observations, memories))  # [T, B, N, A]
        chosen = gather_actions(critics, rollout.actions)
        metrics: Metrics = {}
        if online.mixer.penalty == 0:
            values = online.mixer(chosen, observations)
        else:
            values, metrics["violation"] = online.mixer.forward_with_violation(chosen, observations)
        error = values - targets.returns
        mask = None if rollout.action_mask is None else rollout.action_mask[:-1]
        gain = tangent(online.mixer, critics.detach(), targets.drawn, observations)
        allowed = torch.ones_like(gain) if mask is None else mask.to(gain)
        gain = gain - (gain * allowed).sum(dim=-1, keepdim=True) / allowed.sum(dim=-1, keepdim=True)
        weight = allowed * rollout.mask[..., None, None]
        size = ((gain.square() * weight).sum() / weight.sum().clamp(min=1)).sqrt().clamp(min=1e-6)
        policy = softmax_policy(logits, 0.0, mask)
        spread = entropy(policy)
        ascended = (policy * gain).sum(dim=-1) / size + self.entropy * spread  # [T, B, N]
        critic_loss = error.square().sum(dim=-1)
        loss = critic_loss + online.mixer.penalty * metrics.get("violation", 0.0) - ascended.sum(dim=-1)
        metrics |= {"critic_loss": critic_loss, "entropy": spread.mean(dim=-1)}
        return loss, {"td_error": td_error(error, targets), **metrics}


def tangent(mixer: Mixer, critics: Tensor, drawn: Tensor, observations: Tensor) -> Tensor:
    """∂_i F(Q(u)) Q_i(a) of every agent's every action a, F = Σ_J F_J.

    Args:
        mixer: Makes the F_J; its parameters get no gradient.
        critics: Q_i(a), ``[..., N, A]``.
        drawn: The joint action u, ``[..., N]`` int64.
        observations: ``[..., N, O]``.

    Returns:
        ``[..., N, A]``.
    """
    at = gather_actions(critics, drawn).requires_grad_()
    (slope,) = torch.autograd.grad(mixer(at, observations).sum(), at)
    return slope[..., None] * critics
