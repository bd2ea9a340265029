"""Theorem 1's constants, width and bound."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from lomaq.bandits.bound import Constants
from lomaq.errors import InputError
from lomaq.graphs import Partition

CONSTANTS = Constants(Partition([[0, 1], [2]], 3), 3, 5, 0.2, 0.25, 2.0, 0.1, 0.5)


def test_width_is_the_printed_one():
    # |P| = 2, K^|J| = 9, t = 7: √0.5 · 2 · 0.25 + 0.2 √(5 log(2 · 9 · (1 + 14) / 0.5 / 0.1))
    expected = math.sqrt(0.5) * 0.5 + 0.2 * math.sqrt(5 * math.log(2 * 9 * 15 / 0.5 / 0.1))
    assert CONSTANTS.width(7, 2) == pytest.approx(expected)


def test_bounds_are_the_printed_one_and_that_times_the_root_of_the_number_of_blocks():
    rounds = np.array([100, 1000])
    expected = [
        2
        * math.sqrt(t)
        * math.sqrt(5 * math.log(0.5 + t * 4 / 15) * 12)
        * (math.sqrt(0.5) * 3 * 0.25 + 0.2 * math.sqrt(5 * math.log(2 * 27 * (1 + 2 * t) / 0.5 / 0.1)))
        for t in rounds
    ]
    np.testing.assert_allclose(CONSTANTS.printed_bound(rounds), expected)
    np.testing.assert_allclose(CONSTANTS.corrected_bound(rounds), math.sqrt(2) * np.array(expected))


def test_bound_is_undefined_where_its_logarithm_is_negative():
    assert np.isnan(CONSTANTS.printed_bound(np.array([1, 2]))).tolist() == [True, False]


def test_bound_of_the_full_partition_needs_no_correction():
    full = replace(CONSTANTS, partition=Partition.full(3))
    assert full.corrected_bound(np.array([50])) == full.printed_bound(np.array([50]))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"n_arms": 0}, "K: expected "),
        ({"dim": 0}, "d: expected "),
        ({"delta": 1.0}, r"delta: expected a number in \(0, 1\)"),
        ({"delta": 0}, "delta: expected "),
        ({"noise_bound": math.inf}, "noise_scale: expected "),
        ({"parameter_bound": 0}, "parameter_bound: expected "),
        ({"context_bound": -1}, "context_bound: expected "),
        ({"regularisation": 0}, "regularisation: expected "),
        ({"regularisation": 61.0}, r"regularisation: expected at most \|P\| K\^\|J\| / δ = 60 for"),
        ({"partition": Partition.full(60)}, r"partition: .* a block of 60 agents with 3\^60 = 10\^29 joint actions"),
    ],
)
def test_impossible_constants_are_refused_by_name(change, line):
    with pytest.raises(InputError, match=f"^{line}"):
        replace(CONSTANTS, **change)
