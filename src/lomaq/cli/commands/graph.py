"""The agents' graph, drawn or measured."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lomaq.analysis.stored import open_checkpoint
from lomaq.config import choices, compose
from lomaq.config.words import word_of
from lomaq.errors import InputError
from lomaq.inputs.plain import changed
from lomaq.inputs.text import folder_named, typed
from lomaq.plots.graph import picture_graph
from lomaq.plots.influence import picture_influence
from lomaq.runs.lock import free_folder


def graph(env: str | None = None, file: str | None = None, checkpoint: str | None = None, **settings: Any) -> None:
    """Draw the agents' graph, or an episode on it: lomaq graph env=NAME.

    Takes one of env, file and checkpoint, and prints one line about the graph.

    Args:
        env: NAME of an environment, as in training.
        file: PATH of a graph file: .json, .graphml, .gexf, .gml, .graph or .metis, or an edge list or a matrix in .csv,
            .txt and others; each may have .gz behind it.
        checkpoint: PATH of a run folder (its best checkpoint) or of a checkpoint file.
        **settings: Any setting of the environment, with env or checkpoint, for example env.n_agents=100.
    """
    changes = {key: settings.pop(key) for key in [*settings] if key.startswith("env.")}
    sources = {"env": env, "file": file, "checkpoint": checkpoint}
    given = " and ".join(f"{key}={value}" for key, value in sources.items() if value is not None)
    if [*sources.values()].count(None) != 2:
        raise InputError("graph", "one of env=NAME, file=PATH and checkpoint=PATH", given or "none")
    if env is not None and env not in choices()["env"] and os.path.exists(env):
        raise InputError(
            "env",
            "the name of an environment",
            env,
            f"{typed('checkpoint', env)} is a run, {typed('file', env)} a graph file",
        )
    if file is not None and changes:
        raise InputError(next(iter(changes)), "only with env=NAME or checkpoint=PATH", given, "leave it out")
    stored = None if checkpoint is None else open_checkpoint(str(checkpoint), resume=False)
    config = None if stored is None else changed(stored.config, changes)
    if env is not None:
        config = compose([f"env={env}", *(f"{key}={word_of(value)}" for key, value in changes.items())])
    print(picture_graph(config, None if file is None else str(file), stored, **settings))


def discover(env: str, output: str | None = None, **settings: Any) -> None:
    """Measure whose actions change what whom observes or is paid: lomaq graph discover env=NAME.

    Plays random episodes again and again from the same seeds, each time with another action of one agent. Writes
    influence.csv (the matrix), influence.json (a graph file, which env.graph= takes) and influence.png.

    Args:
        env: NAME of an environment, as in training.
        output: FOLDER for the files; by default a new one in runs.
        **settings: Any setting of the environment, for example env.n_agents=100.
    """
    changes = {key: settings.pop(key) for key in [*settings] if key.startswith("env.")}
    config = compose([f"env={env}", *(f"{key}={word_of(value)}" for key, value in changes.items())])
    default = Path("runs", f"influence-{time.strftime('%Y%m%d-%H%M%S')}")
    with free_folder(default) if output is None else nullcontext(folder_named("output", output)) as folder:
        print("\n".join(picture_influence(config, folder, **settings)))
