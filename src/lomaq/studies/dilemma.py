"""Does locality matter? SysAdmin, where the interests of a machine's own agent and of the network conflict."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import bootstrap

from lomaq.analysis.certificate.locality import slopes
from lomaq.analysis.certificate.probe import Probe
from lomaq.analysis.stored import open_checkpoint
from lomaq.envs import Rollout, SysAdmin
from lomaq.envs.sysadmin.exact import EXACT_LIMIT
from lomaq.plots.curves import looks
from lomaq.runs import RunRecord


class _Case(NamedTuple):
    """One setting of the study, without its seed."""

    n_agents: int
    cost: float
    method: str
    kappa: int
    permuted: bool

    @classmethod
    def of(cls, run: RunRecord) -> _Case:
        settings, summary = run.settings, run.summary
        method = run.label + (", tied" if settings.get("mixer.weight_sharing") else "")
        permuted = settings.get("env.permute", False) is not False  # 0 is a shuffle
        return cls(summary["n_agents"], settings["env.cost"], method, summary["kappa"], permuted)


#: Method and label on the axis → share of the reference that each seed reached.
Shares = dict[tuple[str, str], np.ndarray]


def report(folder: Path, runs: list[RunRecord]) -> dict[str, Any]:
    """Test returns as shares of the reference, 95 % intervals over seeds, and one plot ``dilemma.png``.

    The reference is the exact optimum up to 8 machines and the best threshold policy, simulated, beyond.
    """
    found: dict[_Case, list[float]] = {}
    for run in runs:
        found.setdefault(_Case.of(run), []).append(run.summary["test_return_mean"])
    references = {size: SysAdmin(*size).references() for size in sorted({case[:2] for case in found})}
    rows = []
    for case, returns in found.items():
        share = np.array(returns) / next(iter(references[case[:2]].values()))
        row = {"seeds": len(share), "returns": returns, "share": share.tolist(), **_interval(share)}
        rows.append(case._asdict() | row)
    result = {
        "references": [{"n_agents": n, "cost": cost, **lines} for (n, cost), lines in references.items()],
        "results": rows,
        "slopes_and_gaps": [run.found for run in runs if run.found],
    }
    draw(folder, result)
    return result


@torch.no_grad()
def drift(run: RunRecord) -> dict[str, Any]:
    """What the blocks of the last checkpoint of a run that has ended depend on, and what their values say of a reboot.

    ``slopes`` are the mean ∂F_J/∂U_i over all states, of the block's own agent and of those at each further hop;
    ``gaps`` are U(reboot) - U(leave) in rewards, for each local state. Nothing for many machines, or without a mixer.
    """
    case = _Case.of(run)
    if case.n_agents > EXACT_LIMIT:
        return {}
    stored = open_checkpoint(run.folder, resume=True)
    built = stored.run()
    networks, objective = built.module.networks, built.module.settings.objective
    if objective.trained_mixer(networks) is None:
        return {}
    env = built.make_env(1, 0, torch.device("cpu"))
    assert isinstance(env, SysAdmin)
    states = env.all_states()
    seen = states.observe()
    begun = Rollout.beginning(seen, networks.utilities.initial_hidden(states.n_envs, states.device))
    utilities = objective.mixed_values(networks, begun, 1)[0]  # [S, N, A]
    chosen, kappa = utilities.amax(dim=-1), networks.mixer.kappa
    found = slopes(Probe(networks.mixer, env.graph, built.partition, kappa, chosen, seen))
    gap = (utilities[..., 1] - utilities[..., 0]) * stored.sigma
    degree = env.true_graph.degree
    return {
        "method": case.method,
        "cost": case.cost,
        "seed": run.settings["seed"],
        "share": run.summary["test_return_mean"] / env.references()["optimum"],
        "slopes": list(found.mean_by_hop),
        "gaps": {
            f"{'up' if up else 'failed'}, {failed} of {d} neighbours failed": float(gap[alike].mean())
            for d in degree.unique().tolist()
            for up in (True, False)
            for failed in range(d + 1)
            if bool((alike := (states.up == up) & (states.failed_neighbours == failed) & (degree == d)).any())
        },
    }


def _interval(share: np.ndarray) -> dict[str, float]:
    """Mean over seeds and its bootstrapped 95 % interval."""
    mean = float(share.mean())
    if np.ptp(share) == 0:
        return {"mean": mean, "low": mean, "high": mean}
    low, high = bootstrap((share,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    return {"mean": mean, "low": float(low), "high": float(high)}


def draw(folder: Path, summary: dict[str, Any]) -> Path:
    """Draw ``dilemma.png`` from what :func:`report` returned."""
    shares = {_Case(*(row[name] for name in _Case._fields)): np.array(row["share"]) for row in summary["results"]}
    costs = sorted({case.cost for case in shares})
    methods = dict.fromkeys(case.method for case in shares)
    colours = dict(zip(methods, itertools.cycle(colour for _, colour in looks()), strict=False))
    figure = Figure(figsize=(15, 4.6 * len(costs)), layout="constrained", dpi=110)
    grid = figure.subplots(len(costs), 3, squeeze=False, width_ratios=[1.6, 1.2, 1.2])
    for line, cost in zip(grid, costs, strict=True):
        mine = {case: share for case, share in shares.items() if case.cost == cost}
        size = 50 if any(case.n_agents == 50 for case in mine) else max(case.n_agents for case in mine)
        middle = {case: share for case, share in mine.items() if case.n_agents == size}
        swept = {case.method for case in middle if case.kappa != 1}
        shuffled = {case.method for case in mine if case.permuted}
        by_size = {(c.method, f"{c.n_agents:,}"): s for c, s in mine.items() if c.kappa == 1 and not c.permuted}
        by_kappa = {
            (c.method, "all" if c.kappa >= c.n_agents // 2 else str(c.kappa)): middle[c]
            for c in sorted(middle, key=lambda case: case.kappa)
            if not c.permuted and c.method in swept
        }
        by_graph = {
            (c.method, "shuffled" if c.permuted else "true"): middle[c]
            for c in sorted(middle, key=lambda case: case.permuted)
            if c.kappa == 1 and c.method in shuffled
        }
        _table(line[0], by_size, f"cost {cost:g}: machines on the ring (κ = 1), mean and worst seed")
        (entry,) = (row for row in summary["references"] if (row["n_agents"], row["cost"]) == (size, cost))
        never = entry["never"] / next(value for name, value in entry.items() if name not in _Case._fields)
        _panel(line[1], by_kappa, colours, f"cost {cost:g}: κ, {size} machines", never)
        _panel(line[2], by_graph, colours, f"cost {cost:g}: graph of the mixers, {size} machines", never)
        line[1].set_ylabel("return, % of the reference", fontsize=12)
    handles, labels = zip(*(axes.get_legend_handles_labels() for axes in grid[:, 1:].flat), strict=True)
    legend = dict(zip(itertools.chain(*labels), itertools.chain(*handles), strict=True))  # one for each label
    if legend:
        look: dict[str, Any] = {"loc": "outside lower right", "ncols": len(legend), "fontsize": 11, "frameon": False}
        figure.legend(legend.values(), legend.keys(), **look)
    figure.savefig(folder / "dilemma.png")
    return folder / "dilemma.png"


def _table(axes: Axes, shares: Shares, title: str) -> None:
    """A coloured cell for each method and label: the mean over seeds and, where they differ, the worst, in percent."""
    methods, labels = (list(dict.fromkeys(key[i] for key in shares)) for i in (0, 1))
    means = np.full((len(methods), len(labels)), np.nan)
    for (method, label), share in shares.items():
        row, column = methods.index(method), labels.index(label)
        means[row, column] = 100 * share.mean()
        mean, worst = (f"{100 * value:.0f}".replace("-", "−") for value in (share.mean(), share.min()))
        text = mean if mean == worst else f"{mean} ({worst})"
        axes.text(column, row, text, ha="center", va="center", fontsize=10)
    axes.imshow(means, aspect="auto", cmap="RdYlGn", vmin=0, vmax=110, alpha=0.7)
    axes.set_xticks(range(len(labels)), labels, fontsize=11)
    axes.set_yticks(range(len(methods)), methods, fontsize=11)
    axes.tick_params(length=0)
    axes.set_title(title, fontsize=12)


def _panel(axes: Axes, shares: Shares, colours: dict[str, str], title: str, never: float) -> None:
    """A group of bars for each label: means, with a dot for each seed."""
    if not shares:  # a study that leaves this comparison out
        axes.set_axis_off()
        return
    labels = list(dict.fromkeys(label for _, label in shares))
    methods = [method for method in colours if any(method == m for m, _ in shares)]
    width = 0.84 / len(methods)
    for number, method in enumerate(methods):
        for place, label in enumerate(labels):
            if (method, label) not in shares:
                continue
            share = shares[method, label]
            x = place + (number - (len(methods) - 1) / 2) * width
            axes.bar(x, 100 * share.mean(), 0.92 * width, color=colours[method], alpha=0.55, label=method)
            spread = x + np.linspace(-0.25, 0.25, len(share)) * width
            axes.plot(spread, 100 * share, ".", color="black", markersize=4)
    axes.axhline(100, color="black", linestyle="--", linewidth=1, label="reference")
    axes.axhline(100 * never, color="black", linestyle=":", linewidth=1.5, label="never reboot")
    axes.set_xticks(range(len(labels)), labels, fontsize=11)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_ylim(0, 108)
    axes.set_title(title, fontsize=12)
