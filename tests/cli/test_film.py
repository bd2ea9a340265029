"""``evaluate.py render=``: a film on the command line."""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path

import imageio.v3 as imageio
import imageio_ffmpeg
import pytest
from rich.console import Console

from lomaq import cli
from lomaq.config import compose
from lomaq.training.run import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of a moment on five particles, the fewest that observe as more do."""
    folder = tmp_path_factory.mktemp("film") / "run"
    words = ["env=nav", "env.n_agents=5", "env.max_steps=8", "learner.n_envs=4", "learner.rollout_steps=10"]
    words += ["learner.minibatches=2", "evaluation.episodes=2", "total_env_steps=40"]
    train(compose(words), folder, Console(file=io.StringIO()))
    return folder


@pytest.fixture
def evaluate(command, trained):
    """``evaluate(*words)`` → (status, out, err), in an empty folder."""
    return functools.partial(command, cli.evaluate_main, f"checkpoint={trained}")


def test_a_gif_of_an_episode_is_written_and_named_in_the_result(evaluate, tmp_path) -> None:
    status, out, _ = evaluate("render=films/episode.gif")
    assert status == 0
    assert json.loads(out)["film"] == "films/episode.gif"
    film = imageio.imread(tmp_path / "films" / "episode.gif")
    assert len(film) == 9  # the start and 8 steps
    assert (film[0] != film[-1]).any()


def test_an_mp4_of_more_agents_and_steps_than_in_training(evaluate, tmp_path) -> None:
    status, out, _ = evaluate("render=episode.mp4", "env.n_agents=12", "env.max_steps=10", "episodes=1")
    assert status == 0
    assert json.loads(out)["n_agents"] == 12
    assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "episode.mp4"))[0] == 11


def test_the_film_follows_the_seed_and_leaves_the_result_as_it_is(evaluate, tmp_path) -> None:
    results = [json.loads(evaluate(f"render={name}.gif", f"seed={seed}")[1]) for name, seed in (("a", 1), ("b", 1))]
    results.append(json.loads(evaluate("seed=1")[1]))
    evaluate("render=c.gif", "seed=2")
    assert results[0] | {"film": 0} == results[1] | {"film": 0} == results[2] | {"film": 0}
    first, again, other = ((tmp_path / f"{name}.gif").read_bytes() for name in "abc")
    assert first == again != other


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["render=episode.avi"], ".gif or .mp4, or human"),
        (["render=episode"], ".gif or .mp4, or human"),
        (["render=3"], ".gif or .mp4, or human"),
        (["render=human"], "expected a screen"),
        (["render=a.gif", "env.n_agents=0"], "env.n_agents"),
        (["render=a.gif", "seed=-1"], "seed"),
    ],
)
def test_a_mistake_is_one_line_with_status_2_and_writes_nothing(evaluate, tmp_path, words, expected) -> None:
    status, out, err = evaluate(*words)
    assert status == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert expected in err
    assert list(tmp_path.iterdir()) == []


def test_help_tells_of_films(evaluate) -> None:
    status, out, _ = evaluate("--help")
    assert status == 0
    assert "render=FILE|human" in out
