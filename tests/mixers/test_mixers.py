"""What holds for every mixer, whatever its settings, graph and partition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import GCNMixer, MaskedMLPMixer
from lomaq.nn import ACTIVATIONS, INITS

KINDS = {
    "gcn": (GCNMixer, {}),
    "mlp-ego": (MaskedMLPMixer, {"share": "ego"}),
    "mlp-all": (MaskedMLPMixer, {"share": "all"}),
    "mlp-none": (MaskedMLPMixer, {"share": "none"}),
    "mlp-tied": (MaskedMLPMixer, {"share": "ego", "weight_sharing": 0.7}),
    "gcn-tied": (GCNMixer, {"weight_sharing": 0.7}),
}
HARD = ("projection", "reparametrisation")
SETTINGS = settings(max_examples=8, deadline=None)
FEW = settings(max_examples=5, deadline=None)

every_kind = pytest.mark.parametrize("kind", KINDS)
every_constraint = pytest.mark.parametrize("monotonicity", HARD)
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def random_graph(n, seed):
    generator = np.random.default_rng(seed)
    pairs = [(a, b) for a in range(n) for b in range(a) if generator.random() < 0.4]
    return AgentGraph.from_edges(n, pairs)


def random_blocks(n, seed):
    generator = np.random.default_rng(seed)
    owner = generator.integers(0, 3, size=n)
    return [np.flatnonzero(owner == k).tolist() for k in np.unique(owner)]


@st.composite
def problems(draw):
    """A graph, a partition of its agents, kappa and a seed."""
    shape = draw(st.sampled_from(["line", "ring", "star", "grid", "random"]))
    n, seed = draw(st.integers(2, 7)), draw(st.integers(0, 1000))
    if shape == "grid":
        graph = AgentGraph.grid(2, n // 2 + 1)
    elif shape == "random":
        graph = random_graph(n, seed)
    else:
        graph = getattr(AgentGraph, shape)(n)
    spec = draw(st.sampled_from(["singletons", "pairs", "full", "list"]))
    partition = Partition.from_spec(random_blocks(graph.n_agents, seed) if spec == "list" else spec, graph)
    return graph, partition, draw(st.integers(0, 3)), seed


def make(kind, graph, partition, kappa, hidden=4, **options):
    mixer_class, own = KINDS[kind]
    return mixer_class(graph, partition, kappa, hidden, **own, **options)


def randomise_(mixer, seed):
    """Weights of either sign, made lawful as after an optimiser step."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    mixer.project_()


def random_utilities(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def jacobian(mixer, utilities):
    """∂F_J/∂U_i, ``[P, N]``: the utilities once for each block, of which only that block's value is taken."""
    copies = utilities.repeat(mixer.n_blocks, 1).requires_grad_()
    return torch.autograd.grad(mixer(copies).diagonal().sum(), copies)[0]


def inside(graph, partition, kappa):
    """``[P, N]`` bool, found by walking from agent to agent."""
    joined = np.eye(graph.n_agents, dtype=int)
    joined[tuple(graph.edge_index.numpy())] = 1
    reach = np.linalg.matrix_power(joined, kappa) > 0
    return torch.from_numpy(np.stack([reach[list(block)].any(axis=0) for block in partition.blocks]))


@every_kind
@every_constraint
@every_activation
@SETTINGS
@given(problem=problems())
def test_mixer_is_monotone_and_exactly_local_with_any_weights(kind, monotonicity, activation, problem):
    graph, partition, kappa, seed = problem
    mixer = make(kind, graph, partition, kappa, monotonicity=monotonicity, activation=activation)
    randomise_(mixer, seed)
    slope = jacobian(mixer, random_utilities(graph.n_agents, seed=seed))
    near = inside(graph, partition, kappa)
    assert (slope >= 0).all()
    assert (slope[~near] == 0).all()
    beyond = torch.from_numpy(graph.khop(kappa, partition.blocks).toarray() == 0)
    assert torch.equal(beyond, ~near)


@every_kind
@every_constraint
@every_activation
@SETTINGS
@given(problem=problems())
def test_new_mixer_reacts_to_every_agent_within_kappa_and_to_no_other(kind, monotonicity, activation, problem):
    graph, partition, kappa, seed = problem
    torch.manual_seed(seed)
    mixer = make(kind, graph, partition, kappa, monotonicity=monotonicity, activation=activation, init="mean")
    slope = jacobian(mixer, random_utilities(graph.n_agents, seed=seed))
    assert torch.equal(slope > 0, inside(graph, partition, kappa))


@every_kind
@pytest.mark.parametrize("init", [init for init in INITS if init != "free"])
def test_new_weights_are_not_negative_and_biases_zero_or_negative(kind, init):
    torch.manual_seed(0)
    mixer = make(kind, AgentGraph.line(4), Partition.singletons(4), 1, hidden=16, init=init)
    weights = {id(weight) for weight in mixer.weights()}
    for parameter in mixer.parameters():
        if id(parameter) in weights:
            assert (parameter >= 0).all()
            assert (parameter > 0).any()
        elif init == "negative_bias":
            assert ((parameter >= -2) & (parameter <= 0)).all()
        else:
            assert not parameter.any()


@every_kind
def test_all_parameters_are_either_constrained_weights_or_biases(kind):
    mixer = make(kind, AgentGraph.line(4), Partition.singletons(4), 1)
    weights = {id(weight) for weight in mixer.weights()}
    names = {name.rpartition(".")[2] for name, p in mixer.named_parameters() if id(p) not in weights}
    assert names <= {"b1", "b2", "b3", "bias"}


@every_kind
def test_a_mixer_that_starts_as_a_mean_begins_near_the_size_of_its_utilities(kind):
    torch.manual_seed(0)
    mixer = make(kind, AgentGraph.line(5), Partition.singletons(5), 1, hidden=64)
    values = mixer(torch.ones(5))
    assert ((values > 0.5) & (values < 2)).all()


@every_kind
@every_activation
@FEW
@given(problem=problems())
def test_values_keep_the_leading_dimensions_and_a_batch_equals_one_by_one(kind, activation, problem):
    graph, partition, kappa, seed = problem
    mixer = make(kind, graph, partition, kappa, activation=activation).double()
    randomise_(mixer, seed)
    utilities = random_utilities(3, 2, graph.n_agents, seed=seed).double()
    values = mixer(utilities)
    assert values.shape == (3, 2, partition.n_blocks)
    assert mixer(utilities[0, 0]).shape == (partition.n_blocks,)
    for t in range(3):
        for b in range(2):
            torch.testing.assert_close(values[t, b], mixer(utilities[t, b]))


@every_kind
@every_constraint
@FEW
@given(problem=problems(), power=st.integers(-3, 3))
def test_rescaling_multiplies_every_block_value(kind, monotonicity, problem, power):
    graph, partition, kappa, seed = problem
    mixer = make(kind, graph, partition, kappa, monotonicity=monotonicity)
    randomise_(mixer, seed)
    utilities = random_utilities(2, graph.n_agents, seed=seed)
    before = mixer(utilities)
    mixer.rescale_(2.0**power)
    assert torch.equal(mixer(utilities), before * 2.0**power)  # powers of two are exact


@every_kind
def test_projection_clamps_weights_and_leaves_biases(kind):
    mixer = make(kind, AgentGraph.line(4), Partition.singletons(4), 2, monotonicity="projection")
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.copy_(torch.linspace(-1, 2, parameter.numel()).view_as(parameter))
    before = [parameter.clone() for parameter in mixer.parameters()]
    mixer.project_()
    weights = {id(weight) for weight in mixer.weights()}
    for old, new in zip(before, mixer.parameters(), strict=True):
        assert torch.equal(new, old.clamp(min=0) if id(new) in weights else old)


@every_kind
def test_reparametrised_weights_may_have_any_sign_and_are_left_alone(kind):
    mixer = make(kind, AgentGraph.line(4), Partition.singletons(4), 2, monotonicity="reparametrisation")
    randomise_(mixer, 0)
    assert any((weight < 0).any() for weight in mixer.weights())
    values = mixer(torch.ones(4))
    with torch.no_grad():
        for weight in mixer.weights():
            weight.neg_()
    torch.testing.assert_close(mixer(torch.ones(4)), values)


@every_kind
def test_values_of_larger_blocks_are_larger_in_proportion_to_their_agents(kind):
    graph, blocks = AgentGraph.empty(4), [[0, 1, 2], [3]]
    mixer = make(kind, graph, Partition(blocks, 4), 0)
    with torch.no_grad():  # with no weights, a block's value is the last bias, whatever its size
        for parameter in mixer.parameters():
            parameter.zero_()
        mixer.head()[-1].fill_(1.0)
    assert mixer(torch.zeros(4)).tolist() == [1.5, 0.5]  # 3 agents and 1, on average 2


@every_kind
def test_every_parameter_learns(kind):
    mixer = make(kind, AgentGraph.line(4), Partition.singletons(4), 2, activation="split")
    mixer(random_utilities(8, 4)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in mixer.parameters())


@every_kind
def test_state_holds_parameters_only(kind):
    mixer = make(kind, AgentGraph.line(4), Partition.pairs(AgentGraph.line(4)), 1)
    assert set(mixer.state_dict()) == {name for name, _ in mixer.named_parameters()}


@every_kind
@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"kappa": -1}, ["kappa", "-1"]),
        ({"hidden": 1}, ["mixer.hidden", "at least 2"]),
        ({"hidden": 5, "activation": "split"}, ["mixer.hidden", "even", "5"]),
        ({"monotonicity": "firm"}, ["mixer.monotonicity", "projection, reparametrisation", "'firm'"]),
        ({"activation": "relu"}, ["mixer.activation", "elu, split", "'relu'"]),
        ({"init": "zeros"}, ["mixer.init", "mean, normal", "'zeros'"]),
        ({"init": "free"}, ["mixer.init", "mixer.monotonicity=soft"]),
    ],
)
def test_impossible_settings_are_named(kind, options, names):
    with pytest.raises(InputError) as error:
        make(kind, AgentGraph.line(3), Partition.singletons(3), **{"kappa": 1, **options})
    assert all(name in str(error.value) for name in names)


def test_gcn_cannot_be_softly_monotone():
    with pytest.raises(InputError, match=r"mixer\.monotonicity: expected projection or reparametrisation .*mixer=mlp"):
        GCNMixer(AgentGraph.line(3), Partition.singletons(3), 1, monotonicity="soft")


def test_unknown_sharing_is_named():
    with pytest.raises(InputError, match=r"mixer\.share: expected one of auto, ego, all, none, got 'some'"):
        MaskedMLPMixer(AgentGraph.line(3), Partition.singletons(3), 1, share="some")


# ---------------------------------------------------------------- GCN only


@every_activation
@SETTINGS
@given(problem=problems())
def test_gcn_does_not_care_how_agents_are_numbered(activation, problem):
    graph, partition, kappa, seed = problem
    n = graph.n_agents
    new = np.random.default_rng(seed).permutation(n)  # new number of each agent
    renumbered = AgentGraph.from_edges(n, [(int(new[a]), int(new[b])) for a, b in graph.edge_index.T.tolist()])
    blocks = Partition([[int(new[i]) for i in block] for block in partition.blocks], n)
    one = GCNMixer(graph, partition, kappa, 4, activation=activation).double()
    two = GCNMixer(renumbered, blocks, kappa, 4, activation=activation).double()
    randomise_(one, seed)
    two.load_state_dict(one.state_dict())

    utilities = random_utilities(n, seed=seed).double()
    moved = torch.empty(n, dtype=torch.float64)
    moved[torch.from_numpy(new)] = utilities
    same_block = [int(blocks.block_of[new[block[0]]]) for block in partition.blocks]
    torch.testing.assert_close(two(moved)[same_block], one(utilities))


def test_gcn_weights_move_to_a_longer_line_and_value_interior_agents_alike():
    short = GCNMixer(AgentGraph.line(9), Partition.singletons(9), 2, 8)
    long = GCNMixer(AgentGraph.line(15), Partition.singletons(15), 2, 8)
    randomise_(short, 3)
    long.load_state_dict(short.state_dict())
    utilities = random_utilities(9)
    around = random_utilities(15, seed=1)
    around[4:13] = utilities  # agent i of the short line is agent i + 4 of the long one
    near, far = short(utilities), long(around)
    # two hops from agents 3, 4 and 5 no agent is an end, so that all degrees are alike
    torch.testing.assert_close(far[7:10], near[3:6])
    assert not torch.isclose(far[4], near[0])


def test_gcn_weights_move_between_partitions():
    graph = AgentGraph.ring(6)
    agents = GCNMixer(graph, Partition.singletons(6), 1, 4)
    whole = GCNMixer(graph, Partition.full(6), 1, 4)
    whole.load_state_dict(agents.state_dict())
    # with equal utilities all agents of a ring look alike, so their mean is any one of them
    torch.testing.assert_close(whole(torch.full((6,), 0.7)), agents(torch.full((6,), 0.7))[:1])
