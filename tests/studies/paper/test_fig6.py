"""Figure 6: two agents, one landmark."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from lomaq.config import compose
from lomaq.errors import InputError
from lomaq.inputs.text import read_checked
from lomaq.studies.paper import fig6
from lomaq.studies.paper.fig6 import Fit, Training
from lomaq.studies.runner import run_study

# a disc of radius 1/4 in a square of side 2, by hand: π/16 / 4
P = np.pi / 64
SHORT = Training(seed=0, steps=600, batch=512, lr=0.01, beta2=0.9)


def study(folder: Path, *words: str) -> dict[str, Any]:
    def no_grid(more: list[str]) -> dict[str, Any]:
        raise AssertionError(more)

    config = compose(["experiment=fig6", *words])["study"]
    return run_study(config, no_grid, folder, Console(file=io.StringIO()))


def test_the_team_is_paid_one_while_someone_is_closer_than_a_quarter():
    places = torch.tensor([[[0.2, 0.1], [0.9, 0.9]], [[0.0, 0.0], [0.0, 0.24]], [[0.2, 0.2], [-0.26, 0.0]]])
    assert fig6.on_landmark(places).tolist() == [[True, False], [True, True], [False, False]]
    assert fig6.team_reward(places).tolist() == [1.0, 1.0, 0.0]


def test_an_agent_observes_where_it_is_and_nothing_of_the_other():
    places = torch.tensor([[[0.3, -0.4], [0.0, 1.0]]])
    assert fig6.observe(places).tolist() == [[pytest.approx([0.3, -0.4, 0.5]), pytest.approx([0.0, 1.0, 1.0])]]
    other = places.clone()
    other[:, 1] = 0.0
    assert torch.equal(fig6.observe(places)[:, 0], fig6.observe(other)[:, 0])


def test_agents_are_on_the_landmark_as_often_as_its_share_of_the_square():
    places = fig6.draw_positions(100_000, torch.Generator().manual_seed(0))
    assert float(fig6.on_landmark(places).float().mean()) == pytest.approx(P, abs=2e-3)
    assert pytest.approx(P) == fig6.SHARE


def test_the_expected_values_without_pairs_are_the_weighted_least_squares_fit():
    on = np.array(list(fig6.SITUATIONS.values()), dtype=float)  # [4, 2]
    share = np.where(on == 1, P, 1 - P).prod(axis=1)  # [4], 0.0024 of it both
    design = np.stack([2 - on.sum(axis=1), on.sum(axis=1)], axis=1)  # how often f(off) and f(on) are added
    weight = np.sqrt(share)[:, None]
    (off, at), *_ = np.linalg.lstsq(design * weight, on.max(axis=1) * weight[:, 0], rcond=None)
    expected = Fit(1, 0.0).expected()
    assert list(expected["sum"].values()) == pytest.approx([2 * off, off + at, off + at, 2 * at])
    assert list(expected["r_{1}"].values()) == pytest.approx([off, at, off, at])
    assert list(expected["r_{2}"].values()) == pytest.approx([off, off, at, at])
    assert expected["sum"]["both"] == pytest.approx(1.904, abs=5e-4)


def test_the_expected_pair_corrects_what_the_agents_are_paid_twice():
    assert list(Fit(2, 1e-4).expected()["r_{12}"].values()) == [0, 0, 0, -1]
    assert list(Fit(2, 1e-4).expected()["sum"].values()) == [0, 1, 1, 1]
    assert list(Fit(2, 0.0).expected()) == ["sum"]  # no more is identified


def test_without_pairs_both_on_the_landmark_is_predicted_to_pay_almost_two():
    fit = Fit(1, 0.0)
    means = fig6.averages(fig6.learn(fit, SHORT), seed=0)
    for name, row in fit.expected().items():
        assert means[name] == pytest.approx(row, abs=fig6.TOLERANCE), name
    assert 1.75 < means["sum"]["both"] < 2.05


def test_the_sum_is_the_sum_and_two_seeded_fits_are_equal():
    few = Training(seed=3, steps=5, batch=16, lr=0.01, beta2=0.9)
    before = torch.get_rng_state()
    models = [fig6.learn(Fit(2, 1e-4), few) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    places = fig6.draw_positions(7, torch.Generator().manual_seed(1))
    first, second = (fig6.learned(model, places) for model in models)
    for name in fig6.FUNCTIONS:
        assert torch.equal(first[name], second[name])
    np.testing.assert_allclose(first["sum"], first["r_{1}"] + first["r_{2}"] + first["r_{12}"], rtol=1e-6)


def test_the_study_draws_summarises_and_is_not_done_twice(tmp_path: Path):
    words = ("seed=5", "study.steps=3", "study.batch=8")
    tmp_path = tmp_path / "some" / "where"
    result = study(tmp_path, *words)
    assert read_checked(tmp_path / "summary.json") == result
    assert result["settings"]["seed"] == 5
    assert len(result["fits"]) == 3
    picture = tmp_path / "fig6.png"
    assert picture.stat().st_size > 10_000
    picture.unlink()
    assert study(tmp_path, *words) == result
    assert not picture.exists()
    with pytest.raises(InputError, match=r"^run_dir: expected a folder of the same study"):
        study(tmp_path, "study.steps=4", *words[::2])


@pytest.mark.parametrize(
    ("word", "line"),
    {
        "study.steps=0": r"^study\.steps: expected a whole number of at least 1, got 0",
        "study.batch=1.5": r"^study\.batch: expected a whole number of at least 1, got 1\.5",
        "study.lr=0": r"^study\.lr: expected a number in \(0, 1\], got 0",
        "study.beta2=1": r"^study\.beta2: expected a number in \[0, 1\), got 1",
        "study.regularisation=0": r"^study\.regularisation: expected a number in \(0, inf\), got 0",
        "seed=-1": r"^seed: expected a whole number from 0",
    }.items(),
    ids=str,
)
def test_impossible_settings_are_refused_and_leave_no_files(word: str, line: str, tmp_path: Path):
    with pytest.raises(InputError, match=line):
        study(tmp_path / "new", word)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "here").write_text("mine")
    with pytest.raises(InputError, match=r"^run_dir: expected a folder, got"):
        study(tmp_path / "here")


def test_a_study_is_either_a_grid_or_a_function(tmp_path: Path):
    for config in ({}, {"grid": {}, "run": "lomaq.studies.paper.fig6.run"}):
        with pytest.raises(InputError, match=r"^study: expected either grid or run"):
            run_study(config, lambda more: {}, tmp_path, Console(file=io.StringIO()))


@pytest.mark.slow
def test_figure_6_comes_out_within_the_tolerance(tmp_path: Path):
    alone, free, regularised = study(tmp_path)["fits"].values()
    assert alone["as_expected"], alone
    assert alone["learned"]["sum"]["both"] == pytest.approx(1.904, abs=fig6.TOLERANCE)
    assert free["learned"]["sum"] == pytest.approx({"none": 0, "agent 1": 1, "agent 2": 1, "both": 1}, abs=0.15)
    learned = regularised["learned"]
    assert [learned["r_{1}"][s] for s in fig6.SITUATIONS] == pytest.approx([0, 1, 0, 1], abs=fig6.TOLERANCE)
    assert [learned["r_{2}"][s] for s in fig6.SITUATIONS] == pytest.approx([0, 0, 1, 1], abs=fig6.TOLERANCE)
    assert [learned["r_{12}"][s] for s in fig6.SITUATIONS] == pytest.approx([0, 0, 0, -1], abs=fig6.TOLERANCE)
    assert regularised["mean_magnitude_of_r_{12}"] < free["mean_magnitude_of_r_{12}"]
