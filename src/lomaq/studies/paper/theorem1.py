"""Theorem 1 as an experiment: how does the regret of Multi-OFUL grow with K_P and with the rounds?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from scipy.stats import bootstrap

from lomaq.inputs.text import read_checked
from lomaq.studies.paper.bandit import run_bandits


def run(folder: Path, settings: dict[str, Any], console: Console) -> dict[str, Any]:
    """Play one problem for each number of arms under every partition, and fit the growth with K_P.

    Each problem has its own folder ``arms-K`` with ``bandit.json`` and ``bandit.png``; one that is there is kept.

    Args:
        folder: Of the study.
        settings: ``arms``, the numbers of arms K, and the arguments of :func:`lomaq.studies.paper.bandit.run_bandits`.
        console: Where progress is shown.

    Returns:
        ``rows``, one for each problem and partition, and ``growth``: for each number of arms the slope of the log of
        the final regret on the log of K_P, which Theorem 1 bounds by 1/2, with its bootstrapped 95 % interval over
        repetitions, which meet the same problems under every partition. With one K_P alone there is none.
    """
    rest = {key: value for key, value in settings.items() if key != "arms"}
    rows, growth = [], {}
    for arms in settings["arms"]:
        place = folder / f"arms-{arms}"
        done = place / "bandit.json"
        result = read_checked(done) if done.is_file() else run_bandits(place, console, K=arms, **rest)
        parts = result["partitions"]
        sizes = [part["K_P"] for part in parts.values()]
        if len({*sizes}) > 1:
            growth[str(arms)] = _exponent(np.array(sizes), np.array([part["final_regret"] for part in parts.values()]))
        rows += [
            {
                "arms": arms,
                "partition": label,
                **{key: part[key] for key in ("K_P", "slope_in_tail", "repetitions_above_corrected_bound")},
                "regret": {key: part[f"regret_{key}"][-1] for key in ("mean", "low", "high")},
                "of_uniform_arms": part["regret_mean"][-1] / result["uniform_arms"]["regret_mean"][-1],
            }
            for label, part in parts.items()
        ]
    found = {"rounds": result["rounds"][-1], "repetitions": result["settings"]["repetitions"]}
    summary = {**found, "rows": rows, "growth": growth}
    draw(folder, summary)
    return summary


def _exponent(sizes: np.ndarray, regrets: np.ndarray) -> dict[str, float]:
    """Slope of log mean regret on log K_P, ``sizes`` ``[P]`` and ``regrets`` ``[P, R]``, and its interval over R."""

    def fitted(*columns: np.ndarray, axis: int = -1) -> np.ndarray:
        means = np.log(np.stack([column.mean(axis=axis) for column in columns]))  # [P, …]
        x = np.log(sizes) - np.log(sizes).mean()
        return np.asarray(np.tensordot(x, means, axes=1) / (x @ x))

    options: dict[str, Any] = {"paired": True, "method": "percentile", "rng": np.random.default_rng(0)}
    interval = bootstrap(tuple(regrets), fitted, **options).confidence_interval
    return {"slope": float(fitted(*regrets)), "low": float(interval.low), "high": float(interval.high)}


def draw(folder: Path, summary: dict[str, Any]) -> Path:
    """Draw ``theorem1.png`` from what :func:`run` returned: final regret against K_P for each number of arms."""
    figure = Figure(figsize=(7, 4.4), layout="constrained", dpi=120)
    axes = figure.subplots()
    for number, (arms, growth) in enumerate(summary["growth"].items()):
        mine = [row for row in summary["rows"] if str(row["arms"]) == arms]
        sizes, means = (
            np.array(column) for column in zip(*((row["K_P"], row["regret"]["mean"]) for row in mine), strict=True)
        )
        error = np.abs(np.array([[row["regret"][side] for row in mine] for side in ("low", "high")]) - means)
        label = f"K = {arms}: slope {growth['slope']:.2f} ({growth['low']:.2f} to {growth['high']:.2f})"
        axes.errorbar(sizes, means, error, color=f"C{number}", marker="o", capsize=4, label=label)
        axes.plot(sizes, means[0] * np.sqrt(sizes / sizes[0]), "--", color=f"C{number}", linewidth=1)
    axes.plot([], [], "k--", linewidth=1, label=r"$\sqrt{K_P}$, Theorem 1's bound")
    axes.set(xscale="log", yscale="log", xlabel="K_P, joint actions of all blocks")
    axes.set_ylabel(f"regret after {summary['rounds']:,} rounds")
    axes.set_title(
        f"mean of {summary['repetitions']} repetitions and its 95 % interval; slopes with theirs", fontsize=10
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9, frameon=False)
    figure.savefig(folder / "theorem1.png")
    return folder / "theorem1.png"
