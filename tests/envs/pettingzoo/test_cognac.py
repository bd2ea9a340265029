"""COGNAC's environments through the adapter; they need its package, and that Python 3.12."""

from __future__ import annotations

import pytest
import torch

from lomaq.envs import Cognac
from lomaq.errors import InputError

TASKS = ("firefighting", "sysadmin", "consensus", "flow")


def test_settings_that_cannot_be_are_one_line() -> None:
    pytest.importorskip("gymnasium")
    with pytest.raises(InputError, match=r"env\.task: expected one of firefighting"):
        Cognac("chess")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"env\.n_agents"):
        Cognac(n_agents=1)


def test_without_the_package_the_line_says_what_to_install() -> None:
    pytest.importorskip("gymnasium")
    try:
        import cognac  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match=r"the package cognac, got no cognac; pip install '\.\[cognac\]'"):
            Cognac()
    else:
        pytest.skip("cognac is installed")


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_played_and_repeats_by_its_seed(task) -> None:
    pytest.importorskip("cognac")
    stories = []
    for _ in range(2):
        with Cognac(task, n_agents=5, density=0.4, max_steps=6, processes=1, n_envs=2, seed=3) as env:
            told = [env.reset()]
            for t in range(6):
                observation, rewards, terminated, truncated = env.step(torch.full((2, 5), t % 2))
                told += [observation, rewards]
            stories.append(told)
            assert bool((terminated | truncated).all())
            assert env.graph.n_agents == 5
            assert env.graph.n_edges > 0
    assert all(map(torch.equal, *stories))
    assert all(bool(numbers.isfinite().all()) for numbers in stories[0])


def test_a_row_of_houses_joins_neighbours() -> None:
    pytest.importorskip("cognac")
    assert Cognac("firefighting", n_agents=4).graph.pairs.tolist() == [[0, 1], [1, 2], [2, 3]]


def test_an_influence_matrix_is_taken_as_undirected_and_told_of() -> None:
    pytest.importorskip("cognac")
    assert "directed edges taken as undirected" in Cognac("sysadmin", n_agents=8).graph.note
