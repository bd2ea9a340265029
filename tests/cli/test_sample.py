"""``evaluation.sample``: a run whose tests, films and evaluations draw actions, on the command line and from Python."""

from __future__ import annotations

import functools
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

import lomaq
from lomaq import cli
from lomaq.analysis.stored import FRESH_SEED, open_checkpoint
from lomaq.config import compose
from lomaq.errors import InputError
from lomaq.evaluation import GreedyActor, SampleActor, evaluate, make_test_env
from lomaq.plots import film as film_module
from lomaq.plots.run import train
from lomaq.runs import RunFiles
from lomaq.training.build import actor_of, env_maker
from lomaq.training.callbacks import EVALUATION_SEED
from lomaq.training.checkpoint import load_checkpoint

POLICIES = ("algo=coma", "env.max_steps=20")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, small) -> dict[bool, Path]:
    """The same run twice: with tests of drawn actions, and of best ones."""
    place = tmp_path_factory.mktemp("sample")
    for sample in (True, False):
        config = compose([*small, *POLICIES, f"evaluation.sample={str(sample).lower()}"])
        train(config, place / str(sample), Console(file=io.StringIO()))
    return {sample: place / str(sample) for sample in (True, False)}


@pytest.fixture
def play(command, folders):
    """``play(sample, *words)``: what ``lomaq evaluate`` prints for a run, read."""

    def evaluated(sample: bool, *words: str):
        status, out, err = command(cli.evaluate_main, f"checkpoint={folders[sample]}", *words)
        assert (status, err) == (0, "")
        return json.loads(out)

    return evaluated


# --------------------------------------------------------------------- training


def test_only_tests_of_drawn_actions_are_said_to_be_so(folders) -> None:
    assert RunFiles(folders[True]).read_summary()["sample"] is True
    assert "sample" not in RunFiles(folders[False]).read_summary()


def test_a_test_return_is_that_of_actions_drawn_by_the_networks_of_its_checkpoint(folders) -> None:
    for sample, kind in ((True, SampleActor), (False, lambda utilities, seed: GreedyActor(utilities))):
        stored = open_checkpoint(folders[sample], resume=False)
        with make_test_env(env_maker(stored.config), 2, torch.device("cpu")) as env:
            played = evaluate(kind(stored.utilities(env), EVALUATION_SEED), env, 2, EVALUATION_SEED).returns
        assert float(played.mean()) == stored.state["lomaq"]["test_return_mean"]


def test_training_is_bit_equal_whether_tests_draw_or_not(folders) -> None:
    drawn, best = (load_checkpoint(folders[x] / "checkpoints" / "last.ckpt")["state_dict"] for x in (True, False))
    assert drawn.keys() == best.keys()
    assert all(torch.equal(value, best[name]) for name, value in drawn.items())


def test_films_of_a_training_show_drawn_actions(run_small, monkeypatch) -> None:
    totals = []
    monkeypatch.setattr(film_module.Film, "write", lambda film, path: totals.append(film.frames[-1].total))
    tests = ("evaluation.sample=true", "evaluation.episodes=1", "evaluation.film=gif")
    folder, _ = run_small("filmed", *POLICIES, *tests, "total_env_steps=80", drawn=True)
    results = load_checkpoint(folder / "checkpoints" / "last.ckpt")["lomaq"]["history"]["evaluations"]
    assert len(totals) == 2
    assert totals == [test["returns"][0] for test in results]


def test_learned_values_are_no_policies_to_draw_from(small, tmp_path) -> None:
    line = (
        r"^evaluation\.sample: expected false for PartitionTD, whose networks' outputs are values and no policy to "
        r"draw from, got True; train a policy, such as algo=coma$"
    )
    with pytest.raises(InputError, match=line):
        train(compose([*small, "evaluation.sample=true"]), tmp_path / "run", Console(file=io.StringIO()))
    assert not list(tmp_path.iterdir())


def test_chance_and_baseline_policies_need_no_policy_that_was_learned(run_small) -> None:
    _, summary = run_small("random", "algo=random", "evaluation.sample=true")
    assert "sample" not in summary


# ------------------------------------------------------------------- evaluation


def test_an_evaluation_draws_as_its_run_did_unless_it_is_told_otherwise(play) -> None:
    drawn, best = play(True, "episodes=4"), play(False, "episodes=4")
    assert drawn["sample"] is True
    assert "sample" not in best
    assert drawn["test_return_mean"] != best["test_return_mean"]
    for sample, words in ((True, ("sample=false",)), (False, ("sample=true",))):
        told, other = play(sample, "episodes=4", *words), play(sample, "episodes=4")
        assert ("sample" in told) != ("sample" in other)
        assert told["test_return_mean"] != other["test_return_mean"]


def test_equal_seeds_draw_equal_episodes(play) -> None:
    first, again, other = (play(True, "episodes=4", f"seed={seed}") for seed in (1, 1, 2))
    assert first == again
    assert first["test_return_mean"] != other["test_return_mean"]


def test_a_film_shows_the_episode_that_an_evaluation_of_one_plays(play, monkeypatch) -> None:
    totals = []
    monkeypatch.setattr(film_module.Film, "write", lambda film, path: totals.append(film.frames[-1].total))
    for words in (("seed=3",), ("seed=3", "sample=false")):
        result = play(True, "episodes=1", "render=film.gif", *words)
        assert totals.pop() == result["test_return_mean"]


def test_a_mistake_is_one_line_and_writes_nothing(command, trained, tmp_path) -> None:
    for word, line in {
        "sample=true": "error: evaluation.sample: expected false for PartitionTD, whose ",
        "sample=perhaps": "error: evaluation.sample: expected true or false, got 'perhaps'",
    }.items():
        status, out, err = command(cli.evaluate_main, "checkpoint=trained", "render=film.gif", word)
        assert (status, out) == (2, "")
        assert err.startswith(line)
        assert err.count("\n") == 1
    assert not (tmp_path / "film.gif").exists()


def test_a_run_says_how_its_tests_were_played(command, folders) -> None:
    said = functools.partial(command, cli.main, "info")
    assert "tests         of drawn actions, evaluation.sample=true\n" in said(f"run={folders[True]}")[1]
    assert "\ntests " not in said(f"run={folders[False]}")[1]


def test_a_run_of_before_the_setting_takes_best_actions_and_can_be_told_to_draw(folders, tmp_path) -> None:
    state = torch.load(folders[False] / "checkpoints" / "best.ckpt", weights_only=True)
    del state["lomaq"]["config"]["evaluation"]["sample"]
    torch.save(state, tmp_path / "old.ckpt")
    policy = lomaq.load(tmp_path / "old.ckpt")
    assert torch.equal(policy.evaluate(3), policy.evaluate(3, sample=False))
    assert not torch.equal(policy.evaluate(3), policy.evaluate(3, sample=True))


# ------------------------------------------------------------------ from Python


def test_a_policy_draws_where_it_is_asked_to(folders) -> None:
    policy = lomaq.load(folders[False])
    observations = policy.env(n_envs=200).reset()
    best = policy.act(observations)
    assert torch.equal(best, policy.act(observations))
    drawn = policy.act(observations, sample=True)
    assert not torch.equal(drawn, best)
    assert not torch.equal(drawn, policy.act(observations, sample=True))
    policy.reset(seed=0)
    assert torch.equal(drawn, policy.act(observations, sample=True))
    mask = torch.zeros(200, 3, 2, dtype=torch.bool)
    mask[..., 1] = True
    assert bool((policy.act(observations, mask, sample=True) == 1).all())


def test_a_policy_does_as_its_run_did_by_default(folders) -> None:
    drawing, best = lomaq.load(folders[True]), lomaq.load(folders[False])
    assert torch.equal(drawing.evaluate(3), drawing.evaluate(3, sample=True))
    assert torch.equal(best.evaluate(3), best.evaluate(3, sample=False))
    observations = best.env(n_envs=50).reset()
    assert torch.equal(best.act(observations), best.act(observations, sample=False))
    drawn = drawing.act(observations)
    drawing.reset(seed=0)
    assert torch.equal(drawn, drawing.act(observations, sample=True))


def test_a_film_of_a_policy_is_the_episode_that_it_plays_alone(folders, monkeypatch) -> None:
    totals = []
    monkeypatch.setattr(film_module.Film, "write", lambda film, path: totals.append(film.frames[-1].total))
    policy = lomaq.load(folders[False])
    policy.film("film.gif", seed=2, sample=True)
    assert totals == policy.evaluate(1, seed=2, sample=True).tolist()


def test_who_acts_in_tests_is_decided_in_one_place(folders) -> None:
    stored = open_checkpoint(folders[True], resume=False)
    utilities = stored.utilities(env_maker(stored.config)(1, 0, torch.device("cpu")))
    assert isinstance(actor_of(stored.config, utilities, FRESH_SEED), SampleActor)
    other = replace(stored, config=compose(["algo=coma"]))
    assert isinstance(actor_of(other.config, utilities, FRESH_SEED), GreedyActor)
