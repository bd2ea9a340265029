"""What the papers of VDN, QMIX and what came after say that each can represent, learned by the whole system."""

from __future__ import annotations

import csv

import pytest

HALF = [[4, -6, -6], [-6, 0, 0], [-6, 0, 0]]
ONE_STEP = f"env.payoffs={[HALF, HALF]}".replace(" ", "")
QUICK = (
    "learner.epsilon.end=1.0",  # uniform actions all the time
    "evaluation.every_env_steps=100000",
    "learner.n_envs=64",
    "learner.rollout_steps=4",
    "learner.minibatches=4",
    "learner.lr=0.01",
    "total_env_steps=8000",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algo", "found"), [("vdn", 0.0), ("qmix", 0.0), ("qtran", 8.0), ("ow_qmix", 8.0), ("cw_qmix", 8.0)]
)
def test_one_step_game_in_which_only_a_free_joint_value_finds_8(run_small, algo, found):
    _, summary = run_small("run", "env=matrix", ONE_STEP, f"algo={algo}", *QUICK)
    assert summary["test_return_mean"] == pytest.approx(found)


@pytest.mark.slow
def test_qplex_finds_8_in_the_one_step_game_with_more_updates(run_small):
    more = ("learner.lr=0.003", "learner.epochs=8", "seed=2")
    _, summary = run_small("run", "env=matrix", ONE_STEP, "algo=qplex", *QUICK, *more)
    assert summary["test_return_mean"] == pytest.approx(8.0)


@pytest.mark.slow
@pytest.mark.parametrize(("algo", "found"), [("vdn", 7.0), ("qmix", 8.0), ("qtran", 8.0), ("qplex", 8.0)])
def test_two_step_game_in_which_a_sum_settles_for_7(run_small, algo, found):
    _, summary = run_small("run", "env=two_step", f"algo={algo}", *QUICK)
    assert summary["test_return_mean"] == pytest.approx(found)


def test_counterfactual_policies_learn_to_balance_from_the_team_reward(run_small):
    quick = ("learner.n_envs=32", "learner.rollout_steps=25", "learner.minibatches=4", "learner.lr=0.01")
    tests = ("total_env_steps=20000", "evaluation.every_env_steps=5000", "evaluation.episodes=20")
    _, summary = run_small("run", "algo=coma", *quick, *tests)
    assert summary["best_test_return_mean"] > 100  # 29 at the start, where all always push to one side


@pytest.mark.parametrize("rank", ["null", "2"])
def test_a_payoff_for_the_pair_finds_8_in_the_one_step_game(run_small, rank):
    _, summary = run_small(
        "run", "env=matrix", ONE_STEP, "algo=dcg", f"agent.payoff_rank={rank}", *QUICK, "total_env_steps=1000"
    )
    assert summary["test_return_mean"] == pytest.approx(8.0)


@pytest.mark.parametrize(("algo", "found"), [("dcg", 8.0), ("vdn", 2.0)])
def test_in_a_stag_hunt_along_the_edges_only_a_joint_choice_hunts_stag(run_small, algo, found):
    _, summary = run_small("run", "env=polymatrix", "env.n_agents=6", f"algo={algo}", *QUICK, "total_env_steps=1000")
    assert summary["test_return_mean"] == pytest.approx(found * 6)  # 6 edges


# ---------------------------------------------------------------- policy gradients

DRAWN = ("learner.n_envs=64", "learner.rollout_steps=4", "learner.minibatches=4", "learner.lr=0.01")
#: Figure 7 of the paper: the sum is 3 for the joint action (1, 1) and else 2.
PAPER = "env.payoffs=[[[0,1],[1,2]],[[2,1],[1,1]]]"
ONCE = ("evaluation.every_env_steps=100000", "evaluation.at_start=false")


@pytest.mark.parametrize(
    ("algo", "found"), [("mappo", 3.0), ("ippo", 3.0), ("khop_ppo", 3.0), ("loc_facmac", 3.0), ("ippo_local", 2.0)]
)
def test_game_of_the_paper_in_which_agents_that_ascend_their_own_reward_alone_miss_3(run_small, algo, found):
    _, summary = run_small("run", "env=matrix", PAPER, f"algo={algo}", *DRAWN, *ONCE, "total_env_steps=600")
    assert summary["test_return_mean"] == pytest.approx(found)


@pytest.mark.parametrize(
    ("algo", "other"),
    [
        (("khop_ppo", "kappa=0"), ("ippo_local", "kappa=2")),
        (("lomaq_ppo", "partition=full"), ("mappo",)),
    ],
    ids=" ".join,
)
def test_named_methods_are_settings_of_one_class_and_learn_alike(run_small, algo, other):
    rows = []
    for number, (name, *words) in enumerate((algo, other)):
        folder, _ = run_small(f"{number}", f"algo={name}", *words, "total_env_steps=120", "deterministic=true")
        with (folder / "metrics.csv").open(newline="") as file:
            rows.append([{k: v for k, v in row.items() if k != "train_seconds"} for row in csv.DictReader(file)])
    assert rows[0] == rows[1]
    assert any(float(row["critic_loss"] or 0) > 0 for row in rows[0])


def test_actors_that_learn_from_a_replay_memory_find_3_in_the_game_of_the_paper(run_small):
    words = ("env=matrix", PAPER, "algo=loc_facmac", "learner=replay", "learner.n_envs=8", "learner.lr=0.01")
    _, summary = run_small("run", *words, *ONCE, "total_env_steps=500")
    assert summary["test_return_mean"] == pytest.approx(3.0)


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["mappo", "ippo", "khop_ppo", "loc_facmac"])
def test_one_step_game_in_which_every_policy_gradient_walks_away_from_8(run_small, algo):
    # next to random policies the first action is worth (4 - 6 - 6) / 3 to either agent, the others -2
    _, summary = run_small("run", "env=matrix", ONE_STEP, f"algo={algo}", *DRAWN, *ONCE, "total_env_steps=4000")
    assert summary["test_return_mean"] == pytest.approx(0.0)


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["mappo", "ippo"])
@pytest.mark.parametrize("seed", [0, 1])
def test_two_step_game_in_which_a_policy_gradient_ends_in_either_equilibrium(run_small, algo, seed):
    words = ("learner.objective.entropy=0.02", "total_env_steps=4000", f"seed={seed}")
    _, summary = run_small("run", "env=two_step", f"algo={algo}", *DRAWN, *ONCE, *words)
    assert summary["test_return_mean"] in (pytest.approx(7.0), pytest.approx(8.0))


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["mappo", "khop_ppo"])
def test_in_a_stag_hunt_along_the_edges_policy_gradients_settle_for_hare(run_small, algo):
    words = ("env=polymatrix", "env.n_agents=6", "total_env_steps=4000")
    _, summary = run_small("run", *words, f"algo={algo}", *DRAWN, *ONCE)
    assert summary["test_return_mean"] == pytest.approx(2.0 * 6)  # 6 edges
