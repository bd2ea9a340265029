"""DCG (Böhmer et al., 2020): Q-learning of a joint value that is a sum of utilities and of payoffs along the edges."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lomaq.envs import Rollout
from lomaq.errors import InputError
from lomaq.mixers import Mixer
from lomaq.nn import CoordinationGraph, Utilities, epsilon_greedy
from lomaq.objectives.td import PartitionTD, ValueNetworks, mean_over_transitions, one_sum


class DCG(PartitionTD):
    """(q(s, u) - y)², averaged over transitions, y the return that follows q(s', ū').

    q is the joint value of a :class:`lomaq.nn.CoordinationGraph` and ū' the joint action that max-plus finds for it.
    The mixer has no part in it. Arguments as in :class:`PartitionTD`.
    """

    mixes = False

    def make_critic(self, utilities: Utilities, mixer: Mixer) -> None:
        one_sum("dcg", mixer)
        if not isinstance(utilities, CoordinationGraph):
            expected = "lomaq.nn.CoordinationGraph for algo=dcg"
            raise InputError("agent._target_", expected, f"lomaq.nn.{type(utilities).__name__}")

    def unroll(self, networks: ValueNetworks, rollout: Rollout, steps: int | None = None) -> tuple[Tensor, Tensor]:
        """Utilities ``[steps, B, N, A]`` and payoffs ``[steps, B, E, A, A]``."""
        observations, previous = rollout.observations[:steps], rollout.previous_actions()[:steps]
        return _graph(networks).terms(observations, previous, rollout.is_first[:steps], rollout.hidden)[:2]

    def _next_values(self, online: ValueNetworks, target: ValueNetworks, rollout: Rollout, judge: Any) -> Tensor:
        utilities, payoffs = self.unroll(target, rollout)
        judge = self._judge(online, target, rollout, (utilities, payoffs), judge)
        mask = None if rollout.action_mask is None else rollout.action_mask[1:]
        marginals = _graph(online).max_marginals(judge[0][1:], judge[1][1:], mask)
        greedy = epsilon_greedy(marginals, 0.0, None, mask)  # [T, B, N]
        return _graph(target).joint_value(utilities[1:], payoffs[1:], greedy)[..., None]

    def loss(self, online: ValueNetworks, rollout: Rollout, targets: Tensor, unrolled: Any = None) -> Tensor:
        utilities, payoffs = self.unroll(online, rollout, rollout.n_steps) if unrolled is None else unrolled
        steps = slice(rollout.n_steps)
        values = _graph(online).joint_value(utilities[steps], payoffs[steps], rollout.actions)  # [T, B]
        return mean_over_transitions((values - targets[..., 0]).square(), rollout)


def _graph(networks: ValueNetworks) -> CoordinationGraph:
    assert isinstance(networks.utilities, CoordinationGraph)
    return networks.utilities
