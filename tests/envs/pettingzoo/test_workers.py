"""Workers end with what they serve: closed, collected, dead, hanging or refused."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lomaq.errors import EnvError

ON = torch.tensor([[0, 0, 1]])
TROUBLES = {
    "raise": r"environment 0, step 2 of its episode: expected no exception, got RuntimeError: out of fuel "
    r"\(.*zoo_games.py:\d+\)",
    "die": r"environment 0, step 2 .*got ended with status 7 \(environment 0\) \(last words\)",
    "hang": r"environment 0, step 2 .*expected an answer, got none in 1 seconds \(environment 0\); a larger env",
    "shape": r"expected 2 observed numbers of 'a', as in its space, got 5",
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_is_one_line_and_leaves_no_process(zoo, living, trouble) -> None:
    env = zoo("trio", {"timeout": 1.0} if trouble == "hang" else {}, trouble=trouble)
    env.reset()
    env.step(ON)
    with pytest.raises(EnvError, match=TROUBLES[trouble]) as raised:
        env.step(ON)
    assert "\n" not in str(raised.value)
    assert living() == []


def test_numbers_that_are_not_finite_name_environment_agent_and_step(zoo) -> None:
    env = zoo("trio", trouble="nan")
    with pytest.raises(EnvError, match=r"observation of .*got nan \(environment 0, agent 0 .*number 0, step 3"):
        for _ in env.episode(lambda env, observation: ON):
            pass


def test_workers_start_at_the_first_reset_and_end_at_close(zoo, living, tmp_path) -> None:
    env = zoo("trio", {"processes": 2}, n_envs=2, closed_at=str(tmp_path / "closed"))
    assert living() == []
    env.reset()
    assert len(living()) == 2
    env.close()
    assert living() == []
    assert (tmp_path / "closed").read_text() == "closed\n" * 3  # one looked at, two played
    assert torch.isfinite(env.reset()).all()  # begins anew


def test_workers_end_with_the_last_reference(zoo, living) -> None:
    from lomaq.envs import PettingZoo

    env = PettingZoo("zoo_games:trio", {}, processes=1)
    env.reset()
    assert len(living()) == 1
    del env
    gc.collect()
    assert living() == []


def test_what_simulators_print_is_not_shown(zoo, capfd) -> None:
    env = zoo("trio")
    env.reset()
    env.step(ON)
    env.close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "1 / 0"])
def test_no_worker_survives_its_main_process_however_that_ends(zoo, tmp_path, end) -> None:
    script = tmp_path / "main.py"
    script.write_text(f"""
import os, signal, sys, psutil
from lomaq.envs.pettingzoo.spec import Recipe
from lomaq.envs.pettingzoo.workers import Workers, spec_of
recipe = Recipe("zoo_games:trio", {{}})
workers = Workers(recipe, spec_of(recipe, 60), 1, 1, 10, 60)
assert "torch" not in sys.modules  # nor in the processes that it starts
children = [c.pid for c in psutil.Process().children() if "multiprocessing-fork" in " ".join(c.cmdline())]
print(*children, flush=True)
{end}
""")
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, script], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60
    )
    (worker,) = map(int, done.stdout.split())
    for _ in range(100):
        if not _lives(worker):
            break
        signal.sigtimedwait([], 0.05)
    assert not _lives(worker), done.stderr


def _lives(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
