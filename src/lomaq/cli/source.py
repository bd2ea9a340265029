"""A function as its source has it: what it takes and what it says of itself, without an import of its module."""

from __future__ import annotations

import ast
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lomaq.inputs.text import read_text

#: Default of a parameter that has none.
NEEDED = object()


@dataclass(frozen=True)
class Source:
    """What the source of a function says.

    Attributes:
        about: Its docstring before the arguments.
        described: Description of each argument, without markup.
        defaults: Default of each parameter, :data:`NEEDED` where it has none.
        named: The parameters that are keyword-only.
        lists: Those that are lists of words.
    """

    about: str
    described: dict[str, str]
    defaults: dict[str, Any]
    named: list[str]
    lists: list[str]

    @classmethod
    def of(cls, path: str) -> Source:
        """Of the function ``module:name``, which stands at the top of its module; its defaults are literals."""
        module, _, name = path.partition(":")
        spec = importlib.util.find_spec(module)
        assert spec is not None, module
        assert spec.origin is not None, module
        content = ast.parse(read_text(Path(spec.origin)))
        node = next(one for one in content.body if isinstance(one, ast.FunctionDef) and one.name == name)
        taken, own, named = node.args.args, node.args.defaults, node.args.kwonlyargs
        defaults = [*[None] * (len(taken) - len(own)), *own, *node.args.kw_defaults]
        about, _, arguments = (ast.get_docstring(node) or "").partition("\n\nArgs:\n")
        described = re.findall(r"^ {4}\**(\S+): (.+(?:\n {8}.+)*)", arguments, re.MULTILINE)
        return cls(
            about,
            {name: re.sub(r":\w+:(?=`)|`", "", " ".join(text.split())) for name, text in described},
            {
                one.arg: NEEDED if default is None else ast.literal_eval(default)
                for one, default in zip([*taken, *named], defaults, strict=True)
            },
            [one.arg for one in named],
            [one.arg for one in taken if one.annotation and ast.unparse(one.annotation).startswith("list[str]")],
        )
