"""Who should answer for whom? Rewards shared by a fixed or a learned matrix, beside methods that have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import bootstrap, trim_mean

from lomaq.analysis.certificate.checkpoint import certify_checkpoint
from lomaq.analysis.certificate.mixer import MixerCertificate
from lomaq.analysis.stored import open_checkpoint
from lomaq.envs import SysAdmin
from lomaq.envs.sysadmin.exact import EXACT_LIMIT
from lomaq.runs import RunFiles, RunRecord

#: What W of a run is, in words.
MATRICES = {"none": "W = I", "equal": "one hop, equal", "learned": "learned W"}


class _Case(NamedTuple):
    """What the runs of a row of the table have in common."""

    task: str
    method: str
    env_steps: int

    @classmethod
    def of(cls, run: RunRecord) -> _Case:
        env, settings = run.config["env"], run.settings
        task = f"{env['name']}, {run.summary['n_agents']} agents"
        if env["name"] == "sysadmin":
            cost = env["cost"] if isinstance(env["cost"], list) else f"{env['cost']:g}"
            wrong = ", shuffled" if env["permute"] is not False else ""
            task = f"{env['graph']} of {run.summary['n_agents']}, cost {cost}{wrong}"
        method = run.config["algo"]["label"]
        if "reward.share" in settings:
            method += f", {MATRICES[settings['reward.share']]}"
        elif settings.get("mixer.weight_sharing"):
            method += f", weight_sharing={settings['mixer.weight_sharing']}"
        return cls(task, method, run.config["total_env_steps"])


def report(folder: Path, runs: list[RunRecord]) -> dict[str, Any]:
    """Last tests of every task and method, as shares of the task's reference where it has one, and one plot.

    The interquartile mean (IQM) over seeds and its bootstrapped 95 % interval; the reference is the exact optimum up to
    8 machines and the best threshold policy, simulated, beyond; of a wrong graph that of the right one. ``passed_on``
    is the mean share of an agent's reward that others get in the end, ``conflict`` the exact share of (state, agent)
    in which blocks disagree then, with W and with W = I (None with more than 8 machines).
    """
    found: dict[_Case, list[RunRecord]] = {}
    for run in runs:
        found.setdefault(_Case.of(run), []).append(run)
    references: dict[str, float | None] = {}
    rows = []
    for case, mine in sorted(found.items()):
        if case.task not in references:
            references[case.task] = _reference(mine[0])
        reference = references[case.task]
        returns = np.array([run.summary["test_return_mean"] for run in mine])
        low, high = interval(returns)
        agent_steps = case.env_steps * mine[0].summary["n_agents"]
        row = {**case._asdict(), "agent_steps": agent_steps, "seeds": [run.config["seed"] for run in mine]}
        row |= {"returns": returns.tolist(), "reference": reference, "iqm": iqm(returns), "interval": [low, high]}
        if reference is not None:
            row["share"] = {"iqm": row["iqm"] / reference, "interval": [low / reference, high / reference]}
            row["share"]["worst"] = float(returns.min()) / reference
        passed_on = [share for run in mine if (share := _passed_on(run)) is not None]
        if passed_on:
            row |= {"passed_on": passed_on, "conflict": [_conflict(run) for run in mine]}
        rows.append(row)
    draw(folder, rows)
    return {"rows": rows}


def iqm(values: np.ndarray) -> float:
    """Interquartile mean: the mean without the lowest and the highest quarter (rounded down to whole numbers).

    >>> iqm(np.array([0.0, 1.0, 2.0, 9.0]))
    1.5
    """
    return float(trim_mean(values, 0.25))


def interval(values: np.ndarray) -> tuple[float, float]:
    """Bootstrapped 95 % interval of :func:`iqm` (percentiles); of equal numbers, or one, the number itself."""
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    options: dict[str, Any] = {"method": "percentile", "rng": np.random.default_rng(0)}
    found = bootstrap((values,), lambda x, axis: trim_mean(x, 0.25, axis=axis), **options).confidence_interval
    return float(found.low), float(found.high)


def _reference(run: RunRecord) -> float | None:
    env = run.config["env"]
    if env["name"] != "sysadmin":
        return None
    machines = SysAdmin(env["n_agents"], graph=env["graph"], cost=env["cost"])
    return next(iter(machines.references().values()))


def _passed_on(run: RunRecord) -> float | None:
    """The last ``passed_on`` in a run's metrics; None where it does not learn a matrix."""
    noted = [row["passed_on"] for row in RunFiles(run.folder).read_metrics()[1] if row.get("passed_on")]
    return float(noted[-1]) if noted else None


def _conflict(run: RunRecord) -> list[float] | None:
    """Exact shares of disagreement in the last checkpoint of a run, with its W and with W = I; None where not exact."""
    if run.config["env"]["name"] != "sysadmin" or run.summary["n_agents"] > EXACT_LIMIT:
        return None
    certificate = certify_checkpoint(open_checkpoint(run.folder, resume=True), states=2, samples=2)
    assert isinstance(certificate, MixerCertificate)
    assert certificate.conflict is not None
    assert certificate.conflict.share is not None
    return list(certificate.conflict.share)


def draw(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Draw ``sharing.png`` from the rows of :func:`report`: a panel for each task, every seed, IQM and its interval."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    heights = [sum(row["task"] == task for row in rows) + 1.2 for task in tasks]
    figure = Figure(figsize=(10, 0.36 * sum(heights) + 0.8), layout="constrained", dpi=110)
    panels = figure.subplots(len(tasks), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, task in zip(panels, tasks, strict=True):
        mine = [row for row in rows if row["task"] == task]
        unit = mine[0]["reference"] / 100 if mine[0]["reference"] is not None else 1.0
        for place, row in enumerate(mine):
            colour = "C3" if "learned" in row["method"] else "C0"
            low, high = (value / unit for value in row["interval"])
            axes.plot([low, high], [place, place], color=colour, linewidth=6, alpha=0.35, solid_capstyle="butt")
            axes.plot(np.array(row["returns"]) / unit, [place] * len(row["returns"]), ".", color=colour, alpha=0.7)
            axes.plot(row["iqm"] / unit, place, "|", color=colour, markersize=13, markeredgewidth=2.5)
        if mine[0]["reference"] is not None:
            axes.axvline(100, color="black", linestyle="--", linewidth=1)
        steps = {row["env_steps"] for row in mine}
        names = [row["method"] + (f", {row['env_steps']:,} env steps" if len(steps) > 1 else "") for row in mine]
        axes.set_yticks(range(len(mine)), names)
        axes.set_ylim(len(mine) - 0.5, -0.5)
        unit_name = "% of the reference" if mine[0]["reference"] is not None else "test return"
        axes.set_title(f"{task}: {unit_name}", fontsize=10, loc="left")
        axes.grid(axis="x", alpha=0.3)
    figure.supxlabel("last test: each seed, interquartile mean and its 95 % interval", fontsize=10)
    path = folder / "sharing.png"
    figure.savefig(path)
    return path
