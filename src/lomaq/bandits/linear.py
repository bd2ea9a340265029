"""The linear bandit of Section 3.2, batched over independent repetitions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lomaq.errors import InputError, check_choice, check_float, check_int
from lomaq.graphs import Partition

Noise = Literal["gaussian", "bounded"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: Round (from 1) and joint actions ``[R, N]`` of the round before (all -1 in round 1) → contexts ``[R, d]`` of the
#: round, each of norm at most S_x.
Adversary = Callable[[int, Ints], Floats]

#: Rounds whose random numbers are drawn at once.
CHUNK = 256


class LinearBandit:
    """Each of n agents chooses an arm; block J is paid r_J = Σ_{i∈J} ⟨x, θ*_{i,a_i}⟩ + η_J.

    Rewards and noise are sums over agents: η_J = Σ_{i∈J} η_i with independent η_i. Every partition is therefore well
    specified (θ*_{a_J} = Σ_{i∈J} θ*_{i,a_i}), and bandits that differ only by their partition have the same parameters,
    contexts and noise. A block's noise is R_J-sub-Gaussian with R_J = √(Σ_{i∈J} R_i²), its standard deviation (the
    paper's Σ R_i also holds, but is larger).

    Args:
        parameters: ``[R, N, K, d]`` float64, θ* of each repetition; :func:`draw_parameters` draws some.
        partition: The blocks that are paid.
        noise_scale: R_i ≥ 0 of each agent's noise, in units of reward; or one number for all agents.
        noise: ``gaussian``, or ``bounded``: uniform on [-√3 R_i, √3 R_i]. Both have R_i as their standard deviation
            and as their smallest sub-Gaussian constant.
        context_bound: S_x > 0. Random contexts are uniform on the sphere of this radius.
        adversary: Chooses the contexts instead.
        seed: Of contexts and noise, each with its own generator.

    Attributes:
        block_noise: ``[P]`` float64, R_J.

    Raises:
        InputError: If an argument is out of its range, or the adversary's contexts are of another shape, too long or
            not finite.
    """

    def __init__(
        self,
        parameters: Floats,
        partition: Partition,
        *,
        noise_scale: float | Sequence[float] = 0.1,
        noise: Noise = "gaussian",
        context_bound: float = 1.0,
        adversary: Adversary | None = None,
        seed: int = 0,
    ) -> None:
        if parameters.ndim != 4 or parameters.size == 0:
            raise InputError("parameters", "numbers of shape [R, N, K, d]", f"shape {list(parameters.shape)}")
        if not np.isfinite(parameters).all():
            raise InputError("parameters", "finite numbers", "NaN or infinity")
        if parameters.shape[1] != partition.n_agents:
            raise InputError("partition", f"blocks of {parameters.shape[1]} agents", f"{partition.n_agents} agents")
        check_choice("noise", noise, ("gaussian", "bounded"))
        self.parameters = parameters
        self.partition = partition
        self.scale = noise_scales(noise_scale, partition.n_agents)
        self.block_noise = block_noise(partition, self.scale)
        self.noise = noise
        self.context_bound = check_float("context_bound", context_bound, 0, above=True)
        self.adversary = adversary
        self.rounds = 0
        self.actions: Ints = np.full(parameters.shape[:2], -1)
        contexts, noises = np.random.SeedSequence(check_int("seed", seed, 0)).spawn(2)
        self._rngs = np.random.default_rng(contexts), np.random.default_rng(noises)
        repetitions, agents, arms, dim = parameters.shape
        self._flat = np.ascontiguousarray(parameters.reshape(repetitions, agents * arms, dim))
        self._first_arm = arms * np.arange(repetitions * agents).reshape(repetitions, agents)  # [R, N]

    def context(self) -> Floats:
        """Begin the next round: ``[R, d]`` contexts x(t)."""
        place = self.rounds % CHUNK
        if place == 0:
            self._draw()
        self.rounds += 1
        self._noise = self._noises[place]
        self._context = self._contexts[place] if self.adversary is None else self._ask(self.adversary)
        return self._context

    def pull(self, actions: Ints) -> tuple[Floats, Floats]:
        """End the round.

        Args:
            actions: ``[R, N]`` int64, an arm 0 … K - 1 for each agent.

        Returns:
            Rewards r_J of the blocks ``[R, P]``, and regret ``[R]``: Σ_i max_j ⟨x, θ*_{i,j}⟩ - ⟨x, θ*_{i,a_i}⟩.

        Raises:
            InputError: If the actions are of another shape or name an arm that is not there.
        """
        arms = self.parameters.shape[2]
        if actions.shape != self.actions.shape:
            raise InputError("actions", f"shape {list(self.actions.shape)}", f"shape {list(actions.shape)}")
        if actions.min() < 0 or actions.max() >= arms:
            raise InputError("actions", f"arms 0 … {arms - 1}", f"{actions.min()} … {actions.max()}")
        mean = (self._flat @ self._context[:, :, None]).reshape(*actions.shape, arms)  # [R, N, K]
        chosen = mean.reshape(-1).take(self._first_arm + actions)  # [R, N]
        regret = (mean.max(axis=2) - chosen).sum(axis=1)
        self.actions = actions
        return self.partition.block_sum(torch.from_numpy(chosen + self._noise)).numpy(), regret

    def _draw(self) -> None:
        """Contexts ``[CHUNK, R, d]`` and noise ``[CHUNK, R, N]`` of the next rounds."""
        repetitions, agents, _, dim = self.parameters.shape
        contexts, noises = self._rngs
        if self.adversary is None:
            self._contexts = self.context_bound * _directions(contexts, (CHUNK, repetitions, dim))
        shape = (CHUNK, repetitions, agents)
        if self.noise == "gaussian":
            self._noises = self.scale * noises.standard_normal(shape)
        else:
            self._noises = math.sqrt(3) * self.scale * noises.uniform(-1, 1, shape)

    def _ask(self, adversary: Adversary) -> Floats:
        """The adversary's contexts ``[R, d]``, checked."""
        context = np.asarray(adversary(self.rounds, self.actions), dtype=np.float64)
        shape = (self.parameters.shape[0], self.parameters.shape[3])
        if context.shape != shape:
            raise InputError("adversary", f"contexts of shape {list(shape)}", list(context.shape))
        length = np.linalg.norm(context, axis=1).max()
        if not length <= self.context_bound * (1 + 1e-9):
            raise InputError("adversary", f"contexts of norm at most {self.context_bound:g}", length)
        return context


def draw_parameters(
    repetitions: int, n_agents: int, n_arms: int, dim: int, *, bound: float, smallest_gap: float, seed: int
) -> Floats:
    """Draw θ* ``[R, N, K, d]`` float64: uniform directions, norms log-uniform on [smallest_gap · bound, bound].

    The norm is that of all arms of an agent. With gaps at every scale, the problem is at every round t as hard as the
    √T of the theorem allows: whatever the width is then, some agent's gaps are of that size; larger ones are resolved,
    smaller ones cost little. With one scale (``smallest_gap=1``) the regret is linear while the width hides the gaps,
    then logarithmic, and never √T for long.

    Args:
        repetitions, n_agents, n_arms, dim: R, N, K, d.
        bound: S_θ, the largest norm.
        smallest_gap: Ratio of the smallest to the largest norm, in (0, 1].
        seed: Of the parameters alone.
    """
    check_float("smallest_gap", smallest_gap, 0, 1, above=True)
    rng = np.random.default_rng(np.random.SeedSequence(check_int("seed", seed, 0), spawn_key=(2,)))
    scale = smallest_gap ** rng.random((repetitions, n_agents, 1, 1))
    return bound * scale * _directions(rng, (repetitions, n_agents, n_arms, dim))


def noise_scales(noise_scale: float | Sequence[float], n_agents: int) -> Floats:
    """R_i of each agent, ``[N]`` float64, from one number for all or a list of n.

    Raises:
        InputError: If one is no number of at least 0, or the list is of another length.
    """
    if not isinstance(noise_scale, Sequence) or isinstance(noise_scale, str):
        return np.full(n_agents, check_float("noise_scale", noise_scale, 0))
    if len(noise_scale) != n_agents:
        raise InputError("noise_scale", f"one number, or one for each of {n_agents} agents", f"{len(noise_scale)}")
    return np.array([check_float("noise_scale", scale, 0) for scale in noise_scale])


def block_noise(partition: Partition, scale: Floats) -> Floats:
    """R_J = √(Σ_{i∈J} R_i²) of each block, ``[P]`` float64, from R_i ``[N]``."""
    total: Floats = np.sqrt(partition.block_sum(torch.from_numpy(scale**2)).numpy())
    return total


def _directions(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Uniform on the unit sphere of the last dimension."""
    normal = rng.standard_normal(shape)
    directions: Floats = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    return directions
