"""QTRAN-base (Son et al., 2019): a free joint value, and utilities whose sum is bound to it."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from lomaq.envs.rollout import Rollout
from lomaq.errors import check_float, check_int
from lomaq.mixers import Mixer
from lomaq.nn import Utilities, gather_actions
from lomaq.objectives.base import Critic, Metrics, Targets, ValueNetworks, greedy_actions, td_error
from lomaq.objectives.q_learning import JointQLearning
from lomaq.rewards.returns import Returns


class QTRAN(JointQLearning):
    """L_td + w_opt L_opt + w_nopt L_nopt (Son et al., 2019, Eqs. 4 to 6).

    A joint value Q of the whole state and joint action is trained by Q-learning, without any constraint; ū are the
    agents' greedy actions, V a value of the state, Q̂ = Q held fixed:

    - L_td = (Q(s, u) - y)², y the return that follows Q(s', ū'),
    - L_opt = (Σ_i U_i(ū_i) - Q̂(s, ū) + V(s))²: at the greedy joint action the sum is the joint value less V,
    - L_nopt = min(Σ_i U_i(u_i) - Q̂(s, u) + V(s), 0)²: elsewhere it is no smaller.

    Args:
        returns: How returns are made of rewards and values.
        double_q, target: As in :class:`lomaq.objectives.QLearning`.
        hidden: Width of the critic's layers, at least 1.
        optimal: w_opt, at least 0.
        taken: w_nopt, at least 0.
    """

    def __init__(
        self,
        returns: Returns,
        double_q: bool = False,
        target: Literal["greedy", "sampled"] = "greedy",
        hidden: int = 64,
        optimal: float = 1.0,
        taken: float = 1.0,
    ) -> None:
        super().__init__(returns, double_q, target)
        self.hidden = check_int("learner.objective.hidden", hidden, 1)
        self.optimal = check_float("learner.objective.optimal", optimal, 0)
        self.taken = check_float("learner.objective.taken", taken, 0)

    def make_critic(self, utilities: Utilities, mixer: Mixer) -> JointCritic:
        return JointCritic(utilities, self.hidden)

    def next_values(self, target: ValueNetworks, rollout: Rollout, outputs: Any, actions: Tensor) -> Tensor:
        return target.critic(rollout.observations[1:], actions)[0]

    def transition_loss(
        self, online: ValueNetworks, rollout: Rollout, targets: Targets, outputs: Any
    ) -> tuple[Tensor, Metrics]:
        observations = rollout.observations[:-1]
        greedy = greedy_actions(outputs.detach(), rollout)

        def summed(actions: Tensor) -> Tensor:  # [T, B, 1]
            return online.mixer(gather_actions(outputs, actions), observations)

        joint, value = online.critic(observations, rollout.actions)
        best = online.critic(observations, greedy)[0].detach()
        error = joint - targets.returns
        critic = error.square()
        optimal = (summed(greedy) - best + value).square()
        taken = (summed(rollout.actions) - joint.detach() + value).clamp(max=0).square()
        loss = (critic + self.optimal * optimal + self.taken * taken).sum(dim=-1)
        parts = {"critic_loss": critic, "optimal_loss": optimal, "taken_loss": taken}
        metrics = {name: part.sum(dim=-1) for name, part in parts.items()}
        return loss, {"td_error": td_error(error, targets), **metrics}


class JointCritic(Critic):
    """Q(s, u) and V(s), where s is what all agents observe.

    Each agent's observation and action go through one shared network, and the mean of what comes out stands for the
    joint action (Son et al. add up hidden features), so that no width grows with the number of joint actions.

    Args:
        utilities: The utilities of the agents it values.
        hidden: Width of the layers.
    """

    def __init__(self, utilities: Utilities, hidden: int) -> None:
        super().__init__(utilities)
        n_agents, obs_size, n_actions = utilities.n_agents, utilities.obs_size, utilities.n_actions
        self.observe = nn.Linear(obs_size, hidden)
        self.act = nn.Embedding(n_actions, hidden)
        self.identity = nn.Parameter(torch.zeros(n_agents, hidden))  # a sum over agents alone would mix up who did what
        self.encode = nn.Sequential(nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, hidden))
        self.state = nn.Linear(n_agents * obs_size, hidden)
        self.joint, self.value = (
            nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1))
            for width in (2 * hidden, hidden)
        )

    def forward(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Values of joint actions and of states.

        Args:
            observations: ``[..., N, O]`` float32.
            actions: ``[..., N]`` int64.

        Returns:
            Q(s, u) ``[..., 1]`` and V(s) ``[..., 1]``.
        """
        observations = observations * self._scale
        state = self.state(observations.flatten(-2))
        agents = self.encode(self.observe(observations) + self.act(actions) + self.identity).mean(dim=-2)
        return self.joint(torch.cat([state, agents], dim=-1)), self.value(state)

    def last_layer(self) -> list[nn.Parameter]:
        return [*self.joint[-1].parameters(), *self.value[-1].parameters()]
