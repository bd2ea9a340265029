"""The command line: what a person types, what they get, and what a mistake answers."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from lomaq import cli
from lomaq.training.checkpoint import load_checkpoint, save_atomic
from lomaq.training.run import train

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run the command line in this process: ``command(cli.train_main, *words)`` → (status, out, err)."""
    monkeypatch.chdir(tmp_path)

    def run(main, *words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


@pytest.fixture
def trained(command, small, tmp_path) -> Path:
    """A finished small run."""
    status, _, err = command(cli.train_main, *small, "run_dir=trained")
    assert status == 0, err
    return tmp_path / "trained"


# ------------------------------------------------------------------ a good run


def test_a_run_leaves_all_that_the_contract_names(trained: Path) -> None:
    names = {"config.yaml", "metrics.csv", "results.json", "summary.json", "curve.png", "checkpoints"}
    assert {p.name for p in trained.iterdir()} == names
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


# -------------------------------------------------------------------- mistakes

MISTAKES = {
    "an unknown key": (["foo=1"], "foo"),
    "an unknown key in a group": (["env.n_agent=3"], "env.n_agent"),
    "an unknown choice": (["env=foo"], "env/foo"),
    "an added key": (["+foo=1"], "+foo=1"),
    "a sign of nothing": (["env=["], "key=value"),
    "a negative kappa": (["kappa=-1"], "kappa"),
    "a word for a number": (["seed=abc"], "seed"),
    "a negative seed": (["seed=-1"], "seed"),
    "no agents": (["env.n_agents=0"], "env.n_agents"),
    "half an agent": (["env.n_agents=1.5"], "env.n_agents"),
    "no steps": (["total_env_steps=0"], "total_env_steps"),
    "a negative learning rate": (["learner.lr=-1"], "learner.lr"),
    "an endless discount": (["learner.objective.gamma=1"], "learner.objective.gamma"),
    "a large lambda": (["learner.objective.lam=1.5"], "learner.objective.lam"),
    "an unknown optimiser": (["learner.optimizer=sgdd"], "learner.optimizer"),
    "more minibatches than sequences": (["learner.minibatches=33"], "learner.minibatches"),
    "a replay without a batch": (["learner.replay_capacity=64"], "learner.batch_size"),
    "an odd width for split": (["mixer.hidden=7", "mixer.activation=split"], "mixer.hidden"),
    "an unknown activation": (["mixer.activation=relu"], "mixer.activation"),
    "an agent twice": (["env.n_agents=3", "partition=[[0,1],[1,2]]"], "partition"),
    "an agent missing": (["env.n_agents=3", "partition=[[0,1]]"], "partition"),
    "an agent unknown": (["env.n_agents=3", "partition=[[0,1],[2,3]]"], "partition"),
    "an unknown partition": (["partition=halves"], "partition"),
    "a missing partition file": (["partition=none.json"], "partition"),
    "an unknown layout": (["env=nav", "env.layout=torus"], "env.layout"),
    "ragged payoffs": (["env=matrix", "env.payoffs=[[[0,1],[1,2]],[[2,1],[1]]]"], "env.payoffs"),
    "a negative threshold": (["evaluation.thresholds_per_agent=[-1]"], "evaluation.thresholds_per_agent"),
    "an unknown accelerator": (["trainer.accelerator=abacus"], "trainer"),
    "no devices": (["trainer.devices=0"], "trainer"),
    "no episodes": (["evaluation.episodes=0"], "evaluation.episodes"),
    "a missing run": (["resume=nowhere"], "nowhere"),
    "a word for a switch": (["deterministic=maybe"], "deterministic"),
    "wrong scales": (["agent.observation_scale=[1,2]"], "agent.observation_scale"),
    "no hidden layers": (["agent.hidden=[]"], "agent.hidden"),
}


@pytest.mark.parametrize(("words", "name"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_with_status_2_and_writes_nothing(command, tmp_path, words, name) -> None:
    status, out, err = command(cli.train_main, *words)
    assert status == 2
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert name in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_an_existing_run_is_never_overwritten(command, trained: Path) -> None:
    before = {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()}
    status, _, err = command(cli.train_main, f"run_dir={trained}")
    assert status == 2
    assert "a new or empty folder" in err
    assert {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()} == before


def test_resume_takes_no_setting_that_decides_what_the_run_is(command, trained: Path) -> None:
    status, _, err = command(cli.train_main, f"resume={trained}", "kappa=2")
    assert status == 2
    assert "kappa" in err


def test_resume_of_a_finished_run_says_what_to_give(command, trained: Path) -> None:
    status, _, err = command(cli.train_main, f"resume={trained}")
    assert status == 2
    assert "total_env_steps=" in err


def test_resume_with_another_number_of_processes_is_refused(command, trained: Path) -> None:
    words = ("total_env_steps=600", "trainer.devices=2", "trainer.strategy=ddp")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, ROOT / "train.py", f"resume={trained}", *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert result.returncode != 0
    assert "1 processes, as in the checkpoint" in result.stderr
    assert "Traceback" not in result.stderr


EVALUATION_MISTAKES = {
    "no checkpoint named": (["episodes=3"], "checkpoint"),
    "no such checkpoint": (["checkpoint=nowhere"], "nowhere"),
    "no episodes": (["checkpoint={run}", "episodes=0"], "episodes"),
    "a setting of training": (["checkpoint={run}", "kappa=2"], "kappa"),
    "an unknown setting": (["checkpoint={run}", "env.foo=2"], "env.foo"),
    "a foreign file": (["checkpoint={run}/summary.json"], "summary.json"),
}


@pytest.mark.parametrize(("words", "name"), EVALUATION_MISTAKES.values(), ids=EVALUATION_MISTAKES.keys())
def test_a_mistake_in_evaluation_is_one_line_with_status_2(command, trained: Path, words, name) -> None:
    status, out, err = command(cli.evaluate_main, *(word.format(run=trained) for word in words))
    assert status == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert name in err


def test_a_checkpoint_of_another_environment_is_refused(command, small) -> None:
    assert command(cli.train_main, *small, "env=nav", "run_dir=nav")[0] == 0
    status, _, err = command(cli.evaluate_main, "checkpoint=nav", "env.n_agents=9")
    assert status == 2
    assert "obs_size" in err


def test_a_game_has_no_thresholds_and_its_checkpoint_fits_no_other_agent_types(command, small, three_agents) -> None:
    short = [word for word in small if word != three_agents("cartpole")]
    status, out, err = command(cli.train_main, "env=matrix", *short, "run_dir=game")
    assert status == 0, err
    assert "no threshold" in out
    status, out, err = command(cli.evaluate_main, "checkpoint=game", three_agents("matrix"))
    assert (status, out, len(err.strip().splitlines())) == (2, "", 1)
    assert "agent types" in err


def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(command, trained: Path, monkeypatch) -> None:
    import torch

    last = trained / "checkpoints" / "last.ckpt"
    before = last.read_bytes()

    def full(content, file) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    status, _, err = command(cli.train_main, f"resume={trained}", "total_env_steps=600")
    assert status == 2
    assert "No space left" in err
    assert last.read_bytes() == before


def test_a_loss_that_is_no_number_stops_the_run_with_the_last_checkpoint_kept(command, small, tmp_path) -> None:
    status, _, err = command(cli.train_main, *small, "learner.lr=1e30", "learner.grad_clip=1e30", "run_dir=bad")
    assert status == 2
    assert "the loss became" in err
    assert "last checkpoint is kept" in err
    assert (tmp_path / "bad" / "checkpoints" / "last.ckpt").is_file()


# ---------------------------------------------------------------- whole processes


def test_help_names_the_settings_that_matter() -> None:
    result = subprocess.run([sys.executable, ROOT / "train.py", "--help"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    for word in ("kappa=1", "partition=singletons", "env: cartpole", "resume="):
        assert word in result.stdout


def test_the_installed_command_works_outside_a_checkout(tmp_path, small) -> None:
    lomaq = Path(sys.executable).with_name("lomaq")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [lomaq, "train", *small, "run_dir=here"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "here" / "summary.json").is_file()
    assert {p.name for p in tmp_path.iterdir()} == {"here"}


def test_two_processes_train_with_own_environments_and_one_set_of_files(tmp_path, small) -> None:
    words = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu", "run_dir=both")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, ROOT / "train.py", *small, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    from lomaq.training.checkpoint import load_checkpoint

    state = load_checkpoint(tmp_path / "both" / "checkpoints" / "last.ckpt")["lomaq"]
    first, second = (rank["collector"]["env"]["offset"] for rank in state["ranks"])
    assert not first.equal(second)
    rows = list(csv.DictReader((tmp_path / "both" / "metrics.csv").read_text().splitlines()))
    assert 60 < int(rows[1]["env_steps"]) <= 80  # both ranks' steps: 2 × 4 environments × 10
    assert result.stdout.count("test return, last") == 1
    again = subprocess.run(
        [sys.executable, ROOT / "train.py", "resume=both", "total_env_steps=600", *words[:3]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "both" / "summary.json").read_text())["env_steps"] >= 600


@pytest.mark.parametrize("word", ["--help", "--cfg"])
def test_what_hydra_answers_itself_trains_nothing(command, tmp_path, word) -> None:
    status, out, err = command(cli.train_main, word, *(["job"] if word == "--cfg" else []))
    assert status == 0
    assert "kappa" in out
    assert err == ""
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------- certificates


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory) -> Path:
    """A finished small run for tests that write nothing into it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(cli.compose(small)[0], folder, Console(file=io.StringIO()))
    return folder


def test_a_certificate_is_one_line_a_check_and_two_files_in_the_run_folder(command, trained: Path) -> None:
    status, out, err = command(cli.main, "certify", f"checkpoint={trained}")
    assert (status, err) == (0, "")
    monotone, local, igm, qsm, truncated, report, picture = out.splitlines()
    assert monotone.startswith("monotone    pass  smallest slope ")
    assert local == "local       pass  not one bit changed in 2 pairs of block and agent beyond 1 hop at 64 states"
    assert igm == "IGM         pass  greedy is best among all 8 joint actions in each of 64 states"
    assert qsm.startswith("QSM         pass  ")
    assert truncated.startswith("truncation        mean error ")
    assert report == f"report     {trained / 'certificate.json'}"
    assert picture == f"picture    {trained / 'certificate.png'}"
    written = json.loads((trained / "certificate.json").read_text())
    assert written["checkpoint"] == str(trained / "checkpoints" / "best.ckpt")
    assert written["passed"] is True
    assert (written["n_agents"], written["n_states"]) == (3, 64)
    assert (trained / "certificate.png").read_bytes().startswith(b"\x89PNG")


def test_a_certificate_goes_where_it_is_told_and_leaves_the_run_alone(command, finished: Path, tmp_path) -> None:
    before = {p: p.read_bytes() for p in finished.rglob("*") if p.is_file()}
    last = finished / "checkpoints" / "last.ckpt"
    words = (f"checkpoint={last}", "states=5", "epsilon=0.5", "tolerance=0.2", "samples=3", "seed=1", "output='a[b]/7'")
    status, out, err = command(cli.main, "certify", *words)
    assert (status, err) == (0, "")
    assert {p.name for p in (tmp_path / "a[b]" / "7").iterdir()} == {"certificate.json", "certificate.png"}
    assert "report     a[b]/7/certificate.json" in out
    assert "in each of 5 states" in out
    written = json.loads((tmp_path / "a[b]" / "7" / "certificate.json").read_text())
    assert written["checkpoint"] == str(last)
    assert written["truncation"]["tolerance"] == 0.2
    assert {p: p.read_bytes() for p in finished.rglob("*") if p.is_file()} == before


def test_a_certificate_repeats_with_its_seed(command, finished: Path) -> None:
    first, again, other = (
        command(cli.main, "certify", f"checkpoint={finished}", f"seed={seed}", f"output={seed}") for seed in (0, 0, 1)
    )
    assert first == again != other


def test_a_mixer_with_negative_weights_gets_no_certificate_and_status_1(command, small, tmp_path) -> None:
    assert command(cli.train_main, *small, "mixer.monotonicity=projection", "run_dir=run")[0] == 0
    assert command(cli.main, "certify", "checkpoint=run")[0] == 0
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    content = load_checkpoint(best)
    content["state_dict"]["networks.mixer.w1"][0] = -1.0  # where the first agent of a neighbourhood enters
    save_atomic(content, best)
    status, out, err = command(cli.main, "certify", "checkpoint=run")
    assert (status, err) == (1, "")
    monotone, local, *_ = out.splitlines()
    assert monotone.startswith("monotone    FAIL  smallest slope -")
    assert " negative (" in monotone
    assert local.startswith("local       pass")
    assert json.loads((tmp_path / "run" / "certificate.json").read_text())["passed"] is False
    assert (tmp_path / "run" / "certificate.png").is_file()


def test_the_page_on_certificates_names_every_key_of_the_file_and_shows_its_picture(command, small, tmp_path) -> None:
    page = (ROOT / "docs" / "certificate.md").read_text()
    assert command(cli.train_main, *small, "env=sysadmin", "evaluation.references=false", "run_dir=run")[0] == 0
    assert command(cli.main, "certify", "checkpoint=run")[0] == 0
    written = json.loads((tmp_path / "run" / "certificate.json").read_text())
    assert written["exact"] is not None
    for key, value in written.items():
        (row,) = [line for line in page.splitlines() if line.startswith("| `") and f"`{key}`" in line.split("|")[1]]
        assert all(f"`{inner}`" in row for inner in (value if isinstance(value, dict) else ()))
    assert (ROOT / "docs" / "images" / "certificate.png").is_file()
    assert "](images/certificate.png)" in page


CERTIFY_MISTAKES = {
    "no checkpoint named": (["states=8"], "checkpoint"),
    "no such checkpoint": (["checkpoint=nowhere"], "nowhere"),
    "an unknown key": (["checkpoint={run}", "state=8"], "state"),
    "a setting of the environment": (["checkpoint={run}", "env.n_agents=5"], "env.n_agents"),
    "a word for a number": (["checkpoint={run}", "states=many"], "states"),
    "one state": (["checkpoint={run}", "states=1"], "states"),
    "a large epsilon": (["checkpoint={run}", "epsilon=2"], "epsilon"),
    "no tolerance": (["checkpoint={run}", "tolerance=0"], "tolerance"),
    "no samples": (["checkpoint={run}", "samples=0"], "samples"),
    "a seed that no generator takes": (["checkpoint={run}", "seed=99999999999999999999"], "seed"),
    "a file for a folder": (["checkpoint={run}", "output={run}/config.yaml"], "output"),
    "a file above the folder": (["checkpoint={run}", "output={run}/config.yaml/here"], "config.yaml"),
    "a foreign file": (["checkpoint={run}/summary.json"], "summary.json"),
    "a sign of nothing": (["checkpoint={run}", "states"], "states"),
}


@pytest.mark.parametrize(("words", "name"), CERTIFY_MISTAKES.values(), ids=CERTIFY_MISTAKES.keys())
def test_a_mistake_in_certify_is_one_line_with_status_2_and_writes_nothing(
    command, finished: Path, words, name
) -> None:
    before = set(finished.rglob("*"))
    status, out, err = command(cli.main, "certify", *(word.format(run=finished) for word in words))
    assert (status, out, len(err.strip().splitlines())) == (2, "", 1), err
    assert err.startswith("error: ")
    assert name in err
    assert set(finished.rglob("*")) == before


# ---------------------------------------------------------------------- bandits

TINY = ("n=2", "K=2", "d=2", "T=200", "repetitions=2", "partitions=[singletons,[[0,1]]]")


def test_a_bandit_study_leaves_its_numbers_and_its_picture(command, tmp_path) -> None:
    status, out, err = command(cli.main, "bandit", *TINY, "run_dir=study")
    assert (status, out) == (0, "")
    assert "bandit.json and bandit.png are in study" in err
    assert {p.name for p in (tmp_path / "study").iterdir()} == {"bandit.json", "bandit.png"}
    result = json.loads((tmp_path / "study" / "bandit.json").read_text())
    assert result["settings"]["T"] == result["rounds"][-1] == 200
    assert set(result["partitions"]) == {"singletons", "[[0, 1]]"}


def test_the_default_folder_of_a_bandit_study_is_among_the_runs(command, tmp_path) -> None:
    assert command(cli.main, "bandit", *TINY)[0] == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("bandit-2")


def test_a_folder_with_a_study_is_refused_and_stays_as_it_is(command, tmp_path) -> None:
    assert command(cli.main, "bandit", *TINY, "run_dir=7")[0] == 0
    before = {p: p.read_bytes() for p in (tmp_path / "7").iterdir()}
    status, out, err = command(cli.main, "bandit", *TINY, "run_dir=7", "seed=1")
    assert (status, out) == (2, "")
    assert err == "error: run_dir: expected one without a bandit.json, got 7; choose another\n"
    assert {p: p.read_bytes() for p in (tmp_path / "7").iterdir()} == before


BANDIT_MISTAKES = {
    "an unknown key": (["k=3"], "k"),
    "a key of another command": (["checkpoint=x"], "checkpoint"),
    "few rounds": (["T=50"], "T"),
    "an unknown partition": (["partitions=[trios]"], "partition"),
    "a list without brackets": (["partitions=singletons,full"], "key=value"),
    "a file for a folder": (["run_dir=file"], "run_dir"),
}


@pytest.mark.parametrize(("words", "name"), BANDIT_MISTAKES.values(), ids=BANDIT_MISTAKES.keys())
def test_a_mistake_in_bandit_is_one_line_with_status_2_and_writes_nothing(command, tmp_path, words, name) -> None:
    (tmp_path / "file").touch()
    status, out, err = command(cli.main, "bandit", *words)
    assert (status, out, len(err.strip().splitlines())) == (2, "", 1), err
    assert name in err
    assert {p.name for p in tmp_path.iterdir()} == {"file"}


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


def test_commands_are_listed_and_others_refused(command) -> None:
    status, out, _ = command(cli.main, "--help")
    assert status == 0
    assert all(f"lomaq {name} " in out for name in ("train", "evaluate", "certify", "bandit"))
    assert command(cli.main)[0] == 2
    status, out, err = command(cli.main, "dance")
    assert (status, out) == (2, "")
    assert err == f"error: lomaq: expected one of {', '.join(cli.COMMANDS)}, got 'dance'\n"


def test_a_number_is_a_name_for_a_folder(command, small, tmp_path) -> None:
    assert command(cli.train_main, *small, "run_dir=2024")[0] == 0
    assert command(cli.main, "certify", "checkpoint=2024", "output=7")[0] == 0
    assert (tmp_path / "7" / "certificate.json").is_file()
