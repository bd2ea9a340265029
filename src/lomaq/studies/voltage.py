"""Voltage control: what learned policies leave of the violations, on their feeder and on a larger one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from lomaq.analysis.stored import FRESH_SEED, Checkpoint, evaluate_checkpoint, open_checkpoint
from lomaq.envs.voltage import Feeder, Voltage, baselines
from lomaq.inputs.plain import changed
from lomaq.plots.curves import draw_band, finish_axes, looks
from lomaq.plots.voltage import draw_moment, hardest, voltage_profiles
from lomaq.runs import Curve, RunRecord
from lomaq.training.build import actor_of, env_maker

#: Fresh days of a policy on its own feeder, and those on the larger one, with that feeder's settings.
DAYS, LARGER_DAYS = 100, 20
LARGER: dict[str, Any] = {"env.feeder": "generated", "env.n_buses": 300}
#: Seed of the day whose voltages are drawn, and the baseline policies that are drawn with it.
DAY_SEED, DRAWN = 3, ("no_control", "droop", "droop_damped")


def report(folder: Path, runs: list[RunRecord]) -> dict[str, Any]:
    """Violations of every method and baseline policy on the same fresh days, and one plot ``voltage.png``."""
    methods = {}
    for name in dict.fromkeys(run.settings["algo"] for run in runs):
        mine = [run for run in runs if run.settings["algo"] == name]
        methods[name] = {
            "label": mine[0].label,
            "seeds": [run.settings["seed"] for run in mine],
            "wall_seconds": [run.summary["wall_seconds"] for run in mine],
            "test_return": [{"last": run.tests.mean[-1], "best": max(run.tests.mean)} for run in mine],
            **{kind: _columns([run.found[kind] for run in mine]) for kind in ("last", "best", "larger")},
            "curve": vars(Curve.over_seeds([run.tests for run in mine])),
        }
    first = runs[0]
    own, larger = _made(first.config), _made(changed(first.config, LARGER))
    result = {
        "days": DAYS,
        "larger_days": LARGER_DAYS,
        "droops": {name: list(curve) for name, curve in own.tuned.items()},
        "larger_droops": {name: list(curve) for name, curve in larger.tuned.items()},
        "baselines": _measured(own, DAYS),
        "larger_baselines": _measured(larger, LARGER_DAYS),
        "methods": methods,
        "feeder": first.config["env"]["feeder"],
        "profiles": _profiles(own, first),
    }
    draw(folder, result)
    return result


def fresh(run: RunRecord) -> dict[str, Any]:
    """What the ``last`` and the ``best`` checkpoint of a run that has ended get on fresh days, and voltages of one day.

    Days are those of their own feeder, and for the last checkpoint also those of the ``larger`` one. ``profile`` are
    the last one's voltages at the moments that are the hardest without control.
    """
    last, best = (
        open_checkpoint(run.folder / "checkpoints" / f"{name}.ckpt", resume=False) for name in ("last", "best")
    )
    larger = changed(last.config, LARGER)
    return {
        "last": _played(last, last.config, DAYS),
        "best": _played(best, best.config, DAYS),
        "larger": _played(last, larger, LARGER_DAYS),
        "profile": _profile(last),
    }


def _played(stored: Checkpoint, config: dict[str, Any], days: int) -> dict[str, float]:
    found = evaluate_checkpoint(stored, config, days, 0)
    return {"return": found["test_return_mean"], **found["test_metrics"]}


def _columns(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _made(config: dict[str, Any]) -> Voltage:
    env = env_maker(config)(1, 0, torch.device("cpu"))
    assert isinstance(env, Voltage)
    return env


def _measured(env: Voltage, days: int) -> dict[str, dict[str, float]]:
    """Mean return and metrics of each baseline policy, on the days that the policies have."""
    found = baselines.measured(env, days, FRESH_SEED)
    return {name: {key: float(values.mean()) for key, values in one.items()} for name, one in found.items()}


def _profile(stored: Checkpoint) -> list[list[float]]:
    """Voltages of one day of a checkpoint's policy at the moments that are the hardest without control."""
    env = _made(stored.config)
    actor = actor_of(stored.config, stored.utilities(env), FRESH_SEED + DAY_SEED)

    def learned(states: Voltage) -> torch.Tensor:
        actor.reset(states)
        return actor.act(states, states.observe())

    days = voltage_profiles(env, {DRAWN[0]: env.baselines()[DRAWN[0]], "learned": learned}, DAY_SEED)
    return _rounded(days["learned"][hardest(days[DRAWN[0]])])


def _profiles(env: Voltage, run: RunRecord) -> dict[str, Any]:
    """The same moments of baseline policies, and with them those of a run."""
    rules = env.baselines()
    days = voltage_profiles(env, {name: rules[name] for name in DRAWN}, DAY_SEED)
    steps = hardest(days[DRAWN[0]])
    voltages = {**{name: _rounded(day[steps]) for name, day in days.items()}, run.label: run.found["profile"]}
    return {"steps": steps, "voltages": voltages}


def _rounded(voltages: np.ndarray) -> list[list[float]]:
    rounded: list[list[float]] = np.round(voltages, 5).tolist()
    return rounded


def draw(folder: Path, summary: dict[str, Any]) -> Path:
    """Draw ``voltage.png`` from what :func:`report` returned: curves, violations, and voltages along the feeder."""
    figure = Figure(figsize=(14, 9), layout="constrained", dpi=110)
    (curves, violations), moments = figure.subplots(2, 2)
    methods, rules = summary["methods"], summary["baselines"]
    for entry, (style, colour) in zip(methods.values(), looks(), strict=False):
        draw_band(curves, Curve(**entry["curve"]), entry["label"], style, color=colour, linewidth=2)
    for name in ("droop", "droop_damped", "central optimum"):
        curves.axhline(rules[name]["return"], color="gray", linestyle=":", linewidth=1.5)
        curves.text(0, rules[name]["return"], name, fontsize=9, color="gray", va="top")
    curves.set_title("test return: mean and range of the seeds", fontsize=11)
    finish_axes(curves, lowest=min(4 * rules["droop"]["return"], -1.0))
    curves.set_ylim(top=0.0)
    curves.legend(loc="lower right", fontsize=10, frameon=False)
    names = [*methods, *rules]
    for row, name in enumerate(names):
        values = methods[name]["last"]["mean_violation"] if name in methods else [rules[name]["mean_violation"]]
        violations.plot(values, [row] * len(values), "o" if name in methods else "D", color=f"C{row % 10}", alpha=0.7)
        violations.plot(np.median(values), row, "|", color="black", markersize=22)
    violations.set_xscale("log")
    violations.set_yticks(range(len(names)), [methods[n]["label"] if n in methods else n for n in names])
    violations.invert_yaxis()
    violations.grid(axis="x", alpha=0.3)
    violations.set_title(f"mean violation (per unit), {summary['days']} fresh days; bar: median of seeds", fontsize=11)
    profiles = summary["profiles"]
    for k, (axes, step) in enumerate(zip(moments, profiles["steps"], strict=True)):
        at = {name: voltages[k] for name, voltages in profiles["voltages"].items()}
        draw_moment(axes, Feeder.named(summary["feeder"]), at, step)
    axes.legend(loc="best", fontsize=10, frameon=False)
    figure.savefig(folder / "voltage.png")
    return folder / "voltage.png"
