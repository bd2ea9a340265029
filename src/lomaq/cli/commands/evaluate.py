"""Test episodes of a checkpoint."""

from __future__ import annotations

import json
from typing import Any

from lomaq.analysis.stored import evaluate_checkpoint, open_checkpoint
from lomaq.inputs.plain import changed
from lomaq.plots.film import check_render, film_checkpoint
from lomaq.runs.files import free_path
from lomaq.training.build import with_sample


def evaluate(
    checkpoint: str,
    episodes: int = 20,
    seed: int = 0,
    sample: bool | None = None,
    render: str | None = None,
    **settings: Any,
) -> None:
    """Play test episodes with a checkpoint: lomaq evaluate RUN.

    Prints one JSON object.

    Args:
        checkpoint: PATH of a run folder (its best checkpoint) or of a checkpoint file.
        episodes: Episodes to play.
        seed: Seed of their starts, and of actions that are drawn.
        sample: true if agents draw from their policies, false if each takes its best action; by default as the run has
            it in evaluation.sample. Methods that learn values, such as lomaq, have no policies to draw from.
        render: FILE|human for a film of the episode that episodes=1 plays: a .gif or .mp4 file (the latter needs the
            extra film; a name that is taken gets a number), or human for a window.
        **settings: Any setting of the environment, for example env.n_agents=200.
    """
    film = None if render is None else check_render(render)
    if film is not None and film != "human":
        film = str(free_path(film))
    stored = open_checkpoint(str(checkpoint), resume=False)
    config = with_sample(changed(stored.config, settings), sample)
    result = evaluate_checkpoint(stored, config, episodes, seed)
    if film is not None:
        film_checkpoint(stored, config, seed, film)
        result |= {} if film == "human" else {"film": film}
    print(json.dumps(result))
