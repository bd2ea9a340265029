"""The environment of one's own that the README shows trains; all else on its page is checked by test_docs.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lomaq

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 160


@pytest.mark.parametrize(("name", "least"), [("cartpole", 2900), ("nav", 300), ("sysadmin", 55)])
def test_a_policy_of_the_repository_plays_as_well_as_its_card_says(name: str, least: float) -> None:
    folder = ROOT / "examples" / "policies" / name
    assert lomaq.load(folder).evaluate(episodes=4).mean() > least
    assert "## How to train it" in (folder / "README.md").read_text()


@pytest.mark.slow
def test_the_own_environment_of_the_readme_trains(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (script,) = re.findall(r'    python -c "(.*)"', README)
    script = script.replace("60_000", "20_000, run_dir='run', evaluation__episodes=4")
    (tmp_path / "firefighters.py").write_text(code)
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    returns = [float(x.replace(",", "")) for x in re.findall(r"test return (-[\d,.]+)", result.stderr)]
    assert returns[-1] > 0.7 * returns[0], returns  # less than 0.7 of the fire is left
