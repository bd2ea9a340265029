"""Where the value of each setting comes from: the files of the configuration and their references."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lomaq.config import choices, compose, folders_of, layers, parse
from lomaq.config.words import flat
from lomaq.inputs.targets import modules_of

#: Parts of keys that are no settings of a run, but describe it, or that settings refer to.
ASIDE = {"algo", "jobs", "logger", "method", "name", "recommended", "resume", "run_dir", "study", "trainer"}
#: Folder of a file, or its name → what sets a value there, where that is called by another name.
SETTERS = {"algo": "method", "env": "environment", **dict.fromkeys(("train.yaml", "custom_env.yaml"), "default")}
#: ``${a.b}`` or ``${oc.select:a.b,default}``, and what it refers to.
REFERENCE = re.compile(r"\$\{(?:oc\.select:)?(.*?)(?:,[^,}]*)?\}")


def origins(words: Sequence[str]) -> dict[str, tuple[Any, str]]:
    """Each setting of a run → its value and where that comes from, such as ``environment, env/nav.yaml``.

    Args:
        words: Settings as on the command line, and ``--config-dir FOLDER``.

    Raises:
        InputError: If a setting is unknown or impossible.
    """
    values = flat(compose(words))
    raw, files = layers(words)
    unresolved = flat(raw)
    typed = {*flat(parse(folders_of(modules_of(words)[0])[0], places=()))} - {*choices()}
    written = {key: name for name, content in files.items() for key in content}

    def origin(key: str) -> str:
        if key in typed:
            return "command line"
        reference = REFERENCE.fullmatch(str(unresolved[key]))
        if reference is not None:
            # inside may be another: ${algo.searched.${env.name}.lr}
            target = REFERENCE.sub(lambda inner: str(values[inner[1]]), reference[1])
            if target in unresolved:
                return origin(target)
        setter = "search" if key.startswith("algo.searched.") else written[key].partition("/")[0]
        return f"{SETTERS.get(setter, setter)}, {written[key]}"

    return {key: (value, origin(key)) for key, value in values.items() if not ASIDE & {*key.split(".")}}
