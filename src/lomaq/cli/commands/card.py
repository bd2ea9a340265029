"""A model card of a run."""

from __future__ import annotations

from pathlib import Path

from lomaq.analysis.card import card_of
from lomaq.errors import InputError
from lomaq.runs.files import write_atomic
from lomaq.runs.record import find_runs


def card(run: list[str], output: str | None = None) -> None:
    """Write a model card of a run that has ended: lomaq card run=RUN.

    Markdown, with the head that model hubs read: what was trained, how, its settings that differ from the defaults, its
    results, how to load it. No checkpoint is opened.

    Args:
        run: FOLDER of the run; more of them for runs that differ by their seeds alone, whose results it shows, too.
        output: FILE of the card, new; by default README.md in the folder of the first run.
    """
    folders = find_runs([str(word) for word in run])
    place = folders[0] / "README.md" if output is None else Path(str(output))
    if place.exists():
        raise InputError("output", "a new file", place, "choose another by output=card.md, or remove it")
    write_atomic(place, card_of(folders))
    print(f"card       {place}")
