"""What every environment is: B parallel environments that step together, as tensors on one device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lomaq.envs import contract
from lomaq.errors import InputError, check_int
from lomaq.graphs import AgentGraph
from lomaq.graphs.shuffle import shuffled

if TYPE_CHECKING:
    from typing_extensions import Self

#: Chooses actions ``[B, N]`` int64 for the present states of an environment of any B, without memory of earlier ones.
PolicyFn = Callable[[Any], Tensor]


class Step(NamedTuple):
    """One step of an episode in every parallel environment.

    Attributes:
        observation: ``[B, N, O]`` float32, what the agents saw before it.
        actions: ``[B, N]`` int64.
        rewards: ``[B, N]`` float32, local rewards.
        terminated: ``[B]`` bool, it led to a real end.
        truncated: ``[B]`` bool, it led to a time limit.
        running: ``[B]`` bool, the episode was not over before it; other environments do not count.
    """

    observation: Tensor
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    running: Tensor


class BatchedEnv(ABC):
    """``n_envs`` independent parallel environments, cooperative, on a graph of agents.

    Who plays one closes it, or uses it in a ``with`` statement: some hold processes and files. An environment that
    ended must be reset by the caller before its next step counts; stepping it meanwhile is harmless. A subclass
    sets its state in :meth:`_reset_state`, moves it in :meth:`_advance` and shows it in :meth:`observe`. What these
    return is checked at every step, see :mod:`lomaq.envs.contract`.

    Args:
        graph: The dependency graph of the N agents.
        n_envs: Number of parallel environments B, at least 1.
        n_actions: Largest number of actions A of any agent.
        obs_size: Largest observation size O of any agent.
        max_steps: Time limit of an episode in steps, at least 1; reaching it is a truncation.
        seed: Seed of the environment's own generator.
        device: Where the tensors live.
        best_return: Best possible episode return (sum over agents and steps), None where it is not known.
        permute: The causal control. What happens stays as it is, but :attr:`graph`, which mixers, partitions and
            rewards get, has its agents' names shuffled, so that few or no true neighbours remain neighbours. False, or
            the seed of the shuffle, at least 0; true is seed 0. What happens must not depend on :attr:`graph`.

    Attributes:
        discount: Factor of the test return at each step; learning has its own γ.
    """

    #: Names of the tensors that make up the state, for :meth:`state_dict`; the time step is added by the base.
    state_names: tuple[str, ...] = ()
    #: Whether :meth:`state_dict` holds everything; where not, a resumed run begins new episodes.
    resumable: bool = True
    #: Most parallel environments that tests make at once; None for any number.
    max_envs: int | None = None
    #: States K of each agent where the whole state is one of each agent's; :meth:`exact_q` numbers both.
    agent_states: int | None = None
    _was_reset = _was_stepped = False
    _masks: bool | None = None  # whether there are action masks, once that is known

    def __init__(
        self,
        graph: AgentGraph,
        *,
        n_envs: int,
        n_actions: int,
        obs_size: int,
        max_steps: int,
        seed: int,
        device: torch.device | str,
        best_return: float | None = None,
        permute: bool | int = False,
    ) -> None:
        self.graph = contract.check_graph(self, graph)
        if permute is not False:
            self.graph = shuffled(self.graph, permute)
        self.n_envs = check_int("env.n_envs", n_envs, 1)
        self.n_actions = contract.check_size(self, "n_actions", n_actions)
        self.obs_size = contract.check_size(self, "obs_size", obs_size)
        self.max_steps = check_int("env.max_steps", max_steps, 1)
        self.best_return, self.discount = best_return, 1.0
        self.device = torch.empty(0, device=device).device  # with its number, as tensors have it
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.time = torch.zeros(n_envs, dtype=torch.int64, device=self.device)

    @cached_property
    def n_agents(self) -> int:
        """Number of agents N."""
        return self.graph.n_agents

    # ------------------------------------------------- what a subclass provides

    @abstractmethod
    def _reset_state(self, rows: Tensor) -> None:
        """Draw a new start for the environments ``rows`` (``[K]`` int64)."""

    @abstractmethod
    def _advance(self, actions: Tensor) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]:
        """Take ``actions`` ``[B, N]`` int64: local rewards ``[B, N]`` float32 and real ends ``[B]`` bool.

        An environment with a time limit of its own returns a third tensor: truncated ``[B]`` bool. The time step, the
        truncation at ``max_steps`` and the reset of what has ended are not its business.
        """

    @abstractmethod
    def observe(self) -> Tensor:
        """Observations ``[B, N, O]`` float32 of the present state, in a tensor that later steps leave alone."""

    def action_mask(self) -> Tensor | None:
        """``[B, N, A]`` bool, the actions allowed now, at least one for every agent; None where all always are."""
        return None

    def stagger(self, generator: torch.Generator) -> Tensor:
        """Spread the parallel environments over the episode, just after a reset: observations ``[B, N, O]``.

        Else all rollouts of fixed length see the same part of it. A simulator that cannot begin in the middle returns
        the observations of its start.

        Args:
            generator: What to draw with.
        """
        self.time.random_(self.max_steps, generator=generator)
        return self._observed()

    def episode_metrics(self) -> dict[str, Tensor]:
        """Named numbers of the present episode so far, such as a mean delay, ``[B]`` float64 each.

        They are read after the step that ends an episode. The names are always the same, words such as ``mean_delay``.
        """
        return {}

    def statistics(self) -> dict[str, float]:
        """What it measured of itself while played, for ``summary.json``, such as a simulator's share of the time."""
        return {}

    def close(self) -> None:  # noqa: B027
        """Let go of processes and files; a reset may start them anew."""

    # ------------------------- baseline policies and reference returns, if any

    def baselines(self) -> dict[str, PolicyFn]:
        """Baseline policies by name, for ``algo=baseline algo.baseline=NAME``; they may look at the whole state."""
        return {}

    def oracle(self) -> Tensor:
        """Actions ``[B, N]`` of the environment's baseline policy, which may look at the whole state.

        Raises:
            InputError: If the environment has none.
        """
        known = "" if self.best_return is None else f"its best possible return is known: {self.best_return:,.6g}"
        raise InputError("algo", "an environment with a baseline policy", f"oracle for {type(self).__name__}", known)

    def references(self) -> dict[str, float]:
        """Test returns to compare with, by name; what they cost is up to the environment."""
        return {} if self.best_return is None else {"best possible": self.best_return}

    def exact_return(self, policy: PolicyFn) -> float | None:
        """The expected test return of a policy without memory, None where it cannot be computed."""
        return None

    def exact_q(self, policy: PolicyFn) -> Tensor | None:
        """Each agent's action values if a policy without memory is followed from the next step on.

        ``[N, S, joint actions]`` float64 of all states S; None where they cannot be computed. With ``agent_states`` K,
        states and joint actions are numbered Σ_j s_j K^j and Σ_j a_j A^j.
        """
        return None

    # --------------------------------------------------------------- for callers

    def reset(self, mask: Tensor | None = None) -> Tensor:
        """Start new episodes.

        Args:
            mask: ``[B]`` bool, the environments to reset; None for all.

        Returns:
            Observations ``[B, N, O]`` of all environments.
        """
        generator = None if self._was_reset else contract.check_made(self)
        rows = torch.arange(self.n_envs, device=self.device) if mask is None else mask.nonzero().squeeze(1)
        self.time[rows] = 0
        self._call("_reset_state", rows)
        observation = self._observed()
        if generator is not None:
            contract.check_reset(self, rows, generator)
            self._was_reset = True
        return observation

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Take ``actions`` ``[B, N]`` int64 in every environment.

        Returns:
            Observations ``[B, N, O]``, local rewards ``[B, N]``, terminated ``[B]`` and truncated ``[B]``; a step that
            ends really at the time limit is terminated and not truncated.
        """
        rewards, terminated, truncated = self._move(actions)
        return self._observed(), rewards, terminated, truncated

    def _move(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        before = None if self._was_stepped else (self.time.clone(), self.generator)
        result = self._call("_advance", actions.clone())  # it may keep or change what it gets
        rewards, terminated, truncated = contract.check_advanced(self, result)
        if before is not None:
            contract.check_step(self, *before)
            self._was_stepped = True
        self.time += 1
        late = self.time >= self.max_steps
        return rewards, terminated, (late if truncated is None else late | truncated) & ~terminated

    def allowed(self) -> Tensor | None:
        """:meth:`action_mask`, checked but for agents with nothing allowed; what plays an environment asks this."""
        mask = self._call("action_mask")
        return contract.check_mask(self, mask)

    def _observed(self) -> Tensor:
        return contract.check_observation(self, self._call("observe"))

    def _call(self, hook: str, *given: Tensor) -> Any:
        """What a method of the subclass returns; an exception in it becomes an EnvError that names step and place."""
        try:
            return getattr(self, hook)(*given)
        except InputError:
            raise
        except Exception as error:
            raise contract.failed(self, hook, error) from error

    def episode(self, act: Callable[[BatchedEnv, Tensor], Tensor], *, observed: bool = True) -> Iterator[Step]:
        """Play one episode in every environment, from a reset until all have ended.

        While the caller holds a step, the environment is in the state that the step led to.

        Args:
            act: Gives the actions ``[B, N]`` int64 for this environment and its observations ``[B, N, O]``.
            observed: False where ``act`` reads the state alone; all steps then have the first observation.
        """
        observation = self.reset().clone()  # callers keep steps, and an environment may reuse its tensors
        running = torch.ones(self.n_envs, dtype=torch.bool, device=self.device)
        for number in range(1, self.max_steps + 1):
            contract.check_numbers(self, "observation", observation, number)
            actions = act(self, observation)
            rewards, terminated, truncated = self._move(actions)
            rewards, terminated = rewards.clone(), terminated.clone()
            contract.check_numbers(self, "reward", rewards, number)
            following = self._observed().clone() if observed else observation
            yield Step(observation, actions, rewards, terminated, truncated, running)
            observation, running = following, running & ~(terminated | truncated)
            if not bool(running.any()):
                return
        raise contract.endless(self)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the future, as tensors."""
        contract.check_state(self)
        state = {name: getattr(self, name).clone() for name in (*self.state_names, "time")}
        return {**state, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict` of an environment of the same size."""
        for name in (*self.state_names, "time"):
            mine, stored = getattr(self, name), state[name]
            if mine.shape != stored.shape:
                raise InputError(f"state of the environment ({name})", f"shape {list(mine.shape)}", list(stored.shape))
            mine.copy_(stored)
        self.generator.set_state(state["generator"].cpu())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def uniform(self, *shape: int, low: float, high: float) -> Tensor:
        """Uniform numbers ``[*shape]`` float32, from the environment's own generator."""
        return torch.empty(shape, device=self.device).uniform_(low, high, generator=self.generator)
