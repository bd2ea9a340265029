"""The command line: what a person types and gets, and the commands there are."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from lomaq import cli
from lomaq.cli.commands import COMMANDS
from lomaq.config import RENAMED

# ------------------------------------------------------------------ a good run


def test_a_run_leaves_all_that_the_contract_names(trained: Path) -> None:
    names = {
        "config.yaml",
        "code.json",
        "metrics.csv",
        "results.json",
        "summary.json",
        "curve.png",
        "checkpoints",
        ".lock",
    }
    assert {p.name for p in trained.iterdir()} - {"code.diff"} == names  # that of a checkout with changes
    assert {p.name for p in (trained / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}
    summary = json.loads((trained / "summary.json").read_text())
    required = {"env", "n_agents", "algorithm", "mixer", "kappa", "partition", "seed", "env_steps", "wall_seconds"}
    required |= {"env_steps_per_second", "test_return_mean", "test_return_per_agent", "best_test_return_mean"}
    required |= {"first_env_steps_at", "parameters", "peak_memory_mb", "versions"}
    assert required <= summary.keys()
    assert summary["algorithm"] == "lomaq"
    assert summary["env_steps"] >= 400
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["env"]["n_agents"] == 3


def test_metrics_rise_in_env_steps_and_hold_the_evaluations(trained: Path) -> None:
    rows = list(csv.DictReader((trained / "metrics.csv").read_text().splitlines()))
    steps = [int(row["env_steps"]) for row in rows]
    assert steps == sorted(steps)
    tested = [int(row["env_steps"]) for row in rows if row["test_return_mean"]]
    assert tested[0] == 0
    assert tested[-1] == steps[-1] >= 400
    results = json.loads((trained / "results.json").read_text())["cartpole"]["cartpole-3"]["lomaq"]["seed_0"]
    counts = [entry["step_count"] for name, entry in results.items() if name.startswith("step_")]
    assert counts == tested
    assert all(len(entry["return"]) == 2 for entry in results.values())


def test_the_result_is_one_table_and_the_paths(command, small) -> None:
    status, out, err = command(cli.train_main, *small, "run_dir=shown")
    assert status == 0
    assert "test return, last" in out
    assert "shown/curve.png" in out
    assert "env steps" in err


def test_the_default_folder_names_environment_and_algorithm(command, small, tmp_path) -> None:
    status, _, _ = command(cli.train_main, *small)
    assert status == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("cartpole-lomaq-2")


def test_an_algorithm_with_a_contradicting_axis_is_recorded_as_custom(command, small, tmp_path) -> None:
    assert command(cli.train_main, *small, "reward=team", "run_dir=x")[0] == 0
    assert json.loads((tmp_path / "x" / "summary.json").read_text())["algorithm"] == "custom"


def test_evaluation_prints_one_json_object_also_for_another_number_of_agents(command, trained: Path) -> None:
    status, out, _ = command(cli.evaluate_main, f"checkpoint={trained}", "episodes=3", "env.n_agents=5")
    assert status == 0
    result = json.loads(out)
    assert result["n_agents"] == 5
    assert result["trained_n_agents"] == 3
    assert result["episodes"] == 3
    assert 0 <= result["test_return_mean"] <= result["references"]["best possible"] == 1000


def test_evaluation_repeats_with_its_seed(command, trained: Path) -> None:
    words = (f"checkpoint={trained / 'checkpoints' / 'last.ckpt'}", "episodes=4")
    first, again = (command(cli.evaluate_main, *words)[1] for _ in range(2))
    other = command(cli.evaluate_main, *words, "seed=1")[1]
    assert first == again != other


def test_a_run_goes_on_with_a_larger_total(command, trained: Path) -> None:
    status, _, err = command(cli.train_main, f"resume={trained}", "total_env_steps=600")
    assert status == 0
    assert "a new total of 600" in err
    summary = json.loads((trained / "summary.json").read_text())
    assert summary["env_steps"] >= 600
    steps = [int(r["env_steps"]) for r in csv.DictReader((trained / "metrics.csv").read_text().splitlines())]
    assert steps == sorted(steps)
    assert steps[0] == 0


# --------------------------------------------------------------------- commands


@pytest.mark.parametrize(
    ("name", "word"), [("certify", "tolerance"), ("bandit", "noise_scale"), ("evaluate", "env.KEY")]
)
def test_every_command_helps(command, tmp_path, name, word) -> None:
    for flag in ("--help", "-h"):
        status, out, err = command(cli.main, name, flag)
        assert (status, err) == (0, "")
        assert out.startswith("usage: ")
        assert word in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("word", ["--help", "--cfg"])
def test_what_hydra_answers_itself_trains_nothing(command, tmp_path, word) -> None:
    status, out, err = command(cli.train_main, word, *(["job"] if word == "--cfg" else []))
    assert status == 0
    assert "kappa" in out
    assert err == ""
    assert not list(tmp_path.iterdir())


def test_commands_are_listed_and_others_refused(command) -> None:
    status, out, _ = command(cli.main, "--help")
    assert status == 0
    assert all(f"lomaq {name} " in out for name in ("train", "evaluate", "certify", "bandit"))
    assert command(cli.main)[0] == 2
    status, out, err = command(cli.main, "dance")
    assert (status, out) == (2, "")
    assert err == f"error: lomaq: expected one of {', '.join(('train', *COMMANDS))}, got 'dance'\n"


@pytest.mark.parametrize(
    ("old", "word", "new", "remedy"),
    [
        ("learner.objective.gamma", "learner.objective.gamma=0.9", "learner.objective.returns.gamma", "gamma=…"),
        ("mixer.formerly", "mixer.formerly=3", "mixer.hidden", "mixer.hidden=…"),
        ("learner=formerly", "learner=formerly", "learner=fast", "learner=fast"),
    ],
)
def test_a_setting_of_an_earlier_version_is_refused_by_its_new_name(
    command, monkeypatch, old, word, new, remedy
) -> None:
    monkeypatch.setitem(RENAMED, old, new)
    status, _, err = command(cli.train_main, word)
    assert status == 2
    assert err.startswith(f"error: {old}: expected the setting {new}, ")
    assert err.endswith(f"{remedy}\n")


def test_a_number_is_a_name_for_a_folder(command, small, tmp_path) -> None:
    assert command(cli.train_main, *small, "run_dir=2024")[0] == 0
    assert command(cli.main, "certify", "checkpoint=2024", "output=7", "states=2", "samples=2")[0] == 0
    assert (tmp_path / "7" / "certificate.json").is_file()
