"""The classification variant of the reward decomposition (Appendix B): every r_I takes one of a few known values."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional

from lomaq.errors import InputError, check_choice, check_float
from lomaq.rewards.decomposition import Decomposition
from lomaq.rewards.groups import RewardGroups
from lomaq.rewards.settings import FitSettings, NetworkSettings

Value = Literal["expected", "likeliest"]

#: Share of every group's distribution that is uniform over its values in the likelihood: a network that is sure and
#: wrong still gets a gradient, and sums that the others rule out stay far above rounding errors.
LAPSE = 1e-4
#: Most steps of the lattice between the lowest and the highest value of a group.
MOST_STEPS = 1000
#: Smallest tilted likelihood that counts; rounding errors of the convolutions are about 1e-16.
SMALLEST = 1e-13


class RewardClassification(Decomposition):
    """Networks predict which value of K_I a group's reward has, by the likelihood of the team reward r = Σ_I r_I.

    Groups are independent given their observations, so p(r) is the convolution of their distributions: a tree of
    batched pairwise convolutions, O(n · range · log n) with the Fourier transform, where the paper's is exponential
    in n. See :func:`log_likelihood` for how far it is exact. The misfit is -log p(r), in nats.

    Args:
        values: For each group size that occurs the finite set K_I, at least one number each, all sets on one lattice
            (say multiples of 0.5).
        value: What :meth:`group_rewards` gives: the ``expected`` value of the distribution or the ``likeliest`` one.

    The other arguments are those of :class:`lomaq.rewards.decomposition.Decomposition`; |r_I| in the regularisation is
    the expected magnitude, in the unit of the team reward.
    """

    def __init__(
        self,
        groups: RewardGroups,
        obs_size: int,
        n_actions: int,
        values: Sequence[Sequence[float]],
        value: Value = "expected",
        networks: NetworkSettings = NetworkSettings(),
        fit: FitSettings = FitSettings(),
    ) -> None:
        sets = _check_values(values, len(groups.members))
        super().__init__(groups, obs_size, n_actions, networks, fit, [len(numbers) for numbers in sets])
        self.value = check_choice("reward.value", value, ("expected", "likeliest"))
        counts = [len(rows) for rows in groups.members.values()]
        step, places = _lattice(sets)
        self.step = float(step)
        self.lowest = float(sum(count * numbers[0] for count, numbers in zip(counts, sets, strict=True)))
        #: Steps between the lowest and the highest team reward.
        self.n_steps = sum(count * place[-1] for count, place in zip(counts, places, strict=True))
        for number, (numbers, place) in enumerate(zip(sets, places, strict=True)):
            values_of_size = torch.tensor([float(v) for v in numbers])
            self.register_buffer(f"_values_{number}", values_of_size, persistent=False)  # [C]
            self.register_buffer(f"_place_{number}", torch.tensor(place), persistent=False)  # [C]
        self.width = max(place[-1] for place in places) + 1
        self.register_buffer("_possible", _possible(places, counts, self.n_steps), persistent=False)

    def _rewards(self, outputs: list[Tensor]) -> list[Tensor]:
        sizes = [(self.get_buffer(f"_values_{number}"), output) for number, output in enumerate(outputs)]
        if self.value == "likeliest":
            return [values[output.argmax(dim=-1)] for values, output in sizes]
        return [output.softmax(dim=-1) @ values for values, output in sizes]

    def _magnitudes(self, outputs: list[Tensor]) -> list[Tensor]:
        sizes = enumerate(outputs)
        return [output.softmax(dim=-1) @ self.get_buffer(f"_values_{number}").abs() for number, output in sizes]

    def _misfit(self, outputs: list[Tensor], team_reward: Tensor) -> Tensor:
        chances = []
        for number, output in enumerate(outputs):
            place = self.get_buffer(f"_place_{number}")
            chance = output.double().softmax(dim=-1) * (1 - LAPSE) + LAPSE / output.size(-1)
            chances.append(chance.new_zeros(*chance.shape[:-1], self.width).index_copy(-1, place, chance))
        return -log_likelihood(torch.cat(chances, dim=1), self._steps_of(team_reward)).to(team_reward.dtype)

    def _steps_of(self, team_reward: Tensor) -> Tensor:
        """Steps from the lowest team reward, ``[M]`` int64; refuses what no values add up to."""
        steps = (team_reward.double() - self.lowest) / self.step
        whole = steps.round()
        inside = ((steps - whole).abs() <= 0.1) & (whole >= 0) & (whole <= self.n_steps)
        whole = torch.where(inside, whole, 0).long()
        good = inside & self.get_buffer("_possible")[whole]
        if not bool(good.all()):
            raise InputError(
                "reward.values",
                "values of the groups that can add up to every team reward",
                f"a team reward of {float(team_reward[~good][0]):g}",
                "list all values that a group's reward can take, or use the regression variant",
            )
        return whole


def log_likelihood(chances: Tensor, total: Tensor) -> Tensor:
    """log p(Σ_I m_I = total) for independent whole numbers m_I.

    Every distribution is tilted, p(m) e^{θm} / Z(θ), with the θ of each sample that makes ``total`` the mean of the
    sum. log p(total) = log p_θ(total) - θ · total + Σ_I log Z_I(θ) holds for every θ, but only where ``total`` is
    likely does rounding not matter: without the tilt, 100 heads in 100 throws (1e-30) would drown in the 1e-16 of a
    Fourier transform. What even the tilt leaves below 1e-13 counts as 1e-13, and no gradient flows through it.

    Args:
        chances: ``[M, G, W]`` float64, probability of m = 0 … W - 1, zero or at least about 1e-8.
        total: ``[M]`` int64, a sum that is possible.

    Returns:
        ``[M]`` float64.
    """
    logs = chances.clamp(min=torch.finfo(chances.dtype).tiny).log().masked_fill(chances == 0, -torch.inf)
    numbers = torch.arange(chances.size(-1), dtype=chances.dtype, device=chances.device)
    theta = _tilt(logs.detach().float().movedim(-1, 0).contiguous(), numbers.float(), total).double()
    tilted = logs + theta[:, None, None] * numbers
    likelihood = _convolve_all(tilted.softmax(dim=-1)).gather(1, total[:, None])[:, 0]
    return likelihood.clamp(min=SMALLEST).log() - theta * total + tilted.logsumexp(dim=-1).sum(dim=1)


def _tilt(logs: Tensor, numbers: Tensor, total: Tensor) -> Tensor:
    """θ ``[M]`` such that the tilted means add up to about ``total``, by bisection; ``logs`` are ``[W, M, G]``."""
    low = torch.full_like(total, -50, dtype=logs.dtype)  # e^50 outweighs what LAPSE leaves of a value
    high = -low
    numbers = numbers[:, None, None]
    for _ in range(14):
        middle = (low + high) / 2
        mean = ((logs + middle[:, None] * numbers).softmax(dim=0) * numbers).sum(dim=(0, 2))
        short = mean < total
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return (low + high) / 2


def _convolve_all(chances: Tensor) -> Tensor:
    """Distribution of the sum: ``[M, G, W]`` → ``[M, at least G (W - 1) + 1]``, pair by pair and all pairs at once."""
    while chances.size(1) > 1:
        if chances.size(1) % 2:
            nothing = functional.one_hot(torch.zeros(1, dtype=torch.int64, device=chances.device), chances.size(2))
            chances = torch.cat([chances, nothing.to(chances).expand(chances.size(0), 1, -1)], dim=1)
        width = 2 * chances.size(2) - 1
        length = next_fast_len(width, real=True)
        spectrum = torch.fft.rfft(chances, n=length)
        chances = torch.fft.irfft(spectrum[:, 0::2] * spectrum[:, 1::2], n=length)[..., :width]
    return chances[:, 0]


def _check_values(values: Sequence[Sequence[float]], n_sizes: int) -> list[list[Fraction]]:
    """The set of each size that occurs, rising, as exact fractions."""
    expected = f"a list of numbers for each group size 1 … {n_sizes}, such as [[0, 1]]"
    if not isinstance(values, Sequence) or len(values) < n_sizes:
        raise InputError("reward.values", expected, repr(values))
    sets = []
    for numbers in values[:n_sizes]:
        if isinstance(numbers, str) or not isinstance(numbers, Sequence) or len(numbers) == 0:
            raise InputError("reward.values", expected, repr(values))
        checked = [check_float("reward.values", number, -1e6, 1e6) for number in numbers]
        sets.append(sorted({Fraction(number).limit_denominator(10**4) for number in checked}))
        if len(sets[-1]) < len(numbers) or any(min(abs(v - w) for v in sets[-1]) > 1e-7 for w in checked):
            raise InputError("reward.values", "different numbers that are multiples of a common step", repr(numbers))
    return sets


def _lattice(sets: list[list[Fraction]]) -> tuple[Fraction, list[list[int]]]:
    """The largest step whose multiples all differences within the sets are, and each value's steps from its lowest."""
    gaps = [value - numbers[0] for numbers in sets for value in numbers[1:]]
    denominator = math.lcm(*(gap.denominator for gap in gaps))
    step = Fraction(math.gcd(*(int(gap * denominator) for gap in gaps)) or 1, denominator)
    places = [[int((value - numbers[0]) / step) for value in numbers] for numbers in sets]
    if max(place[-1] for place in places) > MOST_STEPS:
        raise InputError(
            "reward.values",
            f"numbers that are multiples of a common step, at most {MOST_STEPS} of them from lowest to highest",
            f"a step of {step}",
            "round the values, or use the regression variant",
        )
    return step, places


def _possible(places: list[list[int]], counts: list[int], n_steps: int) -> Tensor:
    """``[n_steps + 1]`` bool, which sums of all groups' steps occur; bit s of a whole number stands for the sum s."""
    sums = 1
    for place, count in zip(places, counts, strict=True):
        for _ in range(count):  # once, when the model is built
            sums = functools.reduce(operator.or_, [sums << steps for steps in place])
    bits = np.frombuffer(sums.to_bytes(n_steps // 8 + 1, "little"), dtype=np.uint8)
    return torch.from_numpy(np.unpackbits(bits, count=n_steps + 1, bitorder="little").astype(bool))
