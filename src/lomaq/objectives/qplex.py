"""QPLEX (Wang et al., 2021): duplex duelling, which represents every value whose greedy actions are the agents' own."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lomaq.envs.rollout import Rollout
from lomaq.errors import check_int
from lomaq.mixers import Mixer
from lomaq.nn import Utilities, gather_actions
from lomaq.objectives.base import Critic, Metrics, Targets, ValueNetworks, greedy_actions, td_error
from lomaq.objectives.q_learning import JointQLearning
from lomaq.rewards.returns import Returns

#: λ = exp(STEEPNESS · ψ), with an exponent of at most LARGEST.
STEEPNESS, LARGEST = 3.0, 12.0


class QPLEX(JointQLearning):
    """(Q_tot - y)² with Q_tot(s, u) = Σ_i [w_i(s) V_i + b_i(s) + λ_i(s, u) w_i(s) A_i] (Wang et al., 2021, Section 3).

    V_i is an agent's largest utility, A_i = U_i - V_i ≤ 0 its advantage. Since w, λ > 0, the joint action that is best
    for Q_tot is the one in which every agent takes its own best, whatever λ gives the others.

    Args:
        returns: How returns are made of rewards and values.
        double_q, target: As in :class:`lomaq.objectives.QLearning`.
        hidden: Width of the hidden layers, at least 1.
    """

    def __init__(
        self,
        returns: Returns,
        double_q: bool = False,
        target: Literal["greedy", "sampled"] = "greedy",
        hidden: int = 64,
    ) -> None:
        super().__init__(returns, double_q, target)
        self.hidden = check_int("learner.objective.hidden", hidden, 1)

    def check(self, networks: ValueNetworks) -> None:
        super().check(networks)
        self.check_mixer(networks.mixer, plain_sum=True)

    def make_critic(self, utilities: Utilities, mixer: Mixer) -> DuplexDuelling:
        return DuplexDuelling(utilities, self.hidden)

    def trained_mixer(self, networks: ValueNetworks) -> None:
        return None

    def next_values(self, target: ValueNetworks, rollout: Rollout, outputs: Any, actions: Tensor) -> Tensor:
        chosen = gather_actions(outputs[1:], actions)
        best = gather_actions(outputs, greedy_actions(outputs, rollout))[1:]
        return target.mixer(target.critic(chosen, best, rollout.observations[1:], actions))

    def transition_loss(
        self, online: ValueNetworks, rollout: Rollout, targets: Targets, outputs: Any
    ) -> tuple[Tensor, Metrics]:
        best = gather_actions(outputs, greedy_actions(outputs.detach(), rollout))
        chosen = gather_actions(outputs, rollout.actions)
        values = online.critic(chosen, best, rollout.observations[:-1], rollout.actions)
        error = online.mixer(values) - targets.returns
        return error.square().sum(dim=-1), {"td_error": td_error(error, targets)}


class DuplexDuelling(Critic):
    """The weights w_i(s), biases b_i(s) and importances λ_i(s, u) of all agents.

    w = |linear in features of s|, λ = exp(3 ψ(s, u)). The state s is the concatenated observations of all agents. All
    begins as the plain sum of utilities: w = λ = 1 and b = 0, more or less.

    Args:
        utilities: The utilities of the agents it values.
        hidden: Width of the hidden layers.
    """

    def __init__(self, utilities: Utilities, hidden: int) -> None:
        super().__init__(utilities)
        n_agents, obs_size, n_actions = utilities.n_agents, utilities.obs_size, utilities.n_actions
        self.n_actions = n_actions
        inputs = n_agents * obs_size
        self.state = nn.Sequential(nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.ReLU())
        self.taken = nn.Sequential(nn.Linear(inputs + n_agents * n_actions, hidden), nn.LayerNorm(hidden), nn.ReLU())
        self.weight, self.bias = nn.Linear(hidden, n_agents), nn.Linear(hidden, n_agents)
        self.importance = nn.Linear(hidden, n_agents)
        nn.init.ones_(self.weight.bias)

    def forward(self, chosen: Tensor, best: Tensor, observations: Tensor, actions: Tensor) -> Tensor:
        """w_i V_i + b_i + λ_i w_i A_i of every agent, whose sum is Q_tot.

        Args:
            chosen: ``[..., N]``, utilities of the actions taken.
            best: ``[..., N]``, largest utilities.
            observations: ``[..., N, O]`` float32.
            actions: ``[..., N]`` int64, the actions taken.

        Returns:
            ``[..., N]``.
        """
        flat = (observations * self._scale).flatten(-2)
        state = self.state(flat)
        weight = self.weight(state).abs()
        # no gradient to A through λ: where λ(s, u) has fallen to 0, u's utilities could never rise again
        lost = (weight * (chosen - best)).detach()
        done = functional.one_hot(actions, self.n_actions).to(flat.dtype).flatten(-2)
        # λ must follow a change of A in few updates, or the loss moves A and not λ
        power = STEEPNESS * self.importance(self.taken(torch.cat([flat, done], dim=-1)))
        power = power - (power - LARGEST).clamp(min=0).detach()  # at the bound, with a gradient that leads back
        return weight * chosen + self.bias(state) + (power.exp() - 1) * lost

    def last_layer(self) -> list[nn.Parameter]:
        return list(self.bias.parameters())
