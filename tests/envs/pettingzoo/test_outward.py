"""Our environments for those who speak PettingZoo."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lomaq
from lomaq.config import CONF
from lomaq.envs import CartPole, MatrixGame, Navigation, SysAdmin, to_pettingzoo
from lomaq.errors import InputError

pytest.importorskip("pettingzoo")
#: Of PettingZoo's tests, which import its own environments.
pytestmark = pytest.mark.filterwarnings("ignore:The old environment creation API:DeprecationWarning")
#: Settings that make an environment small.
FEW = {"cartpole": {"n_agents": 3}, "nav": {"n_agents": 3}, "polymatrix": {"n_agents": 4}, "sysadmin": {"n_agents": 4}}
#: Three agents with 2, 2 and 1 actions, so that there are masks.
UNLIKE = [[[[0], [1]], [[1], [2]]], [[[2], [1]], [[1], [1]]], [[[0], [1]], [[0], [3]]]]
SHIPPED = sorted(file.stem for file in (CONF / "env").glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_pettingzoos_own_tests_pass_for_every_environment_that_we_ship(needs, name) -> None:
    from pettingzoo.test import parallel_api_test, parallel_seed_test

    needs(name)
    env = lomaq.make(name, **FEW.get(name, {}))
    parallel_api_test(env, num_cycles=60)
    env.close()
    parallel_seed_test(lambda: lomaq.make(name, **FEW.get(name, {})), num_cycles=30)


def test_action_masks_are_where_pettingzoo_has_them() -> None:
    from pettingzoo.test import parallel_api_test

    env = to_pettingzoo(MatrixGame(UNLIKE))
    observations, _ = env.reset(seed=1)
    assert observations["agent_2"]["action_mask"].tolist() == [1, 0]
    assert env.observation_space("agent_2").contains(observations["agent_2"])
    parallel_api_test(env, num_cycles=10)


def test_it_plays_what_the_environment_plays() -> None:
    ours, theirs = CartPole(3, max_steps=4, seed=5), to_pettingzoo(CartPole(3, max_steps=4))
    ours.generator.manual_seed(5)
    seen, (observations, infos) = ours.reset(), theirs.reset(seed=5)
    for t in range(4):
        assert np.array_equal(np.stack([*observations.values()]), seen[0].numpy())
        assert np.array_equal(theirs.state(), seen[0].numpy())
        seen, rewards, terminated, truncated = ours.step(torch.tensor([[1, 0, 1]]))
        observations, paid, ends, cuts, infos = theirs.step({"agent_0": 1, "agent_1": 0, "agent_2": 1})
        assert [*paid.values()] == rewards[0].tolist()
        assert ({*ends.values()}, {*cuts.values()}) == ({bool(terminated)}, {bool(truncated)} if t < 3 else {True})
    assert theirs.agents == []
    assert infos == {"agent_0": {}, "agent_1": {}, "agent_2": {}}
    with pytest.raises(InputError, match="a reset after the end"):
        theirs.step({})


def test_the_graph_has_the_agents_names() -> None:
    assert {*to_pettingzoo(Navigation(2)).graph().edges} == {("agent_0", "agent_1")}


def test_several_parallel_environments_and_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="an environment with n_envs=1, got n_envs=4"):
        to_pettingzoo(SysAdmin(4, n_envs=4))
    with pytest.raises(InputError, match="cartpole"):
        lomaq.make("breakout")
    with pytest.raises(InputError, match=r"env\.n_carts"):
        lomaq.make("cartpole", n_carts=3)


def test_they_are_registered_where_pettingzoo_has_a_registry() -> None:
    pettingzoo = pytest.importorskip("pettingzoo", minversion="1.27")
    assert "lomaq/nav-v0" in lomaq.register_envs()
    assert lomaq.register_envs() == lomaq.register_envs()
    env = pettingzoo.make("parallel", "lomaq/cartpole-v0", n_agents=3)
    assert env.possible_agents == ["agent_0", "agent_1", "agent_2"]


@pytest.mark.slow
def test_outward_and_inward_again_is_the_same_environment() -> None:
    from lomaq.envs import PettingZoo

    args = {"env": "sysadmin", "n_agents": 4, "max_steps": 6}
    with PettingZoo("lomaq:make", args, processes=1, timeout=120.0) as env:
        assert set(map(tuple, env.graph.pairs.tolist())) == {(0, 1), (1, 2), (2, 3), (0, 3)}
        assert env.reset().shape == (1, 4, env.obs_size)
        ours = SysAdmin(4, max_steps=6)
        ours.reset()
        first = env.step(torch.zeros(1, 4, dtype=torch.int64))[1]
        assert torch.equal(first, ours.step(torch.zeros(1, 4, dtype=torch.int64))[1])  # all work at the start
