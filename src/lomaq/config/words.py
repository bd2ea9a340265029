"""Words of a command line, ``key=value``, and dotted keys.

Paths are taken as they are typed: hydra's grammar has other uses for ``=``, ``,``, brackets, digits with underscores
and letters beyond ASCII.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lomaq.errors import InputError
from lomaq.inputs.endings import ENDINGS
from lomaq.inputs.plain import OPEN
from lomaq.inputs.text import at_home, check_place

#: Words that ask for several runs, and the word that names a folder of settings.
MULTIRUN, CONFIG_DIR = ("-m", "--multirun"), ("--config-dir", "-cd")
#: Keys whose values are places of files.
PLACES = ("run", "checkpoint", "resume", "run_dir", "output", "results", "file", "render", "config_dir")
#: Keys whose values may be, by their ending or by how they begin.
FILES = (
    *("partition", "env.graph", "mixer.enforce", "reward.redistribute"),
    *("env.feeder", "env.profiles", "env.net", "env.routes"),
)
#: Beginnings of keys that an environment's YAML may lack: arguments of its maker, what other environments recommend.
LACKING = (f"{OPEN}.", "env.recommended.")
#: Groups of a launcher that take any key.
OPEN_LAUNCHERS = tuple(f"hydra.launcher.{name}." for name in ("ray.init", "ray.remote", "additional_parameters"))
#: The word that chooses a plugin, and hydra's own, which launches nothing elsewhere.
CHOICE, HERE = "hydra/launcher=", "basic"
#: Settings of earlier versions and what they are called now.
RENAMED = {
    "mixer.tie": "mixer.weight_sharing",
    "mixer.start": "mixer.init",
    "mixer.own": "mixer.independent",
    "env.recommended.tie": "env.recommended.weight_sharing",
    "learner.recommended.start": "learner.recommended.init",
    "algo.plays": "algo.policy",
    "algo.requires": "algo.identity",
    **{f"learner.objective.{name}": f"learner.objective.returns.{name}" for name in ("gamma", "lam", "time_limit")},
    **{f"reward.{name}": f"reward.networks.{name}" for name in ("inputs", "hidden")},
    **{
        f"reward.{name}": f"reward.fit.{name}"
        for name in ("loss", "lr", "batch_size", "updates", "regularisation", "weights")
    },
    **{f"reward.{name}": f"reward.gate.{name}" for name in ("tolerance", "relative_tolerance", "pass_rate")},
    "learner=tuned": "learner=searched",
}


def word_of(value: Any) -> str:
    """A value as it is written after ``key=``."""
    return str(value) if isinstance(value, (str, Path)) else json.dumps(value)


def flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names of all values in nested dictionaries.

    >>> flat({"env": {"name": "nav", "edges": {}}})
    {'env.name': 'nav', 'env.edges': {}}
    """
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found


def place_of(text: str) -> str:
    """The path that is meant: without quotes around it, and with the home folder in place of ``~`` or ``~/``."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].replace("\\" + text[0], text[0])
    return at_home(text)


def places_of(text: str) -> list[str]:
    """The paths in ``[A,B]``, or the only one."""
    return _parts(text[1:-1]) if text.startswith("[") and text.endswith("]") else [place_of(text)]


def as_typed(word: str, several: bool = False) -> str:
    """``key=value`` with its path quoted, so that hydra takes it as it is; other words are left alone.

    Args:
        word: A word of the command line.
        several: Whether a comma separates several values, as with ``-m``.

    Raises:
        InputError: If the value can be no path.
    """
    key, _, text = word.partition("=")
    if key not in (*PLACES, *FILES) or text in ("", "null"):
        return word
    parts = _parts(text) if several and not {*"[]{}()"} & {*text} else [place_of(text)]
    if key in PLACES:
        return f"{key}={','.join(_quoted(check_place(key, part)) for part in parts)}"
    if any(map(_is_file, parts)) and text[0] not in "[{":
        return f"{key}={','.join(_quoted(part) if _is_file(part) else part for part in parts)}"
    return word


def _is_file(text: str) -> bool:
    """Whether the value of a setting that may be a file is one."""
    return text.startswith(("/", "./", "../")) or bool({*Path(text).suffixes} & {*ENDINGS, ".xml"})


def as_value(key: str, text: str) -> str:
    """``key=value`` for a value that was typed without its key."""
    return f"{key}={text}" if key in PLACES and not text.startswith("[") else f"{key}={_quoted(text)}"


def folders_of(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words without ``--config-dir``, and the folders that it names.

    Raises:
        InputError: If one is another option.
    """
    kept: list[str] = []
    folders: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, folder = word.partition("=")
        if name in CONFIG_DIR:
            folders.append(place_of(folder if equals else next(rest, "none")))
        elif word.startswith("-") and word not in MULTIRUN:
            raise InputError(word, "settings as key=value, --config-dir or -m", "another option", "leave it out")
        else:
            kept.append(word)
    several = bool({*MULTIRUN} & {*kept})
    return [as_typed(word, several) for word in kept], folders


def opened(word: str) -> str:
    """``key=value`` as hydra takes it where it need not know the key."""
    return f"++{word}" if word.startswith((*LACKING, *OPEN_LAUNCHERS)) else word


def _parts(text: str) -> list[str]:
    """What commas outside quotes separate."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters, lexer.escape = ",", True, "", ""
    try:
        return [place_of(part.strip()) for part in lexer]
    except ValueError:  # a quote that is part of a name
        return [place_of(part.strip()) for part in text.split(",")]


def _quoted(text: str) -> str:
    """As hydra reads it back: a backslash means something to it only before a quote, the closing one included."""
    inner = re.sub(r"(\\*)'", lambda found: 2 * found[1] + r"\'", text)
    return "'" + inner + "\\" * (len(inner) - len(inner.rstrip("\\"))) + "'"


def launcher_of(words: Sequence[str]) -> str | None:
    """The launcher that the words choose; None: the runs are trained here."""
    chosen = [word.removeprefix(CHOICE) for word in words if word.startswith(CHOICE)]
    return chosen[-1] if chosen and chosen[-1] != HERE else None
