import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.nn import epsilon_greedy


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


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
