"""Text files: what is wrong with one is a line that names it and, in YAML, where."""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path

import pytest

from lomaq.errors import InputError
from lomaq.inputs import text

YAML = {
    "a tab": ("mixer:\n\thidden: 3\n", "line 2"),
    "a doubled key": (
        "hidden: 3\nshare: ego\nhidden: 4\n",
        "line 3, column 1: the key 'hidden' twice, before in line 1",
    ),
    "a doubled key inside": ("a: {b: 1, c: 2, b: 3}\n", "line 1, column 17: the key 'b' twice"),
    "a bracket that is open": ("hidden: [3\nshare: ego\n", "line 2"),
    "a colon too many": ("hidden: 3: 4\n", "line 1"),
    "an object": ("hidden: !!python/object/apply:os.system [ls]\n", "line 1"),
    "a list as a key": ("? [1, 2]\n: 3\n", "line 1"),
    "nested deeply": ("[" * 100_000, "file"),
    "bytes": (b"hidden: \xff\xfe\n", "utf-8"),
    "a control sign": ("hidden: \x01\n", "special characters"),
}


@pytest.mark.parametrize(("content", "reason"), YAML.values(), ids=YAML.keys())
def test_a_yaml_file_that_is_none_is_named_with_its_line(tmp_path: Path, content: str | bytes, reason: str) -> None:
    file = tmp_path / "größe.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=re.escape(reason)) as error:
        text.read_yaml(file)
    assert str(file) in str(error.value)


def test_yaml_that_is_right_is_read_with_its_references(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("base: &b {x: 1, y: [2]}\nmore: {<<: *b, x: κ}\n", encoding="utf-8")
    assert text.read_yaml(tmp_path / "a.yaml") == {"base": {"x": 1, "y": [2]}, "more": {"x": "κ", "y": [2]}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' twice"), ("[" * 100_000, "deep"), ("{", "line 1"), ("", "line 1")],
)
def test_a_json_file_that_is_none_is_named(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=reason) as error:
        text.read_json(tmp_path / "a.json")
    assert str(tmp_path / "a.json") in str(error.value)


def test_a_file_that_cannot_be_read_is_said_to_be_that(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    places = {tmp_path: "Is a directory", tmp_path / "none": "No such file", tmp_path / "loop": "symbolic links"}
    for path, reason in places.items():
        with pytest.raises(InputError, match=f"a text file that can be read.*{reason}"):
            text.read_text(path)


def test_json_with_a_checksum_reads_back_and_any_change_of_it_is_noticed(tmp_path: Path) -> None:
    content, file = {"κ": 1, "values": {"3": [0.1, 1e-300, float("inf")]}, "none": None}, tmp_path / "a.json"
    file.write_text(json.dumps(text.checked(content), indent=2))
    assert text.read_checked(file) == content
    file.write_text(file.read_text().replace("0.1", "0.2"))
    with pytest.raises(InputError, match=r"a\.json: expected the file as it was written"):
        text.read_checked(file)
    file.write_text('{"older": 1}')  # of a version without checksums
    assert text.read_checked(file) == {"older": 1}


def test_yaml_with_a_checksum_reads_back_and_any_change_of_it_is_noticed(tmp_path: Path) -> None:
    content, file = {"seed": 0, "env": {"name": "größe"}}, tmp_path / "a.yaml"
    whole = text.checked_yaml(content)
    file.write_text(whole, encoding="utf-8")
    assert text.read_checked_yaml(file) == content
    rows = whole.splitlines(keepends=True)
    cut = (
        "".join(rows[:-1]),
        "".join(rows[1:]),
        whole.replace("seed: 0", "seed: 1"),
        whole[:-1],
        whole + "a: 1\n",
        rows[0],
    )
    for damaged in cut:
        file.write_text(damaged, encoding="utf-8")
        with pytest.raises(InputError, match=r"a\.yaml: expected the file as it was written"):
            text.read_checked_yaml(file)
    file.write_text("seed: 3\n")  # of a version without checksums
    assert text.read_checked_yaml(file) == {"seed": 3}
    file.write_text("")
    with pytest.raises(InputError, match="a file of settings"):
        text.read_checked_yaml(file)


def test_a_place_that_can_be_no_path_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for place in ("a\0b", "x" * 300, str(tmp_path / "file" / "below"), str(tmp_path / "loop")):
        with pytest.raises(InputError, match="run_dir: expected a path that can be used"):
            text.check_place("run_dir", place)
    assert text.check_place("run_dir", str(tmp_path / "new")) == str(tmp_path / "new")


def test_errors_of_writing_are_lines_and_others_are_none() -> None:
    full = OSError(28, "No space left on device", "run/metrics.csv")
    assert text.file_error(full) == (
        "cannot write run/metrics.csv: No space left on device; what was saved before is whole"
    )
    assert text.file_error(OSError("no number")) is None
    assert text.file_error(ConnectionRefusedError(111, os.strerror(111))) is None


def test_every_text_file_is_opened_as_utf_8() -> None:
    found = []
    for file in sorted(Path(text.__file__).parents[1].rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and not any(one.arg == "encoding" for one in node.keywords):
                of_path = isinstance(node.func, ast.Attribute)
                name = node.func.attr if of_path else getattr(node.func, "id", "")
                binary = any(isinstance(one, ast.Constant) and "b" in str(one.value) for one in node.args)
                if of_path and isinstance(node.func.value, ast.Name) and node.func.value.id == "os":
                    continue  # of bytes
                if (of_path and name in ("read_text", "write_text")) or (name == "open" and not binary):
                    found.append(f"{file.parent.name}/{file.name}:{node.lineno}")
    assert found == []
