"""What every environment has from its base: one episode in every parallel environment, and refusals."""

import pytest
import torch

from lomaq.envs import BatchedEnv, CartPole, MatrixGame, Navigation, SysAdmin, Voltage
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph


class Countdown(BatchedEnv):
    """Environment b ends really after b + 1 steps; every agent is paid the number of the step."""

    def __init__(self, n_envs: int, max_steps: int) -> None:
        super().__init__(
            AgentGraph.line(2), n_envs=n_envs, n_actions=3, obs_size=1, max_steps=max_steps, seed=0, device="cpu"
        )

    def _reset_state(self, rows):
        pass

    def _advance(self, actions):
        paid = (self.time[:, None] + 1).float().expand(-1, 2)
        return paid, self.time == torch.arange(self.n_envs)

    def observe(self):
        return self.time[:, None, None].float().expand(-1, 2, 1)


def test_an_episode_continues_until_every_environment_has_ended():
    env = Countdown(n_envs=3, max_steps=10)
    steps = list(env.episode(lambda env, seen: seen[..., 0].long()))
    assert [step.running.tolist() for step in steps] == [[True] * 3, [False, True, True], [False, False, True]]
    assert steps[0].terminated.tolist() == [True, False, False]
    assert [step.observation[2, 0].tolist() for step in steps] == [[0], [1], [2]]
    assert [step.actions[2].tolist() for step in steps] == [[0, 0], [1, 1], [2, 2]]
    assert sum(step.rewards.sum(dim=1) * step.running for step in steps).tolist() == [2, 6, 12]


def test_an_episode_ends_at_the_time_limit_in_the_environments_that_last_longer():
    steps = list(Countdown(n_envs=4, max_steps=2).episode(lambda env, _: torch.zeros(4, 2, dtype=torch.int64)))
    assert len(steps) == 2
    assert steps[1].truncated.tolist() == [True, False, True, True]  # environment 1 ended really in this step
    assert steps[1].terminated.tolist() == [False, True, False, False]


def test_an_episode_begins_with_a_reset_and_shows_each_step_before_the_next():
    env = Countdown(n_envs=1, max_steps=3)
    env.step(torch.zeros(1, 2, dtype=torch.int64))
    times = [int(env.time) for _ in env.episode(lambda env, _: torch.zeros(1, 2, dtype=torch.int64))]
    assert times == [1]


@pytest.mark.parametrize(("env", "best"), [(CartPole(15), "3,000"), (MatrixGame([[1, 2]]), "2")])
def test_an_environment_without_a_baseline_policy_names_its_best_return_where_it_is_known(env, best):
    with pytest.raises(
        InputError, match=rf"^algo: expected an environment with a baseline .* return is known: {best}$"
    ):
        env.oracle()


def test_an_environment_without_a_best_return_just_refuses():
    with pytest.raises(InputError, match=r"got oracle for Countdown$"):
        Countdown(1, 1).oracle()


class Measured(Countdown):
    """As above, but with a time limit of its own after two steps, and a metric: the number of its steps."""

    def _advance(self, actions):
        return *super()._advance(actions), self.time >= 1

    def episode_metrics(self):
        return {"steps": self.time.double()}


def test_a_time_limit_of_the_environment_itself_truncates_where_it_did_not_really_end():
    env = Measured(n_envs=3, max_steps=10)
    env.reset()
    _, _, terminated, truncated = env.step(torch.zeros(3, 2, dtype=torch.int64))
    assert (terminated.tolist(), truncated.tolist()) == ([True, False, False], [False, False, False])
    _, _, terminated, truncated = env.step(torch.zeros(3, 2, dtype=torch.int64))
    assert (terminated.tolist(), truncated.tolist()) == ([False, True, False], [True, False, True])


def test_staggered_environments_are_spread_over_the_episode_and_show_where_they_are():
    env = Countdown(n_envs=64, max_steps=10)
    env.reset()
    seen = env.stagger(torch.Generator().manual_seed(0))
    assert set(env.time.tolist()) == set(range(10))
    assert torch.equal(seen[..., 0], env.time[:, None].float().expand(-1, 2))


def test_a_with_statement_closes_an_environment_also_after_an_error():
    class Open(Countdown):
        closed = False

        def close(self):
            self.closed = True

    with pytest.raises(KeyError), Open(1, 1) as env:
        raise KeyError
    assert env.closed


@pytest.mark.parametrize("make", [CartPole, Navigation, SysAdmin, Voltage])
def test_a_shuffled_graph_changes_what_mixers_get_and_nothing_that_happens(make):
    envs = [make(n_envs=3, seed=5, permute=permute) for permute in (False, 1)]
    assert not torch.equal(envs[0].graph.edge_index, envs[1].graph.edge_index)
    seen = [env.reset() for env in envs]
    for step in range(3):
        assert torch.equal(*seen)
        actions = torch.randint(envs[0].n_actions, (3, envs[0].n_agents), generator=torch.Generator().manual_seed(step))
        rewards = [env.step(actions)[0] for env in envs]
        assert torch.equal(*rewards)
        seen = [env.observe() for env in envs]
