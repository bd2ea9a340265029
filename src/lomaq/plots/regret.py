"""The picture of a bandit study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lomaq.runs.files import replacing


def draw_regret(path: Path, result: dict[str, Any]) -> None:
    """Left: regret and bounds against rounds. Right: final regret against K_P. Logarithmic, unless a regret is zero.

    ``path`` is a PNG, ``result`` the content of ``bandit.json``.
    """
    figure = Figure(figsize=(12, 5.2), layout="constrained", dpi=120)
    left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
    _draw_curves(left, result)
    _draw_growth(right, result)
    s = result["settings"]
    figure.suptitle(
        f"Multi-OFUL: n = {s['n']}, K = {s['K']}, d = {s['d']}, α = {s['alpha']:g}, "
        f"{s['repetitions']} repetitions; bands: 95 % intervals of the mean",
        fontsize=11,
    )
    with replacing(path) as file:
        figure.savefig(file, format="png")


def _draw_curves(axes: Axes, result: dict[str, Any]) -> None:
    rounds = result["rounds"]
    for number, (label, part) in enumerate(result["partitions"].items()):
        color = f"C{number}"
        slope = part["slope_in_tail"]
        shown = f"{label} (K_P = {part['K_P']:,}" + ("" if slope is None else f", slope {slope:.2f}") + ")"
        axes.plot(rounds, part["regret_mean"], color=color, label=shown)
        axes.fill_between(rounds, part["regret_low"], part["regret_high"], color=color, alpha=0.2, linewidth=0)
        for name, line in (("bound_corrected", "--"), ("bound_printed", ":")):
            bound = np.array(part[name], dtype=float)
            axes.plot(rounds, bound, color=color, linestyle=line, linewidth=1.2)
    uniform = result["uniform_arms"]["regret_mean"]
    axes.plot(rounds, uniform, color="gray", linewidth=1, label="uniform arms")
    axes.plot([], [], color="black", linestyle="--", linewidth=1.2, label="√|P| · Theorem 1")
    axes.plot([], [], color="black", linestyle=":", linewidth=1.2, label="Theorem 1 as printed")
    axes.axvspan(*result["tail"], color="gray", alpha=0.08, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel="rounds T (slopes are measured where shaded)", ylabel="regret")
    axes.set_xlim(10, rounds[-1])
    if (lowest := uniform[np.searchsorted(rounds, 10)]) > 0:  # bounds at the first rounds would squeeze the rest
        axes.set_ylim(bottom=0.5 * lowest)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False, loc="upper left")


def _draw_growth(axes: Axes, result: dict[str, Any]) -> None:
    growth, parts = result["growth_in_K_P"], result["partitions"]
    for number, (label, part) in enumerate(parts.items()):
        low, mean, high = (part[name][-1] for name in ("regret_low", "regret_mean", "regret_high"))
        error = [[mean - low], [high - mean]]
        axes.errorbar(part["K_P"], mean, error, color=f"C{number}", marker="o", capsize=4, label=label)
    least = parts[growth["ratios_to"]]
    size = np.unique([part["K_P"] for part in parts.values()])
    root = least["regret_mean"][-1] * np.sqrt(size / size[0])
    axes.plot(size, root, "k--", linewidth=1, label=r"$\sqrt{K_P}$ from the least")
    slope = growth["slope"]
    log = all(part["regret_mean"][-1] > 0 for part in parts.values())  # arms that are all alike leave no regret
    axes.set(xscale="log", yscale="log" if log else "linear", ylabel=f"regret after {result['rounds'][-1]:,} rounds")
    axes.set_xticks(size, [f"{one:,}" for one in size])
    axes.minorticks_off()
    axes.set_xlabel("K_P, joint actions of all blocks" + ("" if slope is None else f" (slope {slope:.2f})"))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False, loc="upper left")
