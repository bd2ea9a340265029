"""The comparison of actor-critics: its rows, their intervals and the picture."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lomaq.runs import Curve, RunRecord
from lomaq.studies.actor_critic import interval, report


def record(folder: Path, algo: str, seed: int, last: float, **settings: Any) -> RunRecord:
    return RunRecord(
        folder=folder,
        config={"method": algo, "algo": {"label": algo.upper(), "reads": "local"}},
        summary={"env": "sysadmin", "n_agents": 50, "references": {"optimum": 12.5}},
        tests=Curve([0, 500, 1000], [-500.0, 2.0, last], [-501.0, 1.0, last - 1], [-499.0, 3.0, last + 1]),
        env_steps=1000,
        train_seconds=1.0,
        settings={"algo": algo, "seed": seed, **settings},
    )


@pytest.fixture
def runs(tmp_path: Path) -> list[RunRecord]:
    return [
        *(record(tmp_path, "ippo", seed, 4.0) for seed in (0, 1, 2)),
        *(
            record(
                tmp_path,
                "khop",
                seed,
                10.0 * kappa + seed,
                kappa=kappa,
                **{"mixer.weight_sharing": 1, "learner.lr": 0.01},
            )
            for kappa in (0, 1)
            for seed in (0, 1, 2)
        ),
        record(tmp_path, "khop", 7, 3.0, partition=[[0, 1], [2]]),
    ]


def test_a_row_is_a_method_and_its_settings_but_for_seeds_and_what_a_search_chose(runs, tmp_path: Path) -> None:
    rows = report(tmp_path, runs)["rows"]
    assert list(rows) == [
        "IPPO",
        "KHOP, mixer.weight_sharing=1, kappa=0",
        "KHOP, mixer.weight_sharing=1, kappa=1",
        "KHOP, partition=[[0, 1], [2]]",
    ]
    row = rows["KHOP, mixer.weight_sharing=1, kappa=1"]
    assert (row["label"], row["seeds"], row["last"]) == ("KHOP", [0, 1, 2], [10.0, 11.0, 12.0])
    assert row["setting"] == {"algo": "khop", "mixer.weight_sharing": 1, "kappa": 1}
    assert row["along"] == [6.0, 6.5, 7.0]  # with the test on the way, without that of the untrained networks
    for name, mean in (("", 11.0), ("_along", 6.5)):
        low, high = row[f"interval{name}"]
        assert row[f"mean{name}"] == mean
        assert mean - 1 <= low < mean < high <= mean + 1
    assert rows["IPPO"]["interval"] == (4.0, 4.0)
    assert rows["KHOP, partition=[[0, 1], [2]]"]["interval"] == (3.0, 3.0)


def test_the_report_says_where_it_was_measured_and_draws_a_picture(runs, tmp_path: Path) -> None:
    found = report(tmp_path, runs)
    assert {key: found[key] for key in ("env", "n_agents", "references", "env_steps")} == {
        "env": "sysadmin",
        "n_agents": 50,
        "references": {"optimum": 12.5},
        "env_steps": 1000,
    }
    assert (tmp_path / f"{tmp_path.name}.png").stat().st_size > 5000


@pytest.mark.parametrize("values", [[7.5], [7.5, 7.5, 7.5]])
def test_the_interval_of_equal_numbers_is_the_number(values) -> None:
    assert interval(values) == (7.5, 7.5)


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 4.0, 5.0, 6.0, 10.0]])
def test_the_interval_of_symmetric_numbers_is_that_of_all_means_of_as_many_draws(values) -> None:
    means = [np.mean(draw) for draw in itertools.product(values, repeat=5)]
    assert interval(values) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.3)


def test_the_interval_moves_with_the_unit_and_is_the_same_each_time() -> None:
    values = [3.0, 1.0, 4.0, 1.5, 9.0]
    low, high = interval(values)
    assert interval(values) == (low, high)
    assert interval([100 + 2 * x for x in values]) == pytest.approx((100 + 2 * low, 100 + 2 * high))
