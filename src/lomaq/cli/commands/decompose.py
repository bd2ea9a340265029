"""Rewards that a checkpoint learned, and the true ones."""

from __future__ import annotations

import json
import sys
from typing import Any

from lomaq.analysis.episode import decompose_checkpoint
from lomaq.analysis.stored import open_checkpoint
from lomaq.inputs.plain import changed
from lomaq.inputs.text import folder_named
from lomaq.plots.decomposition import draw_decomposition
from lomaq.runs import RunFiles
from lomaq.runs.files import free_path, write_atomic


def decompose(checkpoint: str, seed: int = 0, output: str | None = None, **settings: Any) -> None:
    """Compare learned rewards with the environment's own: lomaq decompose RUN.

    Plays one greedy episode with a checkpoint of algo=lomaq_rd or reward=decomposed, whose rewards were learned from
    the team reward. Prints a summary, and writes decomposition.csv, decomposition.json and decomposition.png.
    docs/reward-decomposition.md explains them.

    Args:
        checkpoint: PATH of a run folder (its best checkpoint) or of a checkpoint file.
        seed: Seed of the episode.
        output: FOLDER for the files; by default the run folder.
        **settings: Any setting of the environment, for example env.n_agents=30.
    """
    stored = open_checkpoint(str(checkpoint), resume=False)
    folder = stored.run_dir if output is None else folder_named("output", output)
    config, env_steps = changed(stored.config, settings), stored.env_steps
    episode = decompose_checkpoint(stored, config, seed)
    name = config["env"]["name"]
    about = {"checkpoint": str(stored.path), "env": name, "trained_env_steps": env_steps, "seed": seed}
    summary = {**about, **episode.to_json()}
    report = free_path(folder / "decomposition.json", ".csv", ".png")
    write_atomic(report.with_suffix(".csv"), episode.to_csv())
    RunFiles(folder).write_json(report.name, summary)
    title = f"Learned rewards on {name} after {env_steps:,} env steps"
    rewards = episode.learned, episode.true
    draw_decomposition(report.with_suffix(".png"), *rewards, episode.tolerance, title, episode.names)
    print(json.dumps(summary, indent=2))
    print(f"{report.with_suffix('')}.csv, .json and .png are written", file=sys.stderr)
