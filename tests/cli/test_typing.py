"""Slips of a first hour: each is one line with what was meant, or simply works."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from lomaq import cli
from lomaq.cli.output import called
from lomaq.cli.tables import print_run
from lomaq.config import compose
from lomaq.config.words import as_typed
from lomaq.errors import InputError
from lomaq.inputs.plain import changed
from lomaq.runs.files import free_path
from lomaq.runs.record import find_runs

# ----------------------------------------------------------------- what was meant

SLIPS = {
    "n_agents=3": "did you mean env.n_agents?",
    "agents=3": "did you mean env.n_agents?",
    "env.nagents=3": "did you mean env.n_agents?",
    "lr=0.1": "did you mean learner.lr?",
    "learner.lrr=0.1": "did you mean learner.lr?",
    "learning_rate=0.1": "did you mean learner.lr?",
    "gamma=0.9": "did you mean learner.objective.returns.gamma?",
    "alg=vdn": "did you mean algo?",
    "algorithm=vdn": "did you mean algo?",
    "device=cuda": "did you mean trainer.accelerator=gpu?",
    "steps=1000": "did you mean total_env_steps?",
    "n_envs=8": "did you mean learner.n_envs?",
    "envs=nav": "did you mean env?",
    "learnr=fast": "did you mean learner?",
    "mixr=gcn": "did you mean mixer?",
    "kapa=2": "did you mean kappa?",
    "env=navv": "env: expected one of cartpole, .*, got navv; did you mean env=nav?",
    "algo=lomaqq": "did you mean algo=lomaq?",
    "algo=gcn": "did you mean mixer=gcn?",
    "nav": "nav: expected a setting as key=value, got a word alone; did you mean env=nav?",
    "env.graph=ring": "one that only env=pettingzoo or polymatrix or sysadmin have",
    "seed=0,1": "seed: expected one value without -m, .* -m seed=0,1 trains a run for each",
}


@pytest.mark.parametrize(("word", "line"), SLIPS.items(), ids=SLIPS.keys())
def test_a_mistyped_setting_names_what_may_be_meant(word: str, line: str) -> None:
    with pytest.raises(InputError, match=line.replace("?", r"\?")) as error:
        compose([word])
    assert "\n" not in str(error.value)


def test_a_setting_that_nothing_resembles_gets_no_guess() -> None:
    with pytest.raises(InputError, match=r"got an unknown one; lomaq train --cfg job lists all$"):
        compose(["xyz123=1"])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("trian", "env=nav"), "did you mean lomaq train?"),
        (("new",), "did you mean lomaq new env?"),
        (("evaluate", "x", "n_agents=4"), "did you mean env.n_agents?"),
        (("evaluate", "x", "episode=4"), "did you mean episodes?"),
        (("evaluate", "x", "y"), "y: expected one checkpoint, and settings as key=value, got a second"),
        (("evaluate", "{run}", "env.nagents=4"), "did you mean env.n_agents? config.yaml of the run has all"),
        (("graph", "{run}"), "checkpoint={run} is a run, file={run} a graph file"),
        (("compare", "{run}"), "name more: lomaq compare A B"),
    ],
)
def test_a_mistyped_command_names_what_may_be_meant(command, trained_once, words, line) -> None:
    status, out, err = command(cli.main, *(word.format(run=trained_once) for word in words))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert line.format(run=trained_once) in err


# -------------------------------------------------------------------- whole numbers


def test_1e5_is_a_whole_number_where_only_one_will_do() -> None:
    config = compose(
        ["total_env_steps=1e5", "env.n_agents=4e0", "agent.hidden=[6.4e1,32]", "learner.lr=1e0", "seed=1e1"]
    )
    assert (config["total_env_steps"], config["env"]["n_agents"], config["seed"]) == (100_000, 4, 10)
    assert {type(x) for x in (config["total_env_steps"], *config["agent"]["hidden"])} == {int}
    assert type(config["learner"]["lr"]) is float
    stored = changed(config, {"total_env_steps": 4e4, "env.n_agents": 5.0, "learner.lr": 2.0})
    assert (
        json.dumps([stored["total_env_steps"], stored["env"]["n_agents"], stored["learner"]["lr"]]) == "[40000, 5, 2.0]"
    )
    with pytest.raises(InputError, match=r"total_env_steps: expected a whole number from 1 to \d+, got 1\.5"):
        compose(["total_env_steps=1.5"])


def test_numbers_of_a_command_are_whole_too(command, trained: Path) -> None:
    status, out, err = command(cli.main, "evaluate", "trained", "episodes=2e0", "seed=1e1", "env.n_agents=4e0")
    assert (status, err) == (0, "")
    assert [json.loads(out)[key] for key in ("episodes", "seed", "n_agents")] == [2, 10, 4]


# ------------------------------------------------------------- paths without a key


def test_commands_take_bare_paths_and_folders_of_runs(command, trained: Path, tmp_path) -> None:
    folder = tmp_path / "my sweep [é], 1"
    for name in ("seed=0", "seed=1"):
        shutil.copytree(trained, folder / name)
    assert find_runs([str(folder)]) == [folder / "seed=0", folder / "seed=1"]
    status, out, err = command(cli.main, "info", "trained")
    assert (status, err) == (0, "")
    assert out.startswith("run           trained\n")
    status, out, err = command(cli.main, "info", folder.name)
    assert (status, err) == (0, "")
    assert [sum(name in line and "finished" in line for line in out.splitlines()) for name in ("=0", "=1")] == [1, 1]
    for words in ([folder.name], [f"{folder.name}/seed=0", "trained"]):
        status, out, err = command(cli.main, "compare", *words)
        assert (status, err) == (0, "")
        assert out.splitlines()[-1].startswith("numbers    runs/compare-2")
    status, _, err = command(cli.evaluate_main, folder.name)
    assert (status, err.count("\n")) == (2, 1)
    assert err.endswith(f"; it holds 2 runs, the last of which is 'checkpoint={folder.name}/seed=1'\n")


def test_a_damaged_run_among_others_says_so(command, trained: Path) -> None:
    (trained / "config.yaml").write_text("x: [")
    status, out, err = command(cli.main, "info", ".")
    assert (status, err) == (0, "")
    assert "config.yaml" in out


def test_files_of_settings_are_taken_as_they_are_typed(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert as_typed("env.graph=~/é [1], x/g.csv.gz") == "env.graph='/home/somebody/é [1], x/g.csv.gz'"
    assert as_typed("env.net=~/my net/a.net.xml") == "env.net='/home/somebody/my net/a.net.xml'"
    assert as_typed("env.graph=./graph of mine") == "env.graph='./graph of mine'"
    assert as_typed("env.graph=ring") == "env.graph=ring"


# ------------------------------------------------------------------- other files

FOREIGN = {
    "a text": (cli.evaluate_main, ["README.md"], "got the file README.md"),
    "a text to resume": (cli.train_main, ["resume=README.md"], "resume: expected a checkpoint file or a run folder"),
    "settings": (cli.evaluate_main, ["trained/config.yaml"], "give its run, checkpoint=trained"),
    "settings to resume": (cli.train_main, ["resume=trained/config.yaml"], "give its run, resume=trained"),
    "a folder of runs": (cli.train_main, ["resume=."], "it holds 1 run, the last of which is resume=trained"),
}


@pytest.mark.parametrize(("main", "words", "line"), FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_no_checkpoint_is_refused_in_plain_words(command, trained, tmp_path, main, words, line) -> None:
    (tmp_path / "README.md").write_text("# hello")
    status, out, err = command(main, *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert line in err
    assert "zip" not in err


# ------------------------------------------------------------------------- hints

SUMMARY = {
    **{"algorithm": "lomaq", "env": "nav", "n_agents": 3, "env_steps": 400, "wall_seconds": 1.0, "mixer": "mlp"},
    **{"test_return_mean": 1.0, "best_test_return_mean": 1.0, "test_return_per_agent": 0.5, "references": {}},
    **{"test_metrics": {}, "env_steps_per_second": 1.0, "kappa": 1, "n_blocks": 1, "parameters": 5},
}


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ({}, "no threshold"),
        ({"300": None, "400": None}, "none of 300, 400"),
        ({"300": 21_000, "400": None}, "300 at 21 K"),
    ],
)
def test_no_threshold_and_none_reached_are_told_apart(monkeypatch, capsys, first, said) -> None:
    monkeypatch.setattr(sys, "argv", ["lomaq"])
    print_run({"env": {}}, {**SUMMARY, "first_env_steps_at": first}, Path("runs/a b"))
    out = capsys.readouterr().out
    assert f"first reached     │ {said} " in out
    assert out.splitlines()[-1] == "play       lomaq evaluate 'checkpoint=runs/a b'"


def test_hints_are_commands_as_they_are_typed_here_with_the_modules_they_need(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: {"python": sys.executable, "lomaq": "/bin/lomaq"}.get(name))
    for argv, said in {"lomaq": "lomaq evaluate", "train.py": "python evaluate.py"}.items():
        monkeypatch.setattr(sys, "argv", [argv])
        assert called("evaluate") == said
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    for argv, said in {".venv/bin/lomaq": ".venv/bin/lomaq evaluate", "../x/train.py": "../x/evaluate.py"}.items():
        monkeypatch.setattr(sys, "argv", [argv])
        assert called("evaluate").endswith(said)
    assert called("evaluate").startswith(".venv/bin/python ")
    config = {"env": {"_target_": "mine.Env", "graph": "a:b"}, "mixer": {"_target_": "lomaq.mixers.SumMixer"}}
    print_run(config, {**SUMMARY, "first_env_steps_at": {}}, Path("run"))
    assert capsys.readouterr().out.endswith(" checkpoint=run modules=mine\n")


# ---------------------------------------------------------------- what is written


def test_a_name_that_is_taken_gets_a_number(tmp_path) -> None:
    assert free_path(tmp_path / "graph.png") == tmp_path / "graph.png"
    for name in ("graph.png", "graph-2.json", "policy-onnx"):
        (tmp_path / name).touch()
    assert free_path(tmp_path / "graph.png") == tmp_path / "graph-2.png"
    assert free_path(tmp_path / "graph.png", ".json") == tmp_path / "graph-3.png"
    assert free_path(tmp_path / "policy-onnx") == tmp_path / "policy-onnx-2"


def test_no_film_is_overwritten(command, trained: Path, tmp_path, monkeypatch) -> None:
    (tmp_path / "episode.gif").write_text("mine")
    monkeypatch.setattr("lomaq.cli.commands.evaluate.check_render", str)
    monkeypatch.setattr("lomaq.cli.commands.evaluate.film_checkpoint", lambda *given: Path(given[-1]).touch())
    status, out, _ = command(cli.evaluate_main, "trained", "episodes=1", "render=episode.gif")
    assert (status, json.loads(out)["film"]) == (0, "episode-2.gif")
    assert (tmp_path / "episode.gif").read_text() == "mine"


def test_pictures_of_a_run_go_to_its_folder(command, trained: Path, tmp_path) -> None:
    before = {*tmp_path.iterdir()}
    assert command(cli.main, "graph", "checkpoint=trained")[1].endswith(": trained/graph.png\n")
    assert {*tmp_path.iterdir()} == before


def test_a_new_budget_of_a_resumed_run_is_shown_everywhere(command, trained: Path, tmp_path) -> None:
    shutil.copytree(trained, tmp_path / "before")
    assert command(cli.train_main, "resume=trained", "total_env_steps=4.8e2")[0] == 0
    assert yaml.safe_load((trained / "config.yaml").read_text())["total_env_steps"] == 480
    assert "of 480 env steps" in command(cli.main, "info", "trained")[1]
    rows = [line.split() for line in command(cli.main, "compare", "before", "trained")[1].splitlines()]
    assert ["│", "total_env_steps", "│", "400", "│", "480", "│"] in rows
