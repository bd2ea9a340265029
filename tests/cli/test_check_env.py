"""``lomaq check-env``: the table, the exit status, and what a mistake answers."""

import itertools
import re

import pytest
import yaml

from lomaq import cli
from lomaq.config import CONF
from lomaq.testing import checks
from lomaq.testing.checks import CHECKS

OWN = """
import torch
from lomaq import AgentGraph
from lomaq.envs import BatchedEnv


class Lamps(BatchedEnv):
    state_names = ("lit",)

    def __init__(self, n_lamps=3, paid="float32", *, n_envs=1, seed=0, device="cpu"):
        graph = AgentGraph.ring(n_lamps)
        super().__init__(graph, n_envs=n_envs, n_actions=2, obs_size=1, max_steps=5, seed=seed, device=device)
        self.paid = getattr(torch, paid)
        self.lit = torch.zeros(n_envs, n_lamps)

    def _reset_state(self, rows):
        self.lit[rows] = 0

    def _advance(self, actions):
        rewards = self.lit.to(self.paid)
        self.lit = actions.float()
        return rewards, torch.zeros(self.n_envs, dtype=torch.bool)

    def observe(self):
        return self.lit[..., None].clone()
"""
NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(checks, "SECONDS", 0.0)


@pytest.fixture
def lamps(tmp_path):
    """The name of a new module in the working folder."""
    name = f"lamps_{next(NUMBERS)}"
    (tmp_path / f"{name}.py").write_text(OWN)
    return name


#: Played in processes of their own, which each check starts.
SIMULATORS = ("cognac", "pettingzoo")


@pytest.mark.parametrize(
    "env",
    [
        pytest.param(file.stem, marks=pytest.mark.slow if file.stem in SIMULATORS else ())
        for file in sorted((CONF / "env").glob("*.yaml"))
    ],
)
def test_all_environments_of_this_package_pass(command, needs, env):
    needs(env)
    few = "n_agents" in yaml.safe_load((CONF / "env" / f"{env}.yaml").read_text())
    status, out, _ = command(cli.main, "check-env", env, *(["n_agents=4"] if few else []))
    assert status == 0, out
    assert all(name in out for name in CHECKS)


@pytest.mark.parametrize("form", ["{}.Lamps", "{}:Lamps"])
def test_a_class_of_the_working_folder_is_examined(command, lamps, form):
    status, out, _ = command(cli.main, "check-env", form.format(lamps), "n_lamps=4")
    assert status == 0, out
    assert "4 agents, 4 edges, 2 actions" in out
    assert out.splitlines()[-1] == "all passed"


def test_what_fails_has_status_1_and_a_remedy(command, lamps):
    status, out, _ = command(cli.main, "check-env", f"{lamps}.Lamps", "paid=float64")
    assert status == 1
    assert "of float64 on cpu" in out
    assert "shapes and types: use .float()" in out
    assert out.splitlines()[-1] == "1 failed, 0 warned of"


def test_influence_without_an_edge_is_warned_of(command):
    status, out, _ = command(cli.main, "check-env", "sysadmin", "n_agents=9", "permute=true")
    assert status == 0
    assert "which is no neighbour" in out
    assert out.splitlines()[-1] == "0 failed, 1 warned of"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], r"target: expected TARGET, got none; usage: lomaq check-env TARGET \[KEY=VALUE \.\.\.\]"),
        (
            ["nothing_here.Env"],
            r"target: expected the name of a module .*, got nothing_here \(ModuleNotFoundError: No module",
        ),
        (["cart"], r"target: expected MODULE\.CLASS, or one of cartpole"),
        (["os.path"], r"target: expected a BatchedEnv, got os\.path"),
        (["lomaq.AgentGraph"], r"target: expected a BatchedEnv, got lomaq"),
        (["a b.c"], r"target: expected MODULE\.CLASS"),
        (["cartpole", "carts=3"], r"env\.carts: expected a known setting"),
    ],
)
def test_a_mistake_is_one_line_with_status_2(command, words, said):
    status, out, err = command(cli.main, "check-env", *words)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert re.search(said, err), err


def test_an_argument_that_the_class_does_not_take_is_a_failure(command, lamps):
    status, out, _ = command(cli.main, "check-env", f"{lamps}.Lamps", "bulbs=3")
    assert status == 1
    assert "bulbs" in out
    assert "'n_lamp'; did you mean n_lamps?" in command(cli.main, "check-env", f"{lamps}.Lamps", "n_lamp=3")[1]


def test_help_shows_the_target(command):
    status, out, _ = command(cli.main, "check-env", "--help")
    assert status == 0
    assert out.startswith("usage: lomaq check-env TARGET [KEY=VALUE ...]")
