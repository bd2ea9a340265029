"""COMA (Foerster et al., 2018): actor-critic whose baseline asks what an agent's other actions would have brought."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from lomaq.envs import Rollout
from lomaq.errors import InputError, check_float, check_int
from lomaq.mixers import Mixer, SumMixer
from lomaq.nn import Utilities, epsilon_softmax, gather_actions, softmax_policy
from lomaq.objectives.td import Critic, PartitionTD, ValueNetworks, mean_over_transitions

#: What smaller probabilities count as in logarithms: forbidden actions have 0, where the slope is infinite.
SMALLEST = 1e-20


class COMA(PartitionTD):
    """Σ_i [(Q_i(s, u) - y_i)² - Â_i log π_i(u_i) - β H(π_i)] (Foerster et al., 2018, Section 4).

    The counterfactual advantage is A_i = Q_i(s, u) - Σ_a π_i(a) Q_i(s, (u_-i, a)), and Â_i the same in units of its
    root mean square, so that β weighs the entropy H alike in every environment. The paper has no entropy.

    The agents' networks give logits, not utilities: while they collect, agents draw from
    π_i = (1 - ε) softmax + ε / A, and in tests they take the most probable action. Q_i is the critic's value of the
    actions of agent i while the others do what they did; y_i are λ-returns of the critic along the actions that were
    taken (TD(λ)), not greedy ones, and so only rollouts of the present policy teach.

    Args:
        gamma: Discount γ in [0, 1).
        lam: λ of the returns in [0, 1].
        double_q: Without effect; no action is chosen for the targets.
        time_limit: As in :class:`PartitionTD`.
        hidden: Width of the critic's layers, at least 1.
        entropy: β, at least 0.
    """

    on_policy = True
    mixes = False
    explore = staticmethod(epsilon_softmax)

    def __init__(
        self,
        gamma: float,
        lam: float,
        double_q: bool = False,
        time_limit: Literal["bootstrap", "terminal"] = "bootstrap",
        hidden: int = 128,
        entropy: float = 0.2,
    ) -> None:
        super().__init__(gamma, lam, double_q, time_limit)
        self.hidden = check_int("learner.objective.hidden", hidden, 1)
        self.entropy = check_float("learner.objective.entropy", entropy, 0)

    def make_critic(self, utilities: Utilities, mixer: Mixer) -> CounterfactualCritic:
        if mixer.n_blocks != utilities.n_agents:
            expected, got = "a block for each agent with algo=coma", f"{mixer.n_blocks} blocks"
            raise InputError("partition", expected, got, "partition=singletons")
        if not (isinstance(mixer, SumMixer) and mixer.alone):
            raise InputError("mixer", "none for algo=coma", type(mixer).__name__, "mixer=none")
        return CounterfactualCritic(utilities, self.hidden)

    def rescale_(self, networks: ValueNetworks, factor: float) -> None:
        _critic(networks).rescale_(factor)  # logits are no values

    def _next_values(self, online: ValueNetworks, target: ValueNetworks, rollout: Rollout, judge: Any) -> Tensor:
        """Values ``[T, B, N]`` of the actions that were taken next; of a draw from the policy behind the last step."""
        logits = (online.unroll(rollout) if judge is None else judge)[-1]
        mask = None if rollout.action_mask is None else rollout.action_mask[-1]
        last = epsilon_softmax(logits, _epsilon(rollout), None, mask)
        following = torch.cat([rollout.actions[1:], last[None]])
        return gather_actions(_critic(target)(rollout.observations[1:], following), following)

    def loss(self, online: ValueNetworks, rollout: Rollout, targets: Tensor, unrolled: Any = None) -> Tensor:
        logits = self._utilities(online, rollout, unrolled)
        mask = None if rollout.action_mask is None else rollout.action_mask[:-1]
        policy = softmax_policy(logits, _epsilon(rollout), mask)
        values = _critic(online)(rollout.observations[:-1], rollout.actions)
        advantage = counterfactual_advantage(values.detach(), policy.detach(), rollout.actions)
        if rollout.mask.any():  # a part of a rollout may have no transition
            advantage = advantage / advantage[rollout.mask].square().mean().sqrt().clamp(min=1e-6)
        critic = (gather_actions(values, rollout.actions) - targets).square()
        actor = advantage * gather_actions(policy, rollout.actions).clamp(min=SMALLEST).log() + self.entropy * entropy(
            policy
        )
        return mean_over_transitions((critic - actor).sum(dim=-1), rollout)


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

    The state s is what all agents observe, one behind the other. The first layer is linear in what one agent's output
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
        """Values ``[..., N, A]`` at observations ``[..., N, O]`` float32, beside joint actions ``[..., N]`` int64."""
        observations = observations * self._scale
        done = nn.functional.embedding(actions + self._first, self.act)  # [..., N, H]
        others = done.sum(dim=-2, keepdim=True) - done
        seen = self.state(observations.flatten(-2))[..., None, :] + self.own(observations) + self.identity
        return self.head(seen + others)

    def last_layer(self) -> list[nn.Parameter]:
        return list(self.head[-1].parameters())


def _epsilon(rollout: Rollout) -> Tensor:
    """ε of each sequence, ``[B, 1, 1]``."""
    assert rollout.epsilon is not None
    return rollout.epsilon[:, None, None]


def _critic(networks: ValueNetworks) -> CounterfactualCritic:
    assert isinstance(networks.critic, CounterfactualCritic)
    return networks.critic
