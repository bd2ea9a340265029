"""Draws the pictures of docs/concepts.md and docs/environments.md anew: python docs/pictures.py (20 s on one core)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import lomaq
from lomaq import AgentGraph, Partition
from lomaq.analysis.episode import decompose_checkpoint
from lomaq.analysis.stored import open_checkpoint
from lomaq.envs import BatchedEnv, CartPole, Navigation, SysAdmin
from lomaq.evaluation import Actor, BaselineActor, RandomActor
from lomaq.mixers import MaskedMLPMixer, Mixer
from lomaq.plots.film import play
from lomaq.plots.graph_plot import draw_graph
from lomaq.plots.graph_view import GraphView
from lomaq.plots.renderers import renderer

FOLDER = Path(__file__).resolve().parent / "images"
#: Rows and columns of the grid that most pictures show.
SIDE = 5


def panels(count: int, height: float = 4.2) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` panels in a row."""
    figure = Figure(figsize=(3.4 * count, height), layout="constrained", dpi=84)
    return figure, list(figure.subplots(1, count))


def save(figure: Figure, name: str) -> None:
    """Write ``docs/images/concept-<name>.png``, without empty margins."""
    figure.savefig(FOLDER / f"concept-{name}.png", bbox_inches="tight", pad_inches=0.08, pil_kwargs={"optimize": True})


def graphs() -> None:
    """The graphs of three environments."""
    figure, axes = panels(3)
    shown = {"cartpole: a line": CartPole(7), "sysadmin: a ring": SysAdmin(8), "nav: a grid": Navigation(9, "grid")}
    for place, (title, env) in zip(axes, shown.items(), strict=True):
        draw_graph(place, GraphView(env.graph, title=title))
    save(figure, "graph")


def partitions() -> None:
    """The four named partitions of one graph."""
    figure, axes = panels(4)
    graph = AgentGraph.grid(4, 4)
    for place, name in zip(axes, ("singletons", "pairs", "communities", "full"), strict=True):
        partition = Partition.from_spec(name, graph)
        blocks = f"{partition.n_blocks} block{'s' * (partition.n_blocks > 1)}"
        draw_graph(place, GraphView(graph, partition=partition, title=f"{name}: {blocks}"))
    save(figure, "partition")


def neighbourhoods() -> None:
    """What the block of one agent sees with κ = 0, 1 and 2, and which agents see alike."""
    figure, axes = panels(4, height=4.6)
    graph = AgentGraph.grid(SIDE, SIDE)
    for kappa in range(3):
        draw_graph(axes[kappa], GraphView(graph, agent=SIDE**2 // 2, kappa=kappa, title=f"κ = {kappa}"))
    draw_graph(axes[3], GraphView(graph, kappa=1, classes=True, title="equal surroundings, κ = 1"))
    save(figure, "kappa")


def free_mixer(seed: int) -> Mixer:
    """A mixer of two agents whose weights have any sign."""
    mixer = two_agents(seed, "soft")
    for weight in mixer.weights():
        torch.nn.init.normal_(weight)
    return mixer


def two_agents(seed: int, monotonicity: str) -> MaskedMLPMixer:
    """A mixer of one block of two agents."""
    torch.manual_seed(seed)
    graph, block = AgentGraph.line(2), Partition.full(2)
    return MaskedMLPMixer(graph, block, kappa=1, monotonicity=monotonicity, activation="split", init="negative_bias")


@torch.no_grad()
def monotone() -> None:
    """Values of a monotone mixer and of one that is not, over the utilities of two agents."""
    figure, axes = panels(2)
    mixers = {"monotone: greedy is best": two_agents(0, "reparametrisation"), "not monotone": free_mixer(3)}
    line = torch.linspace(-2, 2, 81)
    utilities = torch.cartesian_prod(line, line)
    points = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])  # two actions of each agent
    for place, (title, mixer) in zip(axes, mixers.items(), strict=True):
        values = mixer(utilities)[:, 0].view(81, 81).T
        place.contourf(line, line, values, levels=16, cmap="viridis")
        place.scatter(*points.T, s=70, color="white", edgecolor="black", label="joint actions")
        place.scatter(1, 1, s=260, marker="*", color="white", edgecolor="black", label="each agent greedy")
        best = points[mixer(points)[:, 0].argmax()]
        place.scatter(*best, s=420, facecolor="none", edgecolor="red", linewidth=2, label="largest value")
        place.set(xlabel="U of agent 0", ylabel="U of agent 1", title=title, aspect="equal")
    axes[1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), labelspacing=1.4, frameon=False)
    save(figure, "monotone")


def decomposition() -> None:
    """One step of navigation: what the team is paid, what was learned from it, and who earned it."""
    with tempfile.TemporaryDirectory() as folder:
        words = ("env.n_agents=9", "env.layout=grid")
        run = lomaq.train("nav", *words, algo="lomaq_rd", total_env_steps=40_000, run_dir=folder)
        stored = open_checkpoint(run.run_dir, resume=False)
        episode = decompose_checkpoint(stored, stored.config, seed=0)
    step = len(episode.true) - 1
    graph = Navigation(9, "grid").graph
    team = float(episode.true[step].sum())
    shown = {
        f"paid: {team:.1f} to the team": np.full(9, team / 9),
        "learned from such sums": episode.learned[step],
        "true, hidden from the learner": episode.true[step],
    }
    figure, axes = panels(3)
    for place, (title, values) in zip(axes, shown.items(), strict=True):
        draw_graph(place, GraphView(graph, values=values, value_name="reward of the agent", title=title))
        place.title.set_fontsize(12)
        place.collections[-1].set_clim(0, max(1.0, float(episode.true[step].max())))
    save(figure, "decomposition")


def environments() -> None:
    """A frame of an episode in each environment that has a renderer of its own and needs nothing installed."""
    machines = SysAdmin(12)
    save_frame("cartpole", CartPole(15), RandomActor(0), step=20)
    save_frame("nav", Navigation(9, "grid"), BaselineActor(Navigation.oracle), step=10)
    save_frame("sysadmin", machines, BaselineActor(machines.baselines()["reboot_iff_failed"]), step=62)


def save_frame(name: str, env: BatchedEnv, actor: Actor, step: int) -> None:
    """Write ``docs/images/env-<name>.png``: what a film of ``env`` shows after ``step`` steps."""
    shown = renderer(env)
    shown.render(play(actor, env, seed=0)[step])
    shown.figure.savefig(FOLDER / f"env-{name}.png", pil_kwargs={"optimize": True})


if __name__ == "__main__":
    for draw in (graphs, partitions, neighbourhoods, monotone, decomposition, environments):
        draw()
