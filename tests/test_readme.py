"""The environment of one's own that the README shows trains; all else on its page is checked by test_docs.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_own_environment_of_the_readme_trains(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (settings,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (command,) = re.findall(r"    python train\.py (--config-dir .*)", README)
    (tmp_path / "firefighters.py").write_text(code)
    (tmp_path / "my_conf" / "env").mkdir(parents=True)
    (tmp_path / "my_conf" / "env" / "firefighters.yaml").write_text(settings)
    words = [*command.split(), "total_env_steps=20000", "run_dir=run", "evaluation.episodes=4"]
    result = subprocess.run(
        [sys.executable, ROOT / "train.py", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    returns = [float(x.replace(",", "")) for x in re.findall(r"test return (-[\d,.]+)", result.stderr)]
    assert returns[-1] > 0.7 * returns[0], returns  # less than 0.7 of the fire is left
