"""Completion in bash."""

from __future__ import annotations

from lomaq.cli.commands import COMMANDS
from lomaq.cli.completion import bash_script


def completion(config_dirs: tuple[str, ...] = ()) -> None:
    """Complete commands, settings and choices in bash: lomaq completion --help.

    Prints a bash script. Bash finds it in this file, or source it; make it again when settings change:
      lomaq completion > ~/.local/share/bash-completion/completions/lomaq
    For python train.py hydra has its own, which takes half a second at each key:
      eval "$(python train.py --shell-completion install=bash)"

    Args:
        config_dirs: Folder of further settings.
    """
    print(bash_script({name: [*command.defaults] for name, command in COMMANDS.items()}, config_dirs), end="")
