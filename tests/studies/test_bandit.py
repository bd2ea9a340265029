"""The loop, the numbers and the files of a bandit study."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from rich.console import Console

from lomaq.bandits import Constants, LinearBandit, MultiOFUL, UniformArms, draw_parameters, play
from lomaq.errors import InputError
from lomaq.graphs import Partition
from lomaq.inputs.text import read_checked
from lomaq.studies.bandit import DEFAULTS, _slope, run_bandits

SMALL = {**DEFAULTS, "n": 3, "K": 2, "d": 3, "T": 600, "repetitions": 4, "partitions": ["singletons", [[0, 1], [2]]]}


def run(folder, **changes):
    return run_bandits(folder, Console(file=io.StringIO()), **{**SMALL, **changes})


def without_times(result):
    parts = {name: {**part, "seconds": 0} for name, part in result["partitions"].items()}
    return {**result, "partitions": parts}


def test_study_leaves_its_picture_and_its_numbers(tmp_path):
    result = run(tmp_path / "new")
    assert read_checked(tmp_path / "new" / "bandit.json") == result
    assert (tmp_path / "new" / "bandit.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"bandit.json", "bandit.png"}
    assert result["settings"] == SMALL
    assert result["smallest_gap"] == pytest.approx(1 / math.sqrt(600))
    assert result["rounds"][0] == 1
    assert result["rounds"][-1] == 600
    coarse = result["partitions"]["[[0, 1], [2]]"]
    assert coarse["blocks"] == [[0, 1], [2]]
    assert coarse["K_P"] == 6
    assert coarse["R_max"] == pytest.approx(0.1 * math.sqrt(2))


def test_bands_are_students_and_bounds_those_of_the_theorem(tmp_path):
    part = run(tmp_path)["partitions"]["singletons"]
    final = part["final_regret"]
    assert part["regret_mean"][-1] == pytest.approx(np.mean(final))
    half = 3.1824463 * np.std(final, ddof=1) / 2  # t, 97.5 %, 3 degrees of freedom
    assert part["regret_high"][-1] - np.mean(final) == pytest.approx(half)
    assert np.mean(final) - part["regret_low"][-1] == pytest.approx(half)
    constants = Constants(Partition.singletons(3), 2, 3, 0.1, 1 / 3, 1.0, 0.05, 1.0)
    assert part["bound_printed"][-1] == pytest.approx(constants.printed_bound(np.array([600]))[0])
    assert part["bound_corrected"][-1] == pytest.approx(math.sqrt(3) * part["bound_printed"][-1])


def test_ratio_of_full_to_singletons_stands_beside_the_predicted_root(tmp_path):
    growth = run(tmp_path, partitions=["full", "singletons"])["growth_in_K_P"]
    assert growth["ratios_to"] == "singletons"
    assert growth["ratios"]["full"]["sqrt_K_P"] == pytest.approx(math.sqrt(8 / 6))
    assert growth["ratios"]["full"]["measured"] > 1
    assert growth["slope"] == pytest.approx(math.log(growth["ratios"]["full"]["measured"]) / math.log(8 / 6))


@pytest.mark.parametrize("changes", [{}, {"noise": "bounded", "noise_scale": [0.1, 0.2, 0.05]}])
def test_a_study_is_the_same_every_time_and_another_with_another_seed(tmp_path, changes):
    first, again, other = (run(tmp_path / str(i), seed=seed, T=100, **changes) for i, seed in enumerate((5, 5, 6)))
    assert without_times(first) == without_times(again)
    assert first["partitions"]["singletons"]["final_regret"] != other["partitions"]["singletons"]["final_regret"]


@pytest.mark.parametrize("spec", [Partition.singletons(4), Partition([[0, 1], [2, 3]], 4), Partition.full(4)], ids=repr)
def test_regret_stays_under_the_corrected_bound_in_every_repetition(spec):
    repetitions, rounds = 100, [10, 100, 1000]
    parameters = draw_parameters(repetitions, 4, 2, 3, bound=1 / 4, smallest_gap=1.0, seed=2)
    bandit = LinearBandit(parameters, spec, noise_scale=0.1, seed=2)
    constants = Constants(spec, 2, 3, float(bandit.block_noise.max()), 1 / 4, 1.0, 0.05, 1.0)
    regret = play(bandit, MultiOFUL(constants, repetitions), rounds)  # [C, R]
    assert (np.diff(regret, axis=0) >= 0).all()
    assert (regret <= constants.corrected_bound(np.array(rounds))[:, None]).all()


def test_learning_beats_uniform_arms_and_uniform_arms_pay_the_mean_gap():
    gap = np.array([[[[0.0], [0.5]]]])  # one agent, contexts always 1
    bandit = LinearBandit(gap, Partition.singletons(1), adversary=lambda t, actions: np.ones((1, 1)))
    uniform = play(bandit, UniformArms(1, 2, seed=0), [2000])[0, 0]
    assert uniform == pytest.approx(2000 * 0.25, rel=0.1)
    bandit = LinearBandit(gap, Partition.singletons(1), adversary=lambda t, actions: np.ones((1, 1)))
    constants = Constants(Partition.singletons(1), 2, 1, 0.1, 0.5, 1.0, 0.05, 1.0)
    assert play(bandit, MultiOFUL(constants, 1), [2000])[0, 0] < 0.05 * uniform


def test_an_adversary_of_basis_vectors_is_learned_by_every_partition():
    parameters = draw_parameters(3, 2, 2, 2, bound=0.5, smallest_gap=1.0, seed=0)
    for partition in (Partition.singletons(2), Partition.full(2)):
        bandit = LinearBandit(parameters, partition, adversary=lambda t, actions: np.tile(np.eye(2)[t % 2], (3, 1)))
        constants = Constants(partition, 2, 2, float(bandit.block_noise.max()), 0.5, 1.0, 0.05, 1.0)
        first, later = play(bandit, MultiOFUL(constants, 3), [500, 5000]).mean(axis=1)
        assert later - first < 2 * first


def test_slope_of_a_power_is_its_exponent():
    rounds = np.unique(np.geomspace(1, 10_000, 100).round().astype(int))
    assert _slope(rounds.tolist(), 3.0 * rounds**0.5, 0) == pytest.approx(0.5)
    assert _slope(rounds.tolist(), np.zeros(len(rounds)), 0) is None


def test_default_problem_grows_like_the_root_of_time(tmp_path):
    result = run(tmp_path, **{**DEFAULTS, "T": 5000, "partitions": ["singletons"]})
    part = result["partitions"]["singletons"]
    assert 0.4 < part["slope_in_tail"] < 0.7
    assert result["uniform_arms"]["slope_in_tail"] == pytest.approx(1, abs=0.02)
    assert part["repetitions_above_corrected_bound"] == 0
    assert result["growth_in_K_P"] == {"slope": None, "ratios_to": "singletons", "ratios": {}}


@pytest.mark.parametrize(
    "changes", [{"n": 1, "partitions": ["singletons", "pairs", "full"]}, {"noise_scale": 0, "d": 1}]
)
def test_smallest_problems_run(tmp_path, changes):
    run(tmp_path, T=100, repetitions=2, **changes)
    assert (tmp_path / "bandit.png").is_file()


def test_bound_that_is_undefined_at_first_is_null(tmp_path):
    part = run(tmp_path, regularisation=0.01)["partitions"]["singletons"]
    assert part["bound_printed"][0] is None
    assert part["bound_printed"][-1] > 0


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"T": 50}, "T: expected a whole number of at least 100, got 50"),
        ({"n": 0}, "n: expected "),
        ({"K": 1}, "K: expected a whole number of at least 2"),
        ({"d": 1.5}, "d: expected "),
        ({"repetitions": 1}, "repetitions: expected a whole number of at least 2"),
        ({"seed": -1}, "seed: expected "),
        ({"alpha": -1}, "alpha: expected "),
        ({"delta": 0}, "delta: expected "),
        ({"regularisation": 0}, "regularisation: expected "),
        ({"smallest_gap": 0}, "smallest_gap: expected "),
        ({"noise": "none"}, "noise: expected "),
        ({"noise_scale": "loud"}, "noise_scale: expected "),
        ({"partitions": []}, "partitions: expected a list of at least one"),
        ({"partitions": ["full", "full"]}, "partitions: expected each partition once"),
        ({"partitions": ["trios"]}, "partition: expected one of singletons"),
        ({"partitions": ["singletons", "full"], "n": 30, "K": 3}, r"partition: .* 3\^30 = 205,891,132,094,649 in the"),
    ],
)
def test_mistakes_are_refused_by_name_and_leave_nothing(tmp_path, changes, line):
    with pytest.raises(InputError, match=f"^{line}"):
        run(tmp_path / "new", **changes)
    assert not (tmp_path / "new").exists()


def test_an_earlier_study_is_not_overwritten(tmp_path):
    (tmp_path / "bandit.json").write_text("{}")
    with pytest.raises(InputError, match=r"^run_dir: expected one without a bandit.json"):
        run(tmp_path)
