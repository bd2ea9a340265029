"""Where the files are that Python calls write: said in the end, never in place of others, and below ``~``."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lomaq
from lomaq import AgentGraph
from lomaq.envs import BatchedEnv

SMALL = {"learner__n_envs": 4, "learner__rollout_steps": 10, "evaluation__episodes": 2, "total_env_steps": 80}


class Level(BatchedEnv):
    """Action 1 pays; nothing changes."""

    def __init__(self, n_agents=3, *, n_envs=1, seed=0, device="cpu"):
        graph = AgentGraph.line(n_agents)
        super().__init__(graph, n_envs=n_envs, n_actions=2, obs_size=1, max_steps=5, seed=seed, device=device)

    def _reset_state(self, rows): ...

    def _advance(self, actions):
        return actions.float(), torch.zeros(self.n_envs, dtype=torch.bool)

    def observe(self):
        return torch.zeros(self.n_envs, self.n_agents, 1)


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An empty home folder, which is also the working folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_training_and_its_resumption_say_at_the_end_where_the_run_was_saved(home, capsys):
    run = lomaq.train(Level, algo="vdn_local", run_dir="~/my [run]", progress=True, **SMALL)
    assert capsys.readouterr().err.splitlines()[-1] == f"saved in {home}/my [run]"
    assert (run.run_dir, run.summary["algorithm"]) == (home / "my [run]", "vdn_local")
    more = lomaq.resume("~/my [run]", total_env_steps=120, progress=True)
    assert capsys.readouterr().err.splitlines()[-1] == f"saved in {home}/my [run]"
    assert more.run_dir == run.run_dir
    other = lomaq.train(Level, run_dir="~/other", **SMALL)
    assert capsys.readouterr().err == ""
    assert (run.run_dir / "curve.png").is_file()
    assert lomaq.compare("~/my [run]", other).names == ["my [run]", "other"]
    film = lomaq.load("~/other").film
    assert [film("~/a.gif", moments=2).path, film("a.gif", moments=2).path.resolve()] == [
        home / "a.gif",
        home / "a-2.gif",
    ]


def test_a_study_says_at_the_end_where_its_results_are(home, capsys):
    lomaq.study("fig6", run_dir="~/mine", progress=True, study__steps=2, study__batch=4)
    assert capsys.readouterr().err.splitlines()[-1] == f"summary.json, the picture and any runs are in {home}/mine"
    assert (home / "mine" / "summary.json").is_file()


def test_a_graph_is_written_to_the_home_folder(home):
    AgentGraph.ring(3).to_file("~/ring.json")
    assert AgentGraph.from_file(home / "ring.json").n_edges == 3


def test_a_picture_whose_name_is_taken_gets_a_number_and_its_path_is_returned(home):
    graph, place = AgentGraph.ring(5), home / "picture.png"
    assert graph.draw("~/picture.png") == place
    before = place.read_bytes()
    rewards = np.ones((3, 2))
    drawn = [graph.draw(place), lomaq.draw_decomposition("~/picture.png", rewards, rewards, 0.1, "title")]
    assert drawn == [home / "picture-2.png", home / "picture-3.png"]
    assert place.read_bytes() == before
