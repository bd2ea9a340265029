"""The code that a run was started with: commits and changes of the repositories of lomaq and of its user."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

#: Seconds that git may take for an answer, and most bytes of changes that are kept.
PATIENCE, MOST_DIFF = 5, 2**20
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
    tracked = _git(_PACKAGE, "ls-files", "--error-unmatch", "__init__.py") is not None  # else it is installed there
    own, users = _root(_PACKAGE) if tracked else None, _root(place)
    found = {root: _state(root) for root in (own, users) if root is not None}
    states = {name: found[root][0] if root is not None else None for name, root in (("lomaq", own), ("user", users))}
    return states, b"".join(diff for _, diff in found.values())


def _root(place: Path) -> Path | None:
    answer = _git(place, "rev-parse", "--show-toplevel")
    return None if answer is None else Path(os.fsdecode(answer).removesuffix("\n"))


def _state(root: Path) -> tuple[dict[str, Any] | None, bytes]:
    """Commit and changed files of a repository, and its changes."""
    status = _git(root, "status", "--porcelain", "--no-renames", "-z")
    if status is None:
        return None, b""
    entries = status.decode(errors="replace").split("\0")[:-1]
    commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    diff = None if commit is None else _git(root, "diff", "--no-ext-diff", "--no-textconv", "--no-renames", "HEAD")
    state: dict[str, Any] = {
        "commit": None if commit is None else commit.decode().strip(),
        "changed": [entry[3:] for entry in entries if not entry.startswith("??")],
        "untracked": [entry[3:] for entry in entries if entry.startswith("??")],
    }
    if diff is not None and len(diff) > MOST_DIFF:
        return {**state, "diff": f"{len(diff):,} bytes, too many to keep"}, b""
    return state, diff or b""


def _git(place: Path, *words: str) -> bytes | None:
    """What git answers, None where it has no answer."""
    command = ["git", "-C", str(place), "-c", "core.fsmonitor=false", *words]
    variables = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, env=variables, check=False)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None
