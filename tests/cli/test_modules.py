"""``modules=NAME``: what the user names is imported for the commands that read a stored run, and remembered nowhere."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from lomaq.cli import evaluate_main, main, train_main

ENV = "from lomaq.envs import CartPole\n\n\nclass Mine(CartPole):\n    pass\n"
WORDS = ("env.n_agents=3", "learner.n_envs=4", "learner.rollout_steps=10", "learner.minibatches=2")
WORDS += ("evaluation.episodes=2", "total_env_steps=200", "env._target_=kept_env.Mine")


@pytest.fixture
def forget():
    """Forget the module, as a new process would."""
    yield lambda: sys.modules.pop("kept_env", None)
    sys.modules.pop("kept_env", None)


@pytest.fixture
def stored(command, forget, monkeypatch, tmp_path) -> Path:
    """A run of an environment in a module that is not imported any more; it has not ended, so that info needs it."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "kept_env.py").write_text(ENV)
    status, _, err = command(train_main, *WORDS, "run_dir=run")
    assert status == 0, err
    for name in ("results.json", "summary.json"):
        (tmp_path / "run" / name).unlink()
    shutil.copytree(tmp_path / "run", tmp_path / "all" / "run")
    forget()
    return tmp_path / "run"


COMMANDS = {
    "resume": (train_main, "resume=run", "total_env_steps=400"),
    "evaluate": (evaluate_main, "checkpoint=run", "episodes=1"),
    "graph": (main, "graph", "checkpoint=run"),
    "certify": (main, "certify", "checkpoint=run", "states=2"),
    "export": (main, "export", "checkpoint=run", "format=torch"),
    "info": (main, "info", "run=run"),
    "compare": (main, "compare", "run=run", "run=all/run"),
    "figures": (main, "figures", "results=."),
}


def test_every_command_that_reads_a_run_refuses_its_class_and_takes_it_with_its_module(stored, command, forget) -> None:
    for name, words in COMMANDS.items():
        before = (stored / "metrics.csv").read_bytes()
        status, out, err = command(*words)
        assert status == 2, (name, out)
        if name != "figures":  # which names what it leaves out
            assert "Traceback" not in err, (name, err)
            assert "add modules=kept_env" in err.splitlines()[-1], (name, err)
        assert "kept_env" not in sys.modules
        assert (stored / "metrics.csv").read_bytes() == before
    for name, words in COMMANDS.items():
        forget()
        status, out, err = command(*words, "modules=kept_env")
        assert status == 0, (name, out, err)
    assert "modules" not in (stored / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("main", "words"),
    [(train_main, ["env.n_agents=3"]), (main, ["info", "run=x"]), (evaluate_main, ["checkpoint=x"])],
    ids=["train", "info", "evaluate"],
)
def test_a_module_that_cannot_be_imported_is_one_line_before_anything_else(command, main, words) -> None:
    status, _, err = command(main, *words, "modules=nowhere_mod")
    assert status == 2
    assert err.count("\n") == 1
    assert "modules: expected the name of a module that can be imported, got nowhere_mod" in err


def test_help_tells_of_modules_where_a_run_is_read(command) -> None:
    for name in ("info", "compare", "evaluate", "certify", "decompose", "export", "graph", "figures"):
        assert "modules=" in command(main, name, "--help")[1], name
    assert "modules=" not in command(main, "bandit", "--help")[1]
