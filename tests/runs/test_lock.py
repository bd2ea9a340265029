"""One process trains a run; runs that start together get folders of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lomaq.errors import InputError
from lomaq.runs.lock import free_folder, locked

HOLD = """import filelock, sys, time
lock = filelock.FileLock(sys.argv[1])
lock.acquire()
print(1, flush=True)
time.sleep(60)"""


def test_a_second_holder_is_refused_by_the_process_and_host_of_the_first(tmp_path: Path) -> None:
    with locked(tmp_path):
        with (
            pytest.raises(InputError, match=f"run_dir: .*process {os.getpid()} on {socket.gethostname()} trains"),
            locked(tmp_path),
        ):
            pass
        assert (tmp_path / ".owner").is_file()  # the first one's still
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]
    with locked(tmp_path):  # it was given back
        pass


def test_an_error_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked(tmp_path):
        raise RuntimeError
    with locked(tmp_path):
        pass


def test_the_lock_of_a_process_that_was_killed_is_taken_over(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / ".lock"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(InputError, match="which another process trains"), locked(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
    (tmp_path / ".owner").write_text("process 1 on nowhere")  # it did not come to removing it
    with locked(tmp_path):
        assert "nowhere" not in (tmp_path / ".owner").read_text()


def test_folders_that_are_wanted_at_once_are_all_different(tmp_path: Path) -> None:
    def use(_: int) -> Path:
        with free_folder(tmp_path / "runs" / "a") as folder:
            (folder / "config.yaml").touch()
        return folder

    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(use, range(8)))
    assert {folder.name for folder in folders} == {"a", *(f"a-{number}" for number in range(2, 9))}


def test_a_folder_in_which_nothing_was_written_is_removed_and_those_made_for_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), free_folder(tmp_path / "new" / "runs" / "a"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
