"""Any PettingZoo parallel environment as one of ours: what is seen, done, paid and how it ends."""

from __future__ import annotations

import pytest
import torch

from lomaq.errors import EnvError, InputError, Note

#: Actions of a, b and c with which the episode goes on, and with which it is won.
ON, WIN = [0, 0, 1], [1, 1, 1]


def step(env, *actions):
    return env.step(torch.tensor(actions))


def test_sizes_types_and_names_are_those_of_the_spaces(zoo) -> None:
    env = zoo("trio")
    assert (env.n_agents, env.n_actions, env.obs_size) == (3, 3, 3)
    assert env.graph.names == ["a", "b", "c"]
    assert env.graph.types.tolist() == [0, 1, 2]  # by signature: all differ
    assert zoo("row", n=3).graph.types.tolist() == [0, 0, 0]
    assert zoo("row", {"types": "agents"}, n=3).graph.types.tolist() == [0, 1, 2]
    assert zoo("trio", {"types": "one"}).graph.types.tolist() == [0, 0, 0]


def test_observations_are_flattened_and_padded_and_masks_are_of_all_kinds(zoo) -> None:
    env = zoo("trio")
    observation = env.reset()
    assert observation.dtype is torch.float32
    draw = float(observation[0, 0, 1])
    assert observation.tolist() == [[[0, draw, 0], [1, 0, 0], [1, 0, 0]]]
    assert env.allowed().tolist() == [[[True, True, False], [True, True, False], [True, True, False]]]
    observation, *_ = step(env, ON)
    assert observation.tolist() == [[[1, draw, 0], [0, 1, 0], [1, 0, 0]]]
    assert env.allowed().tolist() == [[[True, True, False], [True, True, True], [True, True, False]]]


def test_actions_begin_where_the_space_begins_and_rewards_are_the_agents_own(zoo) -> None:
    env = zoo("trio")
    env.reset()
    _, rewards, *_ = step(env, [1, 2, 0])  # b's space begins at 1
    assert rewards.tolist() == [[1, 30, 0]]


def test_a_real_end_is_terminated_and_a_time_limit_truncated(zoo) -> None:
    env = zoo("trio", limit=2)
    env.reset()
    assert [end.tolist() for end in step(env, WIN)[2:]] == [[True], [False]]
    env.reset()
    step(env, ON)
    observation, _, terminated, truncated = step(env, ON)
    assert (terminated.tolist(), truncated.tolist()) == ([False], [True])
    assert observation[0, 0, 0] == 2  # what the last step led to
    limited = zoo("trio", {"max_steps": 1})
    limited.reset()
    assert step(limited, ON)[3].tolist() == [True]


def test_what_has_ended_is_not_stepped_on(zoo) -> None:
    env = zoo("trio", n_envs=2)
    env.reset()
    step(env, WIN, ON)
    observation, rewards, terminated, truncated = step(env, WIN, ON)
    assert observation[:, 0, 0].tolist() == [1, 2]
    assert rewards.tolist() == [[0, 0, 0], [0, 10, 100]]
    assert not bool((terminated | truncated).any())


def test_an_agent_that_leaves_early_sees_nothing_earns_nothing_and_does_nothing(zoo) -> None:
    env = zoo("trio", leaves=1)
    env.reset()
    observation, rewards, terminated, _ = step(env, ON)
    assert rewards.tolist() == [[0, 10, 100]]  # of its last step
    assert observation[0, 1].tolist() == [0, 0, 0]
    assert env.allowed()[0, 1].tolist() == [True, False, False]
    assert not bool(terminated.any())
    _, rewards, *_ = step(env, ON)
    assert rewards.tolist() == [[0, 0, 100]]
    assert step(env, WIN)[2].tolist() == [True]  # all that are left


def test_some_are_reset_and_the_others_go_on(zoo) -> None:
    env = zoo("trio", n_envs=3)
    first = env.reset()
    step(env, ON, ON, ON)
    observation = env.reset(torch.tensor([False, True, False]))
    assert observation[:, 0, 0].tolist() == [1, 0, 1]
    assert observation[::2, 0, 1].tolist() == first[::2, 0, 1].tolist()
    assert observation[1, 0, 1] != first[1, 0, 1]


def story(env, seed):
    env.generator.manual_seed(seed)
    told = [env.reset()]
    for t in range(6):
        observation, rewards, terminated, truncated = step(env, *[[t % 2, 0, 1]] * env.n_envs)
        told += [observation, rewards, terminated, truncated]
        if bool((ended := terminated | truncated).any()):
            told.append(env.reset(ended))
    return told


def test_one_seed_one_story_however_many_processes_play_it(zoo) -> None:
    alone, shared = zoo("trio", n_envs=3, limit=3), zoo("trio", {"processes": 2}, n_envs=3, limit=3)
    one, again, two, other = story(alone, 5), story(alone, 5), story(shared, 5), story(alone, 6)
    assert all(map(torch.equal, one, again))
    assert all(map(torch.equal, one, two))
    assert not torch.equal(one[0], other[0])
    assert len({float(x) for x in one[0][:, 0, 1]}) == 3  # each its own start


def test_metrics_are_those_of_the_last_episode_and_workers_import_neither_torch_nor_the_main_module(zoo) -> None:
    env = zoo("trio", n_envs=2, limit=3)
    env.reset()
    assert env.episode_metrics()["steps"].isnan().all()
    step(env, WIN, ON)
    step(env, WIN, ON)
    step(env, WIN, ON)
    metrics = env.episode_metrics()
    assert metrics["steps"].tolist() == [1, 3]
    assert metrics["steps"].dtype is torch.float64
    assert metrics["torch"].tolist() == metrics["main"].tolist() == [0, 0]


def test_baseline_policies_act_in_every_environment(zoo) -> None:
    env = zoo("trio", n_envs=2)
    env.reset()
    policies = env.baselines()
    assert set(policies) == {"win", "lose"}
    assert policies["win"](env).tolist() == [WIN, WIN]
    assert policies["lose"](env).tolist() == [[0, 0, 0]] * 2
    step(env, WIN, ON)
    assert policies["win"](env).tolist() == [[0, 0, 0], WIN]  # the first has ended


def test_a_team_reward_that_each_is_paid_is_told_of_and_divided(zoo) -> None:
    env = zoo("trio", alike=True, limit=1, n_envs=8)
    env.reset()
    with pytest.warns(Note, match="all 3 agents were always paid the same.*env.reward_is_team=true"):
        step(env, *[ON] * 8)
    team = zoo("trio", {"reward_is_team": True}, alike=True, limit=1, n_envs=8)
    team.reset()
    assert step(team, *[ON] * 8)[1].sum(dim=1).tolist() == pytest.approx([1.0] * 8)


def test_it_stays_at_its_start_and_is_not_stored(zoo) -> None:
    env = zoo("trio")
    start = env.reset()
    assert torch.equal(env.stagger(torch.Generator()), start)
    assert env.time.tolist() == [0]
    assert not env.resumable
    assert 0 <= env.statistics()["simulator_share"] <= 1


def test_processes_are_as_many_as_asked_for_or_needed(zoo) -> None:
    assert zoo("trio", {"processes": 8}, n_envs=3).processes == 3
    single = zoo("trio", n_envs=3, per_process=1)
    assert (single.processes, single.max_envs) == (3, 1)
    assert zoo("trio", n_envs=3, max_envs=5).max_envs == 5


@pytest.mark.parametrize(
    ("game", "env", "line"),
    [
        ("nothing", {}, "env.factory: expected package.module:function .*got zoo_games:nothing; zoo_games has no"),
        ("continuous", {}, "expected a Discrete action space for 'c', got Box.*must be made steps"),
        ("turns", {}, "got the turn-based Turns; wrap it"),
        ("unsound", {}, r"raised ValueError: no such map \(.*zoo_games.py:\d+\)"),
        ("a.b", {}, "env.factory: expected package.module:function, got 'zoo_games:a.b'"),
        ("trio", {"graph": "zoo games:pairs"}, "env.graph: expected package.module:function"),
        ("trio", {"graph": "torus"}, "env.graph: expected line, ring"),
        ("trio", {"graph": "positions", "radius": 1.0}, "positions, which zoo_games.Trio does not have"),
        ("trio", {"radius": 1.0}, "env.radius: expected only with env.graph=positions"),
        ("trio", {"types": "some"}, "env.types"),
        ("trio", {"timeout": 0.0}, "env.timeout"),
        ("trio", {"processes": 0}, "env.processes"),
    ],
)
def test_what_cannot_be_used_is_one_line(zoo, game, env, line) -> None:
    with pytest.raises(InputError, match=line):
        zoo(game, env)


def test_a_module_that_is_not_there_is_one_line(zoo) -> None:
    with pytest.raises(InputError, match=r"env\.factory: expected package\.module:function, got 'zoo_games'"):
        zoo("trio").__class__("zoo_games")
    with pytest.raises(InputError, match="Python's"):
        zoo("trio").__class__("zoo_games:open_file")
    with pytest.raises(InputError, match="there is no module nowhere; install it or go to its folder"):
        zoo("trio").__class__("nowhere.games:make")


def test_the_first_step_comes_after_a_reset(zoo) -> None:
    with pytest.raises(EnvError, match="a reset before the first step"):
        step(zoo("trio"), ON)
