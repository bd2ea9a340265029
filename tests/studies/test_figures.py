"""Pictures of stored results, drawn again from their numbers."""

from __future__ import annotations

import io
import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from lomaq import cli
from lomaq.config import CONF, compose
from lomaq.errors import InputError
from lomaq.studies import dilemma, report, sharing, transfer, voltage
from lomaq.studies.figures import DRAWERS, draw, draw_all
from lomaq.studies.paper import fig6, fig8, fig9, theorem1
from lomaq.studies.paper.bandit import DEFAULTS, run_bandits

SILENT = Console(file=io.StringIO())
CURVE = {"steps": [0, 10], "mean": [1.0, 3.0], "low": [0.0, 2.0], "high": [2.0, 4.0]}
ABOUT = {"env": "cartpole", "n_agents": 3, "references": {"best possible": 600.0}}
ENTRY = {
    "largest_error": 0.5,
    "learned": [[[0.0, 1.0], [1.0, 2.0]]],
    "true": [[[0.0, 1.0], [1.0, 2.0]]],
}
SUMMARIES = {
    "fig8": {"full, elu": ENTRY, "why": "…"},
    "fig9": {"kappa=0": {"curve": CURVE}, "kappa=2": {"curve": CURVE}, "about": ABOUT},
    "fig5_cartpole": {
        "rows": [
            {"task": "cartpole", "method": m, "env_steps": 10, "returns": [5, 7], "iqm": 6.0, "interval": [5.0, 7.0]}
            | {"reference": None}
            for m in ("LOMAQ", "VDN")
        ],
    },
    "dilemma": {
        "references": [{"n_agents": 6, "cost": 5, "optimum": 50.0, "never": 30.0}],
        "results": [
            {"n_agents": 6, "cost": 5, "method": m, "kappa": 1, "permuted": False, "share": [0.5, 0.9]}
            for m in ("LOMAQ", "VDN")
        ],
    },
}


def metrics(folder: Path, n_tests: int) -> None:
    """A stopped run of which ``metrics.csv`` alone was kept."""
    folder.mkdir(parents=True)
    rows = [f"{10 * i},{i},{i},0,9" for i in range(n_tests)]
    head = "env_steps,train_seconds,test_return_mean,test_return_min,test_return_max"
    (folder / "metrics.csv").write_text("\n".join([head, *rows]) + "\n")


def is_picture(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5_000


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_study_is_drawn_from_its_summary_alone(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(SUMMARIES[name]))
    assert draw(folder) == folder / f"{name}.png"
    assert is_picture(folder / f"{name}.png")
    first = (folder / f"{name}.png").read_bytes()
    assert draw(folder).read_bytes() == first


def test_figure_6_is_drawn_from_its_summary_and_its_sections(tmp_path: Path) -> None:
    folder = tmp_path / "fig6"
    config = compose(["experiment=fig6", "study.steps=2", "study.batch=8"])
    settings = {key: value for key, value in config["study"].items() if key != "run"}
    summary = {"settings": settings, **fig6.run(folder, settings, SILENT)}
    (folder / "summary.json").write_text(json.dumps(summary))
    before = (folder / "fig6.png").read_bytes()
    (folder / "fig6.png").unlink()
    assert draw(folder).read_bytes() == before
    (folder / "sections.json").unlink()
    with pytest.raises(InputError, match=r"^fig6: expected sections\.json, got none; python train\.py experiment=fig6"):
        draw(folder)


@pytest.mark.parametrize("max_size", [1, 2])
def test_the_stored_sections_are_the_maps_that_were_learned(max_size: int) -> None:
    training = fig6.Training(seed=0, steps=3, batch=8, lr=0.01, beta2=0.9)
    model = fig6.learn(fig6.Fit(max_size, 0.0), training)
    maps = fig6._maps(json.loads(json.dumps(fig6._section_of(model))))
    with torch.no_grad():
        learned = fig6.learned(model, fig6._section())
    assert list(maps) == list(learned)
    for name, values in learned.items():
        np.testing.assert_allclose(maps[name], values, atol=0.0016)  # three terms, to three decimals each


def test_a_bandit_and_runs_without_a_study_are_drawn(tmp_path: Path) -> None:
    settings = {"n": 2, "K": 2, "d": 2, "T": 200, "repetitions": 2, "partitions": ["singletons"]}
    run_bandits(tmp_path / "bandit", SILENT, **{**DEFAULTS, **settings})
    before = (tmp_path / "bandit" / "bandit.png").read_bytes()
    (tmp_path / "bandit" / "bandit.png").unlink()
    for name in ("one", "two"):
        metrics(tmp_path / "paper" / name, 3)
    (tmp_path / "paper" / "one" / "summary.json").write_text(json.dumps({"env": "nav", "n_agents": 3}))
    metrics(tmp_path / "young" / "run", 0)
    drawn, left = draw_all(tmp_path)
    assert drawn == [tmp_path / "bandit" / "bandit.png", tmp_path / "paper" / "curves.png"]
    assert (tmp_path / "bandit" / "bandit.png").read_bytes() == before
    assert is_picture(tmp_path / "paper" / "curves.png")
    assert left == {"young": "young: expected run folders with tests, got none"}


def test_a_sweep_is_drawn_and_a_search_for_settings_has_no_picture(tmp_path: Path) -> None:
    group = {"env": "nav", "n_agents": 3, "curve": CURVE}
    for name, summary in {"mine": {"groups": {"kappa=1": group}, "failed": {}}, "tune_nav": {"lomaq": {}}}.items():
        metrics(tmp_path / name / "run", 3)
        (tmp_path / name / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "mine" / "sweep.json").write_text("[]")
    drawn, left = draw_all(tmp_path)
    assert drawn == [tmp_path / "mine" / "curves.png"]
    assert is_picture(drawn[0])
    assert left == {"tune_nav": "tune_nav: expected a study with a plot, got one without"}


def test_what_cannot_be_drawn_is_named_and_the_rest_is_drawn(tmp_path: Path, monkeypatch, capsys) -> None:
    for name in ("fig8", "fig9", "dilemma"):
        (tmp_path / "results" / name).mkdir(parents=True)
    (tmp_path / "results" / "fig8" / "summary.json").write_text(json.dumps(SUMMARIES["fig8"]))
    (tmp_path / "results" / "fig9" / "summary.json").write_text(json.dumps({"kappa=0": {"last": [1.0]}}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lomaq", "figures"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    assert (stop.value.code or 0, err) == (0, "")
    assert out.splitlines() == [
        "drawn      results/fig8/fig8.png",
        "left out   dilemma: expected a finished study, with summary.json, got none",
        "left out   fig9: expected the numbers of this version of the study, got none of 'about'; "
        "python train.py experiment=fig9 makes it anew",
    ]


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^results: expected a folder of results, got"):
        draw_all(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"^results: expected a folder with results"):
        draw_all(tmp_path)


def test_every_experiment_with_a_picture_can_be_drawn_again() -> None:
    drawn = {dilemma.report: dilemma.draw, fig8.report: fig8.draw}
    drawn |= {fig9.report: fig9.draw, fig6.run: fig6.draw, voltage.report: voltage.draw}
    drawn |= {report.report: report.draw, sharing.report: report.draw}
    drawn |= {theorem1.run: theorem1.draw, transfer.report: transfer.draw}
    for file in (CONF / "experiment").glob("*.yaml"):
        study = compose([f"experiment={file.stem}"])["study"]
        module, _, name = (study.get("report") or study["run"]).rpartition(".")
        function = getattr(import_module(module), name)
        found = next((draw for start, draw in DRAWERS.items() if file.stem.startswith(start)), None)
        assert found is drawn.get(function), file.stem  # a search for settings has no picture
