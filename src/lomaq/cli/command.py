"""A command is a function: its signature holds its settings, its docstring its help.

Both are read from its source. It is imported when it runs, so that help and refusals do not wait for torch.
"""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from lomaq import config
from lomaq.cli.imports import imported
from lomaq.cli.source import NEEDED, Source
from lomaq.config.words import PLACES, as_value, folders_of
from lomaq.errors import InputError, did_you_mean
from lomaq.inputs.plain import whole
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
        any_key: ``**settings`` are any ``KEY``, not only ``env.KEY``.

    Attributes:
        subject: The first parameter: it is what words without ``=`` are, ``lomaq info runs/x``.
    """

    def __init__(self, act: str, rest: str | None = None, any_key: bool = False) -> None:
        own, more = Source.of(act), Source.of(rest or act)
        self.act, self.any_key, self.about = act, any_key, own.about
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
        self.subject = next(iter(self.defaults), None)

    def run(self, name: str, words: Sequence[str]) -> int:
        """Run it, or print its help where that is asked for.

        Raises:
            InputError: For an unknown setting, or if one that is needed is not given.
        """
        if {*words} & {*HELP}:
            print(self.usage(name))
            return 0
        words = self._named(words)
        words, folders = folders_of(words) if self.takes_folders else (words, [])
        places = (*PLACES, "config", MODULES)
        given = config.parse(words, self.repeated, places) if words else {}  # none: hydra is not even imported
        for key, default in self.defaults.items():
            if default is NEEDED and key not in given:
                raise InputError(key, self._value(key), "none", f"usage: {self.usage_line(name)}")
        for key, value in given.items():
            if key not in self.defaults and not (self.takes_env and key.startswith("" if self.any_key else "env.")):
                known = [*self.defaults, *(["env.*"] if self.takes_env else [])]
                meant = did_you_mean(key, [*self.defaults, *(["env.n_agents"] if self.takes_env else [])])
                raise InputError(key, ", ".join(known), value, meant)
            if type(self.defaults.get(key)) is int:
                given[key] = whole(value)
        if self.reads_runs and (modules := given.pop(MODULES, None)) is not None:
            import_modules(modules)
        more = {"config_dirs": folders} if self.takes_folders else {}
        return imported(self.act)(**given, **more) or 0

    def _named(self, words: Sequence[str]) -> list[str]:
        """The words, those without ``=`` as values of the subject; paths may have a ``=``, too.

        Raises:
            InputError: If there are two where one is taken.
        """
        found: list[str] = []
        for word in words:
            key, equals, _ = word.partition("=")
            is_key = bool(equals) and "/" not in key and (key in self.defaults or not os.path.exists(word))
            if is_key or word.startswith("-") or self.subject is None:
                found.append(word)
            elif self.subject != self.repeated and any(one.startswith(f"{self.subject}=") for one in found):
                raise InputError(word, f"one {self.subject}, and settings as key=value", "a second")
            else:
                found.append(as_value(self.subject, word))
        return found

    def usage_line(self, name: str) -> str:
        """Its name and its settings with their defaults."""
        words = ["lomaq", name]
        for key, default in self.defaults.items():
            needed = default is NEEDED
            word = self._value(key) if needed and key == self.subject else f"{key}={self._value(key)}"
            words.append(word if needed else f"[{word}]")
        words += [f"[{self._setting}=VALUE ...]"] if self.takes_env else []
        return " ".join([*words, *(["[--config-dir FOLDER]"] if self.takes_folders else [])])

    def _value(self, key: str) -> str:
        """What its help has as the value of a setting."""
        placeholder = re.match(r"[A-Z]{2,}(\|\w+)*", self.described[key])
        return placeholder[0] if placeholder else _written(self.defaults[key])

    @property
    def _setting(self) -> str:
        return "KEY" if self.any_key else "env.KEY"

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
