"""Runs side by side."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path

from lomaq.analysis.compare import compare as compare_runs
from lomaq.cli.tables import print_comparison
from lomaq.inputs.text import folder_named
from lomaq.plots.curves import draw_curves
from lomaq.runs.files import free_path
from lomaq.runs.lock import free_folder


def compare(run: list[str], output: str | None = None) -> None:
    """Show runs side by side, as a table and a picture: lomaq compare A B.

    The table has the settings that differ and the results, also in compare.json; compare.png has the test returns. Runs
    that differ by their seeds alone are one row: interquartile means over seeds, their 95 % intervals, and the
    probability that a run is better than one of the first row. It works while they run, too. No checkpoint is opened.

    Args:
        run: FOLDER of a run or of several, such as a sweep's, or a pattern such as 'runs/cartpole-*', as often as
            needed; run=[A,B] is the same.
        output: FOLDER for the two files; by default a new one in runs.
    """
    folder = None if output is None else folder_named("output", output)
    found = compare_runs([str(word) for word in run])
    print_comparison(found)
    default = Path("runs", f"compare-{time.strftime('%Y%m%d-%H%M%S')}")
    with free_folder(default) if folder is None else nullcontext(folder) as place:
        picture = free_path(place / "compare.png", ".json")
        found.write(place, picture.with_suffix(".json").name)
        over_seeds = ("its 95 % interval over seeds", "interquartile mean of seeds")
        draw_curves(picture, found.panels, *(over_seeds if found.groups else ("lowest to highest episode",)))
    print(f"picture    {picture}\nnumbers    {picture.with_suffix('.json')}")
