"""For the API reference, what docstrings have for Sphinx: roles become links, ``#:`` comments are docstrings."""

from __future__ import annotations

import itertools
import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`(~?)([\w.]+)`")


class Sphinx(griffe.Extension):
    """Changes the docstring of an object that has been read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change that of ``obj``; ``Example:`` is no section of griffe, ``Examples:`` is."""
        if obj.is_attribute and obj.docstring is None and (text := comment(obj)):
            obj.docstring = griffe.Docstring(text, parent=obj)
        if obj.docstring is not None:
            text = ROLE.sub(lambda role: link(obj, *role.groups()), obj.docstring.value)
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)


def comment(obj: griffe.Object) -> str:
    """The lines above an attribute that begin with ``#:``."""
    above = reversed(obj.lines_collection[obj.filepath][: (obj.lineno or 1) - 1])
    lines = itertools.takewhile(lambda line: line.startswith("#:"), (line.strip() for line in above))
    return " ".join(line.removeprefix("#:").strip() for line in reversed([*lines]))


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
