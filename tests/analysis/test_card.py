"""Model cards, and runs that go to a hub."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
import yaml

import lomaq
from lomaq import InputError
from lomaq.analysis.card import card_of, command_of
from lomaq.analysis.push import push_run
from lomaq.config import compose

SMALL = {
    "learner__n_envs": 4,
    "learner__rollout_steps": 10,
    "evaluation__episodes": 2,
    "evaluation__every_env_steps": 1000,
    "total_env_steps": 40,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        lomaq.train("cartpole", "env.n_agents=3", seed=seed, run_dir=folder / f"s{seed}", **SMALL)
    return folder


def test_a_card_says_what_was_trained_how_and_how_well(runs):
    card = card_of([runs / "s0", runs / "s1"])
    _, head, body = card.split("---\n", 2)
    assert yaml.safe_load(head)["library_name"] == "lomaq"
    assert "LOMAQ on `cartpole` with 3 agents" in body
    assert "| `env.n_agents` | 3 | 15 |" in body
    assert [line.split(" | ")[0] for line in body.splitlines() if line.startswith(("| 0 ", "| 1 "))] == ["| 0", "| 1"]


def test_a_card_says_where_returns_are_exact(tmp_path):
    run = lomaq.train("sysadmin", "env.n_agents=3", run_dir=tmp_path / "run", **SMALL)
    head, body = card_of([run.run_dir]).split("---\n", 2)[1:]
    (metric,) = yaml.safe_load(head)["model-index"][0]["results"][0]["metrics"]
    assert metric["name"] == "exact expected return"
    assert [line.split(" | ")[2] for line in body.splitlines() if line.startswith("| 0 |")] == ["exact expected return"]


def test_its_command_gives_the_same_settings(runs):
    config = lomaq.load(runs / "s0").config
    words = command_of(config).removeprefix("python train.py ").split()
    again = compose(words)
    assert all(again[key] == config[key] for key in ("env", "mixer", "learner", "agent", "kappa", "total_env_steps"))


def test_runs_of_other_settings_share_no_card(runs, tmp_path):
    other = lomaq.train("cartpole", "env.n_agents=2", run_dir=tmp_path / "other", **SMALL).run_dir
    with pytest.raises(InputError, match=r"with another env\.n_agents"):
        card_of([runs / "s0", other])


def test_a_push_uploads_card_results_and_best_checkpoint(runs, monkeypatch):
    seen = {}

    class Api:
        def create_repo(self, **given):
            seen["repo"] = given

        def upload_folder(self, repo_id, folder_path, commit_message):
            place = Path(folder_path)
            seen["files"] = sorted(str(file.relative_to(place)) for file in place.rglob("*") if file.is_file())
            seen["card"] = (place / "README.md").read_text()
            return f"https://hub/{repo_id}"

    errors = types.SimpleNamespace(HfHubHTTPError=ConnectionError, LocalTokenNotFoundError=LookupError)
    fake = types.SimpleNamespace(HfApi=Api, errors=errors)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    assert push_run(str(runs / "s0"), "me/carts", True, "first") == "https://hub/me/carts"
    assert seen["repo"] == {"repo_id": "me/carts", "private": True, "exist_ok": True}
    assert {"README.md", "config.yaml", "checkpoints/best.ckpt"} <= {*seen["files"]}
    assert not {"code.json", "code.diff", "checkpoints/last.ckpt"} & {*seen["files"]}
    assert "# carts" in seen["card"]


def test_a_push_without_the_package_or_a_name_is_refused(runs, monkeypatch):
    with pytest.raises(InputError, match=r"^repo: expected USER/NAME"):
        push_run(str(runs / "s0"), "carts", False, "first")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install '\.\[hub\]'"):
        push_run(str(runs / "s0"), "me/carts", False, "first")
