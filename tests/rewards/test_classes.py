import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph
from lomaq.rewards import FitSettings, NetworkSettings
from lomaq.rewards.classes import LAPSE, RewardClassification, log_likelihood
from lomaq.rewards.groups import RewardGroups


def model_on(graph, values, max_size=1, obs_size=2, seed=0, **settings):
    torch.manual_seed(seed)
    networks = NetworkSettings(hidden=settings.pop("hidden", (8, 8, 8)))
    return RewardClassification(RewardGroups.of(graph, max_size), obs_size, 2, values, networks=networks, **settings)


def chances_of(samples, n_groups, width, spread=1.0, seed=0):
    """Random distributions ``[M, G, W]``, mixed with a little of the uniform one as the model does."""
    logits = torch.randn(samples, n_groups, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (logits * spread).softmax(dim=-1) * (1 - LAPSE) + LAPSE / width


def by_enumeration(chances, total):
    """Sum of the chances of all ways to reach the total, way by way."""
    result = torch.zeros(len(chances), dtype=torch.float64)
    for way in itertools.product(range(chances.size(2)), repeat=chances.size(1)):
        chance = torch.stack([chances[:, group, number] for group, number in enumerate(way)]).prod(dim=0)
        result = result + chance * (total == sum(way))
    return result.log()


def by_log_sums(chances, total):
    """Group after group in log space, without Fourier transforms."""
    logs = chances.log().numpy()
    sums = logs[:, 0]
    for group in range(1, logs.shape[1]):
        width, length = logs.shape[2], sums.shape[1]
        shifted = np.full((width, len(sums), length + width - 1), -np.inf)
        for number in range(width):
            shifted[number, :, number : number + length] = sums + logs[:, group, number, None]
        sums = np.logaddexp.reduce(shifted, axis=0)
    return sums[np.arange(len(sums)), total.numpy()]


def samples_for(n_agents, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    observations = torch.rand(count, n_agents, 2, generator=generator) * 2 - 1
    return observations, torch.zeros(count, n_agents, dtype=torch.int64)


# ------------------------------------------------------------------ likelihood


@given(st.integers(1, 4), st.integers(1, 4), st.floats(0, 20), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_likelihood_is_that_of_enumeration(n_groups, width, spread, seed):
    chances = chances_of(1, n_groups, width, spread, seed)
    for total in range(n_groups * (width - 1) + 1):
        wanted = torch.tensor([total])
        assert float(log_likelihood(chances, wanted)) == pytest.approx(float(by_enumeration(chances, wanted)), abs=1e-6)


def test_gradient_of_four_groups_is_that_of_enumeration():
    chances, total = chances_of(20, 4, 3, spread=3).requires_grad_(), torch.arange(20) % 9
    mine = torch.autograd.grad(log_likelihood(chances, total).sum(), chances)[0]
    theirs = torch.autograd.grad(by_enumeration(chances, total).sum(), chances)[0]
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n_groups", [15, 100, 1000])
@pytest.mark.parametrize("spread", [0.0, 1.0, 20.0])
def test_likelihood_of_many_groups_holds_far_into_the_tails(n_groups, spread):
    chances = chances_of(6, n_groups, 3, spread).requires_grad_()
    total = torch.tensor([0, 1, n_groups // 2, n_groups, 2 * n_groups - 1, 2 * n_groups])
    value = log_likelihood(chances, total)
    np.testing.assert_allclose(value.detach().numpy(), by_log_sums(chances.detach(), total), rtol=0, atol=1e-8)
    value.sum().backward()
    assert bool(chances.grad.isfinite().all())


def test_networks_that_are_sure_of_even_values_can_still_explain_an_odd_sum():
    sure = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64).div(2) * (1 - LAPSE) + LAPSE / 3
    for n_groups in (2, 50, 500):
        chances, total = sure.expand(1, n_groups, 3), torch.tensor([n_groups // 2 * 2 - 1])
        assert float(log_likelihood(chances, total)) == pytest.approx(by_log_sums(chances, total)[0], abs=1e-6)


def test_values_that_a_group_cannot_take_have_no_part():
    chances = torch.tensor([[[0.25, 0.0, 0.75], [0.5, 0.5, 0.0]]], dtype=torch.float64)
    expected = [0.125, 0.125, 0.375, 0.375]
    mine = [math.exp(float(log_likelihood(chances, torch.tensor([total])))) for total in range(4)]
    assert mine == pytest.approx(expected)


# ----------------------------------------------------------------------- model


def test_misfit_of_a_sample_by_hand():
    model = model_on(AgentGraph.line(3), [[0, 1], [-0.5, 0, 1]], max_size=2)
    assert (model.step, model.lowest, model.n_steps) == (0.5, -1.0, 12)
    observations, actions = samples_for(3, 1)
    with torch.no_grad():
        outputs = [o[0].double().softmax(dim=-1) for o in model._outputs(observations, actions)]
    chances = [p * (1 - LAPSE) + LAPSE / p.size(1) for p in outputs]
    expected = 0.0
    for one in itertools.product(range(2), repeat=3):
        for two in itertools.product(range(3), repeat=2):
            if sum((0, 1)[c] for c in one) + sum((-0.5, 0, 1)[c] for c in two) == 1.5:
                ways = [(0, agent, c) for agent, c in enumerate(one)] + [(1, pair, c) for pair, c in enumerate(two)]
                expected += math.prod(float(chances[size][group, c]) for size, group, c in ways)
    value = model.loss(observations, actions, torch.tensor([1.5]), torch.tensor([True]))
    assert float(value.detach()) == pytest.approx(-math.log(expected), rel=1e-5)


def test_rewards_are_expected_or_likeliest_values():
    observations, actions = samples_for(3, 5)
    for value in ("expected", "likeliest"):
        model = model_on(AgentGraph.line(3), [[0, 1, 3]], value=value)
        with torch.no_grad():
            chances = model._outputs(observations, actions)[0].softmax(dim=-1)
            rewards = model.group_rewards(observations, actions)[0]
            team = model.agent_rewards(observations, actions).sum(dim=-1)
        values = torch.tensor([0.0, 1.0, 3.0])
        expected = (chances * values).sum(dim=-1) if value == "expected" else values[chances.argmax(dim=-1)]
        torch.testing.assert_close(rewards, expected)
        torch.testing.assert_close(team, expected.sum(dim=-1))


def test_regularisation_is_the_expected_magnitude():
    fits = FitSettings(), FitSettings(regularisation=0.5, weights=(0, 1))
    plain, model = (model_on(AgentGraph.line(3), [[0, 1], [-2, 0, 1]], max_size=2, fit=fit) for fit in fits)
    observations, actions = samples_for(3, 4)
    samples = observations, actions, torch.ones(4), torch.ones(4, dtype=torch.bool)
    chances = model._outputs(observations, actions)[1].detach().softmax(dim=-1)
    expected = 0.5 * (chances * torch.tensor([2.0, 0.0, 1.0])).sum(dim=(1, 2)).mean()
    torch.testing.assert_close(model.loss(*samples) - plain.loss(*samples), expected)


@pytest.mark.parametrize("value", ["expected", "likeliest"])
def test_local_rewards_of_a_few_values_are_learned_from_their_sum(value):
    model = model_on(AgentGraph.line(3), [[-1, 0, 0.5]], value=value, hidden=(32, 32, 32))
    observations, actions = samples_for(3, 300)
    truth = torch.where(observations[..., 0] > 0.3, 0.5, torch.where(observations[..., 1] > 0, 0.0, -1.0))
    team, valid = truth.sum(dim=-1), torch.ones(300, dtype=torch.bool)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(200):
        optimiser.zero_grad()
        model.loss(observations, actions, team, valid).backward()
        optimiser.step()
    with torch.no_grad():
        error = (model.agent_rewards(observations, actions) - truth).abs()
    assert float(error.mean()) < 0.05


def test_a_hundred_agents_with_pairs_have_finite_gradients_at_either_end_of_the_range():
    model = model_on(AgentGraph.line(100), [[0, 1], [0, 0.5]], max_size=2)
    observations, actions = samples_for(100, 3)
    team = torch.tensor([0.0, 74.5, 149.5])
    model.loss(observations, actions, team, torch.ones(3, dtype=torch.bool)).backward()
    assert all(bool(p.grad.isfinite().all()) and bool(p.grad.any()) for p in model.parameters())


# ------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("values", "step"),
    [([[0, 1, 2]], 1), ([[0.1, 0.3]], 0.2), ([[-1.5, 0, 2]], 0.5), ([[1 / 3, 1]], 2 / 3), ([[4]], 1)],
)
def test_step_is_the_largest_that_all_values_lie_on(values, step):
    assert model_on(AgentGraph.line(2), values).step == pytest.approx(step)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [[]],
        [0, 1],
        "01",
        ["01"],
        [[0, math.nan]],
        [[0, True]],
        [[0, 0]],
        [[0, math.pi]],
        [[0, 1, math.sqrt(2)]],
        [[0, 0.0001, 1]],
    ],
    ids=str,
)
def test_values_without_a_common_step_are_refused_by_name(values):
    with pytest.raises(InputError, match=r"^reward\.values: expected "):
        model_on(AgentGraph.line(2), values)


def test_each_size_needs_its_values():
    with pytest.raises(InputError, match=r"^reward\.values: expected a list of numbers for each group size 1 … 2"):
        model_on(AgentGraph.line(2), [[0, 1]], max_size=2)
    with pytest.raises(InputError, match=r"^reward\.value: expected one of expected, likeliest, got 'mean'"):
        model_on(AgentGraph.line(2), [[0, 1]], value="mean")


@pytest.mark.parametrize("team", [-1.0, 0.4, 1.0, 11.0, math.nan, math.inf])
def test_team_rewards_that_the_values_cannot_add_up_to_are_refused(team):
    model = model_on(AgentGraph.line(2), [[0, 2, 5]])  # sums 0, 2, 4, 5, 7, 10
    observations, actions = samples_for(2, 2)
    with pytest.raises(InputError, match=rf"^reward\.values: expected .* got a team reward of {team:g}; list all"):
        model.loss(observations, actions, torch.tensor([7.0, team]), torch.ones(2, dtype=torch.bool))


def test_team_rewards_may_be_off_by_what_float32_sums_are():
    model = model_on(AgentGraph.line(100), [[0, 0.1]])
    observations, actions = samples_for(100, 2)
    valid, team = torch.tensor([True, True]), torch.tensor([7.0, 7.0001])
    values = [float(model.loss(observations, actions, some, valid).detach()) for some in (team, team.round())]
    assert values[0] == values[1]
