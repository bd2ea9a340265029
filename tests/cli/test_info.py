"""What stored runs say: ``lomaq info``, ``lomaq compare``, help and completion."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from lomaq import cli
from lomaq.cli.commands import COMMANDS
from lomaq.cli.usage import settings
from lomaq.config import compose
from lomaq.errors import InputError
from lomaq.plots.curves import Curve
from lomaq.runs.record import find_runs, read_run

ROOT = Path(__file__).resolve().parents[2]
HEADER = "env_steps,train_seconds,epsilon,loss,test_return_mean,test_return_min,test_return_max"


@pytest.fixture
def command(command):
    """Run the command line in this process: ``command("info", *words)`` → (status, out, err)."""
    return functools.partial(command, cli.main)


@functools.cache
def configuration(words: tuple[str, ...]) -> str:
    return yaml.safe_dump(compose(["env.n_agents=3", "total_env_steps=400", *words]))


def stored(folder: Path, tests: list[tuple[int, float, float, float]], *words: str) -> Path:
    """A run folder that has not ended: ``config.yaml`` and ``metrics.csv`` with ``(steps, mean, min, max)`` tests."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(configuration(words))
    lines = [f"{steps},{steps / 100},0.5,1.0,{mean},{low},{high}" for steps, mean, low, high in tests]
    (folder / "metrics.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    return folder


# ------------------------------------------------------------------------ info


def test_a_run_that_has_not_ended_says_how_far_and_how_good_it_is(command, tmp_path) -> None:
    stored(tmp_path / "run", [(0, 20.0, 10, 30), (120, 450.0, 400, 500), (200, 310.0, 300, 320)])
    status, out, err = command("info", "run=run")
    assert (status, err) == (0, "")
    lines = {line[:14].strip(): line[14:] for line in out.splitlines()}
    assert lines["state"].startswith("running or stopped, 200 of 400 env steps (50%), last written 2")
    assert lines["env"] == "cartpole, 3 agents"
    assert lines["algorithm"] == "lomaq, seed 0"
    assert lines["mixer"] == "mlp, κ=1"
    assert lines["last test"] == "310.0 at 200 env steps"
    assert lines["best test"] == "450.0 at 120 env steps"
    assert lines["first reached"] == "300 at 120, 400 at 120"
    assert lines["speed"] == "100 env steps/s, 2.0 s of training"
    assert "metrics.csv" in lines["files"]
    assert "continue" not in lines  # there is no checkpoint


def test_a_finished_run_says_how_to_continue_and_how_to_play_it(command, run_small) -> None:
    folder, summary = run_small("a=1,[2 3]", "evaluation.every_env_steps=1000")
    status, out, err = command("info", f"run={folder}")
    assert (status, err) == (0, "")
    assert f"finished, {summary['env_steps']} of 400 env steps" in out
    assert f"lomaq train 'resume={folder}' total_env_steps=800" in out
    assert f"lomaq evaluate 'checkpoint={folder}' episodes=100" in out
    assert f"{summary['test_return_mean']:,.1f} at {summary['env_steps']} env steps" in out
    status, out, err = command("evaluate", f"checkpoint={folder}", "episodes=2")  # a name with signs, as it was said
    assert (status, err) == (0, "")


def test_a_run_that_a_test_ended_says_so_and_is_resumed_only_beyond_it(command, small) -> None:
    stop = "evaluation.stop_at=0"  # the first test reaches it
    status, out, err = command("train", *small, stop, "run_dir=run")
    assert status == 0, err
    assert "0, where a test reached 0" in out
    out = command("info", "run=run")[1]
    assert "finished, 0 of 400 env steps: a test reached evaluation.stop_at=0" in out
    assert "lomaq train resume=run evaluation.stop_at=null" in out
    status, _, err = command("train", "resume=run", "total_env_steps=800")
    assert (status, err.count("\n")) == (2, 1)
    assert "evaluation.stop_at=0 at 0 env steps; give evaluation.stop_at=null" in err
    status, _, err = command("train", "resume=run", "evaluation.stop_at=null", "total_env_steps=80")
    assert status == 0, err
    assert "of 80 env steps\n" in command("info", "run=run")[1]


def test_a_run_without_a_test_or_of_an_oracle_is_described_too(command, tmp_path, run_small) -> None:
    stored(tmp_path / "young", [])
    assert "0 of 400 env steps (0%)" in command("info", "run=young")[1]
    run_small("oracle", "env=sysadmin", "algo=oracle")
    status, out, _ = command("info", "run=oracle")
    assert status == 0
    assert "played, nothing is learned" in out
    assert "last test" in out


def test_a_run_of_an_earlier_version_is_described_under_the_name_that_its_files_have(command, tmp_path) -> None:
    for name, summary in (("ended", '{"env": "cartpole", "n_agents": 3, "algorithm": "custom"}'), ("stopped", None)):
        folder = stored(tmp_path / name, [(0, 20.0, 10, 30)])
        config = yaml.safe_load((folder / "config.yaml").read_text())
        del config["method"]
        config["algo"] = {"name": "vdn", "plays": "utilities", "requires": {"mixer.name": ["sum"]}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        if summary is not None:
            (folder / "summary.json").write_text(summary)
    assert "custom, seed 0" in command("info", "run=ended")[1]
    assert "vdn, seed 0" in command("info", "run=stopped")[1]
    status, _, err = command("compare", "run=ended", "run=stopped")
    assert (status, err) == (0, "")


def test_settings_are_shown_with_where_they_come_from(command) -> None:
    status, out, err = command("info", "config=env=nav algo=vdn learner=searched learner.lr=0.1", "config=agent=gru")
    assert (status, err) == (0, "")
    found = {line.split()[0]: re.split(r"  +", line, maxsplit=2)[1:] for line in out.splitlines() if "  " in line}
    assert found["learner.lr"] == ["0.1", "command line"]
    assert found["learner.objective.returns.lam"] == ["0.8", "search, algo/vdn.yaml"]
    assert found["learner.objective.returns.gamma"] == ["0.95", "environment, env/nav.yaml"]
    assert found["mixer.independent"] == ["false", "mixer, mixer/sum.yaml"]
    assert found["partition"] == ["full", "method, algo/vdn.yaml"]
    assert found["agent.hidden"] == ["[64, 64]", "agent, agent/gru.yaml"]
    assert found["learner.optimizer"] == ["radam", "learner, learner/fast.yaml"]
    assert found["total_env_steps"] == ["400000", "environment, env/nav.yaml"]
    assert found["kappa"] == ["1", "default, train.yaml"]


def test_a_part_of_a_group_that_was_typed_comes_from_the_command_line_and_the_rest_does_not(command) -> None:
    words = "env=sysadmin learner.epsilon={end:0.1} mixer.monotonicity=projection"
    found = {line.split()[0]: line[71:].strip() for line in command("info", f"config={words}")[1].splitlines()}
    assert found["learner.epsilon.end"] == found["mixer.monotonicity"] == "command line"
    assert found["learner.epsilon.start"] == "learner, learner/fast.yaml"
    assert found["learner.epsilon.anneal_env_steps"] == "environment, env/sysadmin.yaml"
    assert found["mixer.weight_sharing"] == "environment, env/sysadmin.yaml"


# --------------------------------------------------------------------- compare


def test_runs_side_by_side_show_what_differs_and_what_came_out(command, tmp_path) -> None:
    stored(tmp_path / "a" / "run", [(0, 1.0, 0, 2), (200, 310.5, 300, 320)])
    stored(tmp_path / "b" / "run", [(0, 2.0, 1, 3)], "kappa=2", "learner.lr=0.01")
    status, out, err = command("compare", "run=a/run", "run=b/run", "output=here")
    assert (status, err) == (0, "")
    rows = {
        cells[0]: cells[1:] for line in out.splitlines() if "│" in line and (cells := line.replace("│", " ").split())
    }
    assert rows["kappa"] == ["1", "2"]
    assert rows["learner.lr"] == ["0.003", "0.01"]
    assert "seed" not in rows
    assert rows["last"][1:] == ["310.5", "2"]  # last test
    content = json.loads((tmp_path / "here" / "compare.json").read_text())
    assert content["groups"] == []
    found = content["runs"]
    assert list(found) == ["a/run", "b/run"]
    assert found["a/run"]["first 300 at"] == 200
    assert found["b/run"]["first 300 at"] is None
    assert found["a/run"]["curve"] == {"steps": [0, 200], "mean": [1, 310.5], "low": [0, 300], "high": [2, 320]}
    assert (tmp_path / "here" / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_many_runs_stand_below_each_other_and_patterns_name_them_once(command, tmp_path) -> None:
    for number in range(9):
        stored(tmp_path / "runs" / f"number={number},algo=lomaq", [(0, number, number, number)], f"kappa={number}")
    (tmp_path / "runs" / "notes").mkdir()
    status, out, _ = command("compare", "run=[runs/num*,'runs/number=1,algo=lomaq']")
    assert status == 0
    assert sum("algo=lomaq" in line for line in out.splitlines()) == 9
    (folder,) = (tmp_path / "runs").glob("compare-2*")
    assert {p.name for p in folder.iterdir()} == {"compare.json", "compare.png"}


def test_runs_that_differ_by_their_seeds_alone_are_one_row_with_an_interval(command, tmp_path) -> None:
    for seed, (ours, theirs) in enumerate([(4.0, 1.0), (6.0, 5.0), (8.0, 6.0)]):
        for algo, last, more in (("lomaq", ours, "kappa=1"), ("vdn", theirs, "learner.lr=0.003")):
            tests = [(0, 0.0, 0, 0), (200, 2.0, 1, 3), (400, last, last, last)]
            stored(tmp_path / "runs" / f"{algo},{seed}", tests, f"algo={algo}", f"seed={seed}", more)
    stored(tmp_path / "runs" / "vdn,fast", [(0, 0.0, 0, 0)], "algo=vdn", "learner.lr=0.01")
    status, out, err = command("compare", "run=runs/*", "output=.")
    assert (status, err) == (0, "")
    assert "cartpole, 3 agents, 400 env steps" in out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    assert [row[0] for row in rows] == ["lomaq", "vdn, lr=0.003", "vdn, lr=0.01"]
    assert rows[0] == ["lomaq", "3", "6 (4 to 8)", "4", "4 (3 to 5)", "–"]
    assert rows[1][1:4] == ["3", "4 (1 to 6)", "1"]
    assert rows[1][5].startswith(f"{(0 + 1 + 1.5) / 9:.2f} (")  # 5 beats 4; 6 beats 4 and is equal to 6
    content = json.loads((tmp_path / "compare.json").read_text())
    assert len(content["runs"]) == 7
    first = content["groups"][0]
    assert (first["seeds"], first["returns"], first["interval"]) == ([0, 1, 2], [4, 6, 8], [4, 8])
    assert first["curve"] == {"steps": [0, 200, 400], "mean": [0, 2, 6], "low": [0, 2, 4], "high": [0, 2, 8]}


MISTAKES = {
    "no run named": (["info"], "run=PATH"),
    "no such run": (["info", "run=nowhere"], "nowhere"),
    "a folder that is no run": (["info", "run=/dev"], "metrics.csv"),
    "a damaged run": (["info", "run=damaged"], "damaged"),
    "an unknown key": (["info", "run=one", "checkpoint=x"], "checkpoint"),
    "a run and settings": (["info", "run=one", "config=kappa=2"], "both"),
    "an unknown setting": (["info", "config=kapa=2"], "kapa"),
    "one run alone": (["compare", "run=one"], "at least two runs"),
    "the same run twice": (["compare", "run=one", "run=o*"], "at least two runs"),
    "a pattern of nothing": (["compare", "run=one", "run=x*"], "x*"),
    "runs without a test": (["compare", "run=young", "run=younger"], "a test"),
    "a file for a folder": (["compare", "run=one", "run=young", "output=damaged/metrics.csv"], "output"),
}


@pytest.mark.parametrize(("words", "name"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_with_status_2_and_writes_nothing(command, tmp_path, words, name) -> None:
    stored(tmp_path / "one", [(0, 1.0, 1, 1)])
    stored(tmp_path / "young", [])
    stored(tmp_path / "younger", [])
    shutil.copytree(tmp_path / "one", tmp_path / "damaged")
    (tmp_path / "damaged" / "config.yaml").write_text("{")
    before = set(tmp_path.rglob("*"))
    status, out, err = command(*words)
    assert (status, out, len(err.strip().splitlines())) == (2, "", 1), err
    assert name in err
    assert set(tmp_path.rglob("*")) == before


def test_rows_of_metrics_that_were_cut_short_are_passed_over(tmp_path) -> None:
    folder = stored(tmp_path / "run", [(0, 1.5, 1, 2)])
    with (folder / "metrics.csv").open("a") as file:
        file.write("90,0.9,0.5,1.0,,,\n100,1.0,0.5,1.0,3.0")  # a row without a test, and one that is being written
    run = read_run(folder)
    assert run.tests == Curve([0], [1.5], [1], [2])
    assert run.env_steps == 90
    assert run.tests.first_at(1.5) == 0
    assert run.tests.first_at(2) is None


def test_a_folder_whose_name_is_a_pattern_is_found_by_its_name(tmp_path) -> None:
    folder = stored(tmp_path / "partition=[[0,1],[2]]", [])
    assert find_runs([str(folder)]) == [folder]
    with pytest.raises(InputError, match="a pattern that run folders match"):
        find_runs([str(tmp_path / "none*")])


# -------------------------------------------------------------- help, completion


def test_both_helps_show_the_same_twelve_settings_and_four_examples(command) -> None:
    lines = settings().splitlines()
    assert len([line for line in lines if re.match(r"  \S", line)]) == 12
    assert max(map(len, lines)) <= 120
    for words in (["--help"], ["train", "--help"]):
        status, out, _ = command(*words)
        assert status == 0
        assert settings() in out
        _, _, examples = out.partition("Examples:\n")
        assert [line.split()[0] for line in examples.splitlines()[:4]] in (["lomaq"] * 4, ["python"] * 4)
        assert examples.count("\n") == 4 or examples.splitlines()[4] == ""


def test_the_settings_of_the_help_are_settings(command) -> None:
    words = [line.split()[0] for line in settings().splitlines()[1:] if re.match(r"  \S", line)]
    assert compose([word for word in words if "FOLDER" not in word])


def test_every_command_is_listed_and_helps(command) -> None:
    listed = command("--help")[1]
    assert "\n  train " in listed
    for name in COMMANDS:
        assert f"\n  {name} " in listed
        status, out, err = command(*name.split(), "--help")
        assert (status, err) == (0, "")
        assert out.startswith("usage: ")


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """What bash offers for a line that is being typed."""
    from lomaq.cli.completion import bash_script

    folder = tmp_path_factory.mktemp("completion")
    (folder / "lomaq").write_text(bash_script({name: [*command.defaults] for name, command in COMMANDS.items()}))
    (folder / "runs").mkdir()

    def answer(line: str) -> set[str]:
        script = f"""
            source ./lomaq
            compopt() {{ :; }}
            COMP_LINE='{line}'; COMP_POINT={len(line)}; COMP_WORDS=({line}); COMP_CWORD={len((line + "x").split()) - 1}
            _lomaq; printf '%s\\n' "${{COMPREPLY[@]}}" """
        done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=20)
        assert (done.returncode, done.stderr) == (0, "")
        return set(done.stdout.split())

    return answer


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    {
        "lomaq co": ["compare", "completion"],
        "lomaq train kap": ["kappa="],
        "lomaq train env=nav algo=iql": ["iql", "iql_local", "iql_nbr"],
        "lomaq train logger=": ["csv", "mlflow", "none", "tensorboard", "wandb"],
        "lomaq train learner.objective.returns.la": ["learner.objective.returns.lam="],
        "lomaq compare ": ["run=", "output=", "modules="],
        "lomaq info run=ru": ["runs"],
        "lomaq evaluate ep": ["episodes="],
        "lomaq graph dis": ["discover"],
    }.items(),
    ids=str,
)
def test_bash_completes(complete, line, offered) -> None:
    assert complete(line) == set(offered)


def test_the_script_is_printed_and_hydras_is_refused_where_it_cannot_work(command) -> None:
    status, out, err = command("completion")
    assert (status, err) == (0, "")
    assert out.endswith("complete -F _lomaq lomaq\n")
    status, out, err = command("train", "--shell-completion", "install=bash")
    assert (status, out) == (2, "")
    assert "lomaq completion" in err
