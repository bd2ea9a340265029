"""Figure 6: which rewards of single agents and of the pair explain the team reward of two agents at one landmark?

Two agents are in a square around one landmark, as in ``env=nav``; each observes its position relative to the landmark.
The team is paid 1 while at least one agent covers it, so r is no sum of local rewards (Assumption 1 does not hold). No
agents are trained: the rewards are fitted to the team reward of states in which both positions are uniform.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from torch import Tensor

from lomaq.envs.navigation import COVER_DISTANCE, HALF_WIDTH
from lomaq.errors import InputError, check_float, check_int
from lomaq.graphs import AgentGraph
from lomaq.inputs.text import read_json
from lomaq.rewards import FitSettings
from lomaq.rewards.decomposition import RewardDecomposition
from lomaq.rewards.groups import RewardGroups
from lomaq.runs.files import write_atomic

#: Share p of the square from which the landmark is covered.
SHARE = math.pi * COVER_DISTANCE**2 / (2 * HALF_WIDTH) ** 2
#: Who is on the landmark: agent 1, agent 2.
SITUATIONS = {"none": (0, 0), "agent 1": (1, 0), "agent 2": (0, 1), "both": (1, 1)}
#: What is learned, and what it adds up to.
FUNCTIONS = ("r_{1}", "r_{2}", "r_{12}", "sum")
#: Largest difference from the expected value at which the figure counts as reproduced.
TOLERANCE = 0.15
TITLE = (
    "Two agents, one landmark: rewards at places $\\Delta x_1$, $\\Delta x_2$ of the agents on the horizontal line "
    "through it.\nDotted: its edge. Numbers: means over the whole square with none, one or both of them on it."
)
#: States in each situation over which a learned function is averaged.
STATES = 3000


@dataclass(frozen=True)
class Fit:
    """One row of the figure: the largest group |I|, and λ ≥ 0 with w(1) = 0, w(2) = 1."""

    max_size: int
    regularisation: float

    def __str__(self) -> str:
        return f"|I| <= {self.max_size}, lambda = {self.regularisation:g}"

    def expected(self) -> dict[str, dict[str, float]]:
        """Value of each function that is identified, in each of :data:`SITUATIONS`.

        |I| ≤ 1: the least squares fit f(on_1) + f(on_2) of r. Setting its derivatives to zero gives
        f(x) + E f = E[r | x], that is 1 on the landmark and p off it, hence E f = E[r] / 2 = p - p²/2 and
        f(on) = 1 - p + p²/2, f(off) = p²/2. |I| ≤ 2: the sum is r whatever is moved between the r_I. With λ > 0 the
        share of states that pay for r_{12} is smallest, p², where r_{12} = -1 corrects r_{i} = 1 for both on (but for
        λ/2, which is lost in the rounding).
        """
        one, two = np.array(list(SITUATIONS.values()), dtype=float).T  # [4], [4]
        pair = 0 - one * two  # not -0.0
        if self.max_size == 1:
            off, on = SHARE**2 / 2, 1 - SHARE + SHARE**2 / 2
            one, two, pair = off + (on - off) * one, off + (on - off) * two, np.zeros(4)
        values = dict(zip(FUNCTIONS, [one, two, pair, one + two + pair], strict=True))
        identified = FUNCTIONS if self.max_size == 1 or self.regularisation > 0 else ("sum",)
        return {name: dict(zip(SITUATIONS, values[name].tolist(), strict=True)) for name in identified}


@dataclass(frozen=True)
class Training:
    """How each row is fitted: Adam on the squared error (Eq. 2) of ``batch`` fresh states a step.

    The learning rate ``lr`` falls to 0 in the second half; ``beta2`` is the decay of the squared gradients.
    """

    seed: int
    steps: int
    batch: int
    lr: float
    beta2: float

    def __post_init__(self) -> None:
        check_int("seed", self.seed, 0, 2**32 - 1)
        check_int("study.steps", self.steps, 1)
        check_int("study.batch", self.batch, 1)
        check_float("study.lr", self.lr, 0, 1, above=True)
        check_float("study.beta2", self.beta2, 0, 1, below=True)


def draw_positions(n_states: int, generator: torch.Generator) -> Tensor:
    """Positions ``[M, 2, 2]`` of both agents relative to the landmark, uniform in the square."""
    return torch.empty(n_states, 2, 2).uniform_(-HALF_WIDTH, HALF_WIDTH, generator=generator)


def on_landmark(positions: Tensor) -> Tensor:
    """Which agents are closer than 0.25 to the landmark: ``[..., 2, 2]`` → ``[..., 2]`` bool."""
    return positions.norm(dim=-1) < COVER_DISTANCE


def team_reward(positions: Tensor) -> Tensor:
    """1 where at least one agent is on the landmark, else 0: ``[..., 2, 2]`` → ``[...]`` float32."""
    return on_landmark(positions).any(dim=-1).float()


def observe(positions: Tensor) -> Tensor:
    """Position relative to the landmark and distance to it, ``[..., 2, 3]``.

    ``env=nav`` adds with how many others an agent covers the landmark, which would leave nothing for the pair.
    """
    return torch.cat([positions, positions.norm(dim=-1, keepdim=True)], dim=-1)


def learn(fit: Fit, training: Training) -> RewardDecomposition:
    """Fit the rewards of one row.

    Raises:
        InputError: If the loss does not stay finite.
    """
    groups = RewardGroups.of(AgentGraph.complete(2), fit.max_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        least_squares = FitSettings("squared", regularisation=fit.regularisation, weights=(0.0, 1.0))
        model = RewardDecomposition(groups, obs_size=3, n_actions=1, fit=least_squares)
    generator = torch.Generator().manual_seed(training.seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=training.lr, betas=(0.9, training.beta2))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, 2 * (1 - step / training.steps)))
    actions = torch.zeros(training.batch, 2, dtype=torch.int64)
    valid = torch.ones(training.batch, dtype=torch.bool)
    for _ in range(training.steps):
        positions = draw_positions(training.batch, generator)
        loss = model.loss(observe(positions), actions, team_reward(positions), valid)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    if not loss.isfinite():
        raise InputError("study.lr", "a learning rate with which the loss stays finite", training.lr, "lower it")
    return model


@torch.no_grad()
def learned(model: RewardDecomposition, positions: Tensor) -> dict[str, Tensor]:
    """Each of :data:`FUNCTIONS` at positions ``[..., 2, 2]``, ``[...]``; r_{12} is 0 where there is none."""
    actions = torch.zeros(positions.shape[:-1], dtype=torch.int64)
    alone, *pair = model.group_rewards(observe(positions), actions)  # [..., 2], [..., 1]
    both = pair[0][..., 0] if pair else torch.zeros_like(alone[..., 0])
    values = [alone[..., 0], alone[..., 1], both, alone.sum(dim=-1) + both]
    return dict(zip(FUNCTIONS, values, strict=True))


def averages(model: RewardDecomposition, seed: int) -> dict[str, dict[str, float]]:
    """Mean of each function in each situation, over positions that are uniform given the situation."""
    generator = torch.Generator().manual_seed(seed + 1)  # other states than those of training
    positions = draw_positions(math.ceil(2 * STATES / SHARE), generator)  # twice as many as needed on the landmark
    on = on_landmark(positions)
    where = [positions[there][: 2 * STATES].view(2, -1, 2) for there in (~on, on)]
    values = {  # at [M, 2, 2] positions
        situation: learned(model, torch.stack([where[first][0], where[second][1]], dim=1))
        for situation, (first, second) in SITUATIONS.items()
    }
    return {name: {situation: float(values[situation][name].mean()) for situation in SITUATIONS} for name in FUNCTIONS}


def _fits(regularisation: float) -> tuple[Fit, Fit, Fit]:
    """The rows of the figure."""
    return Fit(1, 0.0), Fit(2, 0.0), Fit(2, regularisation)


def run(folder: Path, settings: dict[str, Any], console: Console) -> dict[str, Any]:
    """Fit the three rows of the figure and draw ``fig6.png``.

    Args:
        folder: Where the plot goes; made if missing.
        settings: Those of :class:`Training`, and ``regularisation``, λ > 0 of the third row.
        console: Where progress is shown.

    Returns:
        For each row the mean of every function in every situation, what is expected, and the largest difference.

    Raises:
        InputError: If a setting is impossible.
    """
    recipe = dict(settings)
    strength = check_float("study.regularisation", recipe.pop("regularisation"), 0, above=True)
    training = Training(**recipe)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # operations this small gain nothing from more
    result: dict[str, Any] = {"share_of_the_square": SHARE, "tolerance": TOLERANCE, "fits": {}}
    maps = {}
    for fit in _fits(strength):
        start = time.perf_counter()
        model = learn(fit, training)
        means, expected = averages(model, training.seed), fit.expected()
        positions = draw_positions(10 * STATES, torch.Generator().manual_seed(training.seed + 1))
        error = max(abs(means[name][s] - value) for name, row in expected.items() for s, value in row.items())
        result["fits"][str(fit)] = {
            "learned": means,
            "expected": expected,
            "largest_error": error,
            "as_expected": error <= TOLERANCE,
            "mean_magnitude_of_r_{12}": float(learned(model, positions)["r_{12}"].abs().mean()),
        }
        maps[str(fit)] = _section_of(model)
        seconds = time.perf_counter() - start
        console.print(f"{fit}: at most {error:.3f} from what is expected, {seconds:.0f} s", highlight=False)
    result["why"] = (
        "|I| <= 1 cannot express that two agents on the landmark are worth no more than one. |I| <= 2 can, but any "
        "part of a reward may be moved between r_{1}, r_{2} and r_{12}, so that only the sum is expected there: the "
        "r_I follow from the start and the optimiser. With lambda the pair keeps no more than it must, and a mean "
        "|r_{12}| of share_of_the_square squared is the least it can keep."
    )
    write_atomic(folder / "sections.json", json.dumps(maps) + "\n")
    draw(folder, {"settings": settings, **result})
    return result


def _section_of(model: RewardDecomposition) -> dict[str, list[Any]]:
    """What is drawn of a fit, to three decimals: r_{1}, r_{2} ``[K]``, r_{12} ``[K, K]`` with agent 2 by rows, or 0."""
    maps = {name: values.double().numpy().round(3) for name, values in learned(model, _section()).items()}
    pair = maps["r_{12}"] if maps["r_{12}"].any() else np.zeros((1, 1))
    return {"r_{1}": maps["r_{1}"][0].tolist(), "r_{2}": maps["r_{2}"][:, 0].tolist(), "r_{12}": pair.tolist()}


def _maps(section: dict[str, list[Any]]) -> dict[str, np.ndarray]:
    """Each of :data:`FUNCTIONS` over the section, ``[K, K]``."""
    one, two, both = (np.array(section[name], dtype=float) for name in FUNCTIONS[:3])
    values = [*np.broadcast_arrays(one, two[:, None], both), one + two[:, None] + both]
    return dict(zip(FUNCTIONS, values, strict=True))


def _section(points: int = 121) -> Tensor:
    """Positions ``[K, K, 2, 2]`` of two agents on the horizontal line through the landmark, agent 2 by rows."""
    line = torch.linspace(-HALF_WIDTH, HALF_WIDTH, points)
    second, first = torch.meshgrid(line, line, indexing="ij")
    offsets = torch.stack([first, second], dim=-1)  # [K, K, 2]
    return torch.stack([offsets, torch.zeros_like(offsets)], dim=-1)


def draw(folder: Path, summary: dict[str, Any]) -> Path:
    """Draw ``fig6.png`` from what :func:`run` returned and ``sections.json``, which it wrote.

    Raises:
        InputError: If ``sections.json`` is missing.
    """
    stored = folder / "sections.json"
    if not stored.is_file():
        raise InputError("fig6", "sections.json", "none", "python train.py experiment=fig6 makes it")
    sections = read_json(stored)
    figure = Figure(figsize=(11.5, 7.6), layout="constrained", dpi=110)
    panels = figure.subplots(3, 5, sharex=True, sharey=True)
    true = team_reward(_section()).numpy(), Fit(2, 0.0).expected()["sum"]
    for line, fit in zip(panels, _fits(summary["settings"]["regularisation"]), strict=True):
        row, maps = summary["fits"][str(fit)], _maps(sections[str(fit)])
        shown = [(maps[name], row["learned"][name]) for name in FUNCTIONS]
        for axes, (values, means) in zip(line, [*shown, true], strict=True):
            image = _heat_map(axes, values, means)
        size = rf"mean $|r|$: {row['mean_magnitude_of_r_{12}']:.3f}" if fit.max_size > 1 else "no pairs"
        line[2].text(0, 0.63, size, ha="center", va="center", fontsize=12, style="italic")
        strength = rf", $\lambda = {fit.regularisation:g}$" if fit.max_size > 1 else ""
        line[0].set_ylabel(rf"$|I| \leq {fit.max_size}${strength}" + "\n" + r"$\Delta x_2$", fontsize=13)
    heads = (r"$r_{\{1\}}$", r"$r_{\{2\}}$", r"$r_{\{1,2\}}$", "sum of the learned", "true team reward $r$")
    for axes, head in zip(panels[0], heads, strict=True):
        axes.set_title(head, fontsize=13)
    for axes in panels[-1]:
        axes.set_xlabel(r"$\Delta x_1$", fontsize=13)
    bar = figure.colorbar(image, ax=panels, extend="both", shrink=0.8, aspect=40, pad=0.01)
    bar.set_label("reward", fontsize=12)
    figure.suptitle(TITLE, fontsize=12)
    figure.savefig(folder / "fig6.png")
    return folder / "fig6.png"


def _heat_map(axes: Any, values: np.ndarray, means: dict[str, float]) -> Any:
    """One function over (Δx_1, Δx_2), with its mean in each situation."""
    ends = (-HALF_WIDTH, HALF_WIDTH) * 2
    image = axes.imshow(values, cmap="RdBu_r", vmin=-2, vmax=2, origin="lower", extent=ends)
    for edge, line in itertools.product((-COVER_DISTANCE, COVER_DISTANCE), (axes.axvline, axes.axhline)):
        line(edge, color="black", linestyle=":", linewidth=0.7)
    for situation, seen in SITUATIONS.items():
        x, y = (0.0 if on else -0.63 for on in seen)
        shown = f"{means[situation]:.2f}".replace("-0.00", "0.00")
        colour = "white" if abs(means[situation]) > 1.3 else "black"
        axes.text(x, y, shown, ha="center", va="center", fontsize=12, color=colour)
    axes.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    return image
