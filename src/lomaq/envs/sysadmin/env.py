"""SysAdmin: networked machines that bring each other down; an agent that keeps its machine up helps its neighbours."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lomaq.envs.base import BatchedEnv, PolicyFn
from lomaq.envs.graphs import make_graph
from lomaq.envs.sysadmin import exact
from lomaq.errors import InputError, check_float, check_int
from lomaq.graphs import csr_matrix

#: Most and fewest episodes of each simulated reference return; between them, as many as have REFERENCE_MACHINES in all,
#: since the relative error of a mean falls with machines as it does with episodes.
REFERENCE_EPISODES, FEWEST_EPISODES, REFERENCE_MACHINES = 2_000, 250, 100_000
#: Most machines of one policy that step together for it.
_TOGETHER = 2**17
#: Most failed neighbours that a threshold policy waits for before it reboots a working machine.
MOST_WAITED_FOR = 4


class SysAdmin(BatchedEnv):
    """n agents each look after one machine; a failed machine makes its neighbours fail sooner.

    Binary machines on a graph. A working machine that is not rebooted fails with probability min(1, fail_alone +
    fail_per_neighbour · number of failed neighbours), of the state before the step; a rebooted one works in the next
    step whatever it was; a failed one that is not rebooted stays failed. Where a reboot costs an agent more than it
    brings that agent, agents that maximise their own reward alone let the network go down.

    - Actions: 0 leaves the machine, 1 reboots it; both are always allowed.
    - Observations ``[4]``, all in [0, 1]: 1 if the agent's machine works; share of its neighbours that are failed (0
      without any); probability that a working machine in its place fails in this step if it is left; 1 / (1 + degree).
      ``[5]`` where ``cost`` is a list: the agent's own cost as a share of the largest.
    - Reward: 1 if the agent's machine works, less ``cost`` if it is rebooted; of the state before the step.
    - Start: all machines work.
    - End: never terminated; truncated after ``max_steps``. The return is discounted, Σ_t discount^t Σ_i r_i.

    Args:
        n_agents: Number of machines n, at least 1; None where a graph file gives it.
        cost: Price of a reboot, at least 0; a working machine earns 1 a step. Or a list of prices, one for each type of
            agents in the graph (0, 1, …), which agents then observe.
        graph: Name or file, see :func:`lomaq.envs.graphs.make_graph`.
        fail_alone: Probability in [0, 1] that a machine fails in a step while its neighbours work.
        fail_per_neighbour: What each failed neighbour adds to it, in [0, 1].
        discount: Discount of the test return, in [0, 1).

    The other arguments are those of :class:`BatchedEnv`.

    Attributes:
        cost: The price of a reboot, a tuple where there is one for each type.
        up: ``[B, N]`` bool, the state: which machines work.
        failed_neighbours: ``[B, N]`` float32, how many neighbours of each machine are failed.
        risk: ``[B, N]`` float32, the probability that a working machine fails in this step if it is left.
        true_graph: The graph that the machines are on, with ``permute`` or without.

    Raises:
        InputError: If a number is out of range, the graph unknown, of another size, or no permutation changes it.

    Example:
        >>> env = SysAdmin(4, cost=4.0)
        >>> env.step(torch.tensor([[0, 1, 0, 0]]))[1]
        tensor([[ 1., -3.,  1.,  1.]])
    """

    state_names = ("up",)
    agent_states = 2
    _policies = 1  # so many equal parts of the parallel environments meet the same random numbers

    def __init__(
        self,
        n_agents: int | None = 6,
        cost: float | Sequence[float] = 4.0,
        graph: str = "ring",
        fail_alone: float = 0.05,
        fail_per_neighbour: float = 0.3,
        discount: float = 0.95,
        max_steps: int = 200,
        permute: bool | int = False,
        *,
        n_envs: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.fail_alone = check_float("env.fail_alone", fail_alone, 0, 1)
        self.fail_per_neighbour = check_float("env.fail_per_neighbour", fail_per_neighbour, 0, 1)
        self.true_graph = make_graph(graph, n_agents)
        types = self.true_graph.types
        self.cost = _check_cost(cost, int(types.max()) + 1)
        by_type = isinstance(self.cost, tuple)
        sizes: dict[str, Any] = {"n_envs": n_envs, "n_actions": 2, "obs_size": 4 + by_type, "max_steps": max_steps}
        super().__init__(self.true_graph, **sizes, seed=seed, device=device, permute=permute)
        self.discount = check_float("env.discount", discount, 0, 1, below=True)
        source, target = self.true_graph.edge_index.to(self.device)
        one = torch.ones(len(source), device=self.device)
        self._adjacency = csr_matrix(source, target, one, (self.n_agents, self.n_agents))
        degree = self.true_graph.degree.to(self.device)
        self._most_failed = degree.clamp(min=1).float()  # [N]
        costs = self.cost if isinstance(self.cost, tuple) else (self.cost,)
        self._type = types.to(self.device) if by_type else torch.zeros_like(degree)  # [N], the place in costs
        self._costs = torch.tensor(costs, dtype=torch.float64)[self._type.cpu()]  # [N], for exact values
        self._price = self._costs.float().to(self.device)  # [N]
        self._constant = [1 / (1 + degree)]  # what an agent observes of itself in every state, each [N]
        if by_type:
            self._constant.append(self._price / (max(costs) or 1))
        self.up = torch.ones(n_envs, self.n_agents, dtype=torch.bool, device=self.device)
        self._refresh()

    # ---------------------------------------------------------------- dynamics

    def _reset_state(self, rows: Tensor) -> None:
        self.up.index_fill_(0, rows, True)
        self._refresh()

    def _refresh(self) -> None:
        """Recompute what follows from the state."""
        failed = (~self.up).float()
        self.failed_neighbours = (self._adjacency @ failed.T).T.contiguous()
        self.risk = (self.failed_neighbours * self.fail_per_neighbour).add_(self.fail_alone).clamp_(max=1)

    def _advance(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        reboot = actions.bool()
        rewards = self.up.float().sub_(self._price * reboot)
        chance = self.uniform(self.n_envs // self._policies, self.n_agents, low=0, high=1)
        survives = chance >= self.risk.view(self._policies, *chance.shape)  # [policies, B / policies, N]
        self.up.logical_and_(survives.flatten(0, 1)).logical_or_(reboot)
        self._refresh()
        return rewards, torch.zeros(self.n_envs, dtype=torch.bool, device=self.device)

    def observe(self) -> Tensor:
        share = self.failed_neighbours / self._most_failed
        constant = (own.expand_as(share) for own in self._constant)
        return torch.stack([self.up.float(), share, self.risk, *constant], dim=-1)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._refresh()

    # -------------------------------------- baseline policies and exact values

    def fresh(self, n_envs: int, seed: int = 0) -> SysAdmin:
        """``n_envs`` parallel environments of these machines, all working, with their own generator."""
        env = copy.copy(self)  # shares the graphs and the solutions, which never change
        env.n_envs = n_envs
        env.generator = torch.Generator(self.device).manual_seed(seed)
        env.time = torch.zeros(n_envs, dtype=torch.int64, device=self.device)
        env.up = torch.ones(n_envs, self.n_agents, dtype=torch.bool, device=self.device)
        env._refresh()
        return env

    def all_states(self) -> SysAdmin:
        """2^n environments, number s in state s (machine i works where bit i of s is 1), to tabulate a policy.

        Raises:
            InputError: If there are more than 8 machines.
        """
        states = exact.all_bits(self.n_agents).to(self.device)
        env = self.fresh(len(states))
        env.up = states
        env._refresh()
        return env

    def exact_return(self, policy: PolicyFn) -> float | None:
        """Exact discounted test return of a policy without memory; None for more than 8 machines."""
        if self.n_agents > exact.EXACT_LIMIT:
            return None
        return self.machines.start_return(policy(self.all_states()).cpu())

    def exact_q(self, policy: PolicyFn) -> Tensor | None:
        """``[N, S, 2^N]`` float64, see the base; None for more than 8 machines."""
        if self.n_agents > exact.EXACT_LIMIT:
            return None
        return self.machines.block_q(policy(self.all_states()).cpu())

    def simulate(self, policy: PolicyFn, episodes: int, seed: int = 0) -> Tensor:
        """Discounted test returns ``[episodes]`` float64 of fresh episodes; this environment is left as it is.

        Args:
            policy: Gives the actions, int64 or bool, in the present states of an environment of any B.
            episodes: Number of episodes, at least 1.
            seed: Seed of the failures; at equal seeds all policies meet the same random numbers.
        """
        return self._simulate([policy], episodes, seed)[0]

    def _simulate(self, policies: Sequence[PolicyFn], episodes: int, seed: int = 0) -> Tensor:
        """``[policies, episodes]``, the same of several policies at once; random numbers are drawn once for all."""
        rounds = math.ceil(check_int("episodes", episodes, 1) * self.n_agents / _TOGETHER)
        env = self.fresh(len(policies) * math.ceil(episodes / rounds), seed)
        env._policies = len(policies)
        returns = torch.zeros(rounds, env.n_envs, dtype=torch.float64, device=self.device)
        for total in returns:
            for t, step in enumerate(env.episode(lambda *_: env._acts(policies), observed=False)):
                total.add_(step.rewards.sum(dim=1), alpha=self.discount**t)
        return returns.view(rounds, len(policies), -1).transpose(0, 1).flatten(1)[:, :episodes]

    def _acts(self, policies: Sequence[PolicyFn]) -> Tensor:
        """Actions ``[B, N]`` of each policy in its part of the parallel environments."""
        actions, part = [], copy.copy(self)
        part.n_envs = self.n_envs // len(policies)
        states = (x.chunk(len(policies)) for x in (self.up, self.failed_neighbours, self.risk))
        for policy, part.up, part.failed_neighbours, part.risk in zip(policies, *states, strict=True):
            actions.append(policy(part))
        return torch.cat(actions)

    def oracle(self) -> Tensor:
        """Actions ``[B, N]`` of the baseline policy in the present states.

        Up to 8 machines the exact optimum of the endless problem; beyond, the best of the threshold policies ("reboot
        if failed, or if at least k neighbours are failed") and "never", chosen once by simulation. Where costs are by
        type, each type has its own, chosen in turn until no other for one type alone is better.
        """
        if self.n_agents <= exact.EXACT_LIMIT:
            return self._optimum.actions.to(self.device)[exact.number_of(self.up)]
        return self._best_thresholds[0](self).long()

    def baselines(self) -> dict[str, PolicyFn]:
        """``reboot_iff_failed`` and ``never``."""
        return {
            name.replace(" ", "_"): lambda env, act=act: act(env).long()  # type: ignore[misc]
            for name, act in _BASELINES.items()
        }

    def references(self) -> dict[str, float]:
        """Discounted test returns of policies to compare with, by name.

        Up to 8 machines exact: ``optimum`` (of the endless problem), ``best local policy`` (one map from observations
        to actions for all agents; left out where there are too many to try), ``reboot iff failed`` and ``never``.
        Beyond, means of simulated episodes: ``best threshold policy``, ``reboot iff failed`` and ``never``.
        """
        if self.n_agents > exact.EXACT_LIMIT:
            found = self._simulated
            return {"best threshold policy": self._best_thresholds[1], **{name: found[name] for name in _BASELINES}}
        every, returns = self.all_states(), {"optimum": self._optimum.test_return}
        local = self.machines.best_symmetric_local_policy(every.observe().cpu())
        returns |= {} if local is None else {"best local policy": local.test_return}
        return returns | {name: self.machines.start_return(act(every).cpu()) for name, act in _BASELINES.items()}

    @cached_property
    def machines(self) -> exact.Machines:
        """The machines as numbers, for exact values."""
        edges, risks = self.true_graph.edge_index.cpu(), (self.fail_alone, self.fail_per_neighbour)
        return exact.Machines(self.n_agents, edges, self._costs, *risks, self.discount, self.max_steps)

    @cached_property
    def _optimum(self) -> exact.Solution:
        return self.machines.optimal()

    @cached_property
    def _thresholds(self) -> dict[str, PolicyFn]:
        waited_for = range(1, min(MOST_WAITED_FOR, int(self.true_graph.degree.max())) + 1)
        return {**_BASELINES, **{f"at {k} failed neighbours": _reboot_at(k) for k in waited_for}}

    @cached_property
    def _simulated(self) -> dict[str, float]:
        """Mean test return of each threshold policy, all on the same random numbers."""
        return self._worths(self._thresholds)

    def _worths(self, policies: Mapping[Any, PolicyFn]) -> dict[Any, float]:
        if not policies:
            return {}
        episodes = min(REFERENCE_EPISODES, max(FEWEST_EPISODES, REFERENCE_MACHINES // self.n_agents))
        return dict(zip(policies, self._simulate([*policies.values()], episodes).mean(dim=1).tolist(), strict=True))

    @cached_property
    def _best_thresholds(self) -> tuple[PolicyFn, float]:
        """The best threshold policy and its mean test return: the best for all agents, then by coordinate ascent.

        Type by type the best threshold of its own, until a pass over the types brings nothing; one cost is one type.
        """
        n_types = len(self.cost) if isinstance(self.cost, tuple) else 1
        worth = {(name,) * n_types: value for name, value in self._simulated.items()}
        best, before = max(worth, key=worth.__getitem__), -math.inf
        while worth[best] > before:
            before = worth[best]
            for k in range(n_types):
                tried = [(*best[:k], name, *best[k + 1 :]) for name in self._thresholds]
                worth |= self._worths({names: self._by_type(names) for names in tried if names not in worth})
                best = max(tried, key=worth.__getitem__)
        return self._by_type(best), worth[best]

    def _by_type(self, names: Sequence[str]) -> PolicyFn:
        """Each type of agents acts by its own threshold policy."""
        acts = [self._thresholds[name] for name in names]
        return lambda env: torch.stack([act(env) & (env._type == k) for k, act in enumerate(acts)]).any(dim=0)


def never(env: SysAdmin) -> Tensor:
    """Actions ``[B, N]`` bool of no reboots at all."""
    return torch.zeros_like(env.up)


def reboot_iff_failed(env: SysAdmin) -> Tensor:
    """Actions ``[B, N]`` bool that reboot the failed machines only."""
    return ~env.up


def _reboot_at(k: int) -> PolicyFn:
    """Reboot if failed, or if at least ``k`` neighbours are failed."""
    return lambda env: ~env.up | (env.failed_neighbours >= k)


_BASELINES: dict[str, PolicyFn] = {"reboot iff failed": reboot_iff_failed, "never": never}


def _check_cost(cost: object, n_types: int) -> float | tuple[float, ...]:
    if isinstance(cost, str) or not isinstance(cost, Sequence):
        return check_float("env.cost", cost, 0)
    if len(cost) != n_types:
        kinds = f"the {n_types} types" if n_types > 1 else "the one type"
        raise InputError("env.cost", f"a number, or a list of one for each of {kinds} of agents in the graph", [*cost])
    return tuple(check_float("env.cost", price, 0) for price in cost)
