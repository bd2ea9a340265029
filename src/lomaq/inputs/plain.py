"""Stored configurations: plain values only, bounded, read and changed without resolving or importing anything."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lomaq.errors import InputError, did_you_mean
from lomaq.inputs.targets import name_functions
from lomaq.inputs.text import read_checked_yaml

#: Settings that have settings of their own, besides the groups.
SECTIONS = ("evaluation", "learner.objective", "learner.epsilon")
#: The group whose keys are not ours to know: arguments of somebody's function.
OPEN = "env.args"
#: Most values of a configuration, each counted wherever it is referred to, and most levels of nesting.
MOST_VALUES, MOST_LEVELS = 500_000, 50
#: What every stored configuration has, those of earlier versions too, and what it is.
SHAPE: dict[str, type] = {
    **dict.fromkeys(("agent", "algo", "env", "evaluation", "learner", "logger", "mixer", "reward", "trainer"), dict),
    **dict.fromkeys(SECTIONS, dict),
    **{f"{group}.name": str for group in ("algo", "env", "learner", "mixer", "reward")},
    "evaluation.thresholds_per_agent": list,
    "total_env_steps": int,
    **dict.fromkeys(("deterministic", "kappa", "partition", "run_dir", "seed"), object),
}
#: What training reads of every configuration, besides.
TRAINED = {
    **dict.fromkeys((f"algo.{name}" for name in ("label", "policy", "reads")), object),
    **dict.fromkeys(
        (f"evaluation.{name}" for name in ("at_start", "episodes", "every_env_steps", "film", "references")), object
    ),
    **dict.fromkeys((f"logger.{name}" for name in ("mlflow", "offline", "project", "tensorboard", "wandb")), object),
    **dict.fromkeys((f"trainer.{name}" for name in ("strategy", "threads")), object),
}
#: Settings, and settings of the evaluation, that came later → what runs of before did.
LATER = {"compile": False, "init_from": None}
LATER_TESTS = {"sample": False, "episodes_while_training": None, "best_by": "return", "stop_at": None}
LATER_TESTS |= {"per_agent": False}
#: Kinds of values besides dictionaries and lists.
SCALARS = (str, int, float, bool, type(None))
_MISSING = object()


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of a run from its ``config.yaml``.

    Raises:
        InputError: If it is no YAML, or holds anything but plain values.
    """
    return check_config(read_checked_yaml(path), str(path))


def check_config(config: Any, name: str) -> dict[str, Any]:
    """Return ``config`` when it is the configuration of a run, in plain values, with the settings that came later.

    Args:
        config: What was read from a file.
        name: Of that file.

    Raises:
        InputError: If it is anything else.
    """
    check_plain(config, name)
    check_shape(config, SHAPE, name)
    if not all(type(x) in (int, float) for x in config["evaluation"]["thresholds_per_agent"]):
        raise InputError(name, "numbers as evaluation.thresholds_per_agent", "others")
    return {**LATER, **config, "evaluation": {**LATER_TESTS, **config["evaluation"]}}


def check_shape(config: dict[str, Any], shape: Mapping[str, type], name: str) -> None:
    """Refuse a configuration that lacks a dotted key of ``shape``, or has another kind of value there.

    Raises:
        InputError: If it does.
    """
    for key, kind in shape.items():
        value = _select(config, key)
        if value is _MISSING or not isinstance(value, kind):
            expected = {dict: "settings", str: "a name", list: "a list", int: "a whole number"}.get(kind, "a value")
            got = "none" if value is _MISSING else f"a {type(value).__name__}"
            raise InputError(name, f"the configuration of a run with {expected} as {key}", got)


def check_plain(config: Any, name: str) -> None:
    """Refuse all but dictionaries, lists, text, numbers, true, false and null, and what is endless.

    Raises:
        InputError: If there is anything else.
    """
    waiting: list[tuple[Any, int]] = [(config, 0)]
    counted = 0
    while waiting:
        value, level = waiting.pop()
        counted += 1
        if counted > MOST_VALUES or level > MOST_LEVELS:
            most = f"settings of at most {MOST_VALUES:,} values, {MOST_LEVELS} levels deep"
            raise InputError(name, most, "more, or values that hold themselves")
        if type(value) is dict:
            waiting += [(one, level + 1) for one in value.values()]
            value = next((key for key in value if type(key) not in SCALARS), None)
        elif type(value) is list:
            waiting += [(one, level + 1) for one in value]
            continue
        if type(value) not in SCALARS:
            raise InputError(name, "plain values (text, numbers, true, false, null, lists)", type(value).__name__)


def whole(value: Any) -> Any:
    """Numbers without a fraction, such as 1e5, as whole numbers; in lists, too, and anything else as it is.

    >>> whole(1e5), whole([64, 1e2]), whole(0.5)
    (100000, [64, 100], 0.5)
    """
    if isinstance(value, list):
        return [whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def changed(config: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """``config`` with known keys changed, by the user's own words; nothing is resolved, in it or in what is given.

    Raises:
        InputError: If a key is unknown, or a value refers to others by ``${…}``.
    """
    result = copy.deepcopy(config)
    for key, value in given.items():
        if "${" in str(value):
            raise InputError(key, "a plain value for a stored run", value, "write the value itself")
        _change(result, key, value)
    name_functions(given)
    check_sections(result)
    return result


def _change(config: dict[str, Any], key: str, value: Any) -> None:
    group, _, last = key.rpartition(".")
    place = _select(config, group) if group else config
    if not isinstance(place, dict) or (last not in place and group != OPEN):
        meant = did_you_mean(key, _names(config))
        remedy = f"{meant} config.yaml of the run has all".strip()
        raise InputError(key, "a setting of the stored run", "an unknown one", remedy)
    if isinstance(value, dict) and isinstance(place[last], dict):
        for name, one in value.items():
            _change(config, f"{key}.{name}", one)
    else:
        place[last] = whole(value) if type(place.get(last)) in (int, list) else value


def _names(node: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted names of what nested settings hold."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _names(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def check_sections(config: dict[str, Any]) -> None:
    """Refuse a value where there must be settings.

    Raises:
        InputError: If there is one.
    """
    for section in SECTIONS:
        value = _select(config, section)
        if not isinstance(value, dict):
            raise InputError(section, "a group of settings", repr(value), f"set one of them, {section}.NAME=…")


def _select(config: Any, key: str) -> Any:
    """The value of a dotted key, ``_MISSING`` where there is none."""
    for name in key.split("."):
        config = config.get(name, _MISSING) if isinstance(config, dict) else _MISSING
    return config
