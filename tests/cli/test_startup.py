"""What starts without the packages that take seconds to import; what a person types and mistypes most often does."""

from __future__ import annotations

import inspect
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from lomaq.cli.commands import COMMANDS
from lomaq.cli.source import NEEDED, Source

HEAVY = {"torch", "pytorch_lightning", "torch_geometric", "scipy", "matplotlib", "networkx"}
#: Words of ``lomaq`` that ask for no setting to be read → the exit status.
HELP = {
    **{"--version": 0, "--help": 0, "": 2, "dance": 2, "completion": 0, "train --help": 0},
    **{f"{name} --help": 0 for name in COMMANDS},
}
#: Others for which nothing is built.
LIGHT = {
    **{"train lr=1": 2, "train env=cartpol": 2, "train -m seed=0,1 kapa=2": 2, "train --cfg=job -x": 2},
    **{"evaluate": 2, "certify checkpoint=x stats=3": 2, "info run=trained": 0, "info run=nowhere": 2},
}
#: Calls the command line with each line of words, and prints what it ended with and what was imported until then.
PROGRAM = """
import contextlib, io, json, sys
from lomaq.cli import main
found = []
for line in json.loads(sys.argv[1]):
    sys.argv[1:] = line.split()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main()
        except SystemExit as end:
            status = end.code
    found.append([status, sorted({name.partition(".")[0] for name in sys.modules})])
print(json.dumps(found))
"""


def imported(code: str, *words: str, folder: Path | None = None) -> str:
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=120).stdout


def after(lines: Iterable[str], folder: Path) -> list[tuple[int, set[str]]]:
    command = [sys.executable, "-c", PROGRAM, json.dumps([*lines])]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=120)
    return [(status, {*modules}) for status, modules in json.loads(done.stdout)]


def test_help_completion_typos_and_looks_at_runs_import_nothing_heavy(trained, tmp_path) -> None:
    found = after([*HELP, *LIGHT, "compare run=trained run=trained/../trained"], tmp_path)
    for (line, expected), (status, modules) in zip({**HELP, **LIGHT}.items(), found, strict=False):
        small = set() if line in LIGHT else {"hydra", "omegaconf", "rich", "numpy"}
        assert (line, status, (HEAVY | small) & modules) == (line, expected, set())
    status, modules = found[-1]  # it draws, and two runs of one seed are a group with an interval
    assert (status, HEAVY & modules) == (0, {"matplotlib", "scipy"})


# ---------------------------------------------------------------------- source


def sample(one: str, many: list[str], other: int = 20_000, *, named: tuple[str, ...] = ("a", "b"), last: str) -> None:
    """What it is: more words.

    On two lines.

    Args:
        one: FIRST of ``these``,
            and more.
        many: Some.
        other: A number.
        named: Words of :class:`Source`.
        last: Needed.
    """


def test_a_function_is_read_from_its_source(tmp_path, monkeypatch) -> None:
    text = Path(__file__).read_text()
    begin = text.index("def sample(")
    (tmp_path / "not_imported.py").write_text(f"import nowhere\n\n\n{text[begin : text.index('def test_a_function')]}")
    monkeypatch.syspath_prepend(tmp_path)
    source = Source.of("not_imported:sample")
    assert source.about == "What it is: more words.\n\nOn two lines."
    assert source.described["one"] == "FIRST of these, and more."
    assert source.described["named"] == "Words of Source."
    assert source.defaults == {"one": NEEDED, "many": NEEDED, "other": 20_000, "named": ("a", "b"), "last": NEEDED}
    assert (source.named, source.lists) == (["named", "last"], ["many"])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_can_be_imported_and_takes_what_its_source_says(name) -> None:
    command = COMMANDS[name]
    own = inspect.signature(pkgutil.resolve_name(command.act)).parameters
    assert {*own} - {"settings", "options", "config_dirs"} <= {*command.defaults}
    for key, parameter in own.items():
        if key in command.defaults:
            empty = parameter.default is parameter.empty
            assert command.defaults[key] == (NEEDED if empty else parameter.default)
