"""Conflict: blocks against the actions that are best for the team, on tables made by hand, machines, and givers."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from lomaq.analysis.certificate import conflict
from lomaq.analysis.certificate.checkpoint import certify_checkpoint
from lomaq.analysis.certificate.conflict import estimated_conflict, exact_conflict, shares_of
from lomaq.analysis.stored import open_checkpoint
from lomaq.config import compose
from lomaq.envs import BatchedEnv, SysAdmin
from lomaq.envs.sysadmin.env import never
from lomaq.graphs import AgentGraph, Partition
from lomaq.rewards import ShareMatrix
from lomaq.training.build import build_run
from lomaq.training.run import train

LINE = AgentGraph.line(3)
#: What action 1 of agent i changes of agent k's reward, [k, i]: it costs its agent 1 and gives each neighbour 2.
GIFTS = np.array([[-1.0, 2, 0], [2, -1, 2], [0, 2, -1]])
#: Of the 11 that gifts change in all each giver loses its own 1.
LOST = 3 / 11


class Givers(BatchedEnv):
    """Three agents on a line that see nothing of note; episodes of ten steps."""

    def __init__(self, n_envs, seed, device):
        super().__init__(LINE, n_actions=2, obs_size=4, max_steps=10, n_envs=n_envs, seed=seed, device=device)

    def _reset_state(self, rows):
        pass

    def _advance(self, actions):
        rewards = actions.float() @ torch.from_numpy(GIFTS).float().T
        return rewards, torch.zeros(self.n_envs, dtype=torch.bool)

    def observe(self):
        return torch.ones(self.n_envs, 3, 4)


def without_and_with(graph):
    return [ShareMatrix(graph, 0, equal=False), ShareMatrix(graph, 1, equal=True)]


def by_loops(q, actions, sees, w, n_actions=2):
    """Share in which blocks of one agent disagree and what they lose, counted one by one."""
    n, n_states, _ = q.shape
    torn, lost, changed = [], 0.0, 0.0
    for s in range(n_states):
        for i in range(n):
            of_action = []
            for a in range(n_actions):
                joint = sum(int(a if j == i else actions[s, j]) * n_actions**j for j in range(n))
                of_action.append(q[:, s, joint])
            best = int(np.argmax([x.sum() for x in of_action]))
            for a in range(n_actions):
                if a != best:
                    gain = of_action[best] - of_action[a]
                    blocks = (w @ gain)[sees[:, i]]
                    torn.append((blocks > 1e-9).any() and (blocks < -1e-9).any())
                    lost -= blocks[blocks < 0].sum()
                    changed += abs(gain).sum()
    return np.mean(torn), lost / changed


# ----------------------------------------------------------------------- exact


@pytest.mark.parametrize(
    ("cost", "policy", "percent"),
    [(5.0, "optimum", (53, 0)), (5.0, "never", (75, 0)), (3.0, "never", (73, 12))],
)
def test_machines_disagree_unless_they_answer_for_their_neighbours(cost, policy, percent):
    env = SysAdmin(6, cost=cost)
    act = SysAdmin.oracle if policy == "optimum" else lambda states: never(states).long()
    q, actions = env.exact_q(act), act(env.all_states()).long()
    shares = without_and_with(env.graph)
    found = exact_conflict(q, actions, env.graph, Partition.singletons(6), 1, shares)
    assert tuple(int(100 * x) for x in found.share) == percent
    assert found.error is None
    assert found.n_states == 64
    sees = env.graph.khop(1).toarray() > 0
    loops = [by_loops(q.numpy(), actions, sees, w.matrix().to_dense().double().numpy()) for w in shares]
    np.testing.assert_allclose(list(zip(found.share, found.opposed, strict=True)), loops, atol=1e-12)


@pytest.mark.parametrize(("kappa", "share"), [(1, 1.0), (0, 0.0)])
def test_givers_lose_their_own_price_and_disagree_with_those_who_see_them(kappa, share):
    joint = np.arange(8)[:, None] >> np.arange(3) & 1  # [8, 3]
    q = torch.from_numpy(GIFTS @ joint.T)[:, None]  # [3, 1, 8]
    found = exact_conflict(q, torch.zeros(1, 3).long(), LINE, Partition.singletons(3), kappa, without_and_with(LINE))
    assert found.opposed == (pytest.approx(LOST), 0.0)
    assert found.share == (share, 0.0)
    assert found.line() == (
        f"blocks lose 27.3% of all that actions change by those that are best for the team and disagree about "
        f"{share:.1%} of them (in 1 states); if no reward were shared, 0.0% and disagree about 0.0% of them"
    )


def test_one_block_of_all_agents_has_nobody_to_disagree_with():
    env = SysAdmin(4, cost=5.0)
    shares = [ShareMatrix(env.graph, 0, equal=False)]
    found = exact_conflict(
        env.exact_q(SysAdmin.oracle), env.all_states().oracle(), env.graph, Partition.full(4), 1, shares
    )
    assert (found.opposed, found.share) == ((0.0,), (0.0,))


def test_where_actions_change_nothing_there_is_no_conflict():
    shares = [ShareMatrix(LINE, 0, equal=False)]
    for n_actions in (1, 3):
        q = torch.ones(3, 2, n_actions**3)
        found = exact_conflict(q, torch.zeros(2, 3).long(), LINE, Partition.singletons(3), 1, shares)
        assert (found.opposed, found.share) == ((0.0,), (0.0,))


def test_more_than_two_actions_are_each_compared_with_the_best():
    q = np.random.default_rng(0).normal(size=(3, 5, 27))
    actions = np.random.default_rng(1).integers(3, size=(5, 3))
    shares = without_and_with(LINE)
    found = exact_conflict(torch.from_numpy(q), torch.from_numpy(actions), LINE, Partition.singletons(3), 1, shares)
    sees = LINE.khop(1).toarray() > 0
    loops = [by_loops(q, actions, sees, w.matrix().to_dense().double().numpy(), 3) for w in shares]
    np.testing.assert_allclose(list(zip(found.share, found.opposed, strict=True)), loops, atol=1e-12)


# ------------------------------------------------------------------- estimated


@pytest.fixture
def enough(monkeypatch):
    """For short episodes of few agents."""
    for name, value in {"N_ENVS": 64, "BUDGET": 2**14, "ROLLOUTS": 1, "STEPS": 64}.items():
        monkeypatch.setattr(conflict, name, value)


def test_what_givers_lose_is_estimated_from_episodes(enough):
    run = replace(build_run(compose(["env.n_agents=3", "kappa=1"])), make_env=Givers)
    found = estimated_conflict(run, without_and_with(LINE), 0.5, 0)
    assert found.share is None
    assert found.opposed == (pytest.approx(LOST, abs=0.05), pytest.approx(0, abs=0.02))
    assert 0 < found.error[0] < 0.03
    assert found == estimated_conflict(run, without_and_with(LINE), 0.5, 0)
    assert found != estimated_conflict(run, without_and_with(LINE), 0.5, 1)


def test_machines_that_do_not_bring_each_other_down_agree(enough):
    words = ["env=sysadmin", "env.n_agents=9", "env.fail_per_neighbour=0", "env.max_steps=50"]
    run = build_run(compose(words))
    found = estimated_conflict(run, shares_of(run.module.reward, run.module.networks.mixer.graph), 0.5, 0)
    assert abs(found.opposed[0]) < 3 * found.error[0] < 0.1


def test_an_estimate_leaves_the_random_numbers_of_others_alone():
    run = build_run(compose(["env.n_agents=3"]))
    before = torch.get_rng_state()
    estimated_conflict(run, without_and_with(LINE), 0.5, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_line_says_what_was_estimated():
    found = conflict.Conflict(5120, (0.004, 0.0784), (0.003, 0.0131), None)
    assert found.line() == (
        "blocks lose 0.4% ± 0.3% of all that actions change by those that are best for the team (in 5,120 states); "
        "if no reward were shared, 7.8% ± 1.3%"
    )


# ------------------------------------------------------------------ checkpoints


@pytest.fixture(scope="module")
def stored(tmp_path_factory, small):
    """The last checkpoint of a short run, made when first asked for: ``stored("reward.share=equal")``."""
    found = {}

    def make(*words):
        if words not in found:
            config = compose([*small, "total_env_steps=80", "evaluation.references=false", *words])
            folder = tmp_path_factory.mktemp("runs") / "run"
            train(config, folder, Console(file=io.StringIO()))
            found[words] = open_checkpoint(folder / "checkpoints" / "last.ckpt", resume=False)
        return found[words]

    return make


@pytest.mark.parametrize(("share", "count"), [("none", 1), ("equal", 2), ("learned", 2)])
def test_runs_that_share_are_also_examined_as_if_they_did_not(stored, share, count):
    found = certify_checkpoint(stored(f"reward.share={share}")).conflict
    assert len(found.opposed) == len(found.error) == count
    assert found.share is None


def test_exact_values_are_examined_with_the_shares_that_were_learned(stored):
    checkpoint = stored("env=sysadmin", "env.n_agents=6", "env.cost=5", "reward.share=learned", "reward.hops=1")
    equal = torch.full_like(checkpoint.state["state_dict"]["reward.sharing.matrix.shares"], 1 / 3)
    checkpoint.state["state_dict"]["reward.sharing.matrix.shares"] = equal
    found = certify_checkpoint(checkpoint, states=4)
    assert found.conflict.error is None
    assert found.conflict.share[0] < 0.2 < found.conflict.share[1]
    assert found.to_json()["conflict"]["share"] == list(found.conflict.share)
    assert [name for name, _, _ in found.checks()][-3:-1] == ["conflict", "exact decay"]


@pytest.mark.parametrize(
    ("words", "settings"),
    [(("reward=team",), {}), (("reward.redistribute=full",), {}), (("algo=lomaq_rd",), {}), ((), {"epsilon": 0.0})],
    ids=["team reward", "redistributed", "learned rewards", "no random actions"],
)
def test_without_local_rewards_or_random_actions_there_is_no_such_line(stored, words, settings):
    found = certify_checkpoint(stored(*words), **settings)
    assert found.conflict is None
    assert "conflict" not in [name for name, _, _ in found.checks()]
