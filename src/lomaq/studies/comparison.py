"""Comparison of methods: their curves (Figure 5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lomaq.plots.curves import draw_band, finish_axes, looks
from lomaq.runs import Curve, RunRecord
from lomaq.studies.report import absolute


def report(folder: Path, runs: list[RunRecord]) -> dict[str, Any]:
    """Curves of every method, with the mean and the range over seeds, and a table of the same.

    A run solved the task at a threshold where two tests in a row reach it. Its best checkpoint plays fresh episodes
    (:func:`lomaq.studies.report.absolute`).
    """
    table = {}
    fresh = {run.folder: absolute(run) for run in runs}
    ordered = sorted(runs, key=lambda run: (run.reads, run.label.casefold()))
    for name in dict.fromkeys(run.settings["algo"] for run in ordered):
        mine = [run for run in ordered if run.settings["algo"] == name]
        tests = [run.tests for run in mine]
        thresholds = mine[0].summary["first_env_steps_at"]
        table[name] = {
            "label": mine[0].label,
            "reads": mine[0].reads,
            "seeds": [run.settings["seed"] for run in mine],
            "last": [test.mean[-1] for test in tests],
            "best_checkpoint_on_fresh_episodes": [fresh[run.folder]["test_return_mean"] for run in mine],
            "solved_at_env_steps": {t: [test.first_at(float(t), tests=2) for test in tests] for t in thresholds},
            "env_steps_per_second": [run.summary["env_steps_per_second"] for run in mine],
            "curve": vars(Curve.over_seeds(tests)),
        }
    about = {key: runs[0].summary[key] for key in ("env", "n_agents", "references")}
    result = {"fresh_episodes": fresh[runs[0].folder]["episodes"], **about, "methods": table}
    draw(folder, result)
    return result


def draw(folder: Path, summary: dict[str, Any]) -> Path:
    """Draw the plot, named as the folder, from what :func:`report` returned: a panel for each kind of reward."""
    methods: dict[str, dict[str, Any]] = summary["methods"]
    reads = sorted({entry["reads"] for entry in methods.values()})
    figure = Figure(figsize=(2 + 6 * len(reads), 5.2), layout="constrained", dpi=120)
    for axes, read in zip(figure.subplots(1, len(reads), sharey=True, squeeze=False)[0], reads, strict=True):
        curves = {entry["label"]: Curve(**entry["curve"]) for entry in methods.values() if entry["reads"] == read}
        for (name, curve), (style, colour) in zip(curves.items(), looks(), strict=False):
            draw_band(axes, curve, name, style, color=colour, linewidth=2)
        for name, value in summary["references"].items():
            axes.axhline(value, color="gray", linestyle=":", linewidth=1.5, label=name)
        finish_axes(axes)
        axes.set_title(f"learned from {read}", fontsize=12)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=11, frameon=False)
    seeds = max(len(entry["seeds"]) for entry in methods.values())
    figure.suptitle(f"{summary['env']}, {summary['n_agents']} agents: mean and range of {seeds} seeds", fontsize=13)
    path = folder / f"{folder.name}.png"
    figure.savefig(path)
    return path
