import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph
from lomaq.nn import Utilities

T, B, N, OBS, A = 5, 2, 3, 4, 3
NETWORKS = ("mlp", "gru")


def make(network="mlp", agent_type=None, **options):
    torch.manual_seed(1)
    graph = AgentGraph.from_edges(N, [(0, 1), (1, 2)], agent_type=agent_type)
    return Utilities(graph, OBS, A, network, hidden=(8, 6), **options)


def inputs(steps=T, seed=0):
    generator = torch.Generator().manual_seed(seed)
    observations = torch.randn(steps, B, N, OBS, generator=generator)
    previous = torch.randint(A, (steps, B, N), generator=generator)
    first = torch.zeros(steps, B, dtype=torch.bool)
    first[0] = True
    previous[0] = -1
    return observations, previous, first


def start(utilities):
    return utilities.initial_hidden(B, torch.device("cpu"))


@pytest.mark.parametrize("agent_type", [None, [0, 1, 0]])
@pytest.mark.parametrize(("network", "memory"), [("mlp", 0), ("gru", 6)])
def test_result_has_a_value_for_every_action_and_the_memory_after_the_last_step(network, memory, agent_type):
    utilities = make(network, agent_type, last_action=True, agent_id=True)
    values, hidden = utilities(*inputs(), start(utilities))
    assert values.shape == (T, B, N, A)
    assert values.dtype == torch.float32
    assert start(utilities).shape == hidden.shape == (B, N, memory)
    assert not start(utilities).any()


@pytest.mark.parametrize("network", NETWORKS)
def test_agents_of_one_type_share_a_network_so_permuting_them_permutes_the_result(network):
    utilities = make(network, last_action=True)
    observations, previous, first = inputs()
    hidden = torch.randn(B, N, utilities.memory_size)
    first[0] = False  # so that the memory counts
    order = torch.tensor([2, 0, 1])
    values, state = utilities(observations, previous, first, hidden)
    permuted, permuted_state = utilities(observations[:, :, order], previous[:, :, order], first, hidden[:, order])
    assert len(utilities.networks) == 1
    torch.testing.assert_close(permuted, values[:, :, order])
    torch.testing.assert_close(permuted_state, state[:, order])


def test_each_agent_is_valued_by_the_network_of_its_type_and_keeps_its_place():
    types = [2, 0, 1]
    utilities = make("mlp", types)
    observations, previous, first = inputs()
    values, _ = utilities(observations, previous, first, start(utilities))
    assert len(utilities.networks) == 3
    for agent, kind in enumerate(types):
        network = utilities.networks[kind]
        torch.testing.assert_close(values[:, :, agent], network.head(network.body(observations[:, :, agent])))


def test_memories_keep_their_agents_when_types_are_mixed():
    types = [1, 1, 0]
    utilities = make("gru", types)
    observations, previous, first = inputs()
    hidden = torch.randn(B, N, 6)
    first[0] = False
    values, state = utilities(observations, previous, first, hidden)
    for agent, kind in enumerate(types):
        network = utilities.networks[kind]
        alone = network.body(observations[:, :, agent])  # [T, B, H]
        out, last = network.memory(alone, hidden[None, :, agent].contiguous())
        torch.testing.assert_close(values[:, :, agent], network.head(out))
        torch.testing.assert_close(state[:, agent], last[0])


def test_types_have_networks_of_their_own_parameters():
    utilities = make("mlp", [0, 1, 0])
    observations, previous, first = inputs()
    utilities(observations, previous, first, start(utilities))[0][:, :, [0, 2]].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in utilities.networks[0].parameters())
    assert all(p.grad is None or not p.grad.any() for p in utilities.networks[1].parameters())


@pytest.mark.parametrize("agent_type", [None, [1, 0, 1]])
def test_a_recurrent_sequence_in_one_call_equals_step_by_step_calls(agent_type):
    utilities = make("gru", agent_type, last_action=True)
    observations, previous, first = inputs()
    first[2, 1] = True  # one of the two sequences begins anew on the way
    values, last = utilities(observations, previous, first, start(utilities))
    hidden = start(utilities)
    for t in range(T):
        now = slice(t, t + 1)
        value, hidden = utilities(observations[now], previous[now], first[now], hidden)
        torch.testing.assert_close(value[0], values[t])
    torch.testing.assert_close(hidden, last)


def test_an_episode_that_begins_within_a_sequence_starts_afresh_there():
    utilities = make("gru")
    observations, previous, first = inputs()
    first[2, 1] = True
    values, last = utilities(observations, previous, first, start(utilities))
    fresh, fresh_last = utilities(observations[2:], previous[2:], first[2:], start(utilities))
    torch.testing.assert_close(values[2:, 1], fresh[:, 1])
    torch.testing.assert_close(last[1], fresh_last[1])
    assert not torch.allclose(values[2:, 0], fresh[:, 0])  # the other one remembers


def test_a_first_step_empties_the_memory_that_it_is_given():
    utilities = make("gru")
    observations, previous, first = inputs()
    dirty = torch.randn(B, N, 6)
    torch.testing.assert_close(
        utilities(observations, previous, first, dirty), utilities(observations, previous, first, start(utilities))
    )
    first[0] = False
    assert not torch.allclose(
        utilities(observations, previous, first, dirty)[0],
        utilities(observations, previous, first, start(utilities))[0],
    )


def test_a_feed_forward_network_sees_only_the_present():
    utilities = make("mlp")
    observations, previous, first = inputs()
    values, _ = utilities(observations, previous, first, start(utilities))
    changed = observations.clone()
    changed[1] += 1
    other, _ = utilities(changed, previous, first, start(utilities))
    assert not torch.allclose(other[1], values[1])
    torch.testing.assert_close(other[[0, 2, 3, 4]], values[[0, 2, 3, 4]])


@pytest.mark.parametrize("network", NETWORKS)
def test_the_previous_action_has_an_effect_only_where_it_is_asked_for(network):
    observations, previous, first = inputs()
    other = torch.where(previous == 0, 1, 0)
    for last_action in (True, False):
        utilities = make(network, last_action=last_action)
        one, _ = utilities(observations, previous, first, start(utilities))
        two, _ = utilities(observations, other, first, start(utilities))
        assert torch.equal(one, two) != last_action


def test_no_previous_action_is_shown_as_zeros():
    utilities = make("mlp", last_action=True)
    observations, _, first = inputs()
    none = torch.full((T, B, N), -1)
    values, _ = utilities(observations, none, first, start(utilities))
    network = utilities.networks[0]
    padded = torch.cat([observations, torch.zeros(T, B, N, A)], dim=-1)
    torch.testing.assert_close(values, network.head(network.body(padded)))
    for action in range(A):
        chosen, _ = utilities(observations, torch.full_like(none, action), first, start(utilities))
        assert not torch.allclose(chosen, values)


@pytest.mark.parametrize("network", NETWORKS)
def test_agents_that_see_the_same_differ_only_by_their_number(network):
    observations = torch.ones(T, B, N, OBS)
    _, previous, first = inputs()
    for agent_id in (True, False):
        utilities = make(network, agent_id=agent_id)
        values, _ = utilities(observations, previous, first, start(utilities))
        assert torch.allclose(values[:, :, 0], values[:, :, 1]) != agent_id


def test_observations_are_multiplied_with_their_scale():
    scale = [1.0, 0.5, 10.0, 0.0]
    scaled, plain = make("mlp", observation_scale=scale), make("mlp")
    plain.load_state_dict(scaled.state_dict())
    observations, previous, first = inputs()
    by_hand = observations * torch.tensor(scale)
    torch.testing.assert_close(
        scaled(observations, previous, first, start(scaled))[0], plain(by_hand, previous, first, start(plain))[0]
    )
    assert not torch.allclose(by_hand, observations)


def test_layer_norm_makes_hidden_layers_blind_to_the_size_of_their_input():
    observations, previous, first = inputs()
    for layer_norm in (True, False):
        utilities = make("mlp", layer_norm=layer_norm)
        for name, parameter in utilities.named_parameters():
            if name == "networks.0.body.0.bias":
                torch.nn.init.zeros_(parameter)
        small, _ = utilities(10 * observations, previous, first, start(utilities))
        large, _ = utilities(1000 * observations, previous, first, start(utilities))
        assert torch.allclose(small, large, atol=1e-3) == layer_norm


@pytest.mark.parametrize("agent_type", [None, [0, 1, 0]])
@pytest.mark.parametrize("network", NETWORKS)
def test_rescaling_multiplies_every_utility_and_leaves_the_memory(network, agent_type):
    utilities = make(network, agent_type)
    before, memory = utilities(*inputs(), start(utilities))
    utilities.rescale_(0.25)  # a power of two, so nothing is rounded
    after, same_memory = utilities(*inputs(), start(utilities))
    assert torch.equal(after, before * 0.25)
    assert torch.equal(memory, same_memory)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"network": "lstm"}, ["agent.network", "mlp, gru", "'lstm'"]),
        ({"hidden": []}, ["agent.hidden", "[64, 64]"]),
        ({"hidden": 64}, ["agent.hidden", "64"]),
        ({"hidden": "64"}, ["agent.hidden", "'64'"]),
        ({"hidden": [64, 0]}, ["agent.hidden", "at least 1", "0"]),
        ({"hidden": [6.5]}, ["agent.hidden", "6.5"]),
        ({"observation_scale": [1.0, 2.0]}, ["agent.observation_scale", "4 numbers", "[1.0, 2.0]"]),
        ({"last_action": 1}, ["agent.last_action", "true or false"]),
        ({"agent_id": "yes"}, ["agent.agent_id", "'yes'"]),
        ({"layer_norm": None}, ["agent.layer_norm", "None"]),
    ],
)
def test_impossible_settings_are_named(options, names):
    with pytest.raises(InputError) as error:
        Utilities(AgentGraph.line(N), OBS, A, **options)
    assert all(name in str(error.value) for name in names)


def test_a_single_hidden_size_is_enough_for_either_network():
    for network in NETWORKS:
        utilities = Utilities(AgentGraph.line(N), OBS, A, network, hidden=[5])
        values, hidden = utilities(*inputs(), start(utilities))
        assert values.shape == (T, B, N, A)
        assert hidden.size(-1) == (5 if network == "gru" else 0)


# ------------------------------------------------------------- what critics see


@pytest.mark.parametrize("agent_type", [None, [1, 0, 1]])
def test_with_memories_gives_the_outputs_and_the_memory_after_every_step(agent_type):
    utilities = make("gru", agent_type, last_action=True)
    observations, previous, first = inputs()
    first[2, 1] = True
    hidden = torch.randn(B, N, 6)
    values, memories = utilities.with_memories(observations, previous, first, hidden)
    torch.testing.assert_close(values, utilities(observations, previous, first, hidden)[0])
    for t in range(T):
        now = slice(t, t + 1)
        _, hidden = utilities(observations[now], previous[now], first[now], hidden)
        torch.testing.assert_close(memories[t], hidden)


def test_a_feed_forward_network_has_memories_of_no_size():
    utilities = make("mlp")
    values, memories = utilities.with_memories(*inputs(), start(utilities))
    torch.testing.assert_close(values, utilities(*inputs(), start(utilities))[0])
    assert memories.shape == (T, B, N, 0)


def test_scaled_observations_are_normalised_by_type_and_then_times_their_factors():
    utilities = make("mlp", [0, 1, 0], observation_scale=[1.0, 2.0, 0.5, -1.0], normalise=True)
    seen = 3 * torch.randn(50, B, N, OBS) + 7
    utilities.norm.add(utilities.norm.sums(seen, torch.ones(50, B, dtype=torch.bool)))
    found = utilities.scaled(seen)
    for agents in ([0, 2], [1]):
        own = seen[:, :, agents]
        expected = (own - own.mean(dim=(0, 1, 2))) / own.std(dim=(0, 1, 2), correction=0)
        torch.testing.assert_close(found[:, :, agents], expected * torch.tensor([1.0, 2.0, 0.5, -1.0]))
    assert torch.equal(make("mlp").scaled(seen), seen)
    torch.testing.assert_close(
        make("mlp", observation_scale=[1.0, 2.0, 0.5, -1.0]).scaled(seen), seen * torch.tensor([1.0, 2.0, 0.5, -1.0])
    )
