"""Do trained utilities work where they were not trained? Other numbers of agents, and other graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from lomaq.analysis.statistics import estimate
from lomaq.analysis.stored import evaluate_checkpoint, open_checkpoint
from lomaq.config.words import word_of
from lomaq.inputs.plain import changed
from lomaq.plots.curves import looks
from lomaq.runs import RunRecord
from lomaq.training.build import env_maker

#: Agent episodes that each policy plays on a task, at least two episodes.
AGENT_EPISODES = 3_000
#: Environment → settings of the tasks that its policies play, besides that of their training.
TASKS: dict[str, list[dict[str, Any]]] = {
    "cartpole": [{"env.n_agents": n} for n in (5, 50, 100, 300, 1000)],
    "nav": [{"env.n_agents": n} for n in (5, 50, 100, 300, 1000)],
    "sysadmin": [
        *({"env.n_agents": n} for n in (5, 50, 100, 300, 1000)),
        *({"env.n_agents": 100, "env.graph": graph} for graph in ("line", "grid", "star", "barabasi_albert")),
    ],
    "voltage": [{"env.feeder": "bus69"}, *({"env.feeder": "generated", "env.n_buses": n} for n in (100, 300, 1000))],
}


def played(run: RunRecord) -> dict[str, Any]:
    """Task → what the last policy of a run that has ended gets there."""
    stored = open_checkpoint(run.folder / "checkpoints" / "last.ckpt", resume=False)
    found = {}
    for task in [{}, *TASKS[stored.config["env"]["name"]]]:
        config = changed(stored.config, {**task, "evaluation.references": run.config["seed"] == 0})
        n_agents = env_maker(config)(1, 0, torch.device("cpu")).n_agents
        metrics = evaluate_checkpoint(stored, config, max(2, AGENT_EPISODES // n_agents), 0)
        per_agent = {name: value / metrics["n_agents"] for name, value in metrics["references"].items()}
        words = " ".join(f"{key.removeprefix('env.')}={word_of(value)}" for key, value in task.items())
        kept = {"n_agents": metrics["n_agents"], "episodes": metrics["episodes"], "references": per_agent}
        found[words or "as trained"] = {**kept, "per_agent": metrics["test_return_per_agent"]}
    return found


def report(folder: Path, runs: list[RunRecord]) -> dict[str, Any]:
    """Returns per agent of the last checkpoints on every task, and one plot ``transfer.png``.

    A row has what the policies of all seeds of a method get on a task, its interquartile mean with a 95 % interval, and
    the references of the task.
    """
    references: dict[tuple[str, str], dict[str, float]] = {}
    rows = []
    for env, label in dict.fromkeys((run.config["env"]["name"], run.label) for run in runs):
        mine = [run for run in runs if (run.config["env"]["name"], run.label) == (env, label)]
        for task in mine[0].found:
            found = [run.found[task] for run in mine]
            values = [one["per_agent"] for one in found]
            known = references.setdefault((env, task), found[0]["references"])
            iqm, low, high = estimate(values)
            about = {"env": env, "task": task, "n_agents": found[0]["n_agents"], "method": label}
            row = {**about, "seeds": [run.config["seed"] for run in mine], "per_agent": values}
            rows.append(row | {"iqm": iqm, "interval": [low, high], "references": known})
    result = {"env_steps": runs[0].config["total_env_steps"], "rows": rows}
    draw(folder, result)
    return result


def draw(folder: Path, summary: dict[str, Any]) -> Path:
    """Draw ``transfer.png`` from what :func:`report` returned: a panel for each environment, every seed and task."""
    rows = summary["rows"]
    envs = list(dict.fromkeys(row["env"] for row in rows))
    figure = Figure(figsize=(5.2 * len(envs), 4.6), layout="constrained", dpi=110)
    for axes, env in zip(figure.subplots(1, len(envs), squeeze=False)[0], envs, strict=True):
        mine = [row for row in rows if row["env"] == env]
        tasks = list(dict.fromkeys(row["task"] for row in sorted(mine, key=lambda row: row["n_agents"])))
        methods = list(dict.fromkeys(row["method"] for row in mine))
        for (number, method), (_, colour) in zip(enumerate(methods), looks(), strict=False):
            for row in (row for row in mine if row["method"] == method):
                x = tasks.index(row["task"]) + 0.24 * (number - (len(methods) - 1) / 2)
                label = method if row["task"] == tasks[0] else None
                axes.plot([x] * len(row["per_agent"]), row["per_agent"], "o", color=colour, alpha=0.6, label=label)
                axes.plot(x, row["iqm"], "_", color=colour, markersize=14, markeredgewidth=2.5)
        for place, task in enumerate(tasks):
            known = next(row["references"] for row in mine if row["task"] == task)
            if known:
                line: dict[str, Any] = {
                    "color": "black",
                    "linestyle": ":",
                    "label": None if place else "best reference",
                }
                axes.plot([place - 0.4, place + 0.4], [max(known.values())] * 2, **line)
        axes.set_xticks(range(len(tasks)), tasks, rotation=45, ha="right", fontsize=9)
        axes.set_title(env, fontsize=12)
        axes.set_ylabel("return per agent")
        axes.grid(axis="y", alpha=0.3)
        axes.legend(fontsize=9, frameon=False)
    figure.savefig(folder / "transfer.png")
    return folder / "transfer.png"
