from __future__ import annotations

import pytest
import torch

from lomaq.envs import Sumo
from lomaq.envs.sumo import nets
from lomaq.errors import InputError
from lomaq.testing import check_env


@pytest.fixture
def make(tiny):
    """Makes the environment on the network of two signals: ``make(n_envs=2)``."""
    return lambda **settings: Sumo(**{**tiny, **settings})


def test_parallel_environments_are_simulators_with_seeds_of_their_own(make):
    with make(n_envs=2, seed=1) as env:
        assert (env.n_agents, env.n_actions, env.obs_size, env.max_steps) == (2, 2, 12, 30)
        assert env.graph.names == ["A", "B"]
        assert env.graph.pairs.tolist() == [[0, 1]]
        assert env.graph.pos.tolist() == [[200.0, 0.0], [400.0, 0.0]]
        assert "agent_type" not in env.graph  # both look alike
        steps = list(env.episode(lambda env, _: env.baselines()["max_pressure"](env)))
        metrics = env.episode_metrics()
    assert len(steps) == 30
    assert bool(steps[-1].truncated.all())
    assert not torch.equal(steps[-1].observation[0], steps[-1].observation[1])
    assert {*metrics} == {"delay_all", "delay", "unfinished"}
    assert all(value.isfinite().all() and (value > 0).all() for value in metrics.values())


def test_fixed_time_ends_where_the_simulator_alone_does(make, signals):
    alone = signals()
    alone.reset(seed=0)
    while alone.agents:
        alone.step(alone.baseline("fixed_time"))
    with make() as env:
        for _ in env.episode(lambda env, _: env.baselines()["fixed_time"](env)):
            pass
        delay = float(env.episode_metrics()["delay_all"])
    assert delay == pytest.approx(alone.episode_metrics()["delay_all"], rel=0.25)  # other seeds of the vehicles


@pytest.mark.slow
def test_it_keeps_every_promise_of_an_environment(tiny):
    assert not check_env(Sumo, **tiny).failures


def test_what_is_wrong_is_said_before_a_process_starts(make):
    with pytest.raises(InputError, match=r"env\.yellow: expected a whole number from 0 to 9, got 10"):
        make(yellow=10)


def test_a_missing_package_is_one_line(make, monkeypatch):
    find = nets.find_spec
    monkeypatch.setattr(nets, "find_spec", lambda name: None if name == "libsumo" else find(name))
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value) == "env=sumo: expected the package libsumo, got none; pip install '.[sumo]'"
