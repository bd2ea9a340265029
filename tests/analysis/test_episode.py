"""Learned rewards next to true ones: the episode is that of ``evaluate``, the numbers are from the stored networks."""

import csv
import io
import json
import re
import shutil

import numpy as np
import pytest
import torch
from rich.console import Console

from lomaq import cli
from lomaq.analysis.episode import EpisodeRewards, decompose_checkpoint
from lomaq.analysis.stored import FRESH_SEED, evaluate_checkpoint, open_checkpoint
from lomaq.config import compose
from lomaq.errors import InputError
from lomaq.evaluation import GreedyActor
from lomaq.plots.decomposition import draw_decomposition
from lomaq.training.build import build_run
from lomaq.training.run import train

#: Overrides of a run, and how many steps its episodes have at most.
RUNS = {
    "cart-pole": ((), 20),
    "nav with a memory": (("env=nav", "agent=gru", "agent.last_action=true"), 20),
    "sysadmin": (("env=sysadmin",), 20),
    "matrix, where one agent has one action": (("env=matrix",), 1),
    "pairs and trios by class": (("reward.max_size=3", "reward.networks.share=class"), 20),
    "classes of rewards": (("reward.variant=classification", "reward.values=[[0,1]]"), 20),
}
LAST_LAYER = ("reward.model.networks.0.weight.3", "reward.model.networks.0.bias.3")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small, three_agents):
    """Folder of a short run with learned rewards, made when first asked for; nothing may be written there."""
    short = [word for word in small if word != three_agents("cartpole")]
    folders = {}

    def make(*overrides):
        if overrides not in folders:
            env = dict(word.split("=", 1) for word in overrides).get("env", "cartpole")
            words = [three_agents(env), *short, "total_env_steps=40", "evaluation.references=false", "algo=lomaq_rd"]
            words += [] if env == "matrix" else ["env.max_steps=20"]
            folders[overrides] = tmp_path_factory.mktemp("runs") / "run"
            words += ["reward.fit.updates=2", "reward.gate.tolerance=1000", *overrides]
            train(compose(words), folders[overrides], Console(file=io.StringIO()))
        return folders[overrides]

    return make


def last(folder):
    return open_checkpoint(folder / "checkpoints" / "last.ckpt", resume=False)


def decomposed(folder, seed=0):
    stored = last(folder)
    return decompose_checkpoint(stored, stored.config, seed)


def with_agents(config, n_agents):
    return {**config, "env": {**config["env"], "n_agents": n_agents}}


# ------------------------------------------------------------------ the episode


@pytest.mark.parametrize(("overrides", "most"), RUNS.values(), ids=RUNS.keys())
def test_every_environment_and_kind_of_group_is_decomposed(trained, overrides, most):
    episode = decomposed(trained(*overrides))
    assert episode.learned.shape == episode.true.shape
    assert 1 <= len(episode.true) <= most
    assert episode.true.shape[1] == 3
    assert np.isfinite(episode.learned).all()
    if overrides == ("env=matrix",):  # what its payoffs hold for allowed joint actions
        assert episode.true[0, 0] in (0, 1, 2)
        assert episode.true[0, 1] in (1, 2)
        assert episode.true[0, 2] in (0, 3)


@pytest.mark.parametrize("overrides", [(), ("env=nav", "agent=gru", "agent.last_action=true")])
def test_the_episode_is_the_one_that_evaluation_plays(trained, overrides):
    stored = last(trained(*overrides))
    for seed in (0, 7):
        expected = evaluate_checkpoint(stored, stored.config, 1, seed)["test_return_mean"]
        assert decompose_checkpoint(stored, stored.config, seed).true.sum() == pytest.approx(expected)


def test_equal_seeds_give_equal_rewards_and_others_do_not(trained):
    first, again, other = (decomposed(trained("env=sysadmin"), seed) for seed in (0, 0, 1))
    assert np.array_equal(first.true, again.true)
    assert np.array_equal(first.learned, again.learned)
    assert not np.array_equal(first.true, other.true)


def test_learned_rewards_are_those_of_the_stored_weights_at_scaled_observations(trained):
    folder = trained()
    stored = last(folder)
    run = build_run(stored.config)
    run.module.load_state_dict(stored.state["state_dict"])
    env = run.make_env(1, 0, torch.device("cpu"))
    env.generator.manual_seed(FRESH_SEED)
    actor = GreedyActor(run.module.networks.utilities)
    observation = env.reset()
    actor.reset(env)
    layers = [
        [stored.state["state_dict"][f"reward.model.networks.0.{kind}.{i}"][0].numpy() for kind in ("weight", "bias")]
        for i in range(4)
    ]
    found = decomposed(folder)
    for step in range(3):
        for agent in range(3):
            x = observation[0, agent].numpy() * np.array([1, 1, 5, 1])  # the angle counts five times
            x = np.maximum(x @ layers[0][0] + layers[0][1], 0)
            x = x @ layers[1][0] + layers[1][1]
            x = np.tanh(np.where(x > 0, x, 0.01 * x) @ layers[2][0] + layers[2][1])
            expected = float((x @ layers[3][0] + layers[3][1])[0])
            assert found.learned[step, agent] == pytest.approx(expected, abs=1e-5)
        with torch.no_grad():
            observation = env.step(actor.act(env, observation))[0]


def test_other_numbers_of_agents_use_the_shared_networks(trained):
    stored = last(trained())
    weight, bias = (stored.state["state_dict"][name] for name in LAST_LAYER)
    weight.zero_()
    bias.fill_(0.75)
    for n_agents in (1, 3, 8):
        found = decompose_checkpoint(stored, with_agents(stored.config, n_agents))
        assert found.learned.shape[1] == n_agents
        assert np.all(found.learned == 0.75)
        assert found.true[0].tolist() == [1] * n_agents  # all poles are up at the start


def test_the_tolerance_is_that_of_the_gate(trained):
    plain = decomposed(trained("reward.gate.tolerance=0.4", "reward.gate.relative_tolerance=null"))
    assert plain.tolerance == pytest.approx(0.4)
    folder = trained()  # a wide tolerance, and at most one standard deviation of the team rewards so far
    count, total, squares = last(folder).state["state_dict"]["reward._moments"].tolist()
    assert decomposed(folder).tolerance == pytest.approx((squares / count - (total / count) ** 2) ** 0.5)


# -------------------------------------------------------------------- the metrics


def test_metrics_are_those_found_by_hand():
    learned = np.array([[0.5, 0.5], [1.0, 1.5], [0.0, 0.0]])
    true = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    found = EpisodeRewards(learned, true, 0.25).to_json()
    assert (found["steps"], found["n_agents"]) == (3, 2)
    assert (found["team_reward_sum"], found["predicted_sum"]) == (3, 3.5)
    assert found["local_reward_error"] == pytest.approx((0.5 + 0.5 + 0.5) / 6)
    assert found["equal_share_error"] == pytest.approx((0.5 + 0.5) / 6)
    assert found["reward_error"] == pytest.approx(0.5 / 3)
    assert found["reward_pass_rate"] == pytest.approx(2 / 3)  # 2.5 for 2 is off by more than Δ
    # Σ xy = 3, Σ x² = 3.75, Σ y² = 3; the means are 7/12 and 1/2
    spread = (3.75 - 6 * (7 / 12) ** 2) * (3 - 6 / 4)
    assert found["local_correlation"] == pytest.approx((3 - 6 * 7 / 24) / spread**0.5)
    # Σ xy = 6, Σ x² = 7.25, Σ y² = 5; the means are 7/6 and 1
    assert found["team_correlation"] == pytest.approx((6 - 3 * 7 / 6) / ((7.25 - 3 * (7 / 6) ** 2) * (5 - 3)) ** 0.5)


def test_a_side_that_never_changes_has_no_correlation():
    found = EpisodeRewards(np.array([[0.5, 0.6]]), np.ones((1, 2)), 1.0).to_json()
    assert found["local_correlation"] is None
    assert found["team_correlation"] is None
    json.dumps(found, allow_nan=False)


def test_the_table_has_a_line_for_each_step_and_agent():
    text = EpisodeRewards(np.array([[0.5, -0.25], [1 / 3, 2]]), np.array([[1, 0], [0, 2]]), 0.1).to_csv()
    assert text == "step,agent,learned,true\n0,0,0.5,1\n0,1,-0.25,0\n1,0,0.333333,0\n1,1,2,2\n"


def test_the_table_has_the_names_of_the_agents_where_they_have_some():
    text = EpisodeRewards(np.array([[0.5, -0.25]]), np.array([[1, 0]]), 0.1, ["Aue", "Bad Elster, Nord"]).to_csv()
    assert text == 'step,agent,learned,true,name\n0,0,0.5,1,Aue\n0,1,-0.25,0,"Bad Elster, Nord"\n'


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (200, 150)])
def test_episodes_of_any_size_are_drawn(tmp_path, shape, named):
    learned = np.random.default_rng(0).normal(size=shape)
    names = [f"crossing {i}" for i in range(shape[1])] if named else None
    draw_decomposition(tmp_path / "x.png", learned, np.ones(shape), 0.1, "title", names)
    assert (tmp_path / "x.png").read_bytes()[:4] == b"\x89PNG"


# ------------------------------------------------------------------- the command


@pytest.fixture
def command(command):
    """Run ``lomaq decompose``: ``command(*words)`` → (status, out, err)."""
    return lambda *words: command(cli.main, "decompose", *map(str, words))


def test_the_command_prints_the_summary_and_writes_three_files(trained, command, tmp_path):
    folder = shutil.copytree(trained(), tmp_path / "run")
    file = folder / "checkpoints" / "last.ckpt"
    words = (f"checkpoint={file}", "seed=3", "env.n_agents=4")
    status, out, _ = command(*words)
    assert status == 0
    summary = json.loads(out)
    assert summary == json.loads((folder / "decomposition.json").read_text())
    assert (summary["checkpoint"], summary["seed"], summary["n_agents"]) == (str(file), 3, 4)
    table = (folder / "decomposition.csv").read_text()
    rows = list(csv.DictReader(table.splitlines()))
    assert len(rows) == 4 * summary["steps"]
    assert sum(float(row["true"]) for row in rows) == pytest.approx(summary["team_reward_sum"])
    assert sum(float(row["learned"]) for row in rows) == pytest.approx(summary["predicted_sum"], rel=1e-4)

    assert command(*words, f"output={tmp_path / 'new'}")[0] == 0
    assert {x.name for x in (tmp_path / "new").iterdir()} == {f"decomposition.{x}" for x in ("csv", "json", "png")}
    assert (tmp_path / "new" / "decomposition.csv").read_text() == table


def test_help_is_printed(command):
    assert command("--help")[1].startswith("usage: lomaq decompose PATH")


MISTAKES = {
    "local rewards": (("algo=lomaq",), (), r"checkpoint: expected one with learned rewards, got one with reward=local"),
    "no seed": ((), ("seed=-1",), r"seed: expected a whole number"),
    "another setting": ((), ("episodes=3",), r"episodes: expected checkpoint, .*env\.\*, got 3"),
    "networks of other groups": (
        ("reward.networks.share=class",),
        ("env.n_agents=4",),
        r"env: expected the graph of the train",
    ),
    "other agents": (
        ("agent.agent_id=true",),
        ("env.n_agents=4",),
        r"env\.n_agents: expected 3, since agent\.agent_id=true fixes it, got 4",
    ),
}


@pytest.mark.parametrize(("overrides", "words", "line"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_answered_in_one_line_and_nothing_is_written(
    trained, run_small, command, tmp_path, overrides, words, line
):
    local = overrides == ("algo=lomaq",)
    folder = run_small("local", *overrides, "total_env_steps=40")[0] if local else trained(*overrides)
    output = tmp_path / "out"
    status, out, err = command(f"checkpoint={folder / 'checkpoints' / 'last.ckpt'}", *words, f"output={output}")
    assert status == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert re.search(line, err)
    assert not output.exists()


def test_a_checkpoint_from_before_any_learning_is_refused(trained):
    stored = last(trained())
    stored.state["lomaq"]["env_steps"] = 0
    with pytest.raises(InputError, match=r"^checkpoint: expected one in which rewards were learned, got .* take last"):
        decompose_checkpoint(stored, stored.config)


def test_diverged_networks_are_refused(trained):
    stored = last(trained())
    stored.state["state_dict"][LAST_LAYER[1]].fill_(torch.nan)
    with pytest.raises(InputError, match=r"^checkpoint: expected finite learned rewards, got NaN"):
        decompose_checkpoint(stored, stored.config)
