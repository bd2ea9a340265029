"""A command is a function: its signature holds its settings, its docstring its help.

Both are read from its source. It is imported when it runs, so that help and refusals do not wait for torch.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from lomaq import config
from lomaq.cli.imports import imported
from lomaq.cli.source import NEEDED, Source
from lomaq.config.words import PLACES, folders_of
from lomaq.errors import InputError
from lomaq.inputs.targets import MODULES, import_modules

HELP = ("-h", "--help")


class Command:
    """A function that the command line calls.

    Args:
        act: The function, as ``module:name``. Each of its parameters is a setting; one that is a list may be given
            several times, ``config_dirs`` is ``--config-dir``, and ``**settings``, where its docstring has it, any
            ``env.KEY``. Returns the exit status, None for 0. In a docstring, the description of a setting may begin
            with a PLACEHOLDER for its value.
        rest: Function whose keyword-only parameters are settings, too, which ``act`` hands on.
        subject: The parameter that a first word without ``=`` is; ``**settings`` then are any ``KEY``.
    """

    def __init__(self, act: str, rest: str | None = None, subject: str | None = None) -> None:
        own, more = Source.of(act), Source.of(rest or act)
        self.act, self.subject, self.about = act, subject, own.about
        self.defaults = {**own.defaults, **{name: more.defaults[name] for name in more.named}}
        self.described = {name: {**more.described, **own.described}[name] for name in self.defaults}
        self.takes_folders = self.defaults.pop("config_dirs", None) is not None
        self.takes_env = "settings" in own.described
        if self.takes_env:
            self.described["settings"] = own.described["settings"]
        self.reads_runs = bool({"checkpoint", "run", "results"} & {*self.defaults})
        if self.reads_runs:
            self.defaults[MODULES] = None
            self.described[MODULES] = f"NAMES of modules with classes of your own that a run is made of: {MODULES}=a,b."
        self.repeated = next(iter(own.lists), None)

    def run(self, name: str, words: Sequence[str]) -> int:
        """Run it, or print its help where that is asked for.

        Raises:
            InputError: For an unknown setting, or if one that is needed is not given.
        """
        if {*words} & {*HELP}:
            print(self.usage(name))
            return 0
        if self.subject is not None and words and "=" not in words[0]:
            words = [f"{self.subject}={words[0]}", *words[1:]]
        words, folders = folders_of(words) if self.takes_folders else (words, [])
        places = (*PLACES, "config", MODULES)
        given = config.parse(words, self.repeated, places) if words else {}  # none: hydra is not even imported
        for key, default in self.defaults.items():
            if default is NEEDED and key not in given:
                expected = key.upper() if key == self.subject else f"{key}=PATH"
                raise InputError(key, expected, "none", f"usage: {self.usage_line(name)}")
        for key in given:
            if key not in self.defaults and not (self.takes_env and key.startswith("" if self.subject else "env.")):
                known = [*self.defaults, *(["env.*"] if self.takes_env else [])]
                raise InputError(key, ", ".join(known), given[key])
        if self.reads_runs and (modules := given.pop(MODULES, None)) is not None:
            import_modules(modules)
        more = {"config_dirs": folders} if self.takes_folders else {}
        return imported(self.act)(**given, **more) or 0

    def usage_line(self, name: str) -> str:
        """Its name and its settings with their defaults."""
        words = ["lomaq", name]
        for key, default in self.defaults.items():
            placeholder = re.match(r"[A-Z]{2,}(\|\w+)*", self.described[key])
            value = placeholder[0] if placeholder else _written(default)
            word = value if key == self.subject else f"{key}={value}"
            words.append(word if default is NEEDED else f"[{word}]")
        words += [f"[{self._setting}=VALUE ...]"] if self.takes_env else []
        return " ".join([*words, *(["[--config-dir FOLDER]"] if self.takes_folders else [])])

    @property
    def _setting(self) -> str:
        return "KEY" if self.subject else "env.KEY"

    def usage(self, name: str) -> str:
        """Its help."""
        labels = {"settings": self._setting, "config_dirs": "--config-dir"}
        described = {labels.get(key, key): text for key, text in self.described.items()}
        width = max(map(len, described)) + 4
        lines = [wrapped(f"  {key}".ljust(width), text) for key, text in described.items()]
        return "\n".join([wrapped("usage: ", self.usage_line(name)), "", self.about, "", *lines])


def wrapped(label: str, text: str) -> str:
    """A label and its text, in lines of 118 signs that begin below the text."""
    return textwrap.fill(text, 118, initial_indent=label, subsequent_indent=" " * len(label), break_on_hyphens=False)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
