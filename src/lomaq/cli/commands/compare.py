"""Runs side by side."""

from __future__ import annotations

from lomaq.analysis.compare import compare as compare_runs
from lomaq.cli.tables import print_comparison
from lomaq.inputs.text import folder_named
from lomaq.plots.curves import draw_curves


def compare(run: list[str], output: str = ".") -> None:
    """Show runs side by side, as a table and a picture: lomaq compare run=A run=B.

    The table has the settings that differ and the results, also in compare.json; compare.png has the test returns. Runs
    that differ by their seeds alone are one row: interquartile means over seeds, their 95 % intervals, and the
    probability that a run is better than one of the first row. It works while they run, too. No checkpoint is opened.

    Args:
        run: FOLDER of a run, or a pattern such as run='runs/cartpole-*', as often as needed; run=[A,B] is the same.
        output: Where the two files go.
    """
    folder = folder_named("output", output)
    found = compare_runs([str(word) for word in run])
    print_comparison(found)
    found.write(folder)
    over_seeds = ("its 95 % interval over seeds", "interquartile mean of seeds")
    draw_curves(folder / "compare.png", found.panels, *(over_seeds if found.groups else ("lowest to highest episode",)))
    print(f"picture    {folder / 'compare.png'}\nnumbers    {folder / 'compare.json'}")
