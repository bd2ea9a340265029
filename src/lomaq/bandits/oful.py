"""Multi-OFUL (Algorithm 1): optimism with one ridge regression for each block and joint action of the block."""

from __future__ import annotations

import numpy as np
import psutil
import torch

from lomaq.bandits.bound import Constants
from lomaq.bandits.linear import Floats, Ints
from lomaq.errors import InputError, check_float, check_int

#: Rounds after which the inverses are recomputed from the Gram matrices.
REFRESH = 2000
GIB = 2**30


class MultiOFUL:
    """Plays, in every block, the joint action of the highest ⟨x, θ̂⟩ + α √β_J ‖x‖_{V⁻¹}, θ̂ = V⁻¹ Y.

    V = λI + Σ x xᵀ and Y = Σ x r_J run over the rounds in which the block played that joint action (Algorithm 1 prints
    one Y for all joint actions of a block; its proof, and we, keep one for each). P = {V} is OFUL. The joint actions of
    all blocks share one axis of K_P = Σ_J K^|J| entries, blocks of equal size next to each other, so that no padding is
    needed. Ties go to the lowest joint action.

    Inverses get exactly symmetric rank-one updates (Sherman–Morrison) and are recomputed from V every 2000 rounds; θ̂ of
    a joint action is recomputed as V⁻¹ Y whenever it is played, so no error accumulates.

    Args:
        constants: Partition, K, d, R_max, S_θ, S_x, δ and λ.
        repetitions: R, independent learners.
        alpha: α ≥ 0 scales the width; the theorem is about α = 1, and a larger α costs a factor (1 + α) / 2.

    Attributes:
        gram: ``[R, K_P, d, d]`` float64, V.
        inverse: ``[R, K_P, d, d]`` float64, V⁻¹.
        moment: ``[R, K_P, d]`` float64, Y.
        estimate: ``[R, K_P, d]`` float64, θ̂.
        offset: ``[P]`` int64, position of each block's first joint action on the axis of K_P.
        rounds: Updates so far.

    Raises:
        InputError: If a number is out of its range or the statistics do not fit into memory.
    """

    def __init__(self, constants: Constants, repetitions: int, alpha: float = 1.0) -> None:
        check_int("repetitions", repetitions, 1)
        self.constants = constants
        self.alpha = check_float("alpha", alpha, 0)
        check_memory(constants, repetitions)
        partition, dim = constants.partition, constants.dim
        sizes = np.array([len(block) for block in partition.blocks])
        self.offset: Ints = np.empty(partition.n_blocks, dtype=np.int64)
        #: blocks of one size: size, the blocks, their slice of the axis of K_P
        self._groups: list[tuple[int, Ints, slice]] = []
        end = 0
        for size in np.unique(sizes).tolist():
            blocks, joint = np.flatnonzero(sizes == size), constants.n_arms**size
            self.offset[blocks] = end + joint * np.arange(len(blocks))
            begin, end = end, end + joint * len(blocks)
            self._groups.append((size, blocks, slice(begin, end)))
        #: agent i's arm is ``joint action // stride[i] % K``
        self.stride: Ints = np.empty(partition.n_agents, dtype=np.int64)
        for block in partition.blocks:
            self.stride[list(block)] = constants.n_arms ** np.arange(len(block))
        self._block_of: Ints = partition.block_of.numpy()
        shape = (repetitions, constants.k_p, dim)
        self.gram: Floats = np.tile(constants.regularisation * np.eye(dim), (*shape[:2], 1, 1))
        self.inverse: Floats = np.tile(np.eye(dim) / constants.regularisation, (*shape[:2], 1, 1))
        self.moment: Floats = np.zeros(shape)
        self.estimate: Floats = np.zeros(shape)
        self._first_row = constants.k_p * np.arange(repetitions)[:, None]  # [R, 1]
        self.rounds = 0

    def choose(self, context: Floats) -> Ints:
        """``[R, N]`` int64, the arm of each agent, for contexts ``[R, d]`` (lines 6 to 10)."""
        repetitions, dim = context.shape
        outer = (context[:, :, None] * context[:, None, :]).reshape(repetitions, dim * dim, 1)
        norm = np.sqrt(self.inverse.reshape(repetitions, -1, dim * dim) @ outer)  # [R, K_P, 1]
        value = self.estimate @ context[:, :, None]  # [R, K_P, 1]
        joint = np.empty((repetitions, len(self.offset)), dtype=np.int64)  # [R, P]
        for size, blocks, part in self._groups:
            width = self.alpha * self.constants.width(self.rounds + 1, size)
            score = value[:, part] + width * norm[:, part]
            joint[:, blocks] = score.reshape(repetitions, len(blocks), -1).argmax(axis=2)
        return joint[:, self._block_of] // self.stride % self.constants.n_arms

    def update(self, context: Floats, actions: Ints, rewards: Floats) -> None:
        """Learn from one round (lines 12 and 13): ``[R, d]``, ``[R, N]`` int64, ``[R, P]``.

        Only the joint actions that were played change.
        """
        rows = (self._first_row + self.index(actions)).reshape(-1)  # [R·P]
        x = np.repeat(context, len(self.offset), axis=0)  # [R·P, d]
        gram, inverse, moment, estimate = (
            state.reshape(-1, *state.shape[2:]) for state in (self.gram, self.inverse, self.moment, self.estimate)
        )
        old = inverse[rows]
        step = (old @ x[:, :, None])[:, :, 0]  # V⁻¹x
        step /= np.sqrt(1 + (step * x).sum(axis=1, keepdims=True))
        new = old - step[:, :, None] * step[:, None, :]
        total = moment[rows] + x * rewards.reshape(-1, 1)
        inverse[rows], moment[rows] = new, total
        gram[rows] += x[:, :, None] * x[:, None, :]
        estimate[rows] = (new @ total[:, :, None])[:, :, 0]
        self.rounds += 1
        if self.rounds % REFRESH == 0:
            self.refresh()

    def index(self, actions: Ints) -> Ints:
        """Positions of the blocks' joint actions on the axis of K_P: ``[R, N]`` → ``[R, P]`` int64."""
        joint: Ints = self.constants.partition.block_sum(torch.from_numpy(actions * self.stride)).numpy()
        return self.offset + joint

    def refresh(self) -> None:
        """Recompute every inverse and estimate from V and Y."""
        inverse = np.linalg.inv(self.gram)
        self.inverse[:] = (inverse + inverse.swapaxes(2, 3)) / 2
        self.estimate[:] = (self.inverse @ self.moment[..., None])[..., 0]


def check_memory(constants: Constants, repetitions: int) -> None:
    """Raise InputError if the statistics of the partition do not fit into the memory that is free now."""
    numbers = 4 * constants.dim**2 + 6 * constants.dim  # the state, and as much again while it is refreshed
    need, free = 8 * repetitions * constants.k_p * numbers, psutil.virtual_memory().available
    if need > free:
        size = max(map(len, constants.partition.blocks))
        expected = f"blocks whose statistics fit into the {free / GIB:.1f} GiB of free memory"
        largest = f"{constants.n_arms}^{size} = {constants.n_arms**size:,} in the largest block"
        got = f"{need / GIB:,.1f} GiB for K_P = {constants.k_p:,} joint actions, {largest}"
        raise InputError("partition", expected, got, "use smaller blocks or fewer repetitions")
