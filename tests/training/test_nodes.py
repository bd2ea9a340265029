"""One run on two machines, here two torchruns on one: they agree, one of them writes, and both end when one is lost."""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lomaq.training.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
NODES = ("trainer.num_nodes=2", "trainer.devices=1", "trainer.strategy=ddp", "trainer.accelerator=cpu")

pytestmark = pytest.mark.slow


class Nodes:
    """A torchrun for each of two machines, in folders of their own."""

    def __init__(self, folder: Path, *words: tuple[str, ...]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        meet = ("--nnodes=2", "--nproc_per_node=1", "--master_addr=127.0.0.1", f"--master_port={port}")
        self.folders = [folder / f"node{rank}" for rank in range(len(words))]
        self.processes = []
        for rank, (place, mine) in enumerate(zip(self.folders, words, strict=True)):
            place.mkdir(exist_ok=True)
            command = [
                sys.executable,
                "-m",
                "torch.distributed.run",
                *meet,
                f"--node_rank={rank}",
                ROOT / "train.py",
                *mine,
            ]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            with (place / "out").open("w") as out, (place / "err").open("w") as err:
                self.processes.append(subprocess.Popen(command, cwd=place, stdout=out, stderr=err, env=environment))

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                for one in (*psutil.Process(process.pid).children(recursive=True), process):
                    one.kill()

    def wait(self) -> list[int]:
        """Exit statuses."""
        return [process.wait(180) for process in self.processes]

    def errors(self, rank: int) -> list[str]:
        """The lines in which a machine says what went wrong, torchrun's own aside."""
        return [line for line in (self.folders[rank] / "err").read_text().splitlines() if line.startswith("error: ")]


def test_two_machines_train_one_run_that_the_first_one_writes_and_resume_it(tmp_path, small) -> None:
    run = tmp_path / "run"
    with Nodes(tmp_path, *[(*small, *NODES, f"run_dir={run}")] * 2) as nodes:
        assert nodes.wait() == [0, 0], (nodes.folders[0] / "err").read_text()
        assert "test return, last" in (nodes.folders[0] / "out").read_text()
        assert (nodes.folders[1] / "out").read_text() == ""
        assert [sorted(file.name for file in place.iterdir()) for place in nodes.folders] == [["err", "out"]] * 2
    state = load_checkpoint(run / "checkpoints" / "last.ckpt")["lomaq"]
    first, second = (rank["collector"]["env"]["offset"] for rank in state["ranks"])
    assert not first.equal(second)
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert 60 < int(rows[1]["env_steps"]) <= 80  # of both: 2 × 4 environments × 10
    with Nodes(tmp_path, *[(f"resume={run}", "total_env_steps=600", *NODES)] * 2) as nodes:
        assert nodes.wait() == [0, 0], (nodes.folders[0] / "err").read_text()
    assert load_checkpoint(run / "checkpoints" / "last.ckpt")["lomaq"]["env_steps"] >= 600


def test_machines_with_other_settings_are_refused_in_one_line_each(tmp_path, small) -> None:
    words = (*small, *NODES, f"run_dir={tmp_path / 'run'}")
    with Nodes(tmp_path, words, (*words, "learner.epochs=5")) as nodes:
        assert 0 not in nodes.wait()
        for rank in (0, 1):
            (line,) = nodes.errors(rank)
            assert line.startswith("error: learner.epochs: expected the same in all processes of the run, got 2 ")


@pytest.mark.parametrize("lost", [0, 1])
def test_when_one_machine_is_lost_the_other_ends_in_one_line_and_the_run_continues(tmp_path, small, lost) -> None:
    run = tmp_path / "run"
    words = (*small, *NODES, "total_env_steps=100000000", f"run_dir={run}")
    with Nodes(tmp_path, words, words) as nodes:
        until = time.monotonic() + 180
        while not (run / "metrics.csv").is_file() or len((run / "metrics.csv").read_text().splitlines()) < 6:
            assert time.monotonic() < until, (nodes.folders[0] / "err").read_text()
            time.sleep(0.2)
        psutil.Process(nodes.processes[lost].pid).children()[0].kill()
        assert nodes.processes[1 - lost].wait(30) != 0
        (line,) = nodes.errors(1 - lost)
        assert line.startswith("error: another process of this run has ended or cannot be reached; ")
        assert line.endswith(f"continue with resume={run}")
    load_checkpoint(run / "checkpoints" / "last.ckpt")
