"""Test episodes on environments whose returns are known by hand, and what an exact number must equal."""

import pytest
import torch

from lomaq.envs import BatchedEnv, MatrixGame, SysAdmin
from lomaq.errors import EnvError, InputError
from lomaq.evaluation import BaselineActor, GreedyActor, RandomActor, evaluate, make_test_env
from lomaq.graphs import AgentGraph
from lomaq.nn import Utilities

THREE_SIZES = [[[[0], [1]], [[1], [2]]], [[[2], [1]], [[1], [1]]], [[[0], [1]], [[0], [3]]]]  # 2, 2 and 1 actions
NEVER_EXACT = [("gru", False), ("gru", True), ("mlp", True)]


class Stairs(BatchedEnv):
    """Step t pays each of two agents t + 1; copy b terminates after ``lengths[b]`` steps; 0 and 1 are the actions."""

    state_names = ("age",)

    def __init__(self, lengths, discount, max_steps=6):
        graph = AgentGraph.line(2)
        super().__init__(graph, n_envs=len(lengths), n_actions=2, obs_size=1, max_steps=max_steps, seed=0, device="cpu")
        self.lengths, self.discount = torch.tensor(lengths), discount
        self.age = torch.zeros(self.n_envs, dtype=torch.int64)
        self.taken = []

    def _reset_state(self, rows):
        self.age[rows] = 0

    def _advance(self, actions):
        self.taken.append(actions)
        self.age += 1
        return self.age[:, None].float().repeat(1, 2), self.age >= self.lengths

    def observe(self):
        return torch.ones(self.n_envs, 2, 1)


class Simulated:
    """An actor that hides from :func:`evaluate` that it has no memory."""

    memoryless = False

    def __init__(self, actor):
        self.reset, self.act = actor.reset, actor.act


class Contrary(torch.nn.Module):
    """Wants the action that was not taken before; both alike, hence 0, where there is none."""

    def forward(self, x, first, hidden):
        return -x[..., 1:], x, hidden


def utilities_for(env, network="mlp", last_action=False, seed=0):
    torch.manual_seed(seed)
    return Utilities(env.graph, env.obs_size, env.n_actions, network, hidden=[8], last_action=last_action)


def greedy(env, *options, **named):
    return GreedyActor(utilities_for(env, *options, **named))


# --------------------------------------------------------------------- returns


def test_returns_are_discounted_by_the_environment_and_ended_copies_stop_counting():
    env = Stairs([1, 3, 9], discount=0.5, max_steps=4)
    expected = [2.0, 2 * (1 + 2 * 0.5 + 3 * 0.25), 2 * (1 + 2 * 0.5 + 3 * 0.25 + 4 * 0.125)]  # the last is truncated
    assert evaluate(RandomActor(0), env, 3, seed=0).returns.tolist() == expected


def test_returns_are_plain_sums_where_the_discount_is_one():
    returns = evaluate(RandomActor(0), Stairs([2, 6], discount=1.0), 2, seed=0).returns
    assert returns.tolist() == [2 * (1 + 2), 2 * (1 + 2 + 3 + 4 + 5 + 6)]
    assert returns.dtype == torch.float64


def test_nothing_is_stepped_once_all_copies_ended():
    env = Stairs([2, 3], discount=1.0)
    evaluate(RandomActor(0), env, 2, seed=0)
    assert len(env.taken) == 3


@pytest.mark.parametrize("episodes", [1, 3, 4, 7])
def test_batches_of_copies_are_cut_to_the_episodes_asked_for(episodes):
    returns = evaluate(RandomActor(0), Stairs([1, 2, 3], discount=1.0), episodes, seed=0).returns
    assert returns.tolist() == [2.0, 6.0, 12.0, 2.0, 6.0, 12.0, 2.0][:episodes]


@pytest.mark.parametrize(("network", "last_action"), NEVER_EXACT)
def test_memory_is_empty_when_an_episode_begins(network, last_action):
    env = Stairs([6, 6], discount=1.0)
    evaluate(greedy(env, network, last_action), env, 4, seed=0)
    first, second = torch.stack(env.taken).split(6)  # nothing is random here, so the second batch repeats the first
    assert torch.equal(first, second)


def test_the_last_action_is_seen_by_an_actor_that_asks_for_it():
    env = Stairs([6], discount=1.0)
    actor = greedy(env, last_action=True)
    actor.utilities.networks[0] = Contrary()
    evaluate(actor, env, 1, seed=0)
    assert torch.stack(env.taken)[:, 0].tolist() == [[0, 0], [1, 1], [0, 0], [1, 1], [0, 0], [1, 1]]


# ----------------------------------------------------------------------- seeds


@pytest.mark.parametrize("who", ["greedy", "random", "oracle"])
def test_equal_seeds_give_equal_returns_and_others_do_not(who):
    def play(seed, own=0):
        env = SysAdmin(9, n_envs=4, seed=own)
        actor = {
            "greedy": lambda: greedy(env),
            "random": lambda: RandomActor(seed),
            "oracle": lambda: BaselineActor(lambda env: env.oracle()),
        }[who]()
        return evaluate(actor, env, 8, seed).returns

    first = play(3)
    assert torch.equal(first, play(3, own=1))  # the seed that the environment was made with does not matter
    assert not torch.equal(first, play(4))
    assert len(set(first.tolist())) > 1


def test_random_actions_of_a_batch_are_not_those_of_the_batch_before():
    game = MatrixGame([[[0, 1], [2, 3]], [[0, 0], [0, 0]]], n_envs=32)  # nothing is random but the actions
    first, second = evaluate(RandomActor(0), game, 64, seed=0).returns.split(32)
    assert not torch.equal(first, second)


# ---------------------------------------------------------------- exact numbers


@pytest.mark.parametrize("who", ["greedy", "oracle"])
def test_an_exact_return_is_the_mean_of_many_episodes(who):
    env = SysAdmin(4, fail_alone=0.2, n_envs=1000)
    actor = BaselineActor(lambda env: env.oracle()) if who == "oracle" else greedy(env, seed=1)
    (exact,) = evaluate(actor, env, 3, seed=0).returns.tolist()
    returns = evaluate(Simulated(actor), env, 2000, seed=0).returns
    assert len(returns) == 2000
    assert float(returns.std()) > 0
    assert float(returns.mean()) == pytest.approx(exact, abs=4 * float(returns.std()) / 2000**0.5)


@pytest.mark.parametrize(("n_agents", "episodes"), [(8, 1), (9, 5)])
def test_exact_numbers_end_with_eight_machines(n_agents, episodes):
    env = SysAdmin(n_agents, n_envs=2, max_steps=5)
    assert evaluate(greedy(env), env, 5, seed=0).returns.shape == (episodes,)


@pytest.mark.parametrize(("network", "last_action"), NEVER_EXACT)
def test_an_actor_with_memory_is_never_valued_exactly(network, last_action):
    env = SysAdmin(3, n_envs=5, max_steps=5)
    actor = greedy(env, network, last_action)
    assert not actor.memoryless
    assert evaluate(actor, env, 5, seed=0).returns.shape == (5,)


def test_chance_is_never_valued_exactly():
    assert evaluate(RandomActor(0), SysAdmin(3, n_envs=5, max_steps=5), 5, seed=0).returns.shape == (5,)


def test_an_exact_valuation_leaves_the_environment_as_it_is():
    env = SysAdmin(3, n_envs=2)
    env.step(torch.tensor([[0, 1, 0], [1, 1, 0]]))
    before = env.state_dict()
    evaluate(greedy(env), env, 5, seed=7)
    assert all(torch.equal(value, before[name]) for name, value in env.state_dict().items())


# ------------------------------------------------------------------ baseline policies


def test_random_actions_are_the_allowed_ones_all_alike():
    env = MatrixGame(THREE_SIZES, n_envs=4000)
    actor = RandomActor(0)
    actor.reset(env)
    actions = actor.act(env, env.reset())  # [B, N]
    shares = torch.nn.functional.one_hot(actions, 2).double().mean(dim=0)
    assert shares[2].tolist() == [1.0, 0.0]
    torch.testing.assert_close(shares[:2], torch.full((2, 2), 0.5, dtype=torch.float64), atol=0.04, rtol=0)  # 5 sigma


def test_greedy_actions_are_the_allowed_ones():
    env = MatrixGame(THREE_SIZES, n_envs=1)
    actor = greedy(env)
    with torch.no_grad():
        for network in actor.utilities.networks:
            network.get_submodule("head").bias.copy_(torch.tensor([0.0, 100.0]))
    actor.reset(env)
    assert actor.act(env, env.reset()).tolist() == [[1, 1, 0]]


def test_an_oracle_run_on_few_machines_is_worth_the_optimum(run_small):
    folder, summary = run_small("oracle", "env=sysadmin", "algo=oracle", drawn=True)
    assert summary["test_episodes"] == 1
    assert summary["test_return_mean"] == pytest.approx(summary["references"]["optimum"], rel=1e-12)
    assert (folder / "curve.png").is_file()


def test_a_random_run_is_worth_its_simulated_episodes(run_small):
    _, summary = run_small("random", "env=sysadmin", "algo=random", "evaluation.episodes=300")
    assert summary["test_episodes"] == 300  # more than are stepped together
    assert summary["test_return_mean"] < summary["references"]["optimum"]


@pytest.mark.parametrize("env", ["matrix", "cartpole"])
def test_an_oracle_that_does_not_exist_is_refused_before_anything_is_written(env, run_small, tmp_path):
    with pytest.raises(
        InputError, match=r"^algo: expected an environment with a baseline policy, got oracle for \w+; its best"
    ):
        run_small("oracle", f"env={env}", "algo=oracle")
    assert not list(tmp_path.iterdir())


def test_metrics_are_those_of_the_step_that_ended_each_episode() -> None:
    class Climbed(Stairs):
        def episode_metrics(self):
            return {"height": self.age.double()}

    played = evaluate(RandomActor(0), Climbed([2, 5, 3], discount=1.0), 3, seed=0)
    assert {name: values.tolist() for name, values in played.metrics.items()} == {"height": [2, 5, 3]}


def test_a_metric_that_is_not_finite_is_named_with_its_environment_and_step() -> None:
    class Fallen(Stairs):
        def episode_metrics(self):
            return {"height": torch.where(self.lengths == 4, torch.nan, self.age.double())}

    with pytest.raises(EnvError, match=r"episode_metrics\(\)\['height'\].*expected finite.*environment 1.* step 4 "):
        evaluate(RandomActor(0), Fallen([2, 4], discount=1.0), 2, seed=0)


@pytest.mark.parametrize(("limit", "expected"), [(None, 7), (9, 7), (3, 3)])
def test_tests_make_no_more_environments_than_there_can_be_together(limit, expected) -> None:
    class Few(Stairs):
        max_envs = limit

    made = make_test_env(lambda n_envs, seed, device: Few([1] * n_envs, 1.0), 7, torch.device("cpu"))
    assert made.n_envs == expected
    assert evaluate(RandomActor(0), made, 7, seed=0).returns.shape == (7,)
