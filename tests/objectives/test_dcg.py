"""DCG's loss and targets against hand-made numbers, and games that only a joint choice of actions wins."""

from __future__ import annotations

import io
import math

import pytest
import torch
from rich.console import Console

from lomaq.analysis.certificate import certify_checkpoint
from lomaq.config import compose
from lomaq.errors import InputError
from lomaq.export import export_checkpoint
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import QMIXMixer, SumMixer
from lomaq.nn import CoordinationGraph, Utilities
from lomaq.objectives import DCG, ValueNetworks
from lomaq.training.run import train
from lomaq.training.stored import evaluate_checkpoint, open_checkpoint

N, A, OBS = 3, 2, 2
#: A line of three agents: each for itself prefers action 1, agents that both take action 0 gain more.
ALONE = [[0.0, 3.0], [0.0, 3.0], [0.0, 3.0]]
AGREE = [[[8.0, 0.0], [0.0, 0.0]], [[6.0, 0.0], [0.0, 1.0]]]


class TableGraph(CoordinationGraph):
    """Terms that depend on nothing."""

    def __init__(self, utilities, payoffs, reduction):
        super().__init__(AgentGraph.line(N), OBS, A, reduction=reduction)
        self.tables = torch.tensor(utilities, requires_grad=True), torch.tensor(payoffs, requires_grad=True)
        self.runs = 0

    def terms(self, observations, previous_actions, first, hidden):
        self.runs += 1
        return *(table.expand(*observations.shape[:2], *table.shape) for table in self.tables), hidden


def networks(utilities=ALONE, payoffs=AGREE, reduction="sum") -> ValueNetworks:
    mixer = SumMixer(AgentGraph.line(N), Partition.full(N), 1)
    return ValueNetworks(TableGraph(utilities, payoffs, reduction), mixer)


def objective(**options) -> DCG:
    return DCG(gamma=0.9, lam=0.0, **options)


@pytest.mark.parametrize(("reduction", "agents", "edges"), [("sum", 1, 1), ("mean", N, N - 1)])
@pytest.mark.parametrize(
    ("actions", "alone", "together"), [([0, 0, 0], 0, 8 + 6), ([1, 1, 1], 3 + 3 + 3, 0 + 1), ([0, 0, 1], 3, 8 + 0)]
)
def test_the_loss_is_the_squared_distance_of_the_joint_value_from_the_target(
    one_step, actions, alone, together, reduction, agents, edges
):
    value = alone / agents + together / edges
    online, rollout = networks(reduction=reduction), one_step(actions)
    loss = objective().loss(online, rollout, torch.tensor([[[2.0]]]))
    assert loss.item() == pytest.approx((value - 2) ** 2)
    loss.backward()
    utilities, payoffs = online.utilities.tables
    for i in range(N):
        for a in range(A):
            expected = 2 * (value - 2) / agents * (actions[i] == a)
            assert utilities.grad[i, a].item() == pytest.approx(expected)
    assert payoffs.grad.sum().item() == pytest.approx(2 * (value - 2) / edges * 2)  # the chosen entry of both edges
    known = objective().unroll(online, rollout)
    assert objective().loss(online, rollout, torch.tensor([[[2.0]]]), known).item() == loss.item()


@pytest.mark.parametrize(
    ("reduction", "free", "bound"),
    [("sum", 8 + 6, 3 + 8), ("mean", (8 + 6) / 2, 3 / 3 + 8 / 2)],
)
def test_the_target_follows_the_joint_value_of_the_best_joint_action(one_step, reduction, free, bound):
    both = networks(reduction=reduction)
    rewards = torch.tensor([[[3.0]]])
    got = objective().targets(both, both, one_step([0, 1, 1]), rewards, scale=10.0)
    assert got.item() == pytest.approx(3 + 0.9 * 10 * free)  # all take action 0; each for itself would take 1
    assert both.utilities.runs == 1
    mask = torch.ones(2, 1, N, A, dtype=torch.bool)
    mask[:, :, 2, 0] = False  # agent 2 must take action 1; the others gain most by action 0 all the same
    got = objective().targets(both, both, one_step([0, 1, 1], mask=mask), rewards, scale=10.0)
    assert got.item() == pytest.approx(3 + 0.9 * 10 * bound)


def test_double_q_values_the_joint_action_that_the_online_networks_choose(one_step):
    online = networks(payoffs=torch.zeros(2, A, A).tolist())  # chooses action 1 for all
    target, rewards = networks(), torch.zeros(1, 1, 1)
    rollout = one_step([0, 0, 0])
    double = objective(double_q=True)
    assert double.targets(online, target, rollout, rewards, 1.0).item() == pytest.approx(0.9 * (9 + 1))
    assert (online.utilities.runs, target.utilities.runs) == (1, 1)
    known = double.unroll(online, rollout)
    assert double.targets(online, target, rollout, rewards, 1.0, judge=known).item() == pytest.approx(0.9 * (9 + 1))
    assert online.utilities.runs == 2  # only to unroll it
    assert objective().targets(online, target, rollout, rewards, 1.0).item() == pytest.approx(0.9 * (8 + 6))


def test_rescaling_reaches_utilities_and_payoffs(one_step):
    torch.manual_seed(0)
    graph, rollout = AgentGraph.line(N), one_step([0, 1, 1])
    online = ValueNetworks(CoordinationGraph(graph, OBS, A), SumMixer(graph, Partition.full(N), 1))
    before = objective().unroll(online, rollout)
    objective().rescale_(online, 0.5)
    for old, new in zip(before, objective().unroll(online, rollout), strict=True):
        torch.testing.assert_close(new, old / 2)


def test_several_blocks_and_utilities_without_payoffs_are_refused():
    graph = AgentGraph.line(N)
    with pytest.raises(InputError, match="partition: expected full for algo=dcg, got 3 blocks"):
        objective().make_critic(CoordinationGraph(graph, OBS, A), SumMixer(graph, Partition.singletons(N), 1))
    refused = r"^agent._target_: expected lomaq.nn.CoordinationGraph for algo=dcg, got lomaq.nn.Utilities$"
    with pytest.raises(InputError, match=refused):
        objective().make_critic(Utilities(graph, OBS, A), SumMixer(graph, Partition.full(N), 1))


def test_a_mixer_with_weights_is_refused():  # σ would rescale it, and not the values
    graph = AgentGraph.line(N)
    with pytest.raises(InputError, match=r"^mixer: expected sum for algo=dcg, got QMIXMixer; mixer=sum$"):
        DCG(0.9, 0.0).make_critic(CoordinationGraph(graph, OBS, A), QMIXMixer(graph, Partition.full(N), OBS))


# ------------------------------------------------------------------------ runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small):
    """Folder of a short run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(compose([*small, "algo=dcg", "total_env_steps=80"]), folder, Console(file=io.StringIO()))
    return folder


def test_a_checkpoint_acts_on_another_number_of_agents(trained):
    stored = open_checkpoint(trained, resume=False)
    config = {**stored.config, "env": {**stored.config["env"], "n_agents": 5}}
    figures = evaluate_checkpoint(stored, config, episodes=2, seed=0)
    assert (figures["trained_n_agents"], figures["n_agents"]) == (3, 5)
    assert math.isfinite(figures["test_return_mean"])


def test_a_checkpoint_is_neither_exported_nor_certified(trained, tmp_path):
    stored = open_checkpoint(trained, resume=False)
    with pytest.raises(InputError, match=r"^checkpoint: expected agents that act alone, got a coordination graph"):
        export_checkpoint(stored, tmp_path / "policies", "torch")
    assert not (tmp_path / "policies").exists()
    with pytest.raises(InputError, match=r"^checkpoint: expected values that a mixer makes .*, got DCG"):
        certify_checkpoint(stored)


def test_it_learns_with_a_memory_a_replay_and_double_q(run_small):
    _, summary = run_small(
        "run",
        "algo=dcg",
        "learner=paper",
        "env.max_steps=10",
        "learner.n_envs=1",
        "learner.rollout_steps=null",
        "learner.minibatches=1",
        "learner.batch_size=2",
        "learner.replay_capacity=8",
        "total_env_steps=60",
    )
    assert summary["algorithm"] == "dcg"
    assert summary["env_steps"] >= 60
