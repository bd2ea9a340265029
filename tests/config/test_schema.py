"""What each setting can be: every one of them is checked, and those of other people's classes are left to these."""

from __future__ import annotations

import copy
from functools import reduce
from operator import getitem
from typing import Any

import pytest

from lomaq.config import compose, flat
from lomaq.config.composition import _classes
from lomaq.config.schema import check_settings
from lomaq.errors import InputError

#: Parts of names of values that settings refer to; what refers to them is checked.
NOTED = {"recommended", "searched", "identity", "_target_"}
#: Settings that are lists of anything to begin with.
LISTS = ("partition", "mixer.enforce", "reward.redistribute", "env.payoffs")
BASES = {
    **{env: (f"env={env}",) for env in ("cartpole", "nav", "sysadmin", "matrix", "polymatrix", "voltage")},
    **{
        algo: (f"algo={algo}",)
        for algo in ("lomaq_rd", "lomaq_gcn", "qmix", "graphmix", "qtran", "cw_qmix", "dcg", "coma")
    },
    **{"paper": ("learner=paper",), "oracle": ("env=sysadmin", "algo=oracle")},
}


def changed(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(config)
    *above, last = key.split(".")
    node = config
    for part in above:
        node = node[part]
    node[last] = value
    return config


def _takes(config: dict[str, Any]) -> bool:
    try:
        check_settings(config, _classes)
    except InputError:
        return False
    return True


@pytest.mark.parametrize("words", BASES.values(), ids=BASES.keys())
def test_no_setting_takes_what_it_cannot_be(words: tuple[str, ...]) -> None:
    config = compose(words)
    check_settings(config, _classes)
    taken = []
    for key in flat(config):
        if key == "method" or NOTED & {*key.split(".")}:
            continue
        *above, last = key.split(".")
        node = reduce(getitem, above, config)
        before = node[last]
        for node[last] in ({"odd": [1]}, [[{"odd": 1}]], 1j):
            if _takes(config):
                taken.append((key, str(node[last])))
        node[last] = before
    # whose own checks see to what is inside: groups of further settings, lists of blocks and of payoffs
    free = {("learner.optimizer_options", str({"odd": [1]})), *((key, str([[{"odd": 1}]])) for key in LISTS)}
    assert {(key, value) for key, value in taken if not key.startswith("learner.optimizer_options.")} <= free


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("evaluation.references", 0.5, "evaluation.references: expected true or false, got 0.5"),
        (
            "evaluation.thresholds_per_agent",
            1.0,
            "evaluation.thresholds_per_agent: expected a list of numbers, got 1.0",
        ),
        ("env.name", [], "env.name: expected a word, got []"),
        ("study", 0, "study: expected null, or the settings of an experiment, got 0; choose one by experiment=NAME"),
        ("mixer.hidden", True, "mixer.hidden: expected a whole number, got True"),
        ("mixer.activation", "relu", "mixer.activation: expected one of elu, split, got 'relu'"),
        ("agent.hidden", 3, "agent.hidden: expected a list, each a whole number, got 3"),
        ("agent.observation_scale", "x", "agent.observation_scale: expected a list, each a number or null, got 'x'"),
        ("learner.lr", float("nan"), "learner.lr: expected a number, got nan"),
        ("learner.objective.returns.gamma", None, "learner.objective.returns.gamma: expected a number, got None"),
        ("learner.epsilon", 3, "learner.epsilon: expected a group of settings with its _target_, got 3"),
        ("env.n_agents", 2.5, "env.n_agents: expected a whole number, got 2.5"),
        ("trainer.devices", 0, "trainer.devices: expected a whole number of at least 1, got 0"),
        ("run_dir", 202601, "run_dir: expected a path, got 202601; write it in quotes"),
    ],
)
def test_the_line_names_the_setting_and_what_it_can_be(key: str, value: object, line: str) -> None:
    with pytest.raises(InputError) as error:
        check_settings(changed(compose([]), key, value), _classes)
    assert str(error.value) == line


def test_a_number_may_be_whole_and_what_may_be_missing_may_be_null() -> None:
    config = compose([])
    for key, value in (
        ("learner.lr", 1),
        ("learner.rollout_steps", None),
        ("trainer.threads", None),
        ("partition", [[0]]),
    ):
        check_settings(changed(config, key, value), _classes)


def test_the_arguments_of_a_class_from_elsewhere_are_its_own() -> None:
    config = changed(compose([]), "mixer", {"_target_": "elsewhere.Mine", "name": "mine", "hidden": {"any": "thing"}})
    check_settings(config, _classes)
