"""Environments of :mod:`zoo_games`, which workers import by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lomaq.envs import PettingZoo

GAMES = Path(__file__).parent


@pytest.fixture(autouse=True)
def games(monkeypatch) -> None:
    monkeypatch.syspath_prepend(GAMES)


@pytest.fixture
def zoo() -> Iterator[Callable[..., PettingZoo]]:
    """``zoo("trio", limit=3, env={"graph": "line"}, n_envs=2)`` → an environment that is closed after the test."""
    pytest.importorskip("gymnasium")
    opened: list[PettingZoo] = []

    def make(game: str, env: dict[str, Any] | None = None, n_envs: int = 1, seed: int = 0, **args: Any) -> PettingZoo:
        settings = {"processes": 1, **(env or {})}
        opened.append(PettingZoo(f"zoo_games:{game}", args, **settings, n_envs=n_envs, seed=seed))
        return opened[-1]

    yield make
    for env in opened:
        env.close()
    assert workers() == []


def workers() -> list[psutil.Process]:
    """The processes of workers that live."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "multiprocessing-fork" in " ".join(_words(child))]


def _words(child: psutil.Process) -> list[str]:
    try:
        return child.cmdline()
    except psutil.Error:
        return []


@pytest.fixture
def living() -> Callable[[], list[psutil.Process]]:
    return workers


