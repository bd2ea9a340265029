"""The masked MLP mixer's values: against a loop over blocks, with local state, and what they can represent."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.graphs import AgentGraph, Partition, ego_classes
from lomaq.mixers import MaskedMLPMixer

SHARES = ("ego", "all", "none")


def act(x, activation):
    """ELU or its split on a list of numbers."""

    def elu(z):
        return z if z > 0 else math.exp(z) - 1

    if activation == "elu":
        return [elu(z) for z in x]
    half = len(x) // 2
    return [elu(z) for z in x[:half]] + [-elu(-z) for z in x[half:]]


def slow_values(mixer, graph, partition, utilities, observations=None):
    """Every block on its own, number by number."""
    sign = np.abs if mixer.monotonicity == "reparametrisation" else np.asarray
    w1, w2, w3 = (sign(w.detach().double().numpy()) for w in (mixer.w1, mixer.w2, mixer.w3))
    b1, b2, b3 = (b.detach().double().numpy() for b in (mixer.b1, mixer.b2, mixer.b3))
    ego = ego_classes(graph, partition.blocks, mixer.kappa)
    mean_size = graph.n_agents / partition.n_blocks
    rows_of = {}  # first-layer rows of each network, concatenated
    for block in range(partition.n_blocks):
        network = {"ego": ego.class_of[block], "none": block, "all": 0}[mixer.share]
        rows_of.setdefault(network, ego.widths[block])
    values = []
    for block in range(partition.n_blocks):
        slots = range(ego.start[block], ego.start[block + 1])
        agents, hops = ego.agents[slots], ego.distance[slots]
        if mixer.share == "all":
            network = 0
            seen = [(hop, np.mean(utilities[agents[hops == hop]])) for hop in np.unique(hops)]
        else:
            network = ego.class_of[block] if mixer.share == "ego" else block
            begin = sum(rows_of[earlier] for earlier in range(network))
            seen = [(begin + slot, utilities[agent]) for slot, agent in enumerate(agents)]
        one, two, shift1, shift2, shift3 = np.ones(1), np.ones(1), 0.0, 0.0, 0.0
        if observations is not None:
            h1, c1, h2 = (p.detach().double().numpy() for p in (mixer.hyper.w1, mixer.hyper.b1, mixer.hyper.w2))
            if mixer.share == "all":
                shown = [(hop, observations[agents[hops == hop]].mean(axis=0)) for hop in np.unique(hops)]
            else:
                shown = [(row, observations[agent]) for (row, _), agent in zip(seen, agents, strict=True)]
            state = np.maximum(c1[network] + sum(observed @ h1[row] for row, observed in shown), 0) @ h2[network]
            one, shift1, two, shift2, (shift3,) = np.split(state, np.arange(1, 5) * mixer.hidden)
            one, two = (np.array(act(x, "elu")) + 1 for x in (one, two))
        x = one * sum(w1[row] * utility for row, utility in seen) + b1[network] + shift1
        x = np.array(act(x, mixer.activation))
        x = np.array(act(two * (x @ w2[network]) + b2[network] + shift2, mixer.activation))
        values.append((b3[network] + shift3 + x @ w3[network]) * len(partition.blocks[block]) / mean_size)
    return values


GRAPHS = {
    "line": AgentGraph.line(5),
    "star": AgentGraph.star(6),
    "grid": AgentGraph.grid(2, 3),
    "kite": AgentGraph.from_edges(5, [(0, 1), (0, 2), (1, 2), (2, 3), (3, 4)]),
}


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", GRAPHS)
@settings(max_examples=8, deadline=None)
@given(
    spec=st.sampled_from(["singletons", "pairs", "full", "communities"]),
    kappa=st.integers(0, 3),
    activation=st.sampled_from(["elu", "split"]),
    monotonicity=st.sampled_from(["projection", "reparametrisation"]),
    seed=st.integers(0, 1000),
)
def test_values_equal_a_loop_over_blocks(share, name, spec, kappa, activation, monotonicity, seed):
    graph = GRAPHS[name]
    partition = Partition.from_spec(spec, graph)
    mixer = MaskedMLPMixer(graph, partition, kappa, 4, share, monotonicity, activation)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    mixer.project_()
    utilities = torch.randn(graph.n_agents, generator=generator)
    expected = slow_values(mixer, graph, partition, utilities.double().numpy())
    np.testing.assert_allclose(mixer(utilities).detach(), expected, rtol=1e-4, atol=1e-4)


def test_two_agents_by_hand():
    mixer = MaskedMLPMixer(AgentGraph.line(2), Partition.full(2), 0, 2)
    numbers = {
        "w1": [[1.0, 0.0], [2.0, 1.0]],
        "b1": [[0.0, -1.0]],
        "w2": [[[1.0, 0.5], [0.0, 1.0]]],
        "b2": [[0.0, 0.0]],
        "w3": [[1.0, 2.0]],
        "b3": [0.25],
    }
    mixer.load_state_dict({name: torch.tensor(value) for name, value in numbers.items()})
    # first layer: 1·3 + 2·2 = 7 and 1·2 - 1 = 1; second: 7 and 0.5·7 + 1 = 4.5; value: 7 + 2·4.5 + 0.25
    assert mixer(torch.tensor([3.0, 2.0])).item() == 16.25


def test_blocks_of_many_widths_come_out_in_their_own_order():
    # hub 5 sees all of 0 … 8, agents 9, 10 and 11 hang on agent 8: widths from 2 to 9
    graph = AgentGraph.from_edges(12, [(5, i) for i in range(9) if i != 5] + [(8, 9), (9, 10), (10, 11)])
    torch.manual_seed(0)
    mixer = MaskedMLPMixer(graph, Partition.singletons(12), 1, 4, "none")
    assert mixer.slots.n_buckets > 1
    utilities = torch.randn(12)
    expected = slow_values(mixer, graph, Partition.singletons(12), utilities.double().numpy())
    np.testing.assert_allclose(mixer(utilities).detach(), expected, rtol=1e-4, atol=1e-5)


def test_one_hub_does_not_pad_every_block():
    graph = AgentGraph.star(200)
    for share in SHARES:
        mixer = MaskedMLPMixer(graph, Partition.singletons(200), 1, 2, share)
        padded = sum(buffer.numel() for name, buffer in mixer.named_buffers() if name.startswith("slots._agent_"))
        seen = 200 + 199 * 2  # the hub sees all, a leaf itself and the hub
        assert seen <= padded < 4 * seen
        utilities = torch.linspace(-1, 1, 200)
        assert mixer(utilities).shape == (200,)


# -------------------------------------------------------------------- local state


def state_mixer(graph, partition, kappa=1, seed=0, **options):
    """A mixer whose hypernetwork has an effect."""
    torch.manual_seed(seed)
    mixer = MaskedMLPMixer(graph, partition, kappa, 4, state="local", obs_size=3, **options)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.7)
    mixer.project_()
    return mixer


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", GRAPHS)
@settings(max_examples=5, deadline=None)
@given(spec=st.sampled_from(["singletons", "pairs", "full"]), kappa=st.integers(0, 2), seed=st.integers(0, 1000))
def test_values_with_local_state_equal_a_loop_over_blocks(share, name, spec, kappa, seed):
    graph = GRAPHS[name]
    partition = Partition.from_spec(spec, graph)
    mixer = state_mixer(graph, partition, kappa, seed, share=share)
    utilities, observations = torch.randn(2, graph.n_agents), torch.randn(2, graph.n_agents, 3)
    expected = [
        slow_values(mixer, graph, partition, u.double().numpy(), o.double().numpy())
        for u, o in zip(utilities, observations, strict=True)
    ]
    np.testing.assert_allclose(mixer(utilities, observations).detach(), expected, rtol=1e-3, atol=1e-3)


def test_local_state_starts_without_effect_and_can_be_learned():
    torch.manual_seed(0)
    mixer = MaskedMLPMixer(AgentGraph.line(4), Partition.singletons(4), 1, 4, state="local", obs_size=3)
    plain = MaskedMLPMixer(AgentGraph.line(4), Partition.singletons(4), 1, 4)
    plain.load_state_dict({k: v for k, v in mixer.state_dict().items() if not k.startswith("hyper")})
    utilities, observations = torch.randn(5, 4), torch.randn(5, 4, 3)
    values = mixer(utilities, observations)
    torch.testing.assert_close(values, plain(utilities))
    values.square().sum().backward()
    assert mixer.hyper.w2.grad.any()


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("monotonicity", ["projection", "reparametrisation"])
def test_with_local_state_a_mixer_is_monotone_and_local_in_utilities_and_observations(monotonicity, share):
    graph, partition = AgentGraph.star(5), Partition([[0], [1, 2], [3], [4]], 5)
    mixer = state_mixer(graph, partition, monotonicity=monotonicity, share=share, activation="split")
    near = torch.from_numpy(graph.khop(1, partition.blocks).toarray() > 0)  # [P, N]
    assert not near.all()
    for sample in range(5):
        torch.manual_seed(sample)
        at = torch.randn(1, 5), torch.randn(1, 5, 3)
        slope, by_state = torch.autograd.functional.jacobian(mixer, at)
        assert (slope >= 0).all()
        assert (slope[0, :, 0][~near] == 0).all()
        assert (by_state[0, :, 0][~near] == 0).all()
        assert by_state.any()


def test_blocks_of_one_class_are_one_function_of_what_is_seen_in_their_slots():
    graph, partition = AgentGraph.line(6), Partition.singletons(6)
    mixer, ego = state_mixer(graph, partition), ego_classes(graph, partition.blocks, 1)
    role, sight = torch.randn(3), torch.randn(3, 3)
    values = []
    for block in (1, 2, 3, 4):  # the interior
        utilities, observations = torch.randn(6), torch.randn(6, 3)
        agents = ego.agents[ego.start[block] : ego.start[block + 1]]
        utilities[agents], observations[agents] = role, sight
        values.append(mixer(utilities[None], observations[None])[0, block])
    torch.testing.assert_close(torch.stack(values), values[0].expand(4))


def test_with_local_state_rescaling_multiplies_every_block_value():
    mixer = state_mixer(AgentGraph.line(4), Partition.singletons(4))
    utilities, observations = torch.randn(3, 4), torch.randn(3, 4, 3)
    before = mixer(utilities, observations)
    mixer.rescale_(0.25)
    assert torch.equal(mixer(utilities, observations), before * 0.25)


def test_violation_counts_slopes_at_the_present_state(slow_violation):
    torch.manual_seed(0)
    mixer = state_mixer(AgentGraph.line(3), Partition.singletons(3), monotonicity="soft")
    utilities, observations = torch.randn(4, 3), torch.randn(4, 3, 3)
    values, violation = mixer.forward_with_violation(utilities.clone().requires_grad_(), observations)
    torch.testing.assert_close(values, mixer(utilities, observations))
    for sample in range(4):
        here = observations[sample : sample + 1]
        expected = slow_violation(lambda u, here=here: mixer(u[None], here)[0], utilities[[sample]], [[0], [1], [2]])
        torch.testing.assert_close(violation[[sample]], expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(violation, mixer.forward_with_violation(utilities.requires_grad_(), -observations)[1])


# ---------------------------------------------------------- what it can represent


OR = torch.tensor([0.0, 1.0, 1.0, 1.0])  # payoffs of the joint actions 00, 01, 10, 11
JOINT = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])


def best_fit_of_or(activation, seed, steps=500):
    """Largest error over the four joint actions, with utilities and mixer learned together."""
    torch.manual_seed(seed)
    mixer = MaskedMLPMixer(AgentGraph.line(2), Partition.full(2), 1, 8, activation=activation)
    table = torch.nn.Parameter(torch.randn(2, 2))  # utility of each agent's two actions
    optimizer = torch.optim.Adam([table, *mixer.parameters()], lr=0.03)
    for _ in range(steps):
        utilities = torch.stack([table[0, JOINT[:, 0]], table[1, JOINT[:, 1]]], dim=-1)
        error = mixer(utilities)[:, 0] - OR
        optimizer.zero_grad()
        error.square().sum().backward()
        optimizer.step()
    return float(error.detach().abs().max())


def test_elu_alone_cannot_represent_substitutes():
    # convex and monotone implies F(11) - F(10) >= F(01) - F(00), so the best fit is 0.25, 0.75, 0.75, 1.25
    errors = [best_fit_of_or("elu", seed, steps=250) for seed in range(3)]
    assert min(errors) > 0.24
    assert min(errors) < 0.35  # and it has learned as much as it can


def test_split_represents_substitutes():
    assert min(best_fit_of_or("split", seed) for seed in range(3)) < 0.02
