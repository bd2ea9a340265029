import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph
from lomaq.rewards import FitSettings, NetworkSettings
from lomaq.rewards.decomposition import RewardDecomposition, log_cosh
from lomaq.rewards.groups import RewardGroups

SHARES = ("size", "class", "own")
INPUTS = ("observations", "observations_actions")
TRIANGLE_WITH_TAIL = AgentGraph.from_edges(4, [[0, 1], [1, 2], [0, 2], [2, 3]])


def model_on(graph, max_size=2, obs_size=3, n_actions=2, seed=0, **settings):
    torch.manual_seed(seed)
    fit = FitSettings(**{key: settings.pop(key) for key in ("loss", "regularisation", "weights") if key in settings})
    networks = NetworkSettings(**{"hidden": (8, 9, 7), **settings})
    return RewardDecomposition(RewardGroups.of(graph, max_size), obs_size, n_actions, networks, fit)


def team(model, observations, actions):
    """r_pred = Σ_I r_I."""
    return sum(rewards.sum(dim=-1) for rewards in model.group_rewards(observations, actions))


def samples_for(model, *batch, obs_size=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    observations = torch.randn(*batch, model.n_agents, obs_size, generator=generator)
    return observations, torch.randint(model.n_actions, (*batch, model.n_agents), generator=generator)


def slow_rewards(model, graph, max_size, observations, actions):
    """r_I of one sample, every group on its own, layer by layer in NumPy."""
    groups = RewardGroups.of(graph, max_size)
    result = []
    for (size, rows), network in zip(groups.members.items(), model.networks, strict=True):
        kinds, members = groups.by_class(size) if model.share == "class" else (range(len(rows)), rows)
        w, b = ([p.detach().double().numpy() for p in some] for some in (network.weight, network.bias))
        rewards = []
        for kind, agents in zip(kinds, members, strict=True):
            number = 0 if model.share == "size" else int(kind)
            x = []
            for agent in agents.tolist():
                x += observations[agent].tolist()
                if model.inputs == "observations_actions":
                    x += [float(actions[agent] == action) for action in range(model.n_actions)]
            x = np.maximum(np.array(x) @ w[0][number] + b[0][number], 0)
            x = x @ w[1][number] + b[1][number]
            x = np.tanh(np.where(x > 0, x, 0.01 * x) @ w[2][number] + b[2][number])
            rewards.append(float((x @ w[3][number] + b[3][number])[0]))
        result.append(rewards)
    return result


def fit(model, observations, actions, team, steps, lr=0.01):
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    valid = torch.ones(team.shape, dtype=torch.bool)
    for _ in range(steps):
        optimiser.zero_grad()
        model.loss(observations, actions, team, valid).backward()
        optimiser.step()


# --------------------------------------------------------------------- rewards


@pytest.mark.parametrize(("share", "inputs"), list(itertools.product(SHARES, INPUTS)))
def test_group_rewards_are_those_of_each_group_on_its_own(share, inputs):
    model = model_on(TRIANGLE_WITH_TAIL, max_size=4, share=share, inputs=inputs)
    observations, actions = samples_for(model, 5, 2)
    rewards = model.group_rewards(observations, actions)
    assert [r.shape for r in rewards] == [(5, 2, 4), (5, 2, 4), (5, 2, 3), (5, 2, 1)]
    expected = slow_rewards(model, TRIANGLE_WITH_TAIL, 4, observations[3, 1], actions[3, 1])
    for mine, theirs in zip(rewards, expected, strict=True):
        assert mine[3, 1].tolist() == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("share", SHARES)
def test_agents_share_the_rewards_of_their_groups_equally(share):
    model = model_on(AgentGraph.line(3), max_size=3, share=share)
    observations, actions = samples_for(model, 6)
    one, two, three = model.group_rewards(observations, actions)
    expected = (
        torch.stack([one[:, 0] + two[:, 0] / 2, one[:, 1] + two.sum(dim=1) / 2, one[:, 2] + two[:, 1] / 2], dim=1)
        + three / 3
    )
    torch.testing.assert_close(model.agent_rewards(observations, actions), expected)


@given(
    st.sampled_from([AgentGraph.line(5), AgentGraph.star(5), AgentGraph.complete(4), TRIANGLE_WITH_TAIL]),
    st.integers(1, 4),
    st.sampled_from(SHARES),
)
@settings(max_examples=25, deadline=None)
def test_agents_rewards_sum_to_the_predicted_team_reward(graph, max_size, share):
    model = model_on(graph, max_size, share=share)
    observations, actions = samples_for(model, 3, 2)
    rewards = model.agent_rewards(observations, actions)
    assert rewards.shape == (3, 2, graph.n_agents)
    torch.testing.assert_close(rewards.sum(dim=-1), team(model, observations, actions))


def test_any_number_of_batch_dimensions_will_do():
    model = model_on(AgentGraph.line(4))
    observations, actions = samples_for(model, 2, 3)
    rewards = model.agent_rewards(observations, actions)
    torch.testing.assert_close(model.agent_rewards(observations[1, 2], actions[1, 2]), rewards[1, 2])
    torch.testing.assert_close(team(model, observations[1], actions[1]), rewards[1].sum(dim=-1))


def test_actions_matter_only_where_they_are_inputs():
    for inputs in INPUTS:
        model = model_on(AgentGraph.line(3), inputs=inputs)
        observations, actions = samples_for(model, 4)
        same = torch.equal(team(model, observations, actions), team(model, observations, 1 - actions))
        assert same == (inputs == "observations")


def test_a_group_sees_its_members_and_nobody_else():
    model = model_on(AgentGraph.line(4), max_size=2, share="own")
    observations, actions = samples_for(model, 1)
    other = observations.clone()
    other[:, 3] += 1
    for mine, theirs in zip(
        model.group_rewards(observations, actions), model.group_rewards(other, actions), strict=True
    ):
        assert (mine != theirs)[0].tolist() == [False] * (mine.size(1) - 1) + [True]


# --------------------------------------------------------------------- sharing


def test_permuted_agents_get_permuted_rewards_where_groups_keep_their_order():
    two_pairs = AgentGraph.from_edges(4, [[0, 1], [2, 3]])
    for graph, max_size, order in ((two_pairs, 2, [2, 3, 0, 1]), (AgentGraph.complete(4), 1, [3, 1, 0, 2])):
        model = model_on(graph, max_size)
        observations, actions = samples_for(model, 5)
        rewards = model.agent_rewards(observations, actions)
        torch.testing.assert_close(model.agent_rewards(observations[:, order], actions[:, order]), rewards[:, order])


def test_isomorphic_groups_pay_alike_by_class_and_each_in_its_way_on_their_own():
    mirrored = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [4.0, 5.0, 6.0], [1.0, 2.0, 3.0]]])
    actions = torch.zeros(1, 4, dtype=torch.int64)
    for share in SHARES:
        one, two = model_on(AgentGraph.line(4), share=share).group_rewards(mirrored, actions)
        alike = [bool(torch.isclose(r[0, 0], r[0, -1])) for r in (one, two)]
        # of equal size, the pairs meet one network with their members in order of agent index, the last pair mirrored
        assert alike == {"size": [True, False], "class": [True, True], "own": [False, False]}[share]
        assert bool(torch.isclose(one[0, 1], one[0, 2])) == (share != "own")


def test_numbers_of_networks_follow_the_sharing():
    for share, expected in (("size", [1, 1]), ("class", [2, 2]), ("own", [6, 5])):
        assert [network.n_networks for network in model_on(AgentGraph.line(6), share=share).networks] == expected


def test_table_2_has_this_many_parameters():
    model = model_on(AgentGraph.line(15), max_size=1, obs_size=4, hidden=(64, 128, 64))
    expected = (4 + 1) * 64 + (64 + 1) * 128 + (128 + 1) * 64 + 64 + 1
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


# ------------------------------------------------------------------------ loss


@given(st.floats(-80, 80))
def test_log_cosh_is_that_of_numpy(x):
    assert float(log_cosh(torch.tensor(x, dtype=torch.float64))) == pytest.approx(np.log(np.cosh(x)), abs=1e-8)


def test_log_cosh_is_stable_far_out_and_pulls_with_tanh():
    x = torch.tensor([-1e30, -1000.0, -1.0, 0.0, 0.01, 1000.0], requires_grad=True)
    value = log_cosh(x)
    assert value[[1, 5]].tolist() == pytest.approx([1000 - np.log(2)] * 2)
    assert bool(value.isfinite().all())
    value.sum().backward()
    assert x.grad.tolist() == pytest.approx(np.tanh(x.detach().numpy()).tolist(), abs=1e-6)


@pytest.mark.parametrize("loss", ["squared", "log_cosh"])
def test_loss_is_that_of_algorithm_4_averaged_over_valid_samples(loss):
    model = model_on(TRIANGLE_WITH_TAIL, max_size=3, loss=loss, regularisation=0.3, weights=(0, 1, 2))
    observations, actions = samples_for(model, 4, 2)
    team = torch.linspace(-3, 3, 8).view(4, 2)
    valid = torch.tensor([[True, True], [True, False], [True, True], [False, True]])
    value = model.loss(observations, actions, team, valid)
    losses = []
    for t, b in valid.nonzero().tolist():
        rewards = slow_rewards(model, TRIANGLE_WITH_TAIL, 3, observations[t, b], actions[t, b])
        error = sum(map(sum, rewards)) - float(team[t, b])
        misfit = error**2 if loss == "squared" else np.log(np.cosh(error))
        losses.append(misfit + 0.3 * sum(w * abs(r) for w, row in zip((0, 1, 2), rewards, strict=True) for r in row))
    assert float(value.detach()) == pytest.approx(np.mean(losses), rel=1e-4)


def test_what_is_not_valid_leaves_no_trace():
    model = model_on(AgentGraph.line(3))
    observations, actions = samples_for(model, 3)
    team, valid = torch.ones(3), torch.tensor([True, False, True])
    model.loss(observations, actions, team, valid).backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    observations[1], team[1] = torch.nan, torch.inf
    model.loss(observations, actions, team, valid).backward()
    assert all(torch.equal(p.grad, grad) for p, grad in zip(model.parameters(), expected, strict=True))


# -------------------------------------------------------------------- learning


def local_rewards(observations):
    """What each agent really earns: a function of its own observation."""
    return torch.sin(2 * observations[..., 0]) + (observations[..., 1] > 0)


def test_local_rewards_are_learned_from_their_sum():
    model = model_on(AgentGraph.line(3), max_size=1, obs_size=2, hidden=(64, 128, 64))
    observations = torch.rand(400, 3, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    observations[..., 1] = observations[..., 1].sign()
    actions, truth = torch.zeros(400, 3, dtype=torch.int64), local_rewards(observations)
    fit(model, observations, actions, truth.sum(dim=-1), steps=150, lr=0.005)
    with torch.no_grad():
        error = (model.agent_rewards(observations, actions) - truth).abs()
    assert float(error.mean()) < 0.05
    assert float(error.quantile(0.95)) < 0.1


def test_rewards_of_own_actions_are_learned_where_actions_are_inputs():
    model = model_on(AgentGraph.line(3), max_size=1, inputs="observations_actions", hidden=(16, 16, 16))
    _, actions = samples_for(model, 200)
    fit(model, torch.zeros(200, 3, 3), actions, actions.sum(dim=-1).float(), steps=100)
    with torch.no_grad():
        torch.testing.assert_close(
            model.agent_rewards(torch.zeros(200, 3, 3), actions), actions.float(), atol=0.05, rtol=0
        )


def test_regularisation_moves_reward_from_pairs_to_single_agents():
    in_pairs = {}
    for strength in (0.0, 0.1):
        model = model_on(AgentGraph.line(3), obs_size=2, regularisation=strength, hidden=(32, 32, 32))
        observations = torch.rand(200, 3, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
        actions, truth = torch.zeros(200, 3, dtype=torch.int64), local_rewards(observations)
        fit(model, observations, actions, truth.sum(dim=-1), steps=150)
        with torch.no_grad():
            one, two = model.group_rewards(observations, actions)
        in_pairs[strength] = float(two.abs().sum(dim=1).mean())
        assert float((one.sum(dim=1) + two.sum(dim=1) - truth.sum(dim=-1)).abs().mean()) < 0.3
    assert in_pairs[0.1] < 0.2 * in_pairs[0.0]


# ------------------------------------------------------------------ bad input


def test_every_size_of_a_group_needs_a_weight():
    with pytest.raises(InputError, match=r"^reward\.fit\.weights: expected a weight for each group size 1 … 2"):
        model_on(AgentGraph.line(3), weights=(1.0,))
