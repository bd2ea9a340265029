"""Runs that begin with what another one learned."""

from __future__ import annotations

import json

import pytest
import torch

import lomaq
from lomaq import InputError
from lomaq.analysis.stored import open_checkpoint
from lomaq.config import compose
from lomaq.training.build import build_run
from lomaq.training.warm import warm_start

SMALL = {
    "learner__n_envs": 4,
    "learner__rollout_steps": 10,
    "learner__minibatches": 2,
    "evaluation__episodes": 2,
    "evaluation__every_env_steps": 1000,
    "total_env_steps": 80,
}


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    return lomaq.train("cartpole", "env.n_agents=3", run_dir=tmp_path_factory.mktemp("runs") / "a", **SMALL).run_dir


def started(before, *words):
    module = build_run(compose(["env=cartpole", "env.n_agents=3", *words])).module
    return module, warm_start(module, str(before))


def same(module, before, part):
    theirs = open_checkpoint(before, resume=False).weights(f"networks.{part}.")
    mine = getattr(module.networks, part).state_dict()
    return all(torch.equal(mine[name], value) for name, value in theirs.items())


def test_the_same_networks_are_taken_whole_with_their_scale(before):
    module, warm = started(before)
    assert (warm.taken, warm.new) == (["utilities", "mixer"], [])
    assert same(module, before, "utilities")
    assert same(module, before, "mixer")
    assert module.scale.sigma == pytest.approx(open_checkpoint(before, resume=False).sigma)


def test_a_mixer_that_does_not_fit_begins_anew(before):
    module, warm = started(before, "kappa=2", "env.n_agents=6")
    assert (warm.taken, warm.new) == (["utilities"], ["mixer"])
    assert same(module, before, "utilities")
    assert "taken from" in warm.line
    assert "new, since of other shapes there: mixer" in warm.line


def test_the_targets_networks_begin_alike(before):
    module, _ = started(before, "learner.target=hard")
    mine, slow = module.networks.state_dict(), module.target_copy.state_dict()
    assert all(torch.equal(value, slow[name]) for name, value in mine.items())


def test_utilities_that_do_not_fit_are_refused_and_nothing_is_written(before, tmp_path):
    with pytest.raises(InputError, match=r"^init_from: expected a run whose agents observe and act alike"):
        lomaq.train("nav", init_from=str(before), run_dir=tmp_path / "b", **SMALL)
    with pytest.raises(InputError, match=r"^init_from: expected null where nothing is learned"):
        lomaq.train("cartpole", algo="random", init_from=str(before), run_dir=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_run_records_where_it_began_and_what_each_agent_earned(before, tmp_path):
    run = lomaq.train(
        "cartpole", "env.n_agents=3", init_from=str(before), evaluation__per_agent=True, run_dir=tmp_path / "b", **SMALL
    )
    told = json.loads((run.run_dir / "init_from.json").read_text())
    assert (told["env"], told["taken"]) == ("cartpole", ["utilities", "mixer"])
    assert set(json.loads((run.run_dir / "code.json").read_text())) == {"lomaq", "user"}
    metrics = run.summary["test_metrics"]
    each = [metrics[f"return_agent_{agent}"] for agent in range(3)]
    assert sum(each) == pytest.approx(run.summary["test_return_mean"])
    assert "reward_agent_2" in (run.run_dir / "metrics.csv").read_text().splitlines()[0]
    more = lomaq.resume(run, total_env_steps=160)
    assert more.run_dir == run.run_dir
    assert more.summary["env_steps"] >= 160
    with pytest.raises(InputError, match=r"^kappa: expected only total_env_steps"):
        lomaq.resume(run, kappa=2)


def test_a_warm_start_is_no_run_of_the_method_that_tables_name() -> None:
    assert compose(["algo=lomaq"])["method"] == "lomaq"
    assert compose(["algo=lomaq", "init_from=runs/x"])["method"] == "custom"
