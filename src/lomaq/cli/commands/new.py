"""Files to begin with."""

from __future__ import annotations

import importlib.util
import keyword
from pathlib import Path

from lomaq.cli.template import CONF, ENV, TEST
from lomaq.config import choices
from lomaq.errors import InputError
from lomaq.inputs.text import typed
from lomaq.runs.files import write_atomic


def new_env(name: str, config_dir: str = "my_conf") -> None:
    """Write an environment to begin with, its settings and a test: lomaq new env my_env.

    The three files work as they are. Change the class; docs/how-to/own-environment.md explains what it must define.

    Args:
        name: NAME of the environment and of its file NAME.py, in this folder.
        config_dir: FOLDER of settings, which --config-dir names in training.
    """
    _check_free(name)
    title = "".join(part.capitalize() for part in name.split("_"))
    files = {
        Path(f"{name}.py"): ENV,
        Path(f"test_{name}.py"): TEST,
        Path(config_dir, "env", f"{name}.yaml"): CONF,
    }
    for file in files:
        if file.exists():
            raise InputError("name", "one that is not taken", f"{name}, of {file}", "choose another")
    for file, content in files.items():
        write_atomic(file, content.replace("NAME", name).replace("CLASS", title))
        print(f"written    {file}")
    print(f"check      lomaq check-env {name}.{title}\ntest       python -m pytest test_{name}.py")
    print(f"train      lomaq train --config-dir {config_dir} env={name} {typed('run_dir', f'runs/{name}')}")
    print(f"play       lomaq evaluate runs/{name} modules={name}")


def _check_free(name: object) -> None:
    """Refuse what is no name of a module, and names that mean something else already."""
    expected = "a name such as my_env, of letters, digits and _"
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise InputError("name", expected, repr(name))
    if name in choices()["env"]:
        raise InputError("name", expected, f"{name}, an environment of lomaq", "choose another")
    if not Path(f"{name}.py").exists() and importlib.util.find_spec(name) is not None:
        raise InputError("name", expected, f"{name}, a module that is installed", "choose another")
