"""The code that runs keep."""

from __future__ import annotations

import subprocess

import pytest

from lomaq.runs import code


@pytest.fixture
def repository(tmp_path):
    """A repository of a user, with a commit and a change."""

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "my env.py").write_text("pay = 1\n")
    git("add", ".")
    git("commit", "-qm", "first")
    (tmp_path / "my env.py").write_text("pay = 2\n")
    (tmp_path / "new.py").write_text("")
    return tmp_path


def test_commit_and_changes_of_a_users_code_are_found_from_a_folder_inside(repository, monkeypatch):
    monkeypatch.setattr(code, "_own", lambda: None)
    (repository / "inside").mkdir()
    states, diff = code.code_of(repository / "inside")
    assert states["lomaq"] is None
    assert len(states["user"]["commit"]) == 40
    assert (states["user"]["changed"], states["user"]["untracked"]) == (["my env.py"], ["new.py"])
    assert b"-pay = 1\n+pay = 2\n" in diff


def test_where_there_is_no_repository_or_no_git_nothing_is_known(tmp_path, monkeypatch):
    assert code.code_of(tmp_path)[0]["user"] is None
    monkeypatch.setattr(code.shutil, "which", lambda name: None)
    assert code.code_of(tmp_path) == ({"lomaq": None, "user": None}, b"")
