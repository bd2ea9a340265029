"""Processes of one run: settings that must be alike, and connections that are lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from lomaq.errors import InputError
from lomaq.runs.ranks import ProcessDiedError, check_alike, connected

SETTINGS = {"seed": 0, "learner": {"n_envs": 4}, "trainer": {"threads": 1, "devices": 1}, "files": {}, "resume": None}


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"seed": 1}, "seed"),
        ({"learner": {"n_envs": 8}}, "learner.n_envs"),
        ({"learner": {}}, "learner.n_envs"),
        ({"files": {"graph.json": "content"}}, "files.graph.json"),
        ({"resume": "a checkpoint of 9 bytes"}, "resume"),
    ],
)
def test_settings_that_differ_in_any_process_are_refused_by_name(changed, name) -> None:
    with pytest.raises(InputError, match=rf"^{name}: expected the same .* in process 0 and .* in process 2; "):
        check_alike([SETTINGS, SETTINGS, {**SETTINGS, **changed}])


def test_threads_run_folder_and_loggers_may_differ() -> None:
    other = {**SETTINGS, "run_dir": "b", "logger": {"wandb": True}, "trainer": {"threads": 2, "devices": 1}}
    check_alike([{**SETTINGS, "run_dir": "a", "logger": {"wandb": False}}, other])


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:1: reset by peer"
        ),
        RuntimeError("Gloo connectFullMesh failed with timeout"),
        type("DistNetworkError", (RuntimeError,), {})("Failed to recv, got 0 bytes"),
    ],
    ids=["a process that died", "one that never came", "the first one ended"],
)
def test_a_lost_connection_is_one_line_that_says_how_to_continue(error) -> None:
    line = r"has ended or cannot be reached; .* continue with resume=runs/x$"
    with pytest.raises(ProcessDiedError, match=line), connected(Path("runs/x")):
        raise error


def test_other_errors_stay_as_they_are() -> None:
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError) as found, connected(Path("runs/x")):
        raise error
    assert found.value is error
