"""Graph and partition files of a run: stored with it, used ever after, and compared with the originals."""

import json

import pytest
import torch
import yaml

import lomaq
from lomaq.analysis.stored import open_checkpoint
from lomaq.cli import evaluate_main, main, train_main
from lomaq.config import compose
from lomaq.errors import Note
from lomaq.graphs import AgentGraph
from lomaq.studies.runner import run_one
from lomaq.training import LomaqModule
from lomaq.training.build import env_maker
from lomaq.training.checkpoint import load_checkpoint

WORDS = ("env=sysadmin", "env.graph=g.graphml", "env.n_agents=null", "partition=blocks.json")
CHANGED = "g.graphml has changed since this run was trained; the run's own copy of it is used"


@pytest.fixture
def with_files(command, small, tmp_path):
    """A small run on the path 0-1-2 with blocks [0, 1] and [2], from two files with relative names."""
    AgentGraph.line(3).to_file(tmp_path / "g.graphml")
    (tmp_path / "blocks.json").write_text("[[0, 1], [2]]")
    status, _, err = command(train_main, *small, *WORDS, "run_dir=run")
    assert status == 0, err
    return tmp_path / "run"


def test_run_stores_its_files_and_goes_on_with_them_from_anywhere(with_files, command, tmp_path, monkeypatch):
    assert AgentGraph.from_file(with_files / "inputs" / "g.graphml").n_edges == 2
    assert (with_files / "inputs" / "blocks.json").read_text() == "[[0, 1], [2]]"
    config = yaml.safe_load((with_files / "config.yaml").read_text())
    assert (config["env"]["graph"], config["partition"]) == ("g.graphml", "blocks.json")
    assert "files" not in config

    AgentGraph.from_edges(3, [(0, 2)]).to_file(tmp_path / "g.graphml")
    (tmp_path / "blocks.json").unlink()
    status, _, err = command(train_main, f"resume={with_files}", "total_env_steps=600")
    assert status == 0, err
    assert err.count(f"note: {CHANGED}") == 1
    with pytest.warns(Note, match=CHANGED):
        run = open_checkpoint(with_files, resume=True).run()
    assert run.partition.blocks == ((0, 1), (2,))
    assert run.make_env(1, 0, torch.device("cpu")).graph.pairs.tolist() == [[0, 1], [1, 2]]

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert lomaq.load(with_files).env().graph.n_edges == 2  # no note: there is no such file here


def test_evaluation_takes_another_graph_by_its_path(with_files, command, tmp_path):
    (tmp_path / "other.csv").write_text("0,1,5\n1,2,3\n2,3,1\n3,3,1\n")
    words = ("checkpoint=run", f"env.graph={tmp_path / 'other.csv'}", "episodes=2")
    (tmp_path / "g.graphml").unlink()
    status, out, err = command(evaluate_main, *words)
    assert status == 0, err
    assert (json.loads(out)["n_agents"], json.loads(out)["trained_n_agents"]) == (4, 3)
    assert err == "note: other.csv: 4 agents, 3 weighted edges; 1 loop dropped\n"


def test_study_that_is_started_again_goes_on_with_the_files_of_its_runs(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    AgentGraph.line(3).to_file("g.graphml")
    (tmp_path / "blocks.json").write_text("[[0, 1], [2]]")
    config = compose([*small, *WORDS])
    whole = run_one({"run": "whole"}, config, tmp_path, None)

    def until_killed(self: LomaqModule):
        if self.env_steps >= 200:
            raise RuntimeError("a power cut")
        return collect(self)

    collect = LomaqModule.run_iteration
    with monkeypatch.context() as patch:
        patch.setattr(LomaqModule, "run_iteration", until_killed)
        with pytest.raises(RuntimeError, match="a power cut"):
            run_one({"run": "cut"}, config, tmp_path, None)
    (tmp_path / "blocks.json").unlink()
    AgentGraph.from_edges(3, [(0, 2)]).to_file("g.graphml")
    with pytest.warns(Note, match=CHANGED):
        cut = run_one({"run": "cut"}, config, tmp_path, None)
    paths = (run.folder / "checkpoints" / "last.ckpt" for run in (whole, cut))
    first, second = (load_checkpoint(path)["state_dict"] for path in paths)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_graph_that_is_not_all_of_its_file_is_told_once(command, small, tmp_path):
    (tmp_path / "g.txt").write_text("0 1 5\n1 2 7\n2 2 1\n")
    line = "g.txt: 3 agents, 2 weighted edges; 1 loop dropped"
    words = ("env=sysadmin", "env.graph=g.txt", "env.n_agents=null", "run_dir=run")
    status, _, err = command(train_main, *small, *words)
    assert status == 0, err
    assert err.count(line) == 1
    status, _, err = command(main, "graph", "file=g.txt")
    assert (status, err) == (0, f"note: {line}\n")


def test_environments_of_one_configuration_have_one_graph(tmp_path):
    path = tmp_path / "g.txt"
    path.write_text("0 1\n1 2\n")
    node = {"_target_": "lomaq.envs.SysAdmin", "n_agents": None, "graph": str(path)}
    make = env_maker({"env": node})
    sizes = [make(1, 0, torch.device("cpu")).n_agents]
    path.write_text("0 1\n")
    sizes.append(make(1, 0, torch.device("cpu")).n_agents)
    assert sizes == [3, 3]
