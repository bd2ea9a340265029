"""The commands on PettingZoo environments: check, train, resume, evaluate, discover."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lomaq import cli
from lomaq.envs import PettingZoo
from lomaq.errors import EnvError
from lomaq.graphs import AgentGraph
from lomaq.testing import check_env
from lomaq.testing.checks import CHECKS, Failure

pytest.importorskip("gymnasium")
GAME = ("env=pettingzoo", "env.factory=zoo_games:row", "env.processes=1")
SMALL = ("learner.n_envs=2", "learner.rollout_steps=10", "learner.minibatches=2", "evaluation.episodes=2")


@contextmanager
def closing_all(make):
    with ExitStack() as opened:
        yield lambda *sizes: opened.enter_context(make(*sizes))


def makes(game: str, **args):
    return lambda n_envs, seed, device: PettingZoo(
        f"zoo_games:{game}", args, processes=1, n_envs=n_envs, seed=seed, device=device
    )


@pytest.mark.parametrize(
    ("check", "game", "args", "line"),
    [
        ("seeds", "row", {"noise": 1.0}, "one seed gives two starts"),  # no seed of ours decides the noise
        ("shapes and types", "trio", {"trouble": "shape", "at": 1}, "expected 2 observed numbers of 'a', .*got 5"),
    ],
)
def test_broken_environments_are_caught(command, check, game, args, line) -> None:
    words = [f"args.{name}={value}" for name, value in args.items()]
    with pytest.raises((Failure, EnvError), match=line), closing_all(makes(game, **args)) as make:
        CHECKS[check](make, 2)
    if check == "shapes and types":  # after which nothing else is examined
        status, out, _ = command(cli.main, "check-env", "pettingzoo", f"factory=zoo_games:{game}", *words)
        assert status == 1
        assert "1 failed" in out


@pytest.mark.slow
def test_a_sound_environment_passes(living) -> None:
    report = check_env(lambda **sizes: PettingZoo("zoo_games:row", {"n": 3}, processes=1, **sizes))
    assert {check.name for check in report.checks} == set(CHECKS)
    assert living() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "factory",
    ["mpe2.simple_spread_v3", "mpe2.simple_tag_v3", "mpe2.simple_world_comm_v3", "mpe2.simple_speaker_listener_v4"],
)
def test_environments_of_mpe2_pass(command, factory) -> None:
    pytest.importorskip("mpe2")
    status, out, _ = command(cli.main, "check-env", "pettingzoo", f"factory={factory}:parallel_env")
    assert status == 0, out


def test_a_run_is_trained_resumed_and_evaluated_and_tells_of_its_new_episodes(command, living, tmp_path) -> None:
    words = (*GAME, "env.args.n=3", "env.args.limit=5", *SMALL, "total_env_steps=60", "run_dir=run")
    status, _, err = command(cli.train_main, *words)
    assert status == 0, err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["env"], summary["n_agents"]) == ("pettingzoo", 3)
    assert 0 < summary["env_statistics"]["simulator_share"] < 1
    status, _, err = command(cli.train_main, "resume=run", "total_env_steps=120", "modules=zoo_games")
    assert status == 0, err
    assert "the run begins new episodes" in err
    status, out, err = command(cli.evaluate_main, "checkpoint=run", "episodes=3", "modules=zoo_games")
    assert status == 0, err
    assert json.loads(out)["episodes"] == 3
    assert living() == []


def test_trouble_in_a_training_is_one_line_that_keeps_the_checkpoint(command, living, tmp_path) -> None:
    words = ("env=pettingzoo", "env.factory=zoo_games:trio", "env.args.trouble=raise", "env.args.at=3", *SMALL)
    status, _, err = command(cli.train_main, *words, "total_env_steps=60", "run_dir=run", "evaluation.at_start=false")
    assert status == 2
    line = err.strip().splitlines()[-1]
    assert "step 3 of its episode: expected no exception, got RuntimeError: out of fuel" in line
    assert living() == []
    assert not Path(tmp_path, "run", "summary.json").exists()


def test_a_graph_is_discovered_and_taken(command, tmp_path, edges_of) -> None:
    status, out, err = command(cli.main, "graph", "discover", *GAME, "env.args.n=4", "rounds=4", "output=found")
    assert status == 0, err
    assert out.startswith("4 agents, 3 of 6 pairs with an influence")
    assert edges_of(AgentGraph.from_file(tmp_path / "found" / "influence.json")) == [(0, 1), (1, 2), (2, 3)]
    assert (tmp_path / "found" / "influence.png").stat().st_size > 5000
    rows = (tmp_path / "found" / "influence.csv").read_text().splitlines()
    assert rows[0] == ",agent_0,agent_1,agent_2,agent_3"
    assert rows[1].startswith("agent_0,1,1,0,0")
    status, out, err = command(cli.main, "graph", *GAME, "env.args.n=4", "env.graph=found/influence.json")
    assert status == 0, err
    assert out.startswith("4 agents, 3 edges")
