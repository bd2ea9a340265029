"""The first layer of agents' networks: of what they observe, and of which agent each is."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FirstLayer(nn.Module):
    """W [x, one-hot(i)] + b for agent i, as W_x x + w_i + b, where w_i is the column of W for that agent.

    The one-hot numbers of N agents would be N² numbers at each step.

    Args:
        linear: The layer W, b; its parameters become those of this one, under the same names.
        agents: ``[n]`` int64, the numbers of the agents that it is for; None where they are not shown.
        n_agents: Number of all agents N.
    """

    _agents: Tensor | None

    def __init__(self, linear: nn.Linear, agents: Tensor | None, n_agents: int) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.observed = linear.in_features - (0 if agents is None else n_agents)
        self.register_buffer("_agents", agents, persistent=False)

    def forward(self, x: Tensor, agents: Tensor | None = None) -> Tensor:
        """Results ``[..., n, H]``.

        Args:
            x: ``[..., n, I]`` float32, without the numbers.
            agents: ``[n]`` int64, which agents these are; None for those that the layer is for.
        """
        agents = self._agents if agents is None else agents
        weight = self.weight.t()  # [I + N, H]
        # laid out by rows, so that its gradient is xᵀ g and not (gᵀ x)ᵀ, which is 6 to 15 times slower for a few inputs
        seen = torch.addmm(self.bias, x.flatten(0, -2), weight[: self.observed].contiguous()).view(*x.shape[:-1], -1)
        return seen if agents is None else seen + weight[self.observed :].index_select(0, agents)
