"""Figure 8: which payoffs can a partition represent? The matrix game of Figure 7 with γ = 0 and ε = 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from lomaq.analysis.stored import open_checkpoint
from lomaq.envs import MatrixGame
from lomaq.runs import RunRecord


def learned_values(run: RunRecord) -> tuple[np.ndarray, np.ndarray]:
    """Learned value of every block and true block payoff for every joint action of two agents: each ``[P, A, A]``."""
    stored = open_checkpoint(run.folder, resume=True)
    built, sigma = stored.run(), stored.sigma
    networks, partition = built.module.networks, built.partition
    env = built.make_env(1, 0, torch.device("cpu"))
    assert isinstance(env, MatrixGame)
    with torch.no_grad():
        observation = env.reset()
        state = networks.utilities.initial_state(1, env.device)
        utilities = networks.utilities.step(observation, state)  # [1, N, A]
        joint = torch.cartesian_prod(*(torch.arange(env.n_actions) for _ in range(env.n_agents)))  # [K, N]
        chosen = utilities[0].gather(1, joint.T).T  # [K, N]
        values = networks.mixer(chosen, observation.expand(len(joint), -1, -1)) * sigma
    shape = (partition.n_blocks, *[env.n_actions] * env.n_agents)
    true = partition.block_sum(env.payoffs.flatten(1).T).T
    return values.T.reshape(shape).numpy(), true.reshape(shape).numpy()


def learned(run: RunRecord) -> dict[str, Any]:
    """The tables of :func:`learned_values` of a run that has ended."""
    values, true = learned_values(run)
    return {"learned": values.tolist(), "true": true.tolist()}


def report(folder: Path, runs: list[RunRecord]) -> dict[str, Any]:
    """Best seed of each partition and activation, its learned tables, and one plot ``fig8.png``."""
    result: dict[str, Any] = {}
    for run in runs:
        values, true = (np.array(run.found[key]) for key in ("learned", "true"))
        name = f"{run.settings['partition']}, {run.settings['mixer.activation']}"
        error = float(np.abs(values - true).max())
        if name in result and error >= result[name]["largest_error"]:
            continue
        team, true_team = values.sum(axis=0), true.sum(axis=0)
        result[name] = {
            "seed": run.settings["seed"],
            "largest_error": error,
            "largest_error_of_each_block": np.abs(values - true).max(axis=(1, 2)).tolist(),
            "largest_error_of_the_sum": float(np.abs(team - true_team).max()),
            "greedy_joint_action": [int(i) for i in np.unravel_index(int(team.argmax()), team.shape)],
            "best_joint_action": [int(i) for i in np.unravel_index(int(true_team.argmax()), true_team.shape)],
            **run.found,
        }
    result["why"] = (
        "With singletons, r_1 rises in agent 1's action 1 (0 to 1 where agent 2 plays 0) while r_2 falls (2 to 1): no "
        "single utility of agent 1 can be monotone for both, so some block must be wrong by at least 0.5."
    )
    draw(folder, result)
    return result


def draw(folder: Path, summary: dict[str, Any]) -> Path:
    """Draw ``fig8.png`` from what :func:`report` returned: true and learned tables by partition and activation."""
    best = {name: entry for name, entry in summary.items() if name != "why"}
    figure = Figure(figsize=(11, 2.1 * len(best)), layout="constrained", dpi=110)
    grid = figure.subplots(len(best), 6, squeeze=False)
    for line, (name, entry) in zip(grid, best.items(), strict=True):
        error, values, true = entry["largest_error"], np.array(entry["learned"]), np.array(entry["true"])  # [P, A, A]
        tables = []
        for number, (t, v) in enumerate(zip(true, values, strict=True), start=1):
            block = f"_{number}" if len(true) > 1 else ""
            tables += [(f"true $r{block}$", t), (f"learned $F{block}$", v)]
        if len(true) > 1:
            tables += [("true sum", true.sum(axis=0)), ("learned sum", values.sum(axis=0))]
        for axes, (title, table) in zip(line, tables, strict=False):
            axes.imshow(table, cmap="viridis", vmin=0, vmax=3)
            for (i, j), value in np.ndenumerate(table):
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", color="white" if value < 2 else "black")
            axes.set_title(title, fontsize=10)
            axes.set_xticks([0, 1], ["$a_2=0$", "$a_2=1$"])
            axes.set_yticks([0, 1], ["$a_1=0$", "$a_1=1$"])
        for axes in line[len(tables) :]:
            axes.axis("off")
        partition, _, activation = name.partition(", ")
        shown = {"full": "P = {{1, 2}}", "singletons": "P = {{1}, {2}}"}.get(partition, partition)
        line[0].set_ylabel(f"{shown}\n{activation}\nlargest error {error:.2f}", fontsize=10)
    figure.savefig(folder / "fig8.png")
    return folder / "fig8.png"
