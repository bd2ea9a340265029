"""Multi-OFUL: seconds, slopes and rounding errors.

    OMP_NUM_THREADS=1 python benchmarks/bandit.py [--json FILE] [--rounds 1000000]

The first table takes the command line's defaults with singletons only, for several seeds and two problems: agents of
all scales (the default) and agents of one scale. The second compares V⁻¹ and θ̂ with a direct solve, in the round before
each is recomputed; its full length takes about a minute and a half.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from lomaq.bandits import Constants, LinearBandit, MultiOFUL, draw_parameters, play
from lomaq.graphs import Partition
from lomaq.studies.paper.bandit import DEFAULTS, run_bandits


def growth(seed: int, smallest_gap: float | None) -> dict[str, object]:
    """One study of singletons: seconds and slope for each of the last three decades of T."""
    words = {**DEFAULTS, "partitions": ["singletons"], "seed": seed, "smallest_gap": smallest_gap}
    with tempfile.TemporaryDirectory() as folder:
        result = run_bandits(Path(folder), Console(file=io.StringIO()), **words)
    part = result["partitions"]["singletons"]
    return {
        "problem": "all scales" if smallest_gap is None else "one scale",
        "seed": seed,
        "seconds": part["seconds"],
        "final_regret": part["regret_mean"][-1],
        "slopes_from_the_last_decade": part["slope_by_decade_from_the_last"],
        "bound_slope": part["bound_slope_in_tail"],
        "above_corrected_bound": part["repetitions_above_corrected_bound"],
    }


def rounding(most: int) -> list[dict[str, float]]:
    """Largest relative errors of V⁻¹ and θ̂ against direct solves just before 10^3, 10^4, … rounds."""
    n, arms, dim = (DEFAULTS[name] for name in ("n", "K", "d"))
    partition = Partition.singletons(n)
    parameters = draw_parameters(1, n, arms, dim, bound=1 / n, smallest_gap=most**-0.5, seed=0)
    bandit = LinearBandit(parameters, partition, noise_scale=DEFAULTS["noise_scale"])
    learner = MultiOFUL(Constants(partition, arms, dim, DEFAULTS["noise_scale"], 1 / n, 1.0, 0.05, 1.0), 1)
    rows = []
    for end in (10**k - 1 for k in range(3, 8) if 10**k <= most):
        play(bandit, learner, [end - learner.rounds])
        inverse = np.linalg.inv(learner.gram)
        estimate = np.linalg.solve(learner.gram, learner.moment[..., None])[..., 0]
        apart = np.linalg.norm(learner.inverse - inverse, axis=(2, 3)) / np.linalg.norm(inverse, axis=(2, 3))
        played = np.linalg.norm(estimate, axis=2) > 0
        wrong = np.linalg.norm(learner.estimate - estimate, axis=2)[played] / np.linalg.norm(estimate, axis=2)[played]
        rows.append({"rounds": end, "inverse": float(apart.max()), "estimate": float(wrong.max())})
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=10**6)
    options = parser.parse_args()
    studies = [growth(seed, gap) for gap in (None, 1.0) for seed in range(3)]
    errors = rounding(options.rounds)
    table = Table("problem", "seed", "seconds", "regret", "slopes, last decade first", "bound's slope", "above bound")
    for row in studies:
        slopes = ", ".join(f"{slope:.2f}" for slope in row["slopes_from_the_last_decade"])
        table.add_row(
            row["problem"],
            str(row["seed"]),
            f"{row['seconds']:.1f}",
            f"{row['final_regret']:.1f}",
            slopes,
            f"{row['bound_slope']:.2f}",
            str(row["above_corrected_bound"]),
        )
    console = Console()
    console.print(table)
    table = Table("rounds", "relative error of V⁻¹", "of θ̂")
    for row in errors:
        table.add_row(f"{row['rounds']:,}", f"{row['inverse']:.1e}", f"{row['estimate']:.1e}")
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps({"growth": studies, "rounding": errors}, indent=2) + "\n")


if __name__ == "__main__":
    main()
