"""Utilities U_i(τ_i, ·): all that an agent needs to act. Networks are shared among agents of one type."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from lomaq.errors import InputError, check_bool, check_choice, check_float, check_int
from lomaq.graphs import AgentGraph
from lomaq.nn.acting import ActingState, ActionSelector, epsilon_greedy
from lomaq.nn.chunks import in_chunks
from lomaq.nn.first import FirstLayer
from lomaq.nn.gru import GRU
from lomaq.nn.norm import Norm

Network = Literal["mlp", "gru"]


def observation_factors(name: str, scale: Sequence[float] | None, obs_size: int) -> Tensor:
    """Factors of the observed numbers, ``[O]`` float32: ``scale``, or ones where it is None.

    Raises:
        InputError: If ``scale``, the setting ``name``, is no list of ``obs_size`` finite numbers.
    """
    if scale is None:
        return torch.ones(obs_size)
    if isinstance(scale, str) or not isinstance(scale, Sequence) or len(scale) != obs_size:
        raise InputError(name, f"{obs_size} numbers", repr(scale))
    return torch.tensor([check_float(name, factor, -math.inf) for factor in scale], dtype=torch.float32)


def _body(inputs: int, sizes: Sequence[int], layer_norm: bool) -> nn.Sequential:
    """Linear – LayerNorm – ReLU for each size."""
    layers: list[nn.Module] = []
    for before, size in itertools.pairwise([inputs, *sizes]):
        layers += [nn.Linear(before, size), *([nn.LayerNorm(size)] if layer_norm else []), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class _MLP(nn.Module):
    """Linear – LayerNorm – ReLU for each hidden size, then Linear."""

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, layer_norm: bool) -> None:
        super().__init__()
        self.body = _body(inputs, hidden, layer_norm)
        self.head = nn.Linear(hidden[-1], outputs)

    def forward(self, x: Tensor, first: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.body(x)
        return self.head(features), features, hidden


class _GRU(nn.Module):
    """Linear – ReLU for each hidden size but the last, GRU of the last size, then Linear (Table 1)."""

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, layer_norm: bool) -> None:
        super().__init__()
        before = hidden[:-1] or hidden
        self.body = _body(inputs, before, layer_norm)
        self.memory = GRU(before[-1], hidden[-1])
        self.head = nn.Linear(hidden[-1], outputs)

    def forward(self, x: Tensor, first: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        steps, batch, agents = x.shape[:3]
        x = self.body(x).flatten(1, 2)  # [T, B * N, H]
        state = hidden.reshape(1, batch * agents, -1)
        # the sequence is cut where some episode begins, since there its memory is emptied
        cuts = [0, *(first[1:].any(dim=1).nonzero().flatten() + 1).tolist(), steps]
        outputs = []
        for begin, end in itertools.pairwise(cuts):
            keep = (~first[begin]).repeat_interleave(agents)[None, :, None]
            output, state = self.memory(x[begin:end], state * keep)
            outputs.append(output)
        features = (torch.cat(outputs) if len(outputs) > 1 else outputs[0]).view(steps, batch, agents, -1)
        return self.head(features), features, state.view(batch, agents, -1)


class Utilities(nn.Module):
    """The utilities of all agents at once.

    Args:
        graph: The agents; agents with equal ``agent_type`` share one network.
        obs_size: Observation size O.
        n_actions: Number of actions A.
        network: ``mlp`` (feed-forward) or ``gru`` (recurrent).
        hidden: Hidden sizes, each at least 1; the GRU's memory has the last size.
        layer_norm: LayerNorm before each ReLU.
        observation_scale: Fixed factor for each of the O observed numbers, or None.
        last_action: Show each agent its previous action, one-hot.
        agent_id: Show each agent its own number, one-hot; such utilities work for this number of agents only.
        normalise: Shift and scale each observed number by its running mean and standard deviation, see :class:`Norm`.
    """

    #: Whether each agent acts on its own outputs alone.
    decentralised = True
    _order: Tensor
    _place: Tensor
    observation_scale: Tensor | None

    def __init__(
        self,
        graph: AgentGraph,
        obs_size: int,
        n_actions: int,
        network: Network = "mlp",
        hidden: Sequence[int] = (64, 64),
        layer_norm: bool = True,
        observation_scale: Sequence[float] | None = None,
        last_action: bool = False,
        agent_id: bool = False,
        normalise: bool = False,
    ) -> None:
        super().__init__()
        check_choice("agent.network", network, ("mlp", "gru"))
        if isinstance(hidden, str) or not isinstance(hidden, Sequence) or not hidden:
            raise InputError("agent.hidden", "a list of layer sizes such as [64, 64]", repr(hidden))
        hidden = [check_int("agent.hidden", size, 1) for size in hidden]
        self.n_agents, self.obs_size, self.n_actions = graph.n_agents, obs_size, n_actions
        self.last_action = check_bool("agent.last_action", last_action)
        self.agent_id = check_bool("agent.agent_id", agent_id)
        check_bool("agent.layer_norm", layer_norm)
        inputs = obs_size + n_actions * last_action + graph.n_agents * agent_id
        kind = _GRU if network == "gru" else _MLP
        types = graph.types
        self.networks = nn.ModuleList(kind(inputs, hidden, n_actions, layer_norm) for _ in range(int(types.max()) + 1))
        self.memory_size = hidden[-1] if network == "gru" else 0
        self.width = max(hidden)
        order = torch.argsort(types, stable=True)
        self.type_sizes = torch.bincount(types).tolist()
        for network_of_type, mine in zip(self.networks, order.split(self.type_sizes), strict=True):
            body = cast(nn.Sequential, network_of_type.get_submodule("body"))
            body[0] = FirstLayer(cast(nn.Linear, body[0]), mine if agent_id else None, graph.n_agents)
        self.register_buffer("_order", order, persistent=False)
        self.register_buffer("_place", torch.argsort(order), persistent=False)
        factors = observation_factors("agent.observation_scale", observation_scale, obs_size)
        self.register_buffer("observation_scale", None if observation_scale is None else factors, persistent=False)
        self.norm = Norm(types, obs_size) if check_bool("agent.normalise", normalise) else None

    def initial_state(self, n_envs: int, device: torch.device) -> ActingState:
        """The state of agents in ``n_envs`` environments that all begin an episode."""
        previous = torch.full((n_envs, self.n_agents), -1, device=device)
        is_first = torch.ones(n_envs, dtype=torch.bool, device=device)
        return ActingState(previous, is_first, self.initial_hidden(n_envs, device))

    def step(self, observation: Tensor, state: ActingState, action_mask: Tensor | None = None) -> Tensor:
        """Outputs ``[B, N, A]`` for one step; ``state.hidden`` becomes the memory after it.

        Args:
            observation: ``[B, N, O]`` float32.
            state: What the agents carry; :meth:`ActingState.acted` is called with the actions that follow.
            action_mask: ``[B, N, A]`` bool, the allowed actions; None for all.
        """
        mask = None if action_mask is None else action_mask[None]
        sequence = observation[None], state.previous[None], state.is_first[None]
        outputs, state.hidden = self(*sequence, state.hidden, mask)
        return outputs[0]

    def act(
        self,
        observation: Tensor,
        state: ActingState,
        action_mask: Tensor | None = None,
        policy: ActionSelector = epsilon_greedy,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Actions ``[B, N]`` for one step, noted in ``state``.

        Args:
            observation: ``[B, N, O]`` float32.
            state: What the agents carry.
            action_mask: ``[B, N, A]`` bool, the allowed actions; None for all.
            policy: How actions follow from the outputs, without exploration; by default each agent's best one.
            generator: Source of randomness of a policy that draws.
        """
        actions = policy(self.step(observation, state, action_mask), 0.0, generator, action_mask)
        state.acted(actions, torch.zeros_like(state.is_first))
        return actions

    def initial_hidden(self, n_sequences: int, device: torch.device) -> Tensor:
        """Empty memory ``[B, N, H]``; H = 0 for a feed-forward network."""
        return torch.zeros(n_sequences, self.n_agents, self.memory_size, device=device)

    def forward(
        self,
        observations: Tensor,
        previous_actions: Tensor,
        first: Tensor,
        hidden: Tensor,
        action_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Utilities of every action along sequences.

        Args:
            observations: ``[T, B, N, O]`` float32.
            previous_actions: ``[T, B, N]`` int64, -1 where there is none.
            first: ``[T, B]`` bool, an episode begins here.
            hidden: ``[B, N, H]`` memory before the first step.
            action_mask: ``[T, B, N, A]`` bool, the allowed actions; only networks that are not decentralised use them.

        Returns:
            Utilities ``[T, B, N, A]`` and the memory ``[B, N, H]`` after the last step.
        """
        sequences = observations, previous_actions, first, hidden
        return cast(
            tuple[Tensor, Tensor], in_chunks(self._outputs, sequences, (1, 1, 1, 0), (1, 0), self._numbers(first))
        )

    def _outputs(self, *sequences: Tensor) -> tuple[Tensor, Tensor]:
        values, _, states = self._run(*sequences)
        return self._together(values, 2), self._together(states, 1)

    def with_memories(
        self, observations: Tensor, previous_actions: Tensor, first: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Outputs ``[T, B, N, A]`` and the memories after every step, ``[T, B, N, H]``; arguments as of the call."""
        sequences = observations, previous_actions, first, hidden
        return cast(
            tuple[Tensor, Tensor], in_chunks(self._with_memories, sequences, (1, 1, 1, 0), (1, 1), self._numbers(first))
        )

    def _with_memories(self, observations: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        values, features, _ = self._run(observations, *others)
        memories = self._together(features, 2) if self.memory_size else observations[..., :0]
        return self._together(values, 2), memories

    def _numbers(self, first: Tensor) -> int:
        """Numbers of the widest hidden layer for one sequence of as many steps as ``first`` ``[T, B]``."""
        return len(first) * self.n_agents * self.width

    def scaled(self, observations: Tensor) -> Tensor:
        """Observations ``[..., N, O]`` as the networks see them: normalised and times their fixed factors."""
        x = observations if self.norm is None else self.norm(observations)
        return x if self.observation_scale is None else x * self.observation_scale

    def _run(
        self, observations: Tensor, previous_actions: Tensor, first: Tensor, hidden: Tensor
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """For the n agents of each type: utilities ``[T, B, n, A]``, the head's inputs ``[T, B, n, H]``, and memory."""
        x = self.scaled(observations)
        if self.last_action:
            choices = torch.arange(self.n_actions, device=x.device)
            x = torch.cat([x, (previous_actions[..., None] == choices).to(x.dtype)], dim=-1)
        parts, memories = [x], [hidden]
        if len(self.networks) > 1:
            parts = list(x[:, :, self._order].split(self.type_sizes, dim=2))
            memories = list(hidden[:, self._order].split(self.type_sizes, dim=1))
        results = [net(part, first, memory) for net, part, memory in zip(self.networks, parts, memories, strict=True)]
        values, features, states = zip(*results, strict=True)
        return list(values), list(features), list(states)

    def _together(self, parts: list[Tensor], dim: int) -> Tensor:
        """Parts of the agents of each type, in the order of the agents along ``dim``."""
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=dim).index_select(dim, self._place)

    @torch.no_grad()
    def rescale_(self, factor: float) -> None:
        """Multiply every utility by ``factor``, in the last layer."""
        for network in self.networks:
            for parameter in network.get_submodule("head").parameters():
                parameter.mul_(factor)
