"""Runs that go to a model hub."""

from __future__ import annotations

import importlib
import re
import shutil
import tempfile
from pathlib import Path

from lomaq.analysis.card import card_of
from lomaq.errors import INSTALL, InputError, check_bool
from lomaq.runs.record import find_runs

#: What of a run folder is uploaded, where it is there; code.diff and inputs stay at home.
FILES = ("config.yaml", "metrics.csv", "results.json", "summary.json", "curve.png", "checkpoints/best.ckpt")


def push_run(run: str, repo: str, private: bool, message: str) -> str:
    """Upload a run that has ended to the Hugging Face hub.

    Args:
        run: Its folder.
        repo: ``USER/NAME``; made where it is missing.
        private: Whether a repository that is made is private.
        message: Of the commit.

    Returns:
        Where it is now.

    Raises:
        InputError: If it has not ended, ``repo`` is no such name, ``huggingface_hub`` is missing or the hub refuses.
    """
    check_bool("private", private)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", repo) is None:
        raise InputError("repo", "USER/NAME", repo)
    (folder,) = find_runs([run])[:1]
    best = folder / "checkpoints" / "best.ckpt"
    if not best.is_file():
        raise InputError("run", "a run with checkpoints/best.ckpt", folder)
    own = folder / "README.md"
    card = own.read_text(encoding="utf-8") if own.is_file() else card_of([folder], repo.partition("/")[2])
    try:
        hub = importlib.import_module("huggingface_hub")
    except ModuleNotFoundError as error:
        raise InputError("push", "the package huggingface_hub", error, INSTALL.format("hub")) from error
    with tempfile.TemporaryDirectory() as name:
        staged = Path(name)
        (staged / "checkpoints").mkdir()
        (staged / "README.md").write_text(card, encoding="utf-8")
        for file in FILES:
            if (folder / file).is_file():
                shutil.copyfile(folder / file, staged / file)
        api = hub.HfApi()
        try:
            api.create_repo(repo_id=repo, private=private, exist_ok=True)
            done = api.upload_folder(repo_id=repo, folder_path=str(staged), commit_message=message)
        except (hub.errors.HfHubHTTPError, hub.errors.LocalTokenNotFoundError, OSError) as error:
            said = " ".join(str(error).split())[:200]
            raise InputError("push", f"a hub that takes {repo}", said, "hf auth login, or another repo=") from error
    return str(done)
