"""Train, load and act from Python."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import lomaq
from lomaq import AgentGraph, InputError
from lomaq.envs import CartPole
from lomaq.training.evaluation import GreedyActor

SMALL = {
    "learner__n_envs": 4,
    "learner__rollout_steps": 10,
    "learner__minibatches": 2,
    "evaluation__episodes": 2,
    "evaluation__every_env_steps": 80,
    "total_env_steps": 400,
}


COUNTER = '''
import torch

from lomaq import AgentGraph
from lomaq.envs import BatchedEnv


class Counter(BatchedEnv):
    """Action 1 pays; agents see how often they took it."""

    state_names = ("count",)

    def __init__(self, n_agents=3, pay=2.0, *, n_envs=1, seed=0, device="cpu"):
        graph = AgentGraph.line(n_agents)
        super().__init__(graph, n_envs=n_envs, n_actions=2, obs_size=1, max_steps=5, seed=seed, device=device)
        self.pay = pay
        self.count = torch.zeros(n_envs, n_agents)

    def _reset_state(self, rows):
        self.count[rows] = 0

    def _advance(self, actions):
        self.count += actions
        return self.pay * actions.float(), torch.zeros(self.n_envs, dtype=torch.bool)

    def observe(self):
        return self.count[..., None].clone()
'''


@pytest.fixture
def counter(tmp_path, monkeypatch):
    """The class in a module of its own, as a user has it."""
    (tmp_path / "counter_env.py").write_text(COUNTER)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("counter_env").Counter
    del sys.modules["counter_env"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api") / "run"
    return lomaq.train("cartpole", "env.n_agents=3", run_dir=folder, mixer="gcn", kappa=2, seed=5, **SMALL)


def test_settings_reach_the_run(trained):
    assert json.loads((trained.run_dir / "summary.json").read_text()) == trained.summary
    assert [trained.summary[key] for key in ("mixer", "kappa", "seed", "n_agents")] == ["gcn", 2, 5, 3]
    steps, means = trained.curve
    assert len(steps) == len(means) > 2


def test_a_loaded_policy_acts_as_the_evaluated_one(trained):
    policy = lomaq.load(trained.run_dir)
    env, same = policy.env(n_envs=4, seed=1), policy.env(n_envs=4, seed=1)
    observation, other = env.reset(), same.reset()
    actor = GreedyActor(policy.utilities)
    actor.begin(same)
    for _ in range(5):
        actions = policy.act(observation.numpy())
        assert torch.equal(actions, actor.act(same, other))
        observation, other = env.step(actions)[0], same.step(actions)[0]


def test_a_policy_loads_for_another_number_of_agents(trained):
    policy = lomaq.load(trained.run_dir, n_agents=7)
    assert policy.act(np.zeros((2, 7, 4))).shape == (2, 7)
    assert policy.evaluate(episodes=3).shape == (3,)


def test_recurrent_policies_remember_until_they_are_reset(tmp_path):
    run = lomaq.train("cartpole", "env.n_agents=2", run_dir=tmp_path / "gru", agent="paper", **SMALL)
    policy, seen = run.policy, torch.ones(1, 2, 4)
    policy.act(seen)
    once = policy._actor.hidden
    policy.act(seen)
    assert not torch.equal(policy._actor.hidden, once)
    policy.reset()
    policy.act(seen)
    assert torch.equal(policy._actor.hidden, once)
    with pytest.raises(InputError, match="expected 1 copies as before, got 3; reset"):
        policy.act(torch.ones(3, 2, 4))


def test_an_environment_of_ones_own_is_trained_by_its_class(tmp_path, counter):
    settings = {**SMALL, "total_env_steps": 2000, "learner__epsilon__anneal_env_steps": 1000}
    run = lomaq.train(
        counter, "env.pay=3", run_dir=tmp_path / "run", recommended={"gamma": 0.0, "lr": 0.01}, **settings
    )
    assert run.summary["env"] == "counter"
    assert run.summary["test_return_mean"] == pytest.approx(3 * 3 * 5)
    assert lomaq.load(run.run_dir, n_agents=4).evaluate(1).tolist() == [3 * 4 * 5]


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (("cartpole", "env.n_agent=3"), {}, "env.n_agent: expected a known setting"),
        (("cartpole",), {"kappa": -1}, "kappa: expected a whole number of at least 0, got -1"),
        (("cartpole",), {"recommended": {"lr": 1}}, "recommended: expected a class of your own"),
        (
            (CartPole,),
            {"recommended": {"learning_rate": 1}},
            r"recommended\.learning_rate: expected one of gamma, lam, lr",
        ),
        ((AgentGraph,), {}, "env: expected the name of an environment or a subclass of BatchedEnv"),
        (("matrix",), {"learner": "searched"}, "learner: expected fast or paper where no search chose settings"),
        (("cartpole", "experiment=fig9"), {}, "experiment: expected settings of one run"),
    ],
)
def test_mistakes_are_input_errors_and_write_nothing(tmp_path, arguments, settings, message):
    with pytest.raises(InputError, match=message):
        lomaq.train(*arguments, run_dir=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("observations", "mask", "message"),
    [
        (np.zeros((3, 4)), None, r"observations: expected shape \[B, 3, 4\], got \[3, 4\]"),
        (np.zeros((1, 3, 4)), np.ones((1, 3, 3)), r"action_mask: expected shape \[1, 3, 2\], got \[1, 3, 3\]"),
    ],
)
def test_wrong_shapes_are_named(trained, observations, mask, message):
    with pytest.raises(InputError, match=message):
        trained.policy.act(observations, mask)


def test_a_mask_forbids_actions(trained):
    mask = np.zeros((1, 3, 2))
    mask[..., 1] = 1
    assert trained.policy.act(np.random.default_rng(0).normal(size=(1, 3, 4)), mask).tolist() == [[1, 1, 1]]


def test_an_unknown_setting_of_the_environment_is_named(trained):
    with pytest.raises(InputError, match=r"env\.agents: expected one of name, n_agents"):
        lomaq.load(trained.run_dir, agents=4)


def test_the_graph_alone_imports_neither_lightning_nor_hydra():
    code = "import lomaq, sys; lomaq.AgentGraph.line(3); print({'hydra', 'pytorch_lightning'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
