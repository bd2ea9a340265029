"""Checkpoints read back: their networks, and what these play."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from lomaq.analysis.stored import FRESH_SEED, Checkpoint, evaluate_checkpoint, open_checkpoint
from lomaq.config import compose
from lomaq.envs import CartPole, Navigation
from lomaq.errors import InputError
from lomaq.evaluation import GreedyActor, evaluate
from lomaq.inputs.plain import changed
from lomaq.training.build import build_run
from lomaq.training.checkpoint import load_checkpoint
from lomaq.training.run import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory, request) -> Path:
    """A run whose last checkpoint has another state than its best one."""
    small = request.getfixturevalue("small")
    place = tmp_path_factory.mktemp("stored") / "run"
    train(compose([*small, "learner.target=hard"]), place, Console(file=io.StringIO()))
    return place


def test_a_run_is_read_as_its_best_checkpoint_to_play_and_its_last_to_resume(folder: Path) -> None:
    assert open_checkpoint(folder, resume=False).path.name == "best.ckpt"
    assert open_checkpoint(folder, resume=True).path.name == "last.ckpt"
    assert open_checkpoint(folder, resume=False).run_dir == folder


def test_a_best_checkpoint_cannot_be_resumed(folder: Path) -> None:
    with pytest.raises(InputError, match=r"resume: .*best\.ckpt is for evaluation only"):
        open_checkpoint(folder / "checkpoints" / "best.ckpt", resume=True)


def test_a_run_built_anew_has_the_trained_networks_and_not_the_target_copy(folder: Path) -> None:
    stored = open_checkpoint(folder, resume=True)
    state = load_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
    networks = stored.run().module.networks.state_dict()
    assert networks
    for name, value in networks.items():
        assert torch.equal(value, state[f"networks.{name}"])
    fresh = build_run(stored.config).module.networks.state_dict()
    assert any(not torch.equal(value, fresh[name]) for name, value in networks.items())


def test_numbers_of_a_checkpoint_are_those_of_its_file(folder: Path) -> None:
    stored = open_checkpoint(folder, resume=True)
    own = load_checkpoint(folder / "checkpoints" / "last.ckpt")["lomaq"]
    assert (stored.env_steps, stored.sigma) == (own["env_steps"], own["sigma"])
    assert stored.sigma != 1.0


def test_utilities_act_for_other_numbers_of_agents_and_not_in_other_environments(folder: Path) -> None:
    stored = open_checkpoint(folder, resume=False)
    assert stored.utilities(CartPole(7)).n_agents == 7
    with pytest.raises(InputError, match="obs_size 4"):
        stored.utilities(Navigation(3))


def test_weights_of_other_networks_are_refused(folder: Path) -> None:
    stored = open_checkpoint(folder, resume=False)
    other = replace(stored, config=changed(stored.config, {"agent.hidden": [8, 8]}))
    for read in (lambda: other.utilities(CartPole(3)), other.run):
        with pytest.raises(InputError, match=r"checkpoint: expected the weights of the networks"):
            read()


def test_an_evaluation_is_that_of_the_trained_utilities_on_fresh_starts(folder: Path) -> None:
    stored = open_checkpoint(folder, resume=False)
    result = evaluate_checkpoint(stored, stored.config, 5, seed=2)
    played = evaluate(GreedyActor(stored.utilities(CartPole(3))), CartPole(3, n_envs=5), 5, FRESH_SEED + 2).returns
    assert result["test_return_mean"] == float(played.mean())
    assert result["test_return_std"] == pytest.approx(float(played.std(correction=0)))
    assert (result["test_return_min"], result["test_return_max"]) == (float(played.min()), float(played.max()))
    assert result["test_return_per_agent"] == pytest.approx(float(played.mean()) / 3)
    assert (result["episodes"], result["n_agents"], result["trained_n_agents"]) == (5, 3, 3)
    assert result["references"] == {"best possible": 600.0}


@pytest.mark.parametrize(("episodes", "seed", "name"), [(0, 0, "episodes"), (1, -1, "seed")])
def test_impossible_numbers_are_refused_by_name(folder: Path, episodes: int, seed: int, name: str) -> None:
    stored: Checkpoint = open_checkpoint(folder, resume=False)
    with pytest.raises(InputError, match=rf"^{name}: "):
        evaluate_checkpoint(stored, stored.config, episodes, seed)
