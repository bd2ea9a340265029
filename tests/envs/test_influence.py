"""Influence of actions, against environments whose influence is known."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from lomaq.envs import BatchedEnv, CartPole, SysAdmin
from lomaq.envs.influence import THRESHOLD, measure_influence
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph
from lomaq.plots.influence import picture_influence


class Sent(BatchedEnv):
    """On a line without its edges: an agent observes what its right neighbour did last, plus noise of its own."""

    state_names = ("last",)

    def __init__(self, noise: float = 0.0, allowed: int = 2, n_envs: int = 8, seed: int = 0) -> None:
        sizes = {"n_actions": 2, "obs_size": 1, "max_steps": 5, "seed": seed, "device": "cpu"}
        super().__init__(AgentGraph.empty(3), n_envs=n_envs, **sizes)
        self.noise, self.allowed_actions = noise, allowed
        self.last = torch.zeros(n_envs, 3, dtype=torch.int64)

    def _reset_state(self, rows):
        self.last[rows] = 0

    def _advance(self, actions):
        self.last = actions.clone()
        return torch.zeros(self.n_envs, 3), torch.zeros(self.n_envs, dtype=torch.bool)

    def observe(self):
        noise = self.noise * torch.rand(self.n_envs, 3)  # of the process, which no seed of ours repeats
        return (self.last.roll(-1, dims=1).float() * torch.tensor([1.0, 1.0, 0.0]) + noise)[..., None]

    def action_mask(self):
        return torch.arange(2).lt(self.allowed_actions).expand(self.n_envs, 3, 2)


def test_an_effect_is_the_change_in_standard_deviations_at_most_one() -> None:
    found = measure_influence(Sent(), rounds=4)
    assert found.repeatable
    assert found.probes == 32
    expected = [[0, 0, 0], [1, 0, 0], [0, 1, 0]]  # a bit changes by 1, and has a standard deviation of a half
    assert found.effect.tolist() == expected


def test_edges_are_of_either_direction_and_have_the_effect_as_weight() -> None:
    found = measure_influence(Sent(), rounds=4)
    graph = found.graph(0.5, AgentGraph.from_edges(3, [], names=["x", "y", "z"]))
    assert graph.pairs.tolist() == [[0, 1], [1, 2]]
    assert graph.pair_weight.tolist() == [1, 1]
    assert graph.names == ["x", "y", "z"]
    with pytest.raises(InputError, match="threshold"):
        found.graph(2.0, graph)


def test_what_does_not_repeat_is_tested_by_ranks() -> None:
    torch.manual_seed(0)
    found = measure_influence(Sent(noise=0.2), rounds=6)
    assert not found.repeatable
    assert (found.effect > 0).tolist() == [[False] * 3, [True, False, False], [False, True, False]]


def test_nothing_is_known_of_an_agent_without_a_choice() -> None:
    found = measure_influence(Sent(allowed=1), rounds=2)
    assert np.isnan(found.effect).all()
    assert found.graph(0.0, AgentGraph.empty(3)).n_edges == 0


def test_machines_that_see_their_neighbours_are_found_to_be_a_ring() -> None:
    env = SysAdmin(5, n_envs=16)
    graph = measure_influence(env, rounds=6).graph(0.0, env.graph)
    assert torch.equal(graph.edge_index, env.graph.edge_index)


def test_springs_need_a_second_step_to_be_felt() -> None:
    env = CartPole(4, n_envs=8)
    assert measure_influence(env, rounds=3).graph(0.0, env.graph).n_edges == 0
    seen = measure_influence(env, rounds=3, ahead=4).graph(0.0, env.graph)
    assert seen.pairs.tolist() == [[0, 1], [1, 2], [2, 3]]


def test_it_repeats_by_its_seed() -> None:
    one, two = (measure_influence(SysAdmin(4, n_envs=4), rounds=3, seed=5).effect for _ in range(2))
    assert np.array_equal(one, two)


def test_episodes_that_have_ended_are_no_probes() -> None:
    found = measure_influence(Sent(), rounds=3, ahead=9)  # longer than an episode
    assert found.probes == 0
    assert np.isnan(found.effect).all()


def test_the_command_takes_the_threshold_of_the_environments_without_a_word():
    # commands are read from their source, where a default is a number and not a name
    assert inspect.signature(picture_influence).parameters["threshold"].default == THRESHOLD
