"""Pictures of stored results."""

from __future__ import annotations

from pathlib import Path

from lomaq.studies.figures import draw_all


def figures(results: str = "results") -> None:
    """Draw the pictures of stored results again: lomaq figures results=results.

    Needs their numbers, and no checkpoint. Draws the pictures of the studies (fig5_*, fig6, fig8, fig9, dilemma,
    voltage) and of bandits, and curves.png for each other folder of runs.

    Args:
        results: Folder of folders of results.
    """
    drawn, left = draw_all(Path(str(results)))
    for path in drawn:
        print(f"drawn      {path}")
    for reason in left.values():
        print(f"left out   {reason}")
