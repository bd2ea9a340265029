"""Train, load and act from Python."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.version import VersionBase
from pytorch_lightning import Callback

import lomaq
from lomaq import AgentGraph, InputError
from lomaq.envs import CartPole
from lomaq.evaluation import GreedyActor
from lomaq.inputs.text import read_checked

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


class TensorDefault(CartPole):
    def __init__(self, n_agents=2, places=torch.zeros(2), **given):  # noqa: B008
        super().__init__(n_agents, **given)


class ClassDefault(CartPole):
    def __init__(self, n_agents=2, kind=dict, **given):
        super().__init__(n_agents, **given)


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
    assert read_checked(trained.run_dir / "summary.json") == trained.summary
    assert [trained.summary[key] for key in ("mixer", "kappa", "seed", "n_agents")] == ["gcn", 2, 5, 3]
    steps, means = trained.curve
    assert len(steps) == len(means) > 2


def test_a_loaded_policy_acts_as_the_evaluated_one(trained):
    policy = lomaq.load(trained.run_dir)
    env, same = policy.env(n_envs=4, seed=1), policy.env(n_envs=4, seed=1)
    observation, other = env.reset(), same.reset()
    actor = GreedyActor(policy.utilities)
    actor.reset(same)
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
    once = policy._state.hidden
    policy.act(seen)
    assert not torch.equal(policy._state.hidden, once)
    policy.reset()
    policy.act(seen)
    assert torch.equal(policy._state.hidden, once)
    with pytest.raises(InputError, match=r"observations: .* 1 parallel .*, got 3; reset"):
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
        (("cartpole",), {"recommended": {"lr": 1}}, "recommended: expected a class"),
        (
            (TensorDefault,),
            {"recommended": {"learning_rate": 1}},
            r"recommended\.learning_rate: expected one of .*, gamma, .* lr, ",
        ),
        ((AgentGraph,), {}, "env: expected the name of an environment or a subclass of BatchedEnv"),
        (("matrix",), {"learner": "searched"}, "learner: expected fast or paper where no search chose settings"),
        (("cartpole", "experiment=fig9"), {}, "experiment: expected settings of one run"),
        (
            (TensorDefault,),
            {},
            r"default of places in \S+TensorDefault: expected a number, .* got one tensor \[2\]; take None",
        ),
        ((ClassDefault,), {}, r"default of kind in \S+ClassDefault: expected a number, .* got type <class"),
    ],
)
def test_mistakes_are_input_errors_and_write_nothing(tmp_path, arguments, settings, message):
    with pytest.raises(InputError, match=message):
        lomaq.train(*arguments, run_dir=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("observations", "mask", "message"),
    [
        (np.zeros((3, 5)), None, r"observations: expected shape \[B, 3, 4\] or \[3, 4\], got \[3, 5\]"),
        (np.zeros((1, 3, 4)), np.ones((1, 3, 3)), r"action_mask: expected shape \[1, 3, 2\], got \[1, 3, 3\]"),
        (np.full((2, 3, 4), np.nan), None, r"observations: expected finite numbers, got nan at \[0, 0, 0\]"),
        (np.where(np.arange(24) == 23, np.inf, 0).reshape(2, 3, 4), None, r"finite numbers, got inf at \[1, 2, 3\]"),
        (
            np.zeros((1, 3, 4)),
            [[[1, 0], [0, 0], [1, 1]]],
            r"action_mask: expected at least one allowed action for every agent, got none \(environment 0, agent 1\)",
        ),
    ],
)
def test_observations_and_masks_that_no_agent_can_act_on_are_named(trained, observations, mask, message):
    with pytest.raises(InputError, match=message):
        trained.policy.act(observations, mask)


def test_a_mask_forbids_actions(trained):
    mask = np.zeros((1, 3, 2))
    mask[..., 1] = 1
    assert trained.policy.act(np.random.default_rng(0).normal(size=(1, 3, 4)), mask).tolist() == [[1, 1, 1]]


def test_an_unknown_setting_of_the_environment_is_named(trained):
    with pytest.raises(InputError, match=r"env\.agents: expected a setting of the stored run.*config\.yaml"):
        lomaq.load(trained.run_dir, agents=4)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--help",), "--help"),
        (("--cfg", "job"), "--cfg"),
        (("-m", "seed=0,1"), "-m"),
        (("seed=0,1",), "several values"),
        (("--config-dir", "nowhere"), "--config-dir"),
        (("--config-dir",), "--config-dir"),
    ],
)
def test_other_words_of_the_command_line_are_input_errors_and_never_end_the_program(tmp_path, words, name):
    with pytest.raises(InputError, match=name):
        lomaq.train("cartpole", *words, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def own_settings(tmp_path):
    """A folder with a mixer and a reward that a person added."""
    for group, content in {"mixer": "defaults: [mlp]\nhidden: 5\n", "reward": "defaults: [team]\n"}.items():
        (tmp_path / "my_conf" / group).mkdir(parents=True)
        (tmp_path / "my_conf" / group / "mine.yaml").write_text(content)
    return tmp_path / "my_conf"


def test_mixers_and_rewards_of_ones_own_are_named_from_python(tmp_path, own_settings):
    small = {**SMALL, "env__n_agents": 3}
    run = lomaq.train("cartpole", run_dir=tmp_path / "a", config_dir=own_settings, mixer="mine", reward="mine", **small)
    assert run.policy.config["mixer"]["hidden"] == 5
    assert run.policy.config["reward"]["name"] == "team"
    words = ("--config-dir", str(own_settings), "mixer=mine", "reward=mine")
    same = lomaq.train("cartpole", *words, run_dir=tmp_path / "b", **small)
    assert same.curve == run.curve


def test_a_file_with_a_setting_of_an_earlier_version_is_refused_by_its_new_name(tmp_path, own_settings):
    (own_settings / "mixer" / "mine.yaml").write_text("defaults: [mlp]\ntie: 0.5\n")
    with pytest.raises(InputError, match=r"mixer\.tie: .*mixer\.weight_sharing.*mine\.yaml; write mixer"):
        lomaq.train("cartpole", run_dir=tmp_path / "run", config_dir=own_settings, mixer="mine")


def program(tmp_path, code: str) -> str:
    """What a program of somebody's prints."""
    (tmp_path / "program.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(Path(lomaq.__file__).parents[1])}
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


TRAINS = 'lomaq.train("cartpole", "total_env_steps=100", "learner.n_envs=4", "env.n_agents=2", run_dir="run", **small)'


def test_training_works_inside_a_hydra_application(tmp_path, monkeypatch):
    quiet = "defaults: [_self_, override hydra/job_logging: none, override hydra/hydra_logging: none]"
    (tmp_path / "app.yaml").write_text(f"{quiet}\nsteps: 100\nhydra: {{run: {{dir: .}}, output_subdir: null}}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["app.py", "steps=200"])
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    monkeypatch.setattr(VersionBase.instance(), "version_base", VersionBase().version_base)
    seen = []

    @hydra.main(version_base="1.3", config_path=str(tmp_path), config_name="app")
    def main(cfg):
        theirs, settings = GlobalHydra.instance().hydra, HydraConfig.get()
        run = lomaq.train("cartpole", "env.n_agents=2", run_dir="run", **SMALL)
        assert GlobalHydra.instance().hydra is theirs is not None
        assert HydraConfig.get() is settings
        seen.append((cfg.steps, settings.job.name, run.summary["env"]))

    main()
    assert seen == [(200, "test_api", "cartpole")]


@pytest.mark.slow
def test_training_works_where_there_is_neither_the_module_resource_nor_glibc(tmp_path):
    code = f"""
import ctypes, sys
import psutil, torch  # these ask for what their own system has
sys.modules["resource"] = None  # importing it fails, as on Windows
load = ctypes.CDLL.__init__

def refuse(self, name, *rest, **more):
    if name is None:
        raise TypeError("bad argument type for built-in operation")  # as Windows answers
    load(self, name, *rest, **more)

ctypes.CDLL.__init__ = refuse
import lomaq
small = {{"evaluation__episodes": 2}}
run = {TRAINS}
print(run.summary["env"], run.summary["peak_memory_mb"] > 10)
"""
    assert program(tmp_path, code) == "cartpole True\n"


def test_callbacks_of_ones_own_are_called(tmp_path):
    called = []

    class Mine(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            called.append(pl_module.env_steps)

    lomaq.train("cartpole", "env.n_agents=3", run_dir=tmp_path / "run", callbacks=[Mine()], **SMALL)
    assert called[-1] >= 400
    assert called == sorted(set(called))


def test_callbacks_that_know_no_lightning_are_told_of_iterations_and_tests(tmp_path):
    steps, tests = [], []

    class Mine(lomaq.Callback):
        def on_iteration(self, progress):
            steps.append(progress.env_steps)

        def on_test(self, progress):
            tests.append((progress.env_steps, progress.tests[-1].mean))

    run = lomaq.train("cartpole", "env.n_agents=3", run_dir=tmp_path / "run", callbacks=[Mine()], **SMALL)
    assert steps == sorted(set(steps))
    assert steps[-1] >= 400
    assert tests == list(zip(*run.curve, strict=True))


def test_a_resumed_run_is_no_new_one(trained, tmp_path):
    with pytest.raises(InputError, match=r"call lomaq\.resume\(run, total_env_steps=…\)"):
        lomaq.train("cartpole", resume=str(trained.run_dir), run_dir=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_policy_acts_in_a_single_environment(trained):
    policy = trained.policy
    seen = policy.env(n_envs=1, seed=1).reset()
    actions = policy.act(seen[0], action_mask=np.ones((3, 2), dtype=bool))
    policy.reset()
    assert torch.equal(actions, policy.act(seen)[0])


def test_chance_is_played_in_one_call():
    returns = lomaq.random_return("cartpole", "env.n_agents=3", episodes=5)
    assert returns.shape == (5,)
    assert torch.equal(returns, lomaq.random_return("cartpole", env__n_agents=3, episodes=5))


def test_a_graph_draws_itself(tmp_path):
    AgentGraph.ring(5).draw(tmp_path / "ring.png", title="ring")
    assert (tmp_path / "ring.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_is_certified_and_its_networks_are_those_that_act(trained):
    certificate = lomaq.certify(trained.run_dir, states=8)
    assert certificate.passed
    broken = trained.certify(states=8, mixer=lambda utilities, observations: -utilities)
    assert not broken.passed
    networks = trained.networks
    assert networks.mixer.kappa == 2
    acting = trained.policy.utilities.state_dict()
    assert all(torch.equal(weight, acting[name]) for name, weight in networks.utilities.state_dict().items())
    assert trained.policy.influence(states=8).shape == (2,)  # two edges


def test_a_decomposition_has_the_rewards_of_one_episode(tmp_path):
    run = lomaq.train("cartpole", "env.n_agents=3", run_dir=tmp_path / "run", algo="lomaq_rd", **SMALL)
    rewards = run.decompose(seed=3)
    assert rewards.learned.shape == rewards.true.shape
    assert rewards.true.shape[1] == 3


def test_a_policy_is_filmed(trained, tmp_path):
    shown = trained.policy.film(tmp_path / "after.gif", seed=1, moments=3)
    assert shown._repr_html_().startswith('<img width="700" src="data:image/gif;base64,R0lGOD')
    trained.policy.film(tmp_path / "before.gif", seed=1, actor=lomaq.RandomActor(0), moments=3)
    films = [(tmp_path / name).read_bytes() for name in ("after.gif", "before.gif")]
    assert all(film.startswith(b"GIF8") for film in films)
    assert films[0] != films[1]
    for path in (tmp_path / "film.txt", "human"):
        with pytest.raises(InputError, match=r"path=episode\.gif"):
            trained.policy.film(path)


def test_runs_are_compared(trained, tmp_path):
    other = lomaq.train("cartpole", "env.n_agents=3", run_dir=tmp_path / "other", seed=6, **SMALL)
    found = lomaq.compare(trained, other.run_dir)
    assert found.rows["seed"] == [5, 6]
    assert found.rows["kappa"] == [2, 1]
    with pytest.raises(InputError, match="at least two runs"):
        lomaq.compare(trained)


def test_a_study_is_run_and_kept(tmp_path):
    settings = {"study__steps": 2, "study__batch": 8}
    found = lomaq.study("fig6", run_dir=tmp_path / "fig6", **settings)
    assert found["settings"]["steps"] == 2
    assert lomaq.study("fig6", run_dir=tmp_path / "fig6", **settings) == found
    with pytest.raises(InputError, match=r"learner\.lr: .*no training run reads it"):
        lomaq.study("fig6", "learner.lr=1", run_dir=tmp_path / "fig6")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "one.yaml").write_text("# @package _global_\nkappa: 2\n")
    with pytest.raises(InputError, match=r"call lomaq\.train"):
        lomaq.study("one", config_dir=tmp_path)


def test_what_is_not_used_is_not_imported():
    code = """
import sys
import lomaq, lomaq.cli, lomaq.config, lomaq.envs, lomaq.training
print({"torch", "numpy", "hydra", "rich"} & {*sys.modules})
lomaq.AgentGraph.line(3)
print({"hydra", "pytorch_lightning", "matplotlib"} & {*sys.modules})
lomaq.config.compose(["env=nav"])
print({"pytorch_lightning", "matplotlib"} & {*sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n" * 3
