"""Reward decomposition: local rewards learned from the team reward alone (Sections 4.2 and 4.3, Algorithms 4 and 5)."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lomaq.errors import InputError, check_choice, check_float, check_int
from lomaq.graphs import csr_matrix
from lomaq.rewards.groups import RewardGroups

Inputs = Literal["observations", "observations_actions"]
Share = Literal["size", "class", "own"]
Loss = Literal["squared", "log_cosh"]


def log_cosh(x: Tensor) -> Tensor:
    """log cosh x = x + log(1 + e^{-2x}) - log 2, elementwise and without overflow.

    Near 0 it is x² / 2, far away |x| - log 2.

    Example:
        >>> log_cosh(torch.tensor([0.0, 100.0]))
        tensor([ 0.0000, 99.3069])
    """
    return x + functional.softplus(-2 * x) - math.log(2)


class Decomposition(nn.Module, ABC):
    """r_I(s_I, a_I) for every group I, and what follows from it; how it is said and fitted is the subclass's matter.

    Args:
        groups: The groups 𝓘.
        obs_size: Observation size O.
        n_actions: Number of actions A.
        inputs: What r_I sees of its members: ``observations`` (the released code) or ``observations_actions`` (as
            printed), actions one-hot.
        share: Which groups use the same network: ``size`` those of equal size (the paper), their members in order of
            agent index; ``class`` those of equal size whose surroundings look alike, members in matching order;
            ``own`` none.
        hidden: Sizes of the three hidden layers. Table 2 gives 64 and 128 and leaves out the third.
        regularisation: λ ≥ 0 of λ Σ_I w(|I|)·|r_I|, averaged over samples (Algorithm 4 as printed sums, as it does
            with the error).
        weights: w(1), w(2), … for at least every size that occurs, each at least 0; Figure 6 has w(1) = 0, w(2) = 1.
            The paper wants them to grow with |I|.
        tolerance: Δ ≥ 0 of the gate, in the unit of the team reward; None for Table 2's 0.1 an agent.
        n_outputs: For each size that occurs, what the network of such a group puts out.
    """

    _share: Tensor

    def __init__(
        self,
        groups: RewardGroups,
        obs_size: int,
        n_actions: int,
        inputs: Inputs,
        share: Share,
        hidden: Sequence[int],
        regularisation: float,
        weights: Sequence[float],
        tolerance: float | None,
        n_outputs: Sequence[int],
    ) -> None:
        super().__init__()
        self.n_agents, self.n_actions = groups.n_agents, n_actions
        self.inputs = check_choice("reward.inputs", inputs, ("observations", "observations_actions"))
        self.share = check_choice("reward.share", share, ("size", "class", "own"))
        if isinstance(hidden, str) or not isinstance(hidden, Sequence) or len(hidden) != 3:
            raise InputError("reward.hidden", "three layer sizes such as [64, 128, 64]", repr(hidden))
        hidden = [check_int("reward.hidden", size, 1) for size in hidden]
        self.regularisation = check_float("reward.regularisation", regularisation, 0)
        self.weights = _check_weights(weights, len(groups.members))
        self.tolerance = 0.1 * groups.n_agents
        if tolerance is not None:
            self.tolerance = check_float("reward.tolerance", tolerance, 0)
        width = obs_size + n_actions * (inputs == "observations_actions")
        self.networks = nn.ModuleList()
        for size, outputs in zip(groups.members, n_outputs, strict=True):
            network, members = _lay_out(groups, size, share)
            self.networks.append(_GroupNetworks(network, members, width, hidden, outputs))
        agent = torch.cat([rows.flatten() for rows in groups.members.values()])
        size_of = torch.cat([torch.full((len(rows),), size) for size, rows in groups.members.items()])
        group = torch.repeat_interleave(torch.arange(groups.n_groups), size_of)
        matrix = csr_matrix(agent, group, 1 / size_of[group].float(), (groups.n_agents, groups.n_groups))
        self.register_buffer("_share", matrix, persistent=False)

    # ------------------------------------------------- what a subclass provides

    @abstractmethod
    def _rewards(self, outputs: list[Tensor]) -> list[Tensor]:
        """Rewards ``[M, G_k]`` of each size from the networks' outputs ``[M, G_k, C]``."""

    @abstractmethod
    def _magnitudes(self, outputs: list[Tensor]) -> list[Tensor]:
        """What is regularised, ``[M, G_k]`` of each size: |r_I|."""

    @abstractmethod
    def _misfit(self, outputs: list[Tensor], team_reward: Tensor) -> Tensor:
        """Error ``[M]`` of each sample, given ``team_reward`` ``[M]``."""

    # --------------------------------------------------------------- for callers

    def group_rewards(self, observations: Tensor, actions: Tensor) -> list[Tensor]:
        """r_I of every group.

        Args:
            observations: ``[..., N, O]`` float32.
            actions: ``[..., N]`` int64, 0 … A - 1; ignored where ``inputs`` is ``observations``.

        Returns:
            For each size k that occurs ``[..., G_k]`` float32, groups in the order of :attr:`RewardGroups.members`.
        """
        batch = observations.shape[:-2]
        samples = observations.reshape(-1, *observations.shape[-2:]), actions.reshape(-1, self.n_agents)
        return [r.reshape(*batch, -1) for r in self._rewards(self._outputs(*samples))]

    def agent_rewards(self, observations: Tensor, actions: Tensor) -> Tensor:
        """r_i = Σ_{I ∋ i} r_I / |I| (Eq. 3), ``[..., N]``; the sum over agents is the predicted team reward.

        Arguments as those of :meth:`group_rewards`. Algorithm 5 is this, kept where :meth:`gate` says so.
        """
        rewards = torch.cat(self.group_rewards(observations, actions), dim=-1)  # [..., G]
        shared = self._share @ rewards.reshape(-1, rewards.size(-1)).T  # [N, M]
        return shared.T.reshape(*rewards.shape[:-1], self.n_agents)

    def team(self, observations: Tensor, actions: Tensor) -> Tensor:
        """r_pred = Σ_I r_I, ``[...]``; arguments as those of :meth:`group_rewards`."""
        return torch.cat(self.group_rewards(observations, actions), dim=-1).sum(dim=-1)

    def gate(self, predicted: Tensor, team_reward: Tensor) -> Tensor:
        """Where the decomposition may be used: |r_pred - r| ≤ Δ, ``[...]`` bool (as in the text; Algorithm 5 has <)."""
        return (predicted - team_reward).abs() <= self.tolerance

    def loss(
        self, observations: Tensor, actions: Tensor, team_reward: Tensor, valid: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What Algorithm 4 minimises, averaged over the valid samples.

        Args:
            observations: ``[..., N, O]`` float32.
            actions: ``[..., N]`` int64.
            team_reward: ``[...]`` float32, the sum over agents.
            valid: ``[...]`` bool, at least one.

        Returns:
            The loss, and for the log (detached, means over valid samples): ``misfit``, ``regularisation`` (λ Σ …),
            ``error`` |r_pred - r| in the unit of the reward, ``passed`` the share that passes the gate.
        """
        team_reward = team_reward[valid]  # [M]
        outputs = self._outputs(observations[valid], actions[valid])
        misfit = self._misfit(outputs, team_reward).mean()
        penalty = torch.zeros_like(misfit)
        if self.regularisation > 0:
            sizes = zip(self.weights, self._magnitudes(outputs), strict=True)
            penalty = self.regularisation * sum((w * r.sum(dim=1) for w, r in sizes), torch.zeros_like(team_reward))
            penalty = penalty.mean()
        with torch.no_grad():
            predicted = torch.cat(self._rewards(outputs), dim=-1).sum(dim=-1)
            passed = self.gate(predicted, team_reward).float().mean()
            error = (predicted - team_reward).abs().mean()
        figures = {"misfit": misfit, "regularisation": penalty, "error": error, "passed": passed}
        return misfit + penalty, {name: value.detach() for name, value in figures.items()}

    def _outputs(self, observations: Tensor, actions: Tensor) -> list[Tensor]:
        """``[M, N, O]`` and ``[M, N]`` → for each size ``[M, G_k, C]``."""
        if self.inputs == "observations_actions":
            choices = torch.arange(self.n_actions, device=actions.device)
            chosen = (actions[..., None] == choices).to(observations.dtype)
            observations = torch.cat([observations, chosen], dim=-1)  # [M, N, O + A]
        return [network(observations) for network in self.networks]


class RewardDecomposition(Decomposition):
    """The regression variant: one number a group, Σ_I r_I fitted to the team reward (Eq. 2).

    Args:
        loss: ``squared`` (Eq. 2) or ``log_cosh`` (the released code) of (r_pred - r) / ``scale``.
        scale: What one unit of a network's output is worth, above 0, in the unit of the team reward; r_I / ``scale``
            is also what is regularised. The size of one agent's reward makes the networks' job the same in every unit;
            1, the paper, suits rewards of about one an agent.

    The other arguments are those of :class:`Decomposition`.

    Example:
        >>> from lomaq.graphs import AgentGraph
        >>> groups = RewardGroups.of(AgentGraph.line(3), max_size=2)
        >>> model = RewardDecomposition(groups, obs_size=4, n_actions=2)
        >>> model.agent_rewards(torch.zeros(5, 3, 4), torch.zeros(5, 3, dtype=torch.int64)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        groups: RewardGroups,
        obs_size: int,
        n_actions: int,
        inputs: Inputs = "observations",
        share: Share = "size",
        hidden: Sequence[int] = (64, 128, 64),
        loss: Loss = "log_cosh",
        regularisation: float = 0.0,
        weights: Sequence[float] = (0.0, 1.0, 2.0, 3.0, 4.0),
        tolerance: float | None = None,
        scale: float = 1.0,
    ) -> None:
        n_outputs = [1] * len(groups.members)
        super().__init__(
            groups, obs_size, n_actions, inputs, share, hidden, regularisation, weights, tolerance, n_outputs
        )
        self.misfit = check_choice("reward.loss", loss, ("squared", "log_cosh"))
        self.scale = check_float("reward.scale", scale, 0, above=True)

    def _rewards(self, outputs: list[Tensor]) -> list[Tensor]:
        return [output[..., 0] * self.scale for output in outputs]

    def _magnitudes(self, outputs: list[Tensor]) -> list[Tensor]:
        return [output[..., 0].abs() for output in outputs]

    def _misfit(self, outputs: list[Tensor], team_reward: Tensor) -> Tensor:
        predicted = torch.cat([output[..., 0] for output in outputs], dim=-1).sum(dim=-1)
        error = predicted - team_reward / self.scale
        return error.square() if self.misfit == "squared" else log_cosh(error)


class _GroupNetworks(nn.Module):
    """Linear – ReLU – Linear – LeakyReLU – Linear – Tanh – Linear (Table 2) for all groups of one size at once.

    Args:
        network: ``[G]`` int64, which network a group uses.
        members: ``[G, k]`` int64, agents of each group in the order in which the network sees them.
        width: What is seen of one agent.
        hidden: The three hidden sizes.
        outputs: Output size C.
    """

    _network: Tensor
    _members: Tensor

    def __init__(self, network: Tensor, members: Tensor, width: int, hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.register_buffer("_network", network, persistent=False)
        self.register_buffer("_members", members, persistent=False)
        self.weight, self.bias = nn.ParameterList(), nn.ParameterList()
        self.n_networks = int(network.max()) + 1
        layers = [members.size(1) * width, *hidden, outputs]
        for fan_in, fan_out in itertools.pairwise(layers):
            bound = fan_in**-0.5  # as nn.Linear starts
            self.weight.append(torch.empty(self.n_networks, fan_in, fan_out).uniform_(-bound, bound))
            self.bias.append(torch.empty(self.n_networks, fan_out).uniform_(-bound, bound))

    def forward(self, seen: Tensor) -> Tensor:
        """``[M, N, width]`` → ``[M, G, C]``."""
        n_groups, size = self._members.shape
        if self.n_networks == 1:
            x = seen.index_select(1, self._members.flatten()).view(seen.size(0) * n_groups, -1)  # [M * G, k * width]
            return self._layers(x[None], list(self.weight), list(self.bias))[0].view(seen.size(0), n_groups, -1)
        x = seen.transpose(0, 1).index_select(0, self._members.flatten()).unflatten(0, (n_groups, size))
        x = x.transpose(1, 2).flatten(2)  # [G, M, k * width]
        weight = [w.index_select(0, self._network) for w in self.weight]
        bias = [b.index_select(0, self._network) for b in self.bias]
        return self._layers(x, weight, bias).transpose(0, 1)

    @staticmethod
    def _layers(x: Tensor, weight: list[Tensor], bias: list[Tensor]) -> Tensor:
        """Batched over the first dimension; the activations overwrite what they are given, which nothing else needs."""
        x = torch.baddbmm(bias[0][:, None], x, weight[0]).relu_()
        x = functional.leaky_relu_(torch.baddbmm(bias[1][:, None], x, weight[1]))
        x = torch.baddbmm(bias[2][:, None], x, weight[2]).tanh_()
        return torch.baddbmm(bias[3][:, None], x, weight[3])


def _lay_out(groups: RewardGroups, size: int, share: str) -> tuple[Tensor, Tensor]:
    """Network of each group of one size, ``[G_k]``, and its members as the network sees them, ``[G_k, k]``."""
    members = groups.members[size]
    if share == "class":
        return groups.by_class(size)
    return torch.arange(len(members)) if share == "own" else torch.zeros(len(members), dtype=torch.int64), members


def _check_weights(weights: Sequence[float], n_sizes: int) -> list[float]:
    """The weights of the sizes that occur."""
    if isinstance(weights, str) or not isinstance(weights, Sequence) or len(weights) < n_sizes:
        raise InputError("reward.weights", f"a weight for each group size 1 … {n_sizes}", repr(weights))
    return [check_float("reward.weights", w, 0) for w in weights][:n_sizes]
