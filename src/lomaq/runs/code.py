"""The code that a run was started with: commits and changes of the repositories of lomaq and of its user."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

#: Seconds that git may take for an answer, and most bytes of changes that are kept.
PATIENCE, MOST_DIFF = 5, 2**20
#: Words before the name of a changed file in ``git status --porcelain=v2``.
PARTS = {"1": 8, "u": 10}
_PACKAGE = Path(__file__).resolve().parents[1]


def code_of(place: Path) -> tuple[dict[str, Any], bytes]:
    """Commits of the code in use, and what was changed since.

    Args:
        place: Folder of the user's own code, perhaps in a repository.

    Returns:
        ``lomaq`` and ``user`` → ``commit`` (None before the first one), ``changed`` (files that differ from it) and
        ``untracked`` files; None where there is no repository, no git, or no answer in time. Then the changes, as
        ``git diff`` writes them, without those of files that git does not track.
    """
    if shutil.which("git") is None:
        return {"lomaq": None, "user": None}, b""
    own, users = _own(), _root(place)
    if users is None or (own is not None and users == own[0]):
        found = () if own is None else own[1:]
        states, diff = found or (None, b"")
        return {"lomaq": states, "user": None if users is None else states}, diff
    state, diff = _state(users)
    return {"lomaq": None if own is None else own[1], "user": state}, diff + (b"" if own is None else own[2])


@cache
def _own() -> tuple[Path, dict[str, Any] | None, bytes] | None:
    """Repository of lomaq as it was imported, its state and its changes; None where it is installed from elsewhere."""
    tracked = _git(_PACKAGE, "ls-files", "--error-unmatch", "__init__.py") is not None
    root = _root(_PACKAGE) if tracked else None
    return None if root is None else (root, *_state(root))


def _root(place: Path) -> Path | None:
    answer = _git(place, "rev-parse", "--show-toplevel")
    return None if answer is None else Path(os.fsdecode(answer).removesuffix("\n"))


def _state(root: Path) -> tuple[dict[str, Any] | None, bytes]:
    """Commit and changed files of a repository, and its changes."""
    status = _git(root, "status", "--porcelain=v2", "--branch", "--no-renames", "-z")
    if status is None:
        return None, b""
    entries = status.decode(errors="replace").split("\0")[:-1]
    commit = next(entry.split()[-1] for entry in entries if entry.startswith("# branch.oid"))
    state: dict[str, Any] = {
        "commit": None if commit == "(initial)" else commit,
        "changed": [e.split(" ", PARTS[e[0]])[-1] for e in entries if e[0] in PARTS],
        "untracked": [entry[2:] for entry in entries if entry.startswith("? ")],
    }
    if state["commit"] is None or not state["changed"]:
        return state, b""
    diff = _git(root, "diff", "--no-ext-diff", "--no-textconv", "--no-renames", "HEAD")
    if diff is None or len(diff) > MOST_DIFF:
        return {**state, "diff": f"not kept: over {PATIENCE} seconds or {MOST_DIFF:,} bytes"}, b""
    return state, diff


def _git(place: Path, *words: str) -> bytes | None:
    """What git answers, None where it has no answer."""
    command = ["git", "-C", str(place), "-c", "core.fsmonitor=false", *words]
    variables = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, env=variables, check=False)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None
