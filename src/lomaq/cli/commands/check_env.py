"""Whether an environment keeps its contract."""

from __future__ import annotations

from typing import Any

from lomaq.cli.tables import print_report
from lomaq.config import choices, compose
from lomaq.config.words import word_of
from lomaq.envs import BatchedEnv
from lomaq.errors import InputError
from lomaq.inputs.targets import find_class, import_modules
from lomaq.testing import examine
from lomaq.testing.checks import Make
from lomaq.training.build import env_maker


def check_env(target: str, **settings: Any) -> int:
    """Does an environment keep its contract? lomaq check-env my_env.MyEnv n_agents=5.

    Plays it and prints a table: shapes and types, seeds, independent environments, stored states, time limits, masks,
    rewards, the graph against measured influence, and speed. Exit status 1 if something failed, not for a warning.
    docs/how-to/own-environment.md explains each line; lomaq.testing.check_env does the same in a test.

    Args:
        target: TARGET, a class as MODULE.CLASS of a file in this folder or of what is installed, or the name of an
            environment as in training.
        **settings: An argument of its constructor, for example n_agents=5.
    """
    report = examine(*_environment(str(target), settings))
    print_report(report)
    return 1 if report.failures else 0


def _environment(target: str, settings: dict[str, Any]) -> tuple[Make, str]:
    """What makes the environments that ``target`` names, and their name."""
    settings = {key.removeprefix("env."): value for key, value in settings.items()}
    if target in choices()["env"]:
        config = compose([f"env={target}", *(f"env.{key}={word_of(value)}" for key, value in settings.items())])
        return env_maker(config), target
    module, _, name = target.replace(":", ".").rpartition(".")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise InputError("target", f"MODULE.CLASS, or one of {', '.join(choices()['env'])}", repr(target))
    import_modules([module], "target")
    kind: type = BatchedEnv  # abstract, which a type checker would not have
    find_class(path := f"{module}.{name}", [kind], "target")
    return env_maker({"env": {"_target_": path, **settings}}), path
