"""Settings of an environment that is a class of the user's own: its YAML, made from its constructor."""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lomaq.config.groups import CONF, read_yaml
from lomaq.config.known import check_recommended
from lomaq.envs import BatchedEnv, contract
from lomaq.errors import InputError, tell
from lomaq.inputs.targets import name_of_script, our_class

#: What an environment's constructor is given by whoever makes it.
_GIVEN = ("n_envs", "seed", "device")


def name_of(env: type) -> str | None:
    """The name of the environment in this package that is exactly this class."""
    found = (file.stem for file in (CONF / "env").glob("*.yaml") if our_class(read_yaml(file)["_target_"]) is env)
    return next(found, None)


def write_env(env: type[BatchedEnv], recommended: Mapping[str, Any], folder: Path) -> str:
    """Write the YAML of a class into ``folder/env`` and return its name.

    Args:
        env: The class; its module is imported where it is built.
        recommended: What suits it, instead of the values in ``conf/custom_env.yaml``.
        folder: A folder of settings, see ``config_dir``.

    Raises:
        InputError: If it is no environment, or a default of its constructor cannot be a setting.
    """
    if not (isinstance(env, type) and issubclass(env, BatchedEnv)):
        raise InputError("env", "the name of an environment or a subclass of BatchedEnv", repr(env))
    check_recommended(recommended)
    arguments = {
        name: parameter.default
        for name, parameter in inspect.signature(env).parameters.items()
        if name not in _GIVEN and parameter.default is not parameter.empty
    }
    for argument, default in arguments.items():
        if not _is_plain(default):
            expected = "a number, a word, true, false, None, or lists and dictionaries of these, as a setting can be"
            remedy = "take None or such a value, and make what the class needs of it in __init__"
            name = f"default of {argument} in {contract.title(env)}"
            raise InputError(name, expected, contract.brief(default), remedy)
    name = env.__name__.lower()
    node = {"_target_": f"{_module_of(env)}.{env.__qualname__}", "name": name, **arguments}
    (folder / "env").mkdir()
    content = yaml.safe_dump({**node, "recommended": dict(recommended)}, sort_keys=False)
    name = f"own_{name}"  # which hides no environment of ours
    (folder / "env" / f"{name}.yaml").write_text(content, encoding="utf-8")
    return name


def _module_of(env: type) -> str:
    """The module that the checkpoint names; where that cannot be imported elsewhere, a note says so."""
    if env.__module__ != "__main__":
        return env.__module__
    name = name_of_script()
    if name is None:
        remedy = "move it to a file and import it from there, to load its runs anywhere else"
        tell(f"{env.__name__} is a class of this session alone, and so are its checkpoints: {remedy}")
    elif "__name__" not in "".join(linecache.getlines(str(sys.modules["__main__"].__file__))):
        remedy = 'put what it does below if __name__ == "__main__":'
        tell(f"{env.__name__} is in the script {name}.py, which runs again where its checkpoints are loaded: {remedy}")
    return name or "__main__"


def _is_plain(value: object) -> bool:
    """Whether YAML can hold it and gives it back."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(type(key) is str and _is_plain(each) for key, each in value.items())
    return value is None or type(value) in (bool, int, float, str)
