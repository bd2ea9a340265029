"""What each setting can be. All are checked when they are composed, before anything is built or written.

Settings with a class (``env.n_agents`` of ``env._target_``) are what the annotations of that class say, where a class
that is not written as a group of settings says so by ``written``; the others are declared here. Ranges and combinations
are for the classes themselves.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lomaq.errors import InputError, check_bool, check_choice, check_float, check_int
from lomaq.inputs.plain import whole
from lomaq.inputs.text import check_place

Check = Callable[[str, Any], object]
#: Keys of a node with a class that are no arguments of it.
_NOTES = ("_target_", "recommended", "tuned")
_WORDS: dict[object, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a word",
    type(None): "null",
}


def check_settings(config: dict[str, Any], class_of: Callable[[str], Any]) -> None:
    """Check the type of every setting of a configuration, and the range of those that have no class behind them.

    Args:
        config: The resolved configuration of one run; 1e5 becomes 100000 where only a whole number will do.
        class_of: From ``_target_`` to a class; to anything else where its arguments cannot be known.

    Raises:
        InputError: If one of them cannot be what it is.
    """
    for name, check in _DECLARED.items():
        group, _, key = name.rpartition(".")
        place: Any = config
        for part in group.split(".") if group else ():
            place = place.get(part) if isinstance(place, dict) else None
        if isinstance(place, dict) and key in place:
            place[key] = _checked(name, place[key], check)
    for name in ("env", "mixer", "reward", "agent", "learner"):
        _check_node(name, config.get(name), class_of)


def _checked(name: str, value: Any, check: Check) -> Any:
    """``value``, as a whole number where it does not do otherwise."""
    try:
        check(name, value)
    except InputError as error:
        if (number := whole(value)) is value:
            raise
        try:
            check(name, number)
        except InputError:
            raise error from None
        return number
    return value


def _check_node(name: str, node: Any, class_of: Callable[[str], Any]) -> None:
    """Check the arguments of the class of a node, and of those inside."""
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        raise InputError(name, "a group of settings with its _target_", repr(node), f"set one of them, {name}.NAME=…")
    hints = _hints(found) if isinstance(found := class_of(node["_target_"]), type) else {}
    for key, value in node.items():
        if isinstance(value, dict) and "_target_" in value:
            _check_node(f"{name}.{key}", value, class_of)
        elif key == "name":
            check_word(f"{name}.name", value)
        elif key in hints and key not in _NOTES and not _fits(value, hints[key]):
            if not _fits(number := whole(value), hints[key]):
                raise InputError(f"{name}.{key}", _words(hints[key]), repr(value))
            node[key] = number


@cache
def _hints(target: type) -> dict[str, Any]:
    """Annotations of the arguments of a class of this package; other people's may mean anything."""
    if not target.__module__.startswith("lomaq."):
        return {}
    hints = get_type_hints(target.__init__)  # type: ignore[misc]
    return {name: hints[name] for name in inspect.signature(target).parameters if name in hints}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value can be what an annotation says."""
    hint = getattr(hint, "__supertype__", hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return type(value) is str and value in inner
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if hint is Any or isinstance(hint, str):
        return True
    if hint is float:
        return type(value) is int or (type(value) is float and not math.isnan(value))
    if hint in (int, bool, str):
        return type(value) is hint
    if hint is type(None):
        return value is None
    kind = origin or hint
    if (written := getattr(kind, "written", None)) is not None:
        return isinstance(value, written)
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return isinstance(value, dict)
    if isinstance(kind, type) and issubclass(kind, Sequence):
        return isinstance(value, list) and all(_fits(one, inner[0]) for one in value if inner)
    return isinstance(value, dict)  # an object, which a node with its _target_ describes


def _words(hint: Any) -> str:
    """An annotation in words."""
    hint = getattr(hint, "__supertype__", hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_words, inner))
    if hint in _WORDS:
        return _WORDS[hint]
    kind = origin or hint
    if hasattr(kind, "written"):
        return f"a {kind.__name__.lower()}"
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return "a group of settings"
    if isinstance(kind, type) and issubclass(kind, Sequence):
        return f"a list, each {_words(inner[0])}" if inner and inner[0] is not Any else "a list"
    return "a group of settings with its _target_"


# ------------------------------------------------------- settings without a class


def check_word(name: str, value: Any) -> str:
    """Return ``value`` when it is text, and not empty.

    Raises:
        InputError: If it is anything else.
    """
    if not isinstance(value, str) or not value:
        raise InputError(name, "a word", repr(value))
    return value


def check_file_name(name: str, value: Any) -> None:
    """Check that ``value`` can be part of the name of a file.

    Raises:
        InputError: If it cannot.
    """
    if any(sign in check_word(name, value) for sign in "/\\\0"):
        raise InputError(name, "a word that can be part of the name of a folder", repr(value))


def _or_null(check: Check) -> Check:
    def checked(name: str, value: Any) -> None:
        if value is not None:
            check(name, value)

    return checked


def _group(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise InputError(name, "a group of settings", repr(value), f"set one of them, {name}.NAME=…")


def _study(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise InputError(name, "null, or the settings of an experiment", repr(value), "choose one by experiment=NAME")
    if ("run" in value) == ("grid" in value):
        raise InputError(name, "either grid or run", ", ".join(value), "choose one by experiment=NAME")
    check_word(f"{name}.{'run' if 'run' in value else 'report'}", value.get("run", value.get("report")))
    if "grid" in value:
        check_int(f"{name}.jobs", value.get("jobs"), 1)
        for key in ("each", "extend"):
            if key in value:
                check_word(f"{name}.{key}", value[key])
        for grid in value["grid"] if isinstance(value["grid"], list) else [value["grid"]]:
            _grid(f"{name}.grid", grid)


def _grid(name: str, value: Any) -> None:
    _group(name, value)
    for key, values in value.items():
        if not (isinstance(values, list) and values) and (key, values) != ("algo", "methods"):
            raise InputError(f"{name}.{key}", "a list of values", repr(values))


def _partition(name: str, value: Any) -> None:
    if not isinstance(value, (str, list)):
        raise InputError(name, "a name, a list of blocks or a .json file", repr(value))


def _path(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise InputError(name, "a path", repr(value), "write it in quotes")
    check_place(name, value)


def _devices(name: str, value: Any) -> None:
    if isinstance(value, list) and value:
        for one in value:
            check_int(name, one, 0)
    elif value != "auto":
        check_int(name, value, 1)


def _numbers(name: str, value: Any) -> None:
    if not isinstance(value, list):
        raise InputError(name, "a list of numbers", repr(value))
    for one in value:
        check_float(name, one, 0)


def _identity(name: str, value: Any) -> None:
    _group(name, value)
    for key, allowed in value.items():
        if allowed != "any" and not isinstance(allowed, list):
            raise InputError(f"{name}.{key}", "any, or a list of values", repr(allowed))


def _choice(*choices: str) -> Check:
    return partial(_check_choice, choices=choices)


def _check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    check_choice(name, value, choices)


#: Name of each setting → what checks it.
_DECLARED: dict[str, Check] = {
    "seed": partial(check_int, minimum=0, maximum=2**32 - 1),
    "kappa": partial(check_int, minimum=0),
    "partition": _partition,
    "total_env_steps": partial(check_int, minimum=1, maximum=2**63 - 1),
    "run_dir": _or_null(_path),
    "resume": _or_null(_path),
    "init_from": _or_null(_path),
    "compile": check_bool,
    "deterministic": check_bool,
    "jobs": _or_null(partial(check_int, minimum=1)),
    "study": _or_null(_study),
    "algo": _group,
    "algo.name": check_word,
    "algo.label": check_word,
    "algo.reads": _or_null(_choice("local", "team")),
    "algo.baseline": _or_null(check_word),
    "algo.policy": _choice("utilities", "oracle", "baseline", "random"),
    "algo.identity": _identity,
    "algo.searched": _group,
    "env.name": check_file_name,
    "logger": _group,
    "logger.tensorboard": check_bool,
    "logger.wandb": check_bool,
    "logger.mlflow": check_bool,
    "logger.offline": check_bool,
    "logger.project": check_word,
    "evaluation": _group,
    "evaluation.episodes": partial(check_int, minimum=1),
    "evaluation.episodes_while_training": _or_null(partial(check_int, minimum=1)),
    "evaluation.every_env_steps": partial(check_int, minimum=1),
    "evaluation.at_start": check_bool,
    "evaluation.film": _or_null(_choice("gif", "mp4")),
    "evaluation.references": check_bool,
    "evaluation.sample": check_bool,
    "evaluation.per_agent": check_bool,
    "evaluation.best_by": lambda name, value: check_word(name, value[1:] if str(value).startswith("-") else value),
    "evaluation.stop_at": _or_null(partial(check_float, minimum=-math.inf)),
    "evaluation.thresholds_per_agent": _numbers,
    "trainer": _group,
    "trainer.accelerator": check_word,
    "trainer.devices": _devices,
    "trainer.num_nodes": partial(check_int, minimum=1),
    "trainer.strategy": check_word,
    "trainer.threads": _or_null(partial(check_int, minimum=1, maximum=1024)),
}
