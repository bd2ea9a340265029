"""DCG (Böhmer et al., 2020): Q-learning of a joint value that is a sum of utilities and of payoffs along the edges."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor

from lomaq.envs.rollout import Rollout
from lomaq.errors import InputError
from lomaq.nn import CoordinationGraph
from lomaq.objectives.base import Batch, Metrics, Targets, ValueNetworks, td_error
from lomaq.objectives.q_learning import JointQLearning


class DCG(JointQLearning):
    """(q(s, u) - y)², y the return that follows q(s', ū').

    q is the joint value of a :class:`lomaq.nn.CoordinationGraph` and ū' the joint action that max-plus finds for it.
    The mixer has no part in it. Arguments as in :class:`lomaq.objectives.QLearning`.
    """

    def check(self, networks: ValueNetworks) -> None:
        if not isinstance(networks.utilities, CoordinationGraph):
            expected, got = "lomaq.nn.CoordinationGraph for DCG", type(networks.utilities).__name__
            raise InputError("agent._target_", expected, got, "algo=dcg sets it")
        self.check_mixer(networks.mixer, plain_sum=True)

    def trained_mixer(self, networks: ValueNetworks) -> None:
        return None

    def unroll(self, networks: ValueNetworks, rollout: Rollout, steps: int | None = None) -> tuple[Tensor, Tensor]:
        """Utilities ``[steps, B, N, A]`` and payoffs ``[steps, B, E, A, A]``."""
        observations, previous = rollout.observations[:steps], rollout.previous_actions()[:steps]
        return _graph(networks).terms(observations, previous, rollout.is_first[:steps], rollout.hidden)[:2]

    def next_actions(self, batch: Batch, selector: Any) -> Tensor:
        mask = None if batch.rollout.action_mask is None else batch.rollout.action_mask[1:]
        return self.select(batch, _graph(batch.target).max_marginals(selector[0][1:], selector[1][1:], mask))

    def next_values(self, target: ValueNetworks, rollout: Rollout, outputs: Any, actions: Tensor) -> Tensor:
        return _graph(target).joint_value(outputs[0][1:], outputs[1][1:], actions)[..., None]

    def transition_loss(
        self, online: ValueNetworks, rollout: Rollout, targets: Targets, outputs: Any
    ) -> tuple[Tensor, Metrics]:
        utilities, payoffs = outputs
        error = _graph(online).joint_value(utilities, payoffs, rollout.actions)[..., None] - targets.returns
        return error[..., 0].square(), {"td_error": td_error(error, targets)}


def _graph(networks: ValueNetworks) -> CoordinationGraph:
    return cast(CoordinationGraph, networks.utilities)
