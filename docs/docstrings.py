"""For the API reference, what docstrings have for Sphinx: roles become links, and an example becomes code."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`(~?)([\w.]+)`")


class Sphinx(griffe.Extension):
    """Changes the docstring of an object that has been read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change that of ``obj``; ``Example:`` is no section of griffe, ``Examples:`` is."""
        if obj.docstring is not None:
            text = ROLE.sub(lambda role: link(obj, *role.groups()), obj.docstring.value)
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)


def link(obj: griffe.Object, short: str, name: str) -> str:
    """An optional link of mkdocs-autorefs: the name alone where nothing of that name is on a page."""
    first, _, rest = name.partition(".")
    try:
        found = obj.resolve(first)
    except griffe.NameResolutionError:
        found = first
    target = f"{found}.{rest}" if rest else found
    shown = name.rpartition(".")[2] if short else name
    return f'<autoref optional identifier="{target}"><code>{shown}</code></autoref>'
