"""Proximal policy optimisation of a partition: IPPO, MAPPO and policy gradients that are local in κ hops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lomaq.envs.rollout import Rollout
from lomaq.errors import InputError, check_bool, check_choice, check_float, check_int
from lomaq.graphs.sparse import csr_matrix
from lomaq.mixers import Mixer, SumMixer
from lomaq.nn import Utilities, epsilon_softmax, gather_actions, softmax_policy
from lomaq.nn.moments import deviation, moments, sum_over_processes
from lomaq.nn.slots import SHARES, Share
from lomaq.objectives.base import Ascent, Batch, Metrics, Objective, Targets, ValueNetworks, epsilon_of, td_error
from lomaq.objectives.block_critic import BlockCritic, seen_by_agents, unroll_with_memories
from lomaq.objectives.coma import SMALLEST, entropy
from lomaq.rewards.returns import Returns


@dataclass(frozen=True, kw_only=True)
class PolicyTargets(Targets):
    """Targets of a policy gradient.

    Attributes:
        log_probs: ``[T, B, N]`` float32, log π_i(a_i) of the policy that acted.
        advantages: ``[T, B, N]`` float32, what each agent ascends, with mean 0 and standard deviation 1.
        entropy: Weight of the policies' entropy.
    """

    log_probs: Tensor
    advantages: Tensor
    entropy: float


class PPO(Objective):
    """Σ_J (V_J - y_J)² / P - Σ_i [min(ρ_i A_i, clip(ρ_i) A_i) + β H(π_i)] / N (Schulman et al., 2017, Eq. 9).

    A critic V_J for each block J of the partition sees the agents within κ hops of it and is trained on the block's
    reward; y_J are λ-returns of V_J, and y_J - V_J is its advantage A_J (generalised advantage estimation). Agent i
    ascends A_i = Σ A_J over the blocks J that it is within κ hops of: the policy gradient with the truncation κ of
    Qu et al. (2020). ρ_i is how much likelier its action is now than when it was taken. With one block of all agents
    it is MAPPO, with singletons and ``independent`` it is IPPO.

    The agents' networks give logits; agents draw from π_i = (1 - ε) softmax + ε / A, where ε is 0 in every preset.

    Args:
        returns: How returns are made of rewards and values; its λ is that of the advantages.
        independent: Critics see, and agents ascend, their own block alone, whatever κ is.
        hidden: Width of the critics' layers, at least 1.
        share: Which blocks' critics are one network: ``ego`` those with isomorphic surroundings, ``none`` every block
            its own, ``all`` a single one that sees means over each hop distance.
        clip: ρ_i gains nothing outside of 1 ± ``clip``, above 0.
        entropy: β at the start, at least 0.
        entropy_end: β at the end of the budget; it moves along a line.
        max_kl: No further pass over a rollout once the policies have moved this far from those that acted, as the mean
            of KL(old, new) over the last pass, above 0; None for all passes.
    """

    on_policy = stochastic = True
    policy = staticmethod(epsilon_softmax)
    identity: ClassVar[tuple[str, ...]] = ("independent",)

    def __init__(
        self,
        returns: Returns,
        independent: bool = False,
        hidden: int = 64,
        share: Share = "auto",
        clip: float = 0.2,
        entropy: float = 0.02,
        entropy_end: float = 0.0,
        max_kl: float | None = None,
    ) -> None:
        super().__init__(returns)
        self.independent = check_bool("learner.objective.independent", independent)
        self.hidden = check_int("learner.objective.hidden", hidden, 1)
        check_choice("learner.objective.share", share, SHARES)
        self.share: Share = share
        self.clip = check_float("learner.objective.clip", clip, 0, above=True)
        self.entropy = check_float("learner.objective.entropy", entropy, 0)
        self.entropy_end = check_float("learner.objective.entropy_end", entropy_end, 0)
        self.max_kl = None if max_kl is None else check_float("learner.objective.max_kl", max_kl, 0, above=True)

    def check(self, networks: ValueNetworks) -> None:
        super().check(networks)
        if not isinstance(networks.mixer, SumMixer):
            raise InputError("mixer", "none for PPO", type(networks.mixer).__name__, "mixer=none")

    def make_critic(self, utilities: Utilities, mixer: Mixer) -> LocalCritic:
        kappa = 0 if self.independent else mixer.kappa
        return LocalCritic(utilities, mixer, kappa, self.hidden, self.share)

    def trained_mixer(self, networks: ValueNetworks) -> None:
        return None

    def rescale_(self, networks: ValueNetworks, factor: float) -> None:
        networks.critic.rescale_(factor)  # logits are no values

    def unroll(self, networks: ValueNetworks, rollout: Rollout, steps: int | None = None) -> tuple[Tensor, Tensor]:
        """Logits ``[steps, B, N, A]`` and memories ``[steps, B, N, H]``."""
        return unroll_with_memories(networks, rollout, steps)

    @torch.no_grad()
    def targets(self, batch: Batch) -> PolicyTargets:
        """λ-returns of the critics, what each agent ascends, and how likely its actions were."""
        rollout, critic = batch.rollout, batch.target.critic
        logits, memories = self.unroll(batch.online, rollout) if batch.unrolled is None else batch.unrolled
        returns, advantages = self._estimates(batch, seen_by_agents(batch.online, rollout.observations, memories))
        advantages = critic.credit(advantages)
        sums = moments(advantages[rollout.mask])
        mean, spread = float(sums[1] / sums[0].clamp(min=1)), deviation(sums) if sums[0] else 1.0
        return PolicyTargets(
            returns,
            log_probs=log_probabilities(logits[:-1], rollout)[0],
            advantages=(advantages - mean) / max(spread, 1e-8),
            entropy=self.entropy + (self.entropy_end - self.entropy) * batch.progress,
        )

    @torch.no_grad()
    def _estimates(self, batch: Batch, seen: Tensor) -> tuple[Tensor, Tensor]:
        """λ-returns y_J and advantages A_J = y_J - V_J, ``[T, B, P]`` each, in units of rewards."""
        values = batch.target.critic(seen)[..., 0] * batch.scale
        returns = self.returns(batch.rewards, values[1:], batch.rollout)
        return returns, returns - values[:-1]

    def ascent(self, batch: Batch) -> Ascent:
        rollout, critic = batch.rollout, batch.target.critic
        logits, memories = self.unroll(batch.online, rollout)
        seen = seen_by_agents(batch.online, rollout.observations, memories)
        log_probs, _ = log_probabilities(logits[:-1], rollout)
        return Ascent(critic.kappa, lambda x: critic(x)[..., 0], seen, self._estimates(batch, seen)[1], log_probs)

    def transition_loss(
        self, online: ValueNetworks, rollout: Rollout, targets: Targets, outputs: Any
    ) -> tuple[Tensor, Metrics]:
        assert isinstance(targets, PolicyTargets)
        logits, memories = outputs
        log_probs, spread = log_probabilities(logits, rollout)
        change = log_probs - targets.log_probs
        ratio = change.exp()
        kept = ratio.clamp(1 - self.clip, 1 + self.clip)
        gain = torch.minimum(ratio * targets.advantages, kept * targets.advantages)
        error = online.critic(seen_by_agents(online, rollout.observations[:-1], memories))[..., 0] - targets.returns
        critic_loss = error.square().mean(dim=-1)
        loss = critic_loss - (gain + targets.entropy * spread).mean(dim=-1)
        metrics = {
            "td_error": td_error(error, targets),
            "critic_loss": critic_loss,
            "entropy": spread.mean(dim=-1),
            "kl": (ratio - 1 - change).mean(dim=-1),
            "ratio_clip_share": ((ratio - 1).abs() > self.clip).float().mean(dim=-1),
            "explained_variance": _explained(error.detach(), targets.returns, rollout.mask),
        }
        return loss, metrics

    def another_pass(self, metrics: Metrics) -> bool:
        if self.max_kl is None:
            return True
        total = sum_over_processes(torch.stack([metrics["kl"], torch.ones_like(metrics["kl"])]))
        return bool(total[0] < self.max_kl * total[1])


class LocalCritic(BlockCritic):
    """V_J of every block of the mixer's partition, and how the blocks' advantages become those of the agents."""

    _within: Tensor

    def __init__(self, utilities: Utilities, mixer: Mixer, kappa: int, hidden: int, share: Share) -> None:
        super().__init__(utilities, mixer.graph, mixer.partition, kappa, hidden, share)
        self.kappa = kappa
        field = mixer.partition.receptive_field(mixer.graph, kappa).to_sparse_coo()
        blocks, agents = field.indices()
        matrix = csr_matrix(agents, blocks, field.values(), (mixer.n_agents, mixer.n_blocks))
        self.register_buffer("_within", matrix, persistent=False)

    def credit(self, advantages: Tensor) -> Tensor:
        """Σ A_J over the blocks that each agent is within κ hops of: ``[T, B, P]`` → ``[T, B, N]``."""
        flat = advantages.flatten(0, -2).T.contiguous()  # [P, M]
        return (self._within @ flat).T.unflatten(0, advantages.shape[:-1])


def log_probabilities(logits: Tensor, rollout: Rollout) -> tuple[Tensor, Tensor]:
    """log π_i of the actions that were taken, and the policies' entropies.

    Args:
        logits: ``[T, B, N, A]``.
        rollout: The sequences.

    Returns:
        ``[T, B, N]`` each.
    """
    mask = None if rollout.action_mask is None else rollout.action_mask[:-1]
    policy = softmax_policy(logits, epsilon_of(rollout), mask)
    return gather_actions(policy, rollout.actions).clamp(min=SMALLEST).log(), entropy(policy)


def _explained(error: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """1 - Var(error) / Var(returns) over the transitions of a minibatch, mean over blocks: one number, ``[T, B]``."""
    weight = mask[..., None] / mask.sum().clamp(min=1)

    def variance(x: Tensor) -> Tensor:
        mean = (x * weight).sum(dim=(0, 1))
        return ((x - mean).square() * weight).sum(dim=(0, 1))

    whole = variance(returns)
    share = torch.where(whole > 1e-12, 1 - variance(error) / whole.clamp(min=1e-12), 0.0)  # 0 of what never varies
    return share.mean().expand(mask.shape)
