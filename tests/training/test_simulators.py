"""Environments whose state no checkpoint can hold: metrics, resuming with new episodes, closing, normalised numbers."""

import csv
import json

import pytest
import torch

import lomaq
from lomaq.analysis.stored import open_checkpoint
from lomaq.cli import train_main
from lomaq.envs import BatchedEnv
from lomaq.errors import InputError

OPEN: set[int] = set()
SMALL = {"learner__n_envs": 4, "learner__rollout_steps": 4, "total_env_steps": 64, "evaluation__every_env_steps": 32}


class Queue(BatchedEnv):
    """Two servers; all wait, and each that acts 1 serves one. It ends after five steps by a limit of its own."""

    resumable = False
    max_envs = 3

    def __init__(self, *, n_envs=1, seed=0, device="cpu"):
        graph = lomaq.AgentGraph.line(2)
        super().__init__(graph, n_envs=n_envs, n_actions=2, obs_size=1, max_steps=9, seed=seed, device=device)
        self.waiting = torch.zeros(n_envs, 2)
        self.age = torch.zeros(n_envs)

    def stagger(self, generator):
        return self.observe()

    def _reset_state(self, rows):
        OPEN.add(id(self))
        self.age[rows] = 0
        self.waiting[rows] = 100 + self.uniform(len(rows), 2, low=0, high=9)

    def _advance(self, actions):
        assert not bool((self.age > 5).any())
        self.age += 1
        self.waiting = self.waiting - actions
        return -self.waiting / 100, torch.zeros(self.n_envs, dtype=torch.bool), self.age >= 5

    def observe(self):
        return self.waiting[..., None].clone()

    def episode_metrics(self):
        return {"mean_waiting": self.waiting.double().mean(dim=1)}

    def statistics(self):
        return {"simulator_share": 0.75}

    def close(self):
        OPEN.discard(id(self))


@pytest.fixture
def trained(tmp_path):
    OPEN.clear()
    words = ["agent.normalise=true", "evaluation.best_by=-mean_waiting", "evaluation.episodes=5"]
    return lomaq.train(Queue, *words, run_dir=tmp_path / "run", **SMALL)


def test_metrics_are_in_every_file_of_a_run_and_the_environments_are_closed(trained) -> None:
    folder, summary = trained.run_dir, trained.summary
    (steps,) = json.loads((folder / "results.json").read_text()).values()
    while "step_0" not in steps:
        (steps,) = steps.values()
    tests = [test for name, test in steps.items() if name.startswith("step_")]
    means = [sum(test["mean_waiting"]) / 5 for test in tests]
    assert [len(test["mean_waiting"]) for test in tests] == [5] * len(tests)
    with (folder / "metrics.csv").open() as file:
        rows = [float(row["test_mean_waiting"]) for row in csv.DictReader(file) if row["test_mean_waiting"]]
    assert rows == pytest.approx(means, rel=1e-5)
    assert summary["test_metrics"]["mean_waiting"] == pytest.approx(means[-1])
    assert summary["best_test_metrics"]["mean_waiting"] == pytest.approx(min(means))
    assert steps["absolute_metrics"]["mean_waiting"] == tests[means.index(min(means))]["mean_waiting"]
    assert summary["env_statistics"] == {"simulator_share": 0.75}
    assert summary["new_episodes_at"] == []
    assert not OPEN


def test_a_resumed_run_begins_new_episodes_and_says_so(trained, command) -> None:
    status, _, err = command(train_main, f"resume={trained.run_dir}", f"modules={__name__}", "total_env_steps=96")
    assert (status, "is not stored in checkpoints: the run begins new episodes" in err) == (0, True), err
    summary = json.loads((trained.run_dir / "summary.json").read_text())
    assert (summary["env_steps"], summary["new_episodes_at"]) == (96, [trained.summary["env_steps"]])
    assert not OPEN


def test_the_normalised_numbers_are_those_of_what_was_seen_and_travel_with_the_weights(trained) -> None:
    stored = open_checkpoint(trained.run_dir, resume=True)
    norm = stored.weights("networks.utilities.norm.")
    assert norm["count"].tolist() == [2 * stored.env_steps]
    assert 95 < float(norm["mean"]) < 109
    policy = lomaq.load(trained.run_dir / "checkpoints" / "last.ckpt")
    assert torch.equal(policy.utilities.norm.mean, norm["mean"])
    assert not OPEN


def test_a_metric_that_the_environment_lacks_is_refused_before_anything_is_written(tmp_path) -> None:
    with pytest.raises(InputError, match=r"best_by: expected one of return, mean_waiting, -mean_waiting, got 'delay'"):
        lomaq.train(Queue, "evaluation.best_by=delay", run_dir=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()
