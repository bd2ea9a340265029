"""COMA (Foerster et al., 2018): actor-critic whose baseline asks what an agent's other actions would have brought."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lomaq.envs.rollout import Rollout
from lomaq.errors import InputError, check_float, check_int
from lomaq.mixers import Mixer, SumMixer
from lomaq.nn import Utilities, epsilon_softmax, gather_actions, softmax_policy
from lomaq.objectives.base import Batch, Critic, Metrics, Objective, Targets, ValueNetworks, epsilon_of, td_error
from lomaq.rewards.returns import Returns

#: What smaller probabilities count as in logarithms: forbidden actions have 0, where the slope is infinite.
SMALLEST = 1e-20


class COMA(Objective):
    """Σ_i [(Q_i(s, u) - y_i)² - Â_i log π_i(u_i) - β H(π_i)] (Foerster et al., 2018, Section 4).

    The counterfactual advantage is A_i = Q_i(s, u) - Σ_a π_i(a) Q_i(s, (u_-i, a)), and Â_i the same in units of its
    root mean square, so that β weighs the entropy H alike in every environment. The paper has no entropy.

    The agents' networks give logits, not utilities: while they collect, agents draw from
    π_i = (1 - ε) softmax + ε / A, and in tests they take the most probable action. Q_i is the critic's value of the
    actions of agent i while the others do what they did; y_i are λ-returns of the critic along the actions that were
    taken (TD(λ)), not greedy ones, and so only rollouts of the present policy teach.

    Args:
        returns: How returns are made of rewards and values.
        hidden: Width of the critic's layers, at least 1.
        entropy: β, at least 0.
    """

    on_policy = stochastic = True
    policy = staticmethod(epsilon_softmax)

    def __init__(self, returns: Returns, hidden: int = 128, entropy: float = 0.2) -> None:
        super().__init__(returns)
        self.hidden = check_int("learner.objective.hidden", hidden, 1)
        self.entropy = check_float("learner.objective.entropy", entropy, 0)

    def check(self, networks: ValueNetworks) -> None:
        super().check(networks)
        mixer = networks.mixer
        if mixer.n_blocks != mixer.n_agents:
            expected, got = "a block for each agent with COMA", f"{mixer.n_blocks} blocks"
            raise InputError("partition", expected, got, "partition=singletons")
        if not (isinstance(mixer, SumMixer) and mixer.independent):
            raise InputError("mixer", "none for COMA", type(mixer).__name__, "mixer=none")

    def make_critic(self, utilities: Utilities, mixer: Mixer) -> CounterfactualCritic:
        return CounterfactualCritic(utilities, self.hidden)

    def trained_mixer(self, networks: ValueNetworks) -> None:
        return None

    def rescale_(self, networks: ValueNetworks, factor: float) -> None:
        networks.critic.rescale_(factor)  # logits are no values

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        """λ-returns of the values of the actions taken next; after the last step, of actions drawn from the policy."""
        rollout, mask = batch.rollout, batch.rollout.action_mask
        logits = (batch.online.unroll(rollout) if batch.unrolled is None else batch.unrolled)[-1]
        last = epsilon_softmax(logits, epsilon_of(rollout), batch.generator, None if mask is None else mask[-1])
        following = torch.cat([rollout.actions[1:], last[None]])
        values = gather_actions(batch.target.critic(rollout.observations[1:], following), following)  # [T, B, N]
        return Targets(self.returns(batch.rewards, values * batch.scale, rollout))

    def transition_loss(
        self, online: ValueNetworks, rollout: Rollout, targets: Targets, outputs: Any
    ) -> tuple[Tensor, Metrics]:
        mask = None if rollout.action_mask is None else rollout.action_mask[:-1]
        policy = softmax_policy(outputs, epsilon_of(rollout), mask)
        values = online.critic(rollout.observations[:-1], rollout.actions)
        advantage = counterfactual_advantage(values.detach(), policy.detach(), rollout.actions)
        if rollout.mask.any():  # a part of a rollout may have no transition
            advantage = advantage / advantage[rollout.mask].square().mean().sqrt().clamp(min=1e-6)
        error, spread = gather_actions(values, rollout.actions) - targets.returns, entropy(policy)
        likelihood = gather_actions(policy, rollout.actions).clamp(min=SMALLEST).log()
        loss = (error.square() - (advantage * likelihood + self.entropy * spread)).sum(dim=-1)
        metrics = {"critic_loss": error.square().sum(dim=-1), "entropy": spread.mean(dim=-1)}
        return loss, {"td_error": td_error(error, targets), **metrics}


def counterfactual_advantage(values: Tensor, policy: Tensor, actions: Tensor) -> Tensor:
    """A_i = Q_i(u_i) - Σ_a π_i(a) Q_i(a) (Foerster et al., 2018, Eq. 4).

    Args:
        values: ``[..., N, A]``, Q of each action of an agent while all others do what they did.
        policy: ``[..., N, A]``, probabilities of its actions.
        actions: ``[..., N]`` int64, the actions taken.

    Returns:
        ``[..., N]``.
    """
    return gather_actions(values, actions) - (policy * values).sum(dim=-1)


def entropy(policy: Tensor) -> Tensor:
    """-Σ_a π(a) log π(a) ``[...]`` of probabilities ``[..., A]``."""
    return torch.special.entr(policy.clamp(min=SMALLEST)).sum(dim=-1)


class CounterfactualCritic(Critic):
    """Q_i(s, (u_-i, a)) of every agent i and each of its actions a, given the actions of the others.

    The state s is the concatenated observations of all agents. The first layer is linear in what one agent's output
    sees (its observation, its number, the state, and a one-hot action of each other agent), so the others' part is the
    sum over all agents less its own, and no input of size N is built N times.

    Args:
        utilities: The utilities of the agents it values.
        hidden: Width of the layers.
    """

    _first: Tensor

    def __init__(self, utilities: Utilities, hidden: int) -> None:
        super().__init__(utilities)
        n_agents, obs_size, n_actions = utilities.n_agents, utilities.obs_size, utilities.n_actions
        self.state = nn.Linear(n_agents * obs_size, hidden)
        self.own = nn.Linear(obs_size, hidden)
        self.identity = nn.Parameter(torch.randn(n_agents, hidden) / hidden**0.5)
        self.act = nn.Parameter(torch.randn(n_agents * n_actions, hidden) / (n_agents + hidden) ** 0.5)
        self.head = nn.Sequential(
            nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, n_actions)
        )
        self.register_buffer("_first", torch.arange(n_agents) * n_actions, persistent=False)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Values ``[..., N, A]`` at observations ``[..., N, O]`` float32 and joint actions ``[..., N]`` int64."""
        observations = observations * self._scale
        done = nn.functional.embedding(actions + self._first, self.act)  # [..., N, H]
        others = done.sum(dim=-2, keepdim=True) - done
        seen = self.state(observations.flatten(-2))[..., None, :] + self.own(observations) + self.identity
        return self.head(seen + others)

    def last_layer(self) -> list[nn.Parameter]:
        return list(self.head[-1].parameters())
