"""Reward decomposition: local rewards learned from the team reward alone (Sections 4.2 and 4.3, Algorithms 4 and 5)."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lomaq.errors import InputError
from lomaq.graphs import csr_matrix
from lomaq.rewards.groups import RewardGroups
from lomaq.rewards.settings import FitSettings, NetworkSettings


def log_cosh(x: Tensor) -> Tensor:
    """log cosh x = x + log(1 + e^{-2x}) - log 2, elementwise and without overflow.

    Near 0 it is x² / 2, far away |x| - log 2.
    """
    return x + functional.softplus(-2 * x) - math.log(2)


class Decomposition(nn.Module, ABC):
    """r_I(s_I, a_I) for every group I, and what follows from it; outputs and misfit are the subclass's matter.

    Args:
        groups: The groups 𝓘.
        obs_size: Observation size O.
        n_actions: Number of actions A.
        networks: The groups' networks.
        fit: Loss and regularisation; of ``weights`` there must be one for every size that occurs.
        n_outputs: For each size that occurs, how many numbers the network of such a group puts out.
    """

    _share: Tensor

    def __init__(
        self,
        groups: RewardGroups,
        obs_size: int,
        n_actions: int,
        networks: NetworkSettings,
        fit: FitSettings,
        n_outputs: Sequence[int],
    ) -> None:
        super().__init__()
        self.n_agents, self.n_actions = groups.n_agents, n_actions
        self.inputs, self.share, self.fit = networks.inputs, networks.share, fit
        if len(fit.weights) < (n_sizes := len(groups.members)):
            raise InputError("reward.fit.weights", f"a weight for each group size 1 … {n_sizes}", list(fit.weights))
        width = obs_size + n_actions * (self.inputs == "observations_actions")
        self.networks = nn.ModuleList()
        for size, outputs in zip(groups.members, n_outputs, strict=True):
            network, members = _lay_out(groups, size, self.share)
            self.networks.append(_GroupNetworks(network, members, width, networks.hidden, outputs))
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

        Arguments as those of :meth:`group_rewards`.
        """
        rewards = torch.cat(self.group_rewards(observations, actions), dim=-1)  # [..., G]
        shared = self._share @ rewards.reshape(-1, rewards.size(-1)).T  # [N, M]
        return shared.T.reshape(*rewards.shape[:-1], self.n_agents)

    def loss(self, observations: Tensor, actions: Tensor, team_reward: Tensor, valid: Tensor) -> Tensor:
        """What Algorithm 4 minimises, averaged over the valid samples.

        Args:
            observations: ``[..., N, O]`` float32.
            actions: ``[..., N]`` int64.
            team_reward: ``[...]`` float32, the sum over agents.
            valid: ``[...]`` bool, at least one.

        Returns:
            The scalar loss.
        """
        outputs = self._outputs(observations[valid], actions[valid])
        misfit = self._misfit(outputs, team_reward[valid])
        if self.fit.regularisation == 0:
            return misfit.mean()
        sizes = zip(self.fit.weights, self._magnitudes(outputs), strict=False)  # there may be more weights
        penalty = sum((w * r.sum(dim=1) for w, r in sizes), torch.zeros_like(misfit))
        return misfit.mean() + (self.fit.regularisation * penalty).mean()

    def _outputs(self, observations: Tensor, actions: Tensor) -> list[Tensor]:
        """``[M, N, O]`` and ``[M, N]`` → for each size ``[M, G_k, C]``."""
        if self.inputs == "observations_actions":
            choices = torch.arange(self.n_actions, device=actions.device)
            chosen = (actions[..., None] == choices).to(observations.dtype)
            observations = torch.cat([observations, chosen], dim=-1)  # [M, N, O + A]
        return [network(observations) for network in self.networks]


class RewardDecomposition(Decomposition):
    """The regression variant: one number a group, Σ_I r_I fitted to the team reward (Eq. 2).

    Arguments are those of :class:`Decomposition` but for ``n_outputs``.
    """

    def __init__(
        self,
        groups: RewardGroups,
        obs_size: int,
        n_actions: int,
        networks: NetworkSettings = NetworkSettings(),
        fit: FitSettings = FitSettings(),
    ) -> None:
        super().__init__(groups, obs_size, n_actions, networks, fit, [1] * len(groups.members))

    def _rewards(self, outputs: list[Tensor]) -> list[Tensor]:
        return [output[..., 0] for output in outputs]

    def _magnitudes(self, outputs: list[Tensor]) -> list[Tensor]:
        return [output[..., 0].abs() for output in outputs]

    def _misfit(self, outputs: list[Tensor], team_reward: Tensor) -> Tensor:
        error = torch.cat(self._rewards(outputs), dim=-1).sum(dim=-1) - team_reward
        return error.square() if self.fit.loss == "squared" else log_cosh(error)


class _GroupNetworks(nn.Module):
    """Linear – ReLU – Linear – LeakyReLU – Linear – Tanh – Linear (Table 2) for all groups of one size at once.

    Args:
        network: ``[G]`` int64, which network a group uses.
        members: ``[G, k]`` int64, agents of each group in the order of the network's inputs.
        width: Inputs of one agent.
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
    """Network of each group of one size, ``[G_k]``, and its members in the order of its inputs, ``[G_k, k]``."""
    members = groups.members[size]
    if share == "class":
        return groups.by_class(size)
    return torch.arange(len(members)) if share == "own" else torch.zeros(len(members), dtype=torch.int64), members
