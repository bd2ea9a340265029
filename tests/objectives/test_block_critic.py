"""The critic of blocks: its values, what they depend on, and what recurrent agents show it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition, ego_classes
from lomaq.mixers import SumMixer
from lomaq.nn import Utilities
from lomaq.nn.slots import SHARES
from lomaq.objectives import PPO, Returns, ValueNetworks
from lomaq.objectives.base import Batch
from lomaq.objectives.block_critic import BlockCritic, seen_by_agents, unroll_with_memories

OBS, A, HIDDEN = 3, 2, 4
# Agent 5 knows 0 … 8, and 9, 10 and 11 hang on agent 8: neighbourhoods of 2, 3 and 9 agents.
HUB = AgentGraph.from_edges(12, [(5, i) for i in range(9) if i != 5] + [(8, 9), (9, 10), (10, 11)])
GRAPHS = {"hub": HUB, "star": AgentGraph.star(6), "grid": AgentGraph.grid(2, 3)}


def make_critic(graph, partition, kappa, share="ego", outputs=1) -> BlockCritic:
    torch.manual_seed(0)
    critic = BlockCritic(Utilities(graph, OBS, A), graph, partition, kappa, HIDDEN, share, outputs)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.copy_(torch.randn_like(parameter))  # biases and norms too
    return critic


def slow_values(critic, graph, partition, kappa, share, seen):
    """Every block on its own, ``[P, outputs]``, of what the agents see, ``[N, S]``."""
    names = ("w1", "w2", "w3", "b1", "b2", "b3")
    w1, w2, w3, b1, b2, b3 = (critic.get_parameter(name).detach().double().numpy() for name in names)
    ego = ego_classes(graph, partition.blocks, kappa)
    share = "ego" if share == "auto" else share  # there are few kinds
    network_of = {"ego": ego.class_of, "none": np.arange(len(ego.widths)), "all": np.zeros(len(ego.widths), int)}[share]
    width = {network: ego.widths[block] for block, network in reversed(list(enumerate(network_of)))}

    def layer(x, norm):
        x = (x - x.mean()) / np.sqrt(x.var() + norm.eps)
        return np.maximum(x * norm.weight.detach().double().numpy() + norm.bias.detach().double().numpy(), 0)

    values = []
    for block, network in enumerate(network_of):
        slots = slice(ego.start[block], ego.start[block + 1])
        agents, hops = ego.agents[slots], ego.distance[slots]
        if share == "all":
            inputs = [(hop, seen[agents[hops == hop]].mean(axis=0)) for hop in np.unique(hops)]
        else:
            begin = sum(width[earlier] for earlier in range(network))
            inputs = [(begin + slot, seen[agent]) for slot, agent in enumerate(agents)]
        x = layer(sum(x @ w1[row] for row, x in inputs) + b1[network], critic.norm1)
        x = layer(x @ w2[network] + b2[network], critic.norm2)
        values.append(x @ w3[network] + b3[network])
    return np.array(values)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize(("spec", "kappa"), [("singletons", 0), ("singletons", 1), ("pairs", 1), ("full", 0)])
def test_values_equal_a_loop_over_blocks(name, share, spec, kappa):
    graph = GRAPHS[name]
    partition = Partition.from_spec(spec, graph)
    critic = make_critic(graph, partition, kappa, share, outputs=3)
    seen = torch.randn(2, 2, graph.n_agents, OBS)
    found = critic(seen)
    assert found.shape == (2, 2, partition.n_blocks, 3)
    for t, b in np.ndindex(2, 2):
        expected = slow_values(critic, graph, partition, kappa, share, seen[t, b].double().numpy())
        np.testing.assert_allclose(found[t, b].detach(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("kappa", [0, 1, 2])
def test_a_value_is_blind_to_what_agents_beyond_kappa_hops_see_and_to_nothing_else(kappa, share):
    partition = Partition([[0], [1, 2, 3], [4, 6, 7], [5], [8], [9], [10, 11]], 12)
    critic, seen = make_critic(HUB, partition, kappa, share), torch.randn(20, 12, OBS)
    near = torch.from_numpy(HUB.khop(kappa, partition.blocks).toarray() > 0)  # [P, N]
    slope = torch.autograd.functional.jacobian(lambda x: critic(x).square().sum(dim=0), seen)[:, 0]  # [P, 20, N, OBS]
    assert torch.equal(slope.any(dim=-1).any(dim=1), near)
    before = critic(seen)
    for agent in range(12):
        changed = seen.clone()
        changed[:, agent] = 1e3
        assert torch.equal((critic(changed) != before).any(dim=0)[:, 0], near[:, agent])


def test_blocks_share_networks_as_they_are_told():
    line = AgentGraph.line(7)
    rows = {"ego": 2 + 3, "all": 2, "none": 2 * 2 + 5 * 3}  # the ends see two agents, the others three
    networks = {"ego": 2, "all": 1, "none": 7}
    rows["auto"], networks["auto"] = rows["ego"], networks["ego"]
    for share in SHARES:
        n = networks[share]
        expected = [(rows[share], OBS, HIDDEN), (n, HIDDEN, HIDDEN), (n, HIDDEN, 1), *[(n, HIDDEN)] * 2, (n, 1)]
        critic = make_critic(line, Partition.singletons(7), 1, share)
        assert [tuple(parameter.shape) for parameter in critic.parameters()][:6] == expected


def test_values_start_within_the_bounds_of_their_fan_in():
    torch.manual_seed(0)
    critic = BlockCritic(Utilities(HUB, OBS, A), HUB, Partition.singletons(12), 1, 64, "none")
    bound = (critic.slots.fan_in * OBS).rsqrt()
    assert (critic.w1.abs().amax(dim=(1, 2)) <= bound).all()
    assert (critic.w1.abs().amax(dim=(1, 2)) > 0.9 * bound).all()
    assert not critic.b3.any()


def test_rescaling_multiplies_every_value():
    critic, seen = make_critic(HUB, Partition.singletons(12), 1), torch.randn(3, 12, OBS)
    before = critic(seen)
    critic.rescale_(0.25)
    torch.testing.assert_close(critic(seen), before / 4)


def test_an_impossible_width_is_named():
    with pytest.raises(InputError, match=r"^learner\.objective\.hidden: "):
        BlockCritic(Utilities(HUB, OBS, A), HUB, Partition.singletons(12), 1, 0)


# --------------------------------------------------------------------- memories

T, B, N = 3, 2, 3
LINE, EACH = AgentGraph.line(N), Partition.singletons(N)


def recurrent(objective, **options) -> ValueNetworks:
    torch.manual_seed(1)
    agents = Utilities(LINE, OBS, A, "gru", hidden=[5], last_action=True, **options)
    mixer = SumMixer(LINE, EACH, 1)
    return ValueNetworks(agents, mixer, objective.make_critic(agents, mixer))


@pytest.fixture
def remembered(make_rollout):
    rollout = make_rollout(n_agents=N, obs_size=OBS, epsilon=0.0)
    rollout.is_first[0], rollout.is_first[2, 1] = False, True
    return replace(rollout, hidden=torch.randn(B, N, 5), last_actions=torch.ones(B, N, dtype=torch.int64))


def test_a_rollout_in_pieces_has_the_memories_of_the_whole(remembered):
    networks = recurrent(PPO(Returns(0.9, 0.5)))
    logits, memories = unroll_with_memories(networks, remembered)
    assert memories.shape == (T + 1, B, N, 5)
    torch.testing.assert_close(logits, networks.unroll(remembered))
    for steps in range(1, T + 1):
        torch.testing.assert_close(unroll_with_memories(networks, remembered, steps)[1], memories[:steps])
        later = replace(
            remembered,
            observations=remembered.observations[steps:],
            actions=remembered.actions[steps:],
            is_first=remembered.is_first[steps:],
            last_actions=remembered.actions[steps - 1],
            hidden=memories[steps - 1],
        )
        after = unroll_with_memories(networks, later)
        torch.testing.assert_close(after, (logits[steps:], memories[steps:]))


def test_critics_see_scaled_observations_and_memories_which_they_do_not_change(remembered):
    networks = recurrent(PPO(Returns(0.9, 0.5)), observation_scale=[2.0, 1.0, -1.0])
    _, memories = unroll_with_memories(networks, remembered)
    seen = seen_by_agents(networks, remembered.observations, memories)
    torch.testing.assert_close(seen[..., :OBS], remembered.observations * torch.tensor([2.0, 1.0, -1.0]))
    assert torch.equal(seen[..., OBS:], memories)
    assert memories.requires_grad
    assert not seen.requires_grad
    with torch.no_grad():
        other = networks.critic(torch.cat([seen[..., :OBS], seen[..., OBS:] + 1], dim=-1))
        assert (other != networks.critic(seen)).all()


def test_the_loss_of_a_critic_gives_the_networks_of_recurrent_agents_no_gradient(remembered):
    objective = PPO(Returns(0.9, 0.5), entropy=0.0)
    networks = recurrent(objective)
    targets = objective.targets(Batch(networks, networks, remembered, remembered.rewards))
    still = replace(targets, advantages=torch.zeros(T, B, N))
    objective.loss(networks, remembered, still)[0].backward()
    assert all(not p.grad.any() for p in networks.utilities.parameters())
    assert all(p.grad.any() for p in networks.critic.parameters())
