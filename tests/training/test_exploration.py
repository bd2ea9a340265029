import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.errors import InputError
from lomaq.training.exploration import Epsilon, epsilon_greedy


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_epsilon_falls_linearly_and_then_stays():
    epsilon = Epsilon(start=1.0, end=0.2, anneal_env_steps=100)
    assert [epsilon.at(steps) for steps in (0, 25, 50, 100, 101, 10**9)] == pytest.approx([1, 0.8, 0.6, 0.2, 0.2, 0.2])


def test_epsilon_may_rise_or_stay():
    assert Epsilon(0.0, 1.0, 10).at(5) == pytest.approx(0.5)
    assert [Epsilon(0.3, 0.3, 10).at(steps) for steps in (0, 5, 20)] == pytest.approx([0.3] * 3)


@settings(max_examples=50, deadline=None)
@given(start=st.floats(0, 1), end=st.floats(0, 1), anneal=st.integers(1, 10**6), steps=st.integers(0, 10**7))
def test_epsilon_never_leaves_its_ends(start, end, anneal, steps):
    value = Epsilon(start, end, anneal).at(steps)
    assert min(start, end) - 1e-12 <= value <= max(start, end) + 1e-12


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ((1.5, 0.0, 10), ["learner.epsilon.start", "[0, 1]", "1.5"]),
        ((1.0, -0.1, 10), ["learner.epsilon.end", "-0.1"]),
        ((1.0, 0.0, 0), ["learner.epsilon.anneal_env_steps", "at least 1", "0"]),
        ((1.0, 0.0, 2.5), ["learner.epsilon.anneal_env_steps", "2.5"]),
    ],
)
def test_impossible_schedules_are_named(arguments, names):
    with pytest.raises(InputError) as error:
        Epsilon(*arguments)
    assert all(name in str(error.value) for name in names)


def test_without_epsilon_every_agent_takes_its_best_action():
    utilities = torch.tensor([[[0.0, 2.0, 1.0], [3.0, -1.0, 2.0]], [[-3.0, -2.0, -1.0], [0.0, 0.0, 5.0]]])
    actions = epsilon_greedy(utilities, 0.0, None)
    assert actions.dtype == torch.int64
    assert actions.tolist() == [[1, 0], [2, 2]]


def test_the_best_of_the_allowed_actions_is_taken():
    utilities = torch.tensor([[[0.0, 2.0, 1.0], [-3.0, -1.0, -2.0]]])
    mask = torch.tensor([[[True, False, True], [True, False, False]]])
    assert epsilon_greedy(utilities, 0.0, None, mask).tolist() == [[2, 0]]


def counts(actions, n_actions):
    return torch.bincount(actions.flatten(), minlength=n_actions)


def chi_square(found, expected):
    return float(((found - expected) ** 2 / expected).sum())


def test_with_epsilon_one_all_actions_are_equally_likely():
    utilities = torch.tensor([0.0, 10.0, 20.0, 30.0]).expand(1000, 4, 4)
    found = counts(epsilon_greedy(utilities, 1.0, generator()), 4)
    assert chi_square(found, torch.full((4,), 1000.0)) < 16.3  # one in a thousand for three degrees of freedom


def test_random_actions_are_equally_likely_among_the_allowed():
    utilities = torch.zeros(1000, 4, 4)
    mask = torch.tensor([True, False, True, True]).expand(1000, 4, 4)
    found = counts(epsilon_greedy(utilities, 1.0, generator(), mask), 4)
    assert found[1] == 0
    assert chi_square(found[[0, 2, 3]], torch.full((3,), 4000 / 3)) < 13.8


def test_epsilon_is_the_share_of_random_actions():
    utilities = torch.tensor([0.0, 1.0]).expand(2000, 5, 2)
    found = counts(epsilon_greedy(utilities, 0.3, generator()), 2)
    assert abs(float(found[0]) / 10_000 - 0.15) < 0.015  # half of the random ones are the worse one


def test_agents_explore_independently_of_each_other():
    utilities = torch.tensor([0.0, 1.0]).expand(4000, 2, 2)
    worse = (epsilon_greedy(utilities, 0.5, generator()) == 0).double()
    both = float((worse[:, 0] * worse[:, 1]).mean())
    assert abs(both - 0.25**2) < 0.015


@settings(max_examples=40, deadline=None)
@given(epsilon=st.floats(0, 1), seed=st.integers(0, 10_000))
def test_no_forbidden_action_is_ever_taken(epsilon, seed):
    chance = generator(seed)
    utilities = torch.randn(5, 3, 4, generator=chance)
    mask = torch.rand(5, 3, 4, generator=chance) < 0.4
    mask.scatter_(-1, torch.randint(4, (5, 3, 1), generator=chance), True)  # at least one is allowed
    actions = epsilon_greedy(utilities, epsilon, chance, mask)
    assert mask.gather(-1, actions[..., None]).all()


def test_equal_generators_explore_alike_and_others_do_not():
    utilities = torch.zeros(50, 3, 4)
    one, two, other = (epsilon_greedy(utilities, 0.5, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_utilities_and_mask_are_left_as_they_were():
    utilities, mask = torch.randn(2, 3, 4), torch.ones(2, 3, 4, dtype=torch.bool)
    mask[..., 0] = False
    before = utilities.clone(), mask.clone()
    epsilon_greedy(utilities, 0.5, generator(), mask)
    assert torch.equal(utilities, before[0])
    assert torch.equal(mask, before[1])
