"""From a configuration to the objects of a run."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

from lomaq.config import compose
from lomaq.envs import CartPole
from lomaq.errors import InputError
from lomaq.mixers import Mixer
from lomaq.objectives import PartitionTD, Returns
from lomaq.training import Epsilon
from lomaq.training.build import build, build_run
from lomaq.training.experience.replay import sequence_bytes

WORDS = ("env.n_agents=3",)
RETURNS = {"_target_": "lomaq.objectives.Returns", "gamma": 0.9, "lam": 0.5}


def test_a_node_becomes_what_its_target_names_and_nodes_inside_come_first() -> None:
    made = build({"_target_": "lomaq.objectives.PartitionTD", "returns": RETURNS, "double_q": True}, PartitionTD)
    assert made.returns == Returns(0.9, 0.5)
    assert made.double_q


def test_what_is_offered_is_given_only_where_the_target_takes_it() -> None:
    node = {"_target_": "lomaq.training.Epsilon", "start": 0.5}
    assert build(node, Epsilon, {"end": 0.25, "colour": "red"}) == Epsilon(0.5, 0.25)


def test_an_exception_in_the_constructor_of_somebody_elses_class_names_file_and_line(tmp_path, monkeypatch) -> None:
    lines = "from lomaq.training import Epsilon\nclass Mine(Epsilon):\n    def __init__(self):\n        1 + 'a'\n"
    (tmp_path / "own_epsilon.py").write_text(lines)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("own_epsilon")
    place = r"own_epsilon\.Mine\.__init__: expected no exception, got TypeError: .* \(\S*own_epsilon\.py:4\)$"
    with pytest.raises(InputError, match=place):
        build({"_target_": "own_epsilon.Mine"}, Epsilon)


def test_what_is_extra_is_given_always() -> None:
    assert build({"_target_": "lomaq.envs.CartPole", "n_agents": 3}, CartPole, n_envs=5).n_envs == 5


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"_target_": "lomaq.nowhere.Thing"}, ("_target_", "a Epsilon", "lomaq.nowhere.Thing")),
        ({"_target_": "lomaq.training.Nothing"}, ("_target_", "a Epsilon")),
        ({"start": 0.5}, ("_target_", "a Epsilon, as MODULE.NAME", "None")),
        ([], ("_target_", "settings of a Epsilon", "[]")),
        ({"_target_": "lomaq.envs.CartPole"}, ("_target_", "a Epsilon", "lomaq.envs.CartPole")),
        ({"_target_": "lomaq.training.Epsilon", "middle": 1}, ("lomaq.training.Epsilon", "arguments", "middle")),
    ],
    ids=["no module", "no class", "no target", "no node", "another kind", "an unknown argument"],
)
def test_what_cannot_be_built_is_refused_by_name(node: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as error:
        build(node, Epsilon)
    assert all(word in str(error.value) for word in words), error.value


def test_equal_seeds_make_equal_networks_and_others_do_not() -> None:
    one, same, other = (build_run(compose([*WORDS, f"seed={seed}"])).module.networks for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_the_objective_checks_the_networks_that_it_is_to_train() -> None:
    with pytest.raises(InputError, match=r"partition: .*partition=full"):
        build_run(compose([*WORDS, "algo=qtran", "partition=singletons"]))
    words = [*WORDS, "algo=vdn", "agent._target_=lomaq.nn.CoordinationGraph"]
    with pytest.raises(InputError, match=r"agent\._target_: .*act alone.*CoordinationGraph"):
        build_run(compose(words))


def test_mixer_partition_and_reward_are_those_of_the_configuration() -> None:
    run = build_run(compose([*WORDS, "partition=[[0,1],[2]]", "kappa=0", "reward=team"]))
    mixer = run.module.networks.mixer
    assert isinstance(mixer, Mixer)
    assert (mixer.n_blocks, mixer.kappa) == (2, 0)
    assert run.partition.blocks == ((0, 1), (2,))
    rewards = torch.tensor([1.0, 10.0, 100.0])
    assert run.module.reward.aggregate(rewards).tolist() == [111.0, 111.0]


def test_a_replay_memory_that_does_not_fit_is_refused_before_anything_is_collected() -> None:
    words = ["learner=paper", "learner.replay_capacity=1000000000"]
    with pytest.raises(InputError, match=r"learner\.replay_capacity: .*GB of free memory"):
        build_run(compose([*WORDS, *words]))


def test_what_takes_more_than_a_gigabyte_is_announced_with_its_largest_part() -> None:
    assert build_run(compose(WORDS)).notes == []
    run = build_run(compose([*WORDS, "learner=paper", "learner.replay_capacity=200000"]))
    env = run.make_env(1, 0, torch.device("cpu"))
    stored = 200_000 * sequence_bytes(env, run.module.networks.utilities.memory_size, env.max_steps) / 1e9
    (note,) = run.notes
    assert note.startswith("takes about ")
    assert note.endswith(f"replay memory {stored:,.1f}")
