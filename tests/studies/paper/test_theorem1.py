"""How regret grows with the number of joint actions."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from lomaq.studies.paper.theorem1 import _exponent, run

SETTINGS = {"arms": [2, 3], "n": 2, "d": 2, "T": 200, "repetitions": 3, "partitions": ["singletons", "full"], "seed": 0}


def test_the_exponent_of_a_power_law_is_found_exactly() -> None:
    sizes = np.array([12, 27, 64])
    found = _exponent(sizes, np.outer(sizes**0.75, [1.0, 2.0, 4.0]))
    assert [found[key] for key in ("slope", "low", "high")] == pytest.approx([0.75] * 3)


def test_each_problem_has_its_folder_and_is_kept(tmp_path) -> None:
    first = run(tmp_path, SETTINGS, Console(file=io.StringIO()))
    assert [(row["arms"], row["partition"], row["K_P"]) for row in first["rows"]] == [
        (2, "singletons", 4), (2, "full", 4), (3, "singletons", 6), (3, "full", 9)
    ]  # fmt: skip
    assert [*first["growth"]] == ["3"]
    assert (tmp_path / "theorem1.png").stat().st_size > 10_000
    stamp = (tmp_path / "arms-3" / "bandit.json").stat().st_mtime_ns
    assert run(tmp_path, SETTINGS, Console(file=io.StringIO())) == first
    assert (tmp_path / "arms-3" / "bandit.json").stat().st_mtime_ns == stamp
