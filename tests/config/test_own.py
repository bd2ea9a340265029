"""Environments of a person's own: their settings, one graph for all seeds, and the module that checkpoints name."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

import lomaq
from lomaq.api.environments import composed
from lomaq.config import CONF, compose, read_yaml
from lomaq.config.own import write_env
from lomaq.envs import BatchedEnv, CartPole
from lomaq.errors import EnvError, InputError, Note
from lomaq.inputs.targets import find_class
from lomaq.testing import check_env
from lomaq.testing.report import EnvCheckError

KINDS: list[type] = [BatchedEnv]
ENV = """
import torch
from lomaq import AgentGraph
from lomaq.envs import BatchedEnv


class Still(BatchedEnv):
    def __init__(self, n_agents=3, *, n_envs=1, seed=0, device="cpu"):
        graph = AgentGraph.line(n_agents)
        super().__init__(graph, n_envs=n_envs, n_actions=2, obs_size=1, max_steps=5, seed=seed, device=device)

    def _reset_state(self, rows): ...

    def _advance(self, actions):
        return actions.float(), torch.zeros(self.n_envs, dtype=torch.bool)

    def observe(self):
        return torch.zeros(self.n_envs, self.n_agents, 1)
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    """``script(text)`` runs a script of that text as ``__main__``: the class that it makes."""

    def run(text: str = ENV, file: str | None = "own_script.py") -> type[BatchedEnv]:
        main = ModuleType("__main__")
        if file is not None:
            main.__file__ = str(tmp_path / file)
            (tmp_path / file).write_text(text)
        monkeypatch.setitem(sys.modules, "__main__", main)
        exec(text, vars(main))
        return main.Still  # type: ignore[no-any-return]

    monkeypatch.syspath_prepend(tmp_path)
    return run


def target(env: type[BatchedEnv], folder: Path) -> str:
    folder.mkdir()
    write_env(env, {}, folder)
    return str(yaml.safe_load(next(folder.glob("env/*.yaml")).read_text())["_target_"])


# ------------------------------------------------------------------- the module


def test_a_class_of_a_script_is_named_by_the_file_and_found_in_the_script_that_runs(script, tmp_path) -> None:
    own = script(f'{ENV}\nif __name__ == "__mp_main__":\n    pass\n')
    assert target(own, tmp_path / "conf") == "own_script.Still"
    assert find_class("own_script.Still", KINDS) is own
    assert "own_script" not in sys.modules


def test_a_script_that_would_run_again_and_a_session_without_a_file_say_so_before_training(script, tmp_path) -> None:
    with pytest.warns(
        Note, match=r'own_script\.py, which runs again .* put what it does below if __name__ == "__main__":'
    ):
        assert target(script(), tmp_path / "guard") == "own_script.Still"
    with pytest.warns(Note, match="Still is a class of this session alone, .* move it to a file"):
        assert target(script(file=None), tmp_path / "session") == "__main__.Still"


def test_a_script_elsewhere_has_no_name(script, tmp_path) -> None:
    (tmp_path / "elsewhere").mkdir()
    with pytest.warns(Note, match="session alone"):
        assert target(script(file="elsewhere/own_script.py"), tmp_path / "conf") == "__main__.Still"


# -------------------------------------------------------------------- the graph


class Seeded(BatchedEnv):
    """A graph that is drawn from the seed of the environment."""

    def __init__(self, drawn="edges", *, n_envs=1, seed=0, device="cpu"):
        generator = torch.Generator().manual_seed(seed)
        graph = lomaq.AgentGraph.radius(torch.rand(9, 2, generator=generator), 0.4 if drawn == "edges" else 2.0)
        if drawn == "types":
            graph = lomaq.AgentGraph.line(3, agent_type=[0, seed % 2, 1])
        super().__init__(graph, n_envs=n_envs, n_actions=2, obs_size=1, max_steps=5, seed=seed, device=device)

    def _reset_state(self, rows):
        pass

    def _advance(self, actions):
        return actions.float(), torch.zeros(self.n_envs, dtype=torch.bool)

    def observe(self):
        return torch.zeros(self.n_envs, self.n_agents, 1)


@pytest.mark.parametrize("drawn", ["edges", "types"])
def test_a_graph_that_depends_on_the_seed_is_refused_before_anything_is_written(tmp_path, drawn) -> None:
    line = r"graph of \S+Seeded: expected the same graph in every environment, got .* with seed=1 .*graph_seed=0"
    with pytest.raises(EnvError, match=line):
        lomaq.train(Seeded, f"env.drawn={drawn}", run_dir=tmp_path / "run", total_env_steps=100)
    assert not (tmp_path / "run").exists()
    with pytest.raises(EnvCheckError, match="one graph: graph of"):
        check_env(Seeded, drawn=drawn)


def test_positions_may_differ(monkeypatch) -> None:
    monkeypatch.setattr("lomaq.testing.checks.SECONDS", 0.0)
    check_env(Seeded, drawn="positions")


# --------------------------------------------------------------- what suits them


@pytest.fixture
def conf(tmp_path, script):
    """``conf(recommended)`` → words that choose an environment which recommends no more than that."""
    (tmp_path / "own_env.py").write_text(ENV)

    def make(recommended: str) -> list[str]:
        (tmp_path / "conf" / "env").mkdir(parents=True)
        (tmp_path / "conf" / "env" / "still.yaml").write_text(f"_target_: own_env.Still\nname: still\n{recommended}")
        return ["env=still", f"--config-dir={tmp_path / 'conf'}"]

    yield make
    sys.modules.pop("own_env", None)


@pytest.mark.parametrize("recommended", ["", "recommended:\n", "recommended:\n  gamma: 0.5\n  hidden: [8]\n"])
def test_what_is_not_recommended_is_as_in_python(conf, recommended) -> None:
    config = compose(conf(recommended))
    common = read_yaml(CONF / "custom_env.yaml")["recommended"]
    given = (yaml.safe_load(recommended) or {}).get("recommended") or {}
    assert config["env"]["recommended"] == common | given
    assert config["learner"]["objective"]["returns"]["gamma"] == given.get("gamma", common["gamma"])
    assert (config["learner"]["lr"], config["total_env_steps"]) == (common["lr"], common["total_env_steps"])


def test_a_misspelt_recommendation_is_refused(conf) -> None:
    with pytest.raises(InputError, match=r"recommended\.gama: expected one of .*; did you mean gamma\?"):
        compose(conf("recommended:\n  gama: 0.5\n"))


def test_recommendations_are_a_group_of_settings(conf) -> None:
    with pytest.raises(InputError, match=r"recommended: expected a group of settings, got \[0\.5\]"):
        compose(conf("recommended: [0.5]\n"))


def test_a_class_of_this_package_is_its_name() -> None:
    run = ["total_env_steps=2000", "env.n_agents=3"]
    assert composed(CartPole, run) == composed("cartpole", run)
    with pytest.raises(InputError, match="a class of your own"):
        composed(CartPole, run, {"lr": 0.1})
