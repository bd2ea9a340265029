"""Configurations that are kept in memory are those that hydra composes."""

from __future__ import annotations

import os
from pathlib import Path

import hydra
import pytest

from lomaq.config import CONF, compose
from lomaq.config.kept import _of_choices
from lomaq.errors import InputError

CASES = (
    ("env=cartpole",),
    ("seed=3", "env=nav", "mixer=gcn", "kappa=2", "env.n_agents=4"),
    ("algo=lomaq_rd", "reward.networks.hidden=[8,8]", "env.recommended.lr=0.5", "learner=paper"),
    ("partition=${algo.name}", "run_dir='a=b'", "logger=[tensorboard]", "evaluation.film=null"),
    ("env=pettingzoo", "env.factory=mpe2.simple_spread_v3:parallel_env", "env.args.N=5"),
)


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_values_set_in_a_kept_configuration_are_as_hydra_sets_them(words, monkeypatch):
    kept = compose(words)
    assert compose(words) == kept
    monkeypatch.setattr(
        "lomaq.config.composition.composed",
        lambda words, search, folders: hydra.compose("train", [*words, *search], return_hydra_config=True),
    )
    assert compose(words) == kept


def test_a_second_run_reads_no_file_of_its_choices_again():
    compose(["env=cartpole", "seed=1"])
    before = _of_choices.cache_info()
    compose(["env=cartpole", "seed=2"])
    assert _of_choices.cache_info().misses == before.misses


def test_what_a_run_sets_is_not_there_in_the_next():
    assert compose(["env=cartpole", "env.n_agents=3"])["env"]["n_agents"] == 3
    assert compose(["env=cartpole"])["env"]["n_agents"] == 15


def test_a_file_that_changes_is_read_again(tmp_path: Path):
    (tmp_path / "env").mkdir()
    file = tmp_path / "env" / "carts.yaml"
    text = (CONF / "env" / "cartpole.yaml").read_text("utf-8")
    words = ["--config-dir", str(tmp_path), "env=carts"]
    file.write_text(text, "utf-8")
    assert compose(words)["env"]["n_agents"] == 15
    file.write_text(text.replace("n_agents: 15", "n_agents: 16"), "utf-8")
    os.utime(file, ns=(1, 1))
    assert compose(words)["env"]["n_agents"] == 16
    file.unlink()
    with pytest.raises(InputError, match="carts"):
        compose(words)
