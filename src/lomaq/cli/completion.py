"""Completion of commands, settings and choices in bash, from a table that is made once.

Hydra's own asks the program at each press of the key, and that composes the settings each time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lomaq.config import choices
from lomaq.config.known import settings
from lomaq.config.words import PLACES

_SCRIPT = r"""# bash completion for lomaq; made by: lomaq completion
_lomaq() {
    local line word command words key
    line=${COMP_LINE:0:COMP_POINT}
    word=${line##*[[:space:]]}
    command=${COMP_WORDS[1]}
    if [ "$COMP_CWORD" -le 1 ]; then
        words="@COMMANDS@"
    else
        case "$command" in
@KEYS@
        esac
    fi
    key=${word%%=*}
    if [ "$key" != "$word" ]; then
        words=
        case "$key" in
@CHOICES@
            @PLACES@)
                COMPREPLY=($(compgen -f -- "${word#*=}"))
                compopt -o filenames -o nospace
                return ;;
        esac
        COMPREPLY=($(compgen -W "$words" -- "${word#*=}"))
    else
        COMPREPLY=($(compgen -W "$words" -- "$word"))
        case "${COMPREPLY[0]}" in *=) compopt -o nospace ;; esac
    fi
}
complete -F _lomaq lomaq
"""


def bash_script(commands: Mapping[str, Sequence[str]], config_dirs: Sequence[str | Path] = ()) -> str:
    """A bash script that completes ``lomaq``.

    Args:
        commands: Name of each command other than ``train`` → its keys.
        config_dirs: Further folders of settings.
    """
    groups = choices(config_dirs)
    keys = {"train": [*groups, *settings()], **commands}
    words = {name: [f"{key}=" for key in found] for name, found in keys.items()}
    for name in [name for name in keys if " " in name]:  # a word more
        first, second = name.split()
        words[first] = [*dict.fromkeys([*words.get(first, ()), second, *words.pop(name)])]
    parts = {
        "PLACES": "|".join(PLACES),
        "COMMANDS": " ".join(words),
        "KEYS": _branches(words),
        "CHOICES": _branches(groups),
    }
    return re.sub(r"@(\w+)@", lambda part: parts[part[1]], _SCRIPT)


def _branches(cases: Mapping[str, Sequence[str]]) -> str:
    return "\n".join(f'            {name}) words="{" ".join(words)}" ;;' for name, words in cases.items())
