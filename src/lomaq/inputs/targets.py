"""Classes that a configuration names by ``_target_``: which may be made, and by whose word a module is imported.

What a file names is never imported because it says so. A class is looked up in this package or in modules that are
imported already, and must be of the kind that its place asks for. Only the user has modules imported: by the settings
of a new run, by ``modules=NAME`` on a command line, or by ``import NAME`` in Python. A function that a process of a
simulator is to import, :data:`Function`, has no kind: the user must have named it, or its module by ``modules=NAME``.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from lomaq.errors import InputError

T = TypeVar("T")
#: Annotation of a parameter that takes ``package.module:function``, perhaps next to other text; others import it.
Function = NewType("Function", str)

#: Key of the class in a node.
TARGET = "_target_"
#: The word of a command line that has modules imported.
MODULES = "modules"
_PACKAGE = __name__.partition(".")[0]
_FUNCTION = re.compile(r"(?P<module>[^\W\d][\w.]*):[^\W\d]\w*")
#: Functions that the user's own words name, and modules by ``modules=NAME``.
_NAMED: set[str] = set()


def find_class(path: object, kinds: Sequence[type[T]], asked: str = TARGET) -> type[T]:
    """The class that ``path`` names. No module is imported but those of this package, and nothing of it is called.

    Args:
        path: Module and name, ``package.module.Class``.
        kinds: What it may be: one of these, or derived from one. Classes that only look alike do not count.
        asked: What gave the path.

    Raises:
        InputError: If it is no such class, or of a module that is not imported.
    """
    expected = "a " + " or ".join(kind.__name__ for kind in kinds)
    module, name = _parts(path)
    if not module:
        raise InputError(asked, f"{expected}, as MODULE.NAME", repr(path))
    if _is_ours(module):
        found = our_class(path)
    elif (loaded := _loaded(module)) is None:
        remedy = f"if you trust that module, add {MODULES}={module}, or in Python import {module} first"
        raise InputError(asked, f"{expected} of lomaq or of a module that is imported", path, remedy)
    else:
        found = vars(loaded).get(name)  # a module's own __getattr__ would be called otherwise
    if not isinstance(found, type) or not any(kind in found.__mro__ for kind in kinds):
        raise InputError(asked, expected, path)
    return found


def _loaded(module: str) -> ModuleType | None:
    """A module that is imported, or the script that runs, where it would be imported by that name."""
    return sys.modules.get(module) or (sys.modules["__main__"] if module == name_of_script() else None)


def name_of_script() -> str | None:
    """The name by which others import the script that runs, ``__main__``; None where they cannot, as in a notebook."""
    main = sys.modules["__main__"]
    if (spec := getattr(main, "__spec__", None)) is not None:  # python -m package.module
        return str(spec.name)
    file = getattr(main, "__file__", None)
    if file is None or Path(file).suffix != ".py" or not Path(file).stem.isidentifier():
        return None
    folder = os.path.dirname(os.path.abspath(file))
    places = [place or os.getcwd() for place in sys.path]
    return Path(file).stem if folder in map(os.path.abspath, places) else None


def our_class(path: object) -> type | None:
    """The class of this package that ``path`` names; None for all else, of which nothing is imported."""
    module, name = _parts(path)
    if not _is_ours(module):
        return None
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return None
    return found if isinstance(found, type) and _is_ours(found.__module__) else None


def parameter_kinds(cls: type, name: str) -> list[type]:
    """The classes that a parameter of a constructor may be, by its annotation or that of the class derived from.

    ``X | None`` is X. Built-in classes, ``Any`` and ``object`` say nothing about what may be made, and are left out.

    Raises:
        InputError: If the annotations cannot be read.
    """
    for base in cls.__mro__[:-1]:
        if "__init__" not in vars(base):
            continue
        try:
            hints = get_type_hints(vars(base)["__init__"])
        except (NameError, TypeError, AttributeError) as error:
            raise InputError(f"constructor of {base.__name__}", "annotations that can be read", str(error)) from error
        if name in hints:
            return list(_classes_in(hints[name]))
    return []


def _classes_in(hint: Any) -> Iterator[type]:
    if get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from _classes_in(part)
    elif get_origin(hint) is Annotated:
        yield from _classes_in(get_args(hint)[0])
    elif isinstance(hint, type) and hint is not Any and hint.__module__ != "builtins":
        yield hint


# ---------------------------------------------------------------------- imports


def import_modules(names: object, asked: str = MODULES) -> None:
    """Import the modules that the user names, as a list or separated by commas; ``asked`` is what gave them.

    Raises:
        InputError: If one cannot be imported.
    """
    for name in names if isinstance(names, list) else str(names).split(","):
        _import(asked, name)


def import_targets(config: dict[str, Any]) -> None:
    """Import the modules of all classes in a configuration; only for one that the user's own words make.

    Raises:
        InputError: If one cannot be imported.
    """
    for path in _targets(config):
        module, _ = _parts(path)
        if module and not _is_ours(module):
            _import(TARGET, module)


def name_functions(value: Any) -> None:
    """Take all functions in settings that the user's own words make for named by the user."""
    if isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            name_functions(one)
    elif isinstance(value, str) and _FUNCTION.fullmatch(value):
        _NAMED.add(value)


def function_path(name: str, value: object) -> str:
    """Return ``value`` when it is written as ``package.module:function``.

    Raises:
        InputError: If it is not.
    """
    if not isinstance(value, str) or not _FUNCTION.fullmatch(value):
        raise InputError(name, "package.module:function", repr(value))
    return value


def check_function(cls: type, name: str, value: object) -> None:
    """Refuse a function that the user did not name, nor its module, where ``cls`` takes one as ``name``.

    Raises:
        InputError: If it is one.
    """
    found = _FUNCTION.fullmatch(value) if isinstance(value, str) else None
    if found is None or not _takes_function(cls, name) or {value, found["module"]} & _NAMED:
        return
    remedy = f"if you trust it, add {MODULES}={found['module']}, or give the setting {name} yourself"
    raise InputError(
        f"{cls.__name__}.{name}", "a function that you named, or of a module that you named", value, remedy
    )


def _takes_function(cls: type, name: str) -> bool:
    hint = get_type_hints(vars(cls)["__init__"]).get(name) if "__init__" in vars(cls) else None
    return hint is Function or Function in get_args(hint)


def modules_of(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words without ``modules=…``, and the modules that these name."""
    before = f"{MODULES}="
    named = [word.removeprefix(before).strip("[]") for word in words if word.startswith(before)]
    rest = [word for word in words if not word.startswith(before)]
    return rest, [name.strip() for word in named for name in word.split(",")]


def modules_word(config: dict[str, Any]) -> list[str]:
    """``modules=…`` where a command needs it to read a run of this configuration, as a list; else an empty one."""
    env = config["env"]
    found = [_parts(path)[0] for path in _targets(config)]
    functions = {key: named["module"] for key, value in env.items() if (named := _FUNCTION.fullmatch(str(value)))}
    if functions and (cls := our_class(env.get(TARGET))) is not None:
        found += [module for key, module in functions.items() if _takes_function(cls, key)]
    modules = dict.fromkeys(module for module in found if module and not _is_ours(module))
    return [f"{MODULES}={','.join(modules)}"] if modules else []


def _import(asked: str, name: object) -> None:
    expected = "the name of a module that can be imported"
    if not _is_dotted(name):
        raise InputError(asked, expected, repr(name), f"{MODULES}=my_env,my_mixers")
    if _loaded(str(name)) is not None:
        _NAMED.add(str(name))
        return
    here = os.getcwd()
    sys.path.append(here)  # a file of this folder, where nothing that is installed has its name
    try:
        importlib.import_module(str(name))
        _NAMED.add(str(name))
    except (Exception, SystemExit) as error:  # whatever the user's module raises
        remedy = ""
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            remedy = "go to its folder, or put that on PYTHONPATH"
        raise InputError(asked, expected, f"{name} ({_reason(error)})", remedy) from error
    finally:
        del sys.path[len(sys.path) - 1 - sys.path[::-1].index(here)]


def _reason(error: BaseException) -> str:
    """``NameError: name 'x' is not defined, my_env.py, line 3``."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    places = [(frame.filename, frame.lineno) for frame in frames[1:]]  # the first is this file
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error}"  # which names its line
    where = "" if not places else f", {Path(places[-1][0]).name}, line {places[-1][1]}"
    return f"{type(error).__name__}: {error}{where}"


def _targets(node: Any) -> Iterator[object]:
    if isinstance(node, dict):
        if TARGET in node:
            yield node[TARGET]
        node = [*node.values()]
    if isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _is_dotted(path: object) -> bool:
    return isinstance(path, str) and all(part.isidentifier() for part in path.split("."))


def _parts(path: object) -> tuple[str, str]:
    """Module and name of a class; empty where ``path`` is no such text."""
    module, _, name = str(path).rpartition(".") if _is_dotted(path) else ("", "", "")
    return module, name


def _is_ours(module: str) -> bool:
    return module == _PACKAGE or module.startswith(f"{_PACKAGE}.")
