"""Every method trains in a process group; a group of one wraps and sends the networks as one of several does."""

from __future__ import annotations

import pytest

from lomaq.config import methods


@pytest.mark.slow
@pytest.mark.parametrize("algo", methods())
def test_every_method_trains_in_a_process_group(run_small, algo):
    words = ("trainer.strategy=ddp", "trainer.devices=1", "total_env_steps=80")
    _, summary = run_small("run", f"algo={algo}", *words)
    assert summary["env_steps"] >= 80
