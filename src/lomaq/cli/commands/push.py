"""A run that goes to a model hub."""

from __future__ import annotations

from lomaq.analysis.push import push_run


def push(run: str, repo: str, private: bool = False, message: str = "Upload by lomaq") -> None:
    """Upload a run that has ended to the Hugging Face hub: lomaq push run=RUN repo=USER/NAME.

    Its model card (its README.md where it has one), settings, results, curve and best checkpoint. Needs the extra hub
    and an account: hf auth login.

    Args:
        run: FOLDER of the run.
        repo: NAME of the repository there, USER/NAME; it is made where it is missing.
        private: Whether a repository that is made is private.
        message: TEXT of the commit.
    """
    print(push_run(str(run), str(repo), private, str(message)))
