"""``lomaq graph``: what it draws, what it says, and what a mistake answers."""

from __future__ import annotations

import functools
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lomaq import cli
from lomaq.analysis.episode import play_episode
from lomaq.analysis.stored import evaluate_checkpoint, open_checkpoint
from lomaq.config import compose
from lomaq.errors import InputError, NonFiniteLossError
from lomaq.graphs import AgentGraph
from lomaq.plots import graph as graph_picture
from lomaq.plots.graph_view import GraphView


@pytest.fixture
def graph(command):
    """``graph(*words)`` → (status, out, err) of ``lomaq graph`` in an empty folder."""
    return functools.partial(command, cli.main, "graph")


@pytest.fixture
def drawn(monkeypatch):
    """What ``lomaq graph`` hands to the drawing functions, in place of drawing."""
    calls: list[GraphView] = []
    for name in ("draw_graph", "write_graph_html"):
        monkeypatch.setattr(graph_picture, name, lambda path, view: calls.append(view))
    return calls


def finished(folder: Path, *words: str) -> Path:
    own = sys.argv
    sys.argv = ["train.py", f"run_dir={folder}", *words]
    try:
        with pytest.raises(SystemExit) as stop:
            cli.train_main()
    finally:
        sys.argv = own
    assert not stop.value.code
    return folder


@pytest.fixture(scope="module")
def run_folder(small, tmp_path_factory) -> Path:
    """A finished small run with settings of its own."""
    return finished(tmp_path_factory.mktemp("graph") / "run", *small, "kappa=2", "partition=[[0,1],[2]]")


@pytest.fixture(scope="module")
def sharing_folder(small, tmp_path_factory) -> Path:
    """A finished small run on a line of three whose agents share each reward equally with their neighbours."""
    return finished(tmp_path_factory.mktemp("graph") / "sharing", *small, "reward.share=equal", "reward.hops=1")


# --------------------------------------------------------------------- sources


def test_the_graph_of_an_environment_in_one_line(graph, tmp_path):
    status, out, err = graph("env=nav", "env.n_agents=6", "agent=2", "partition=pairs")
    assert (status, err) == (0, "")
    line = "6 agents, 9 edges, degree 2 to 4 (mean 3), 1 component, 3 blocks, 3 ego classes (κ = 1): runs/graph-nav"
    assert out == f"{line}.png\n"
    assert graph("env=nav", "env.n_agents=6")[1].endswith(": runs/graph-nav-2.png\n")  # nothing is overwritten
    assert (tmp_path / "runs" / "graph-nav.png").read_bytes().startswith(b"\x89PNG")


def test_the_graph_of_a_file(graph, tmp_path):
    AgentGraph.from_edges(5, [[0, 1], [1, 2], [3, 4]]).to_file(tmp_path / "own.json")
    status, out, _ = graph("file=own.json", "colour=classes", "output=new/own.svg")
    assert status == 0
    assert out.startswith("5 agents, 3 edges, degree 1 to 2 (mean 1.2), 2 components, 5 blocks, 2 ego classes")
    assert "<svg" in (tmp_path / "new/own.svg").read_text()


def test_a_file_with_names_and_weights_shows_both(graph, tmp_path, drawn):
    (tmp_path / "roads.csv").write_text("source,target,weight\nAue,Borna,2\nBorna,Calw,0.5\n")
    status, out, err = graph("file=roads.csv", "agent=Calw")
    assert (status, err) == (0, "")
    assert out.startswith("3 agents, 2 edges (weights 0.5 to 2, mean 1.25), degree 1 to 2")
    assert (drawn[0].agent, drawn[0].weights.tolist()) == (2, [2.0, 0.5])
    status, _, err = graph("file=roads.csv", "agent=Ulm")
    assert (status, err) == (2, "error: agent: expected the number or the name of an agent, got 'Ulm'\n")


def test_a_run_brings_its_own_partition_and_kappa(graph, run_folder, drawn):
    status, out, err = graph(f"checkpoint={run_folder}", "agent=0")
    assert status == 0, err
    assert "3 agents, 2 edges" in out
    assert (drawn[0].partition.blocks, drawn[0].kappa, drawn[0].agent) == (((0, 1), (2,)), 2, 0)
    assert drawn[0].title.startswith("cartpole, 3 agents, after ")
    graph(f"checkpoint={run_folder}", "kappa=0", "partition=full")
    assert (drawn[1].partition.n_blocks, drawn[1].kappa) == (1, 0)


def test_settings_of_the_environment_may_be_changed_with_a_run(graph, run_folder, drawn):
    assert graph(f"checkpoint={run_folder}", "env.n_agents=7", "partition=pairs")[0] == 0
    assert drawn[0].graph.n_agents == 7


@pytest.mark.parametrize("words", [(), ("env.n_agents=1000",)])
def test_degrees_are_numbers_of_neighbours(graph, drawn, words):
    assert graph("env=sysadmin", "env.graph=star", "colour=degree", *words)[0] == 0
    n = drawn[0].graph.n_agents
    assert drawn[0].values.tolist() == [n - 1] + [1] * (n - 1)
    assert drawn[0].value_name == "degree"


# -------------------------------------------------------------------- episodes


@pytest.mark.parametrize("colour", ["reward", "utility"])
def test_pictures_and_pages_show_the_steps_of_an_episode(graph, run_folder, drawn, colour):
    stored = open_checkpoint(run_folder, resume=False)
    steps = play_episode(stored, stored.config, 3)[colour]
    for output in ("graph.png", "graph.html"):
        words = (f"checkpoint={run_folder}", f"colour={colour}", "seed=3", f"output={output}")
        assert graph(*words)[0] == 0
    for view in drawn:
        assert np.array_equal(view.values, steps)
        assert colour in view.value_name


def test_the_page_of_an_episode_has_a_frame_a_step(graph, run_folder, tmp_path):
    assert graph(f"checkpoint={run_folder}", "colour=reward", "output=graph.html")[0] == 0
    stored = open_checkpoint(run_folder, resume=False)
    steps = len(play_episode(stored, stored.config, 0)["reward"])
    found = re.search(r"Plotly\.addFrames\('[^']*', (\[.*?\])\)", (tmp_path / "graph.html").read_text(), re.DOTALL)
    assert found is not None
    assert len(json.loads(found[1])) == steps


def test_the_episode_is_the_first_that_evaluate_plays(run_folder):
    stored = open_checkpoint(run_folder, resume=False)
    for seed in (0, 5):
        episode = play_episode(stored, stored.config, seed)
        assert episode["reward"].shape == episode["utility"].shape
        expected = evaluate_checkpoint(stored, stored.config, 1, seed)["test_return_mean"]
        assert episode["reward"].sum() == pytest.approx(expected)


def test_utilities_are_those_of_the_actions_taken(run_folder):
    stored = open_checkpoint(run_folder, resume=False)
    weights = stored.state["state_dict"]
    head = [name for name in weights if name.startswith("networks.utilities.") and ".head." in name]
    for name in head:  # utilities that are 1 for the first action and 2 for the second, whatever is observed
        weights[name] = torch.tensor([1.0, 2.0]) if name.endswith("bias") else torch.zeros_like(weights[name])
    assert (play_episode(stored, stored.config)["utility"] == 2).all()
    for name in head:
        nn.init.constant_(weights[name], float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"^the utilities became nan"):
        play_episode(stored, stored.config)


# ---------------------------------------------------------------------- shares


def test_agents_have_the_colour_of_what_they_pass_on_and_edges_the_width_of_what_travels_along_them(
    graph, sharing_folder, drawn
):
    assert graph(f"checkpoint={sharing_folder}", "colour=share")[0] == 0
    # an end of the line keeps a half and gives its neighbour a half; the middle keeps a third
    assert drawn[0].numbers[0].tolist() == pytest.approx([1 / 2, 2 / 3, 1 / 2])
    assert drawn[0].weights.tolist() == pytest.approx([1 / 2 + 1 / 3] * 2)
    assert drawn[0].weight_name == "largest share passed along an edge, both ways: 0.833"


def test_shares_are_those_that_were_learned(small, sharing_folder, drawn, graph, tmp_path):
    folder = finished(tmp_path / "learned", *small, "reward.share=learned", "reward.hops=1")
    stored = open_checkpoint(folder, resume=False)
    shares = stored.state["state_dict"]["reward.sharing.matrix.shares"]
    shares.copy_(torch.tensor([0.9, 0.1, 0.4, 0.3, 0.3])[: len(shares)])  # the middle may be of either class
    graph_picture.picture_graph(stored.config, None, stored, colour="share")
    kept = stored.run().module.reward.matrix.matrix().to_dense().diagonal()
    np.testing.assert_allclose(drawn[0].numbers[0], 1 - kept.numpy(), atol=1e-6)
    assert set(np.round(drawn[0].numbers[0], 3)) == {0.1, 0.6}


def test_a_page_of_shares_is_written(graph, sharing_folder, tmp_path):
    assert graph(f"checkpoint={sharing_folder}", "colour=share", "output=graph.html")[0] == 0
    assert "share of its reward that an agent passes on" in (tmp_path / "graph.html").read_text()


def test_shares_need_a_run_that_shares_on_the_graph_that_it_learned_on(graph, run_folder, sharing_folder, tmp_path):
    for words, line in (
        ((f"checkpoint={run_folder}",), "checkpoint: expected a run that shares rewards, with colour=share, got"),
        ((f"checkpoint={sharing_folder}", "env.n_agents=5"), "env: expected the graph of the training, with colour="),
        (("env=nav",), "colour: expected partition, classes or degree, got share; give checkpoint=PATH of a run that"),
    ):
        status, out, err = graph(*words, "colour=share")
        assert (status, out) == (2, "")
        assert line in err
        assert err.count("\n") == 1
    assert not [*tmp_path.iterdir()]


# -------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "graph: expected one of env=NAME, file=PATH and checkpoint=PATH, got none"),
        (("env=nav", "file=a.json"), "got env=nav and file=a.json"),
        (("env=nav", "colour=reward"), "colour: expected partition, classes or degree, got reward; give checkpoint="),
        (
            ("env=nav", "colour=red"),
            "colour: expected one of partition, classes, degree, reward, utility, share, got 'red'",
        ),
        (("env=nav", "output=graph.gif"), "ending of output: expected one of .png, .svg, .pdf, .html, got '.gif'"),
        (("env=nav", "output=folder.png"), "output: expected a file to write, got the folder folder.png"),
        (("env=nav", "agent=15"), "agent: expected a whole number from 0 to 14, got 15"),
        (("env=nav", "agent=first"), "agent: expected the number or the name of an agent, got 'first'"),
        (("env=nav", "kappa=1.5"), "kappa: expected a whole number of at least 0, got 1.5"),
        (("env=nav", "seed=-1"), "seed: expected a whole number from 0 to"),
        (("env=nav", "partition=halves"), "partition: expected one of singletons, pairs"),
        (("env=nav", "env.layout=heap"), "layout"),
        (("env=nav", "env.colour=1"), "env.colour"),
        (("env=moon",), "moon"),
        (("file=none.json",), "graph file: expected an existing file, got none.json"),
        (("file=none.json", "env.n_agents=3"), "env.n_agents: expected only with env=NAME or checkpoint=PATH"),
        (("checkpoint=nowhere",), "checkpoint: expected a checkpoint file or a run folder"),
        (("env=nav", "color=degree"), "color: expected "),
    ],
)
def test_mistakes_answer_in_one_line_and_write_nothing(graph, tmp_path, words, line):
    (tmp_path / "folder.png").mkdir()
    status, out, err = graph(*words)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert line in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_a_run_with_other_networks_is_refused(graph, run_folder):
    status, _, err = graph(f"checkpoint={run_folder}", "env.n_agents=5", "partition=full", "colour=reward", "seed=0")
    assert status == 0, err  # its agents observe and act alike
    stored = open_checkpoint(run_folder, resume=False)
    env = compose(["env=nav", "env.n_agents=3"])["env"]
    with pytest.raises(InputError, match=r"^checkpoint: expected an environment with obs_size 4, as in training, got"):
        play_episode(stored, {**stored.config, "env": env})


def test_help_is_given(graph):
    status, out, _ = graph("--help")
    assert status == 0
    for word in ("env", "file", "checkpoint", "colour", "partition", "kappa", "agent", "output", "seed"):
        assert re.search(rf"^  {word} ", out, re.MULTILINE)
