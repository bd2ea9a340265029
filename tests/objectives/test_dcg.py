"""DCG's loss and targets against hand-made numbers, and games that only a joint choice of actions wins."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from lomaq.analysis.certificate.checkpoint import certify_checkpoint
from lomaq.analysis.stored import evaluate_checkpoint, open_checkpoint
from lomaq.config import compose
from lomaq.errors import InputError
from lomaq.export import export_checkpoint
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import SumMixer
from lomaq.nn import CoordinationGraph
from lomaq.objectives import DCG, Returns, Targets, ValueNetworks
from lomaq.objectives.base import Batch
from lomaq.training.run import train

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
    return DCG(Returns(0.9, 0.0), **options)


@pytest.mark.parametrize(("reduction", "agents", "edges"), [("sum", 1, 1), ("mean", N, N - 1)])
@pytest.mark.parametrize(
    ("actions", "alone", "together"), [([0, 0, 0], 0, 8 + 6), ([1, 1, 1], 3 + 3 + 3, 0 + 1), ([0, 0, 1], 3, 8 + 0)]
)
def test_the_loss_is_the_squared_distance_of_the_joint_value_from_the_target(
    one_step, actions, alone, together, reduction, agents, edges
):
    value = alone / agents + together / edges
    online, rollout = networks(reduction=reduction), one_step(actions)
    targets = Targets(torch.tensor([[[2.0]]]), scale=10.0)
    loss, metrics = objective().loss(online, rollout, targets)
    assert loss.item() == pytest.approx((value - 2) ** 2)
    assert {name: x.item() for name, x in metrics.items()} == {"td_error": pytest.approx(10 * abs(value - 2))}
    loss.backward()
    utilities, payoffs = online.utilities.tables
    for i in range(N):
        for a in range(A):
            expected = 2 * (value - 2) / agents * (actions[i] == a)
            assert utilities.grad[i, a].item() == pytest.approx(expected)
    assert payoffs.grad.sum().item() == pytest.approx(2 * (value - 2) / edges * 2)  # the chosen entry of both edges
    known = objective().unroll(online, rollout)
    assert objective().loss(online, rollout, targets, known)[0].item() == loss.item()


@pytest.mark.parametrize(
    ("reduction", "free", "bound"),
    [("sum", 8 + 6, 3 + 8), ("mean", (8 + 6) / 2, 3 / 3 + 8 / 2)],
)
def test_the_target_follows_the_joint_value_of_the_best_joint_action(one_step, forbidding, reduction, free, bound):
    both, rewards = networks(reduction=reduction), torch.tensor([[[3.0]]])
    found = objective().targets(Batch(both, both, one_step([0, 1, 1]), rewards, 10.0)).returns
    assert found.item() == pytest.approx(3 + 0.9 * 10 * free)  # all take action 0; each for itself would take 1
    assert both.utilities.runs == 1
    mask = forbidding((2, 0), shape=(2, 1, N, A))  # agent 2 must take action 1; the others gain most by action 0
    found = objective().targets(Batch(both, both, one_step([0, 1, 1], mask=mask), rewards, 10.0)).returns
    assert found.item() == pytest.approx(3 + 0.9 * 10 * bound)


def test_double_q_values_the_joint_action_that_the_online_networks_choose(one_step):
    online = networks(payoffs=torch.zeros(2, A, A).tolist())  # chooses action 1 for all
    target, double = networks(), objective(double_q=True)
    batch = Batch(online, target, one_step([0, 0, 0]), torch.zeros(1, 1, 1))
    assert double.targets(batch).returns.item() == pytest.approx(0.9 * (9 + 1))
    assert (online.utilities.runs, target.utilities.runs) == (1, 1)
    known = replace(batch, unrolled=double.unroll(online, batch.rollout))
    assert double.targets(known).returns.item() == pytest.approx(0.9 * (9 + 1))
    assert online.utilities.runs == 2  # only to unroll it
    assert objective().targets(batch).returns.item() == pytest.approx(0.9 * (8 + 6))


def random_networks(seed) -> ValueNetworks:
    """With a memory, and payoffs that matter."""
    torch.manual_seed(seed)
    pair = AgentGraph.line(2)
    agents = CoordinationGraph(pair, OBS, 3, "gru", hidden=[8])
    for parameter in agents.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return ValueNetworks(agents, SumMixer(pair, Partition.full(2), 1))


@torch.no_grad()
@pytest.mark.parametrize("double_q", [False, True])
def test_along_a_rollout_the_best_allowed_joint_action_is_found_in_what_each_step_leads_to(make_rollout, double_q):
    online, target = random_networks(0), random_networks(1)
    mask = torch.rand(4, 16, 2, 3) < 0.6
    mask[..., 0] |= ~mask.any(dim=-1)
    rollout = make_rollout(valid=("111",) * 16, n_actions=3, mask=mask)
    rollout.is_first[0] = False
    rollout = replace(rollout, hidden=torch.randn(16, 2, target.utilities.memory_size))
    found = objective(double_q=double_q).targets(Batch(online, target, rollout, torch.zeros(3, 16, 1))).returns

    def joint_values(networks):  # of both agents' actions, [T + 1, B, A, A]
        previous, is_first = rollout.previous_actions(), rollout.is_first
        utilities, payoffs, _ = networks.utilities.terms(rollout.observations, previous, is_first, rollout.hidden)
        return utilities[:, :, 0, :, None] + utilities[:, :, 1, None] + payoffs[:, :, 0]

    allowed = mask[:, :, 0, :, None] & mask[:, :, 1, None]
    selector = joint_values(online if double_q else target).masked_fill(~allowed, -torch.inf)
    best = selector.flatten(2).argmax(dim=-1, keepdim=True)
    expected = 0.9 * joint_values(target).flatten(2).gather(-1, best)[1:]
    torch.testing.assert_close(found, expected)


def test_rescaling_reaches_utilities_and_payoffs(one_step):
    torch.manual_seed(0)
    graph, rollout = AgentGraph.line(N), one_step([0, 1, 1])
    online = ValueNetworks(CoordinationGraph(graph, OBS, A), SumMixer(graph, Partition.full(N), 1))
    before = objective().unroll(online, rollout)
    objective().rescale_(online, 0.5)
    for old, new in zip(before, objective().unroll(online, rollout), strict=True):
        torch.testing.assert_close(new, old / 2)


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
    with pytest.raises(InputError, match=r"^checkpoint: expected agents that act alone, got CoordinationGraph"):
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
