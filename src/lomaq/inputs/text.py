"""Text files, read and checked in one place: UTF-8 always, and whatever is wrong with one is a line that names it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from lomaq.errors import InputError

#: Key of a checksum in a JSON file, and what stands before and after the settings in a checked YAML file.
CHECKSUM, HEAD, FOOT = "sha256", "# Written by lomaq; the last line checks the others.\n", "# sha256: "
#: Errors of files and folders. What reads says so itself, hence one that arrives at the command line is of writing.
_OF_FILES = {
    *("EACCES", "EBUSY", "EDQUOT", "EEXIST", "EFBIG", "EINVAL", "EIO", "EISDIR", "ELOOP", "EMFILE", "ENAMETOOLONG"),
    *("ENFILE", "ENOENT", "ENOSPC", "ENOTDIR", "ENOTEMPTY", "ENXIO", "EPERM", "EROFS", "ESTALE", "ETXTBSY", "EXDEV"),
}


class _Strict(yaml.SafeLoader):  # not libyaml's: deep nesting kills the process there
    """Plain values only, and no key twice: YAML's own readers keep the last of them without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    problem = f"the key {key.value!r} twice, before in line {seen[key.value]}"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen[key.value] = key.start_mark.line + 1
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


class _Unmerged(_Strict):
    """The same without merged mappings (``<<``), which we write nowhere; nested ones double at every level."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, "a merged mapping (<<)", key.start_mark)


def _mapping(loader: _Strict, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


_Strict.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_text(path: Path) -> str:
    """Content of a text file.

    Raises:
        InputError: If it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: bytes that are no UTF-8, or a path that can be none
        raise InputError(str(path), "a text file that can be read", _reason(error)) from error


def read_json(path: Path) -> Any:
    """Content of a JSON file in which no key stands twice.

    Raises:
        InputError: If it cannot be read, or is not that.
    """
    return parse_json(str(path), read_text(path))


def parse_json(name: str, text: str) -> Any:
    """The same for the ``text`` of a file of that name."""
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(name, "a whole JSON file", _reason(error)) from error


def read_yaml(path: Path) -> Any:
    """Content of a YAML file in which no key stands twice.

    Raises:
        InputError: If it cannot be read, or is not that; it names the line.
    """
    return parse_yaml(path, read_text(path))


def parse_yaml(path: Path, text: str, loader: type[yaml.SafeLoader] = _Strict) -> Any:
    """The same for the ``text`` of the file."""
    try:
        return yaml.load(text, loader)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:  # a key that is a list is a TypeError
        raise InputError(str(path), "a YAML file", yaml_reason(error)) from error


def yaml_reason(error: Exception) -> str:
    """What is wrong with a YAML file, and where: ``line 3, column 5: found a tab …``."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    return where + (getattr(error, "problem", None) or getattr(error, "reason", None) or _reason(error))


def read_checked(path: Path) -> dict[str, Any]:
    """Content of a JSON file that :func:`checked` may have signed, without the checksum; older ones have none.

    Raises:
        InputError: If it cannot be read, is no JSON object, or differs from what was written.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(str(path), "a JSON object", type(content).__name__)
    if CHECKSUM in content and content.pop(CHECKSUM) != _of_json(content):
        raise damaged(path)
    return content


def checked(content: dict[str, Any]) -> dict[str, Any]:
    """``content`` with a checksum of itself."""
    return {**content, CHECKSUM: _of_json(content)}


def checked_yaml(content: Any) -> str:
    """A YAML file between two comments, of which the last is its checksum."""
    text = HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return f"{text}{FOOT}{hashlib.sha256(text.encode()).hexdigest()}\n"


def read_checked_yaml(path: Path) -> dict[str, Any]:
    """Content of a file that :func:`checked_yaml` wrote, or of an older one without the comments.

    Raises:
        InputError: If it cannot be read, holds no settings, or differs from what was written.
    """
    text = read_text(path)
    body, foot, checksum = text.rpartition(FOOT)
    if (foot or text.startswith(HEAD[:12])) and checksum != f"{hashlib.sha256(body.encode()).hexdigest()}\n":
        raise damaged(path)
    content = parse_yaml(path, text, _Unmerged)
    if not isinstance(content, dict):
        raise InputError(str(path), "a file of settings", type(content).__name__)
    return content


def checksum_of(path: Path) -> str:
    """SHA-256 of the bytes of a file.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(str(path), "a file that can be read", _reason(error)) from error


def damaged(path: Path) -> InputError:
    """The refusal of a file that is not as it was written."""
    remedy = "it is damaged or was edited; take it from a copy, or leave this run out"
    return InputError(str(path), "the file as it was written", "another content", remedy)


def file_error(error: OSError) -> str | None:
    """A line for an error of the file system that was met in writing; None for errors of other kinds."""
    if errno.errorcode.get(error.errno or 0) not in _OF_FILES:
        return None
    place = error.filename2 or error.filename or "to the run folder"
    return f"cannot write {place}: {error.strerror}; what was saved before is whole"


def check_place(name: str, place: str) -> str:
    """Return ``place`` where it can be the path of a file or folder, there or not yet.

    Raises:
        InputError: If it cannot.
    """
    try:
        os.stat(place)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise InputError(name, "a path that can be used", f"{place!r} ({_reason(error)})") from error
    return place


def at_home(place: str) -> str:
    """``place`` with the home folder in place of ``~`` or ``~/``; ``~name`` is a name like others."""
    return os.path.expanduser(place) if place == "~" or place.startswith("~/") else place


def typed(key: str, value: object) -> str:
    """``key=value`` as it is typed in a shell.

    >>> typed("resume", "runs/a"), typed("resume", "my runs/[a]")
    ('resume=runs/a', "'resume=my runs/[a]'")
    """
    return shlex.quote(f"{key}={value}")


def folder_named(name: str, value: object) -> Path:
    """The folder that ``value`` names, which need not exist.

    Raises:
        InputError: If it is a file.
    """
    path = Path(str(value))
    if path.exists() and not path.is_dir():
        raise InputError(name, "a folder, new or not", f"the file {path}")
    return path


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, RecursionError):
        return "one that is nested too deeply"
    return (str(error) or type(error).__name__).splitlines()[0]


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    if len(found := dict(pairs)) < len(pairs):
        key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {key!r} twice")
    return found


def _of_json(content: Any) -> str:
    plain = json.loads(json.dumps(content))  # keys that are numbers become words
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
