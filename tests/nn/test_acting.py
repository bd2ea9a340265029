import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.nn import epsilon_greedy, epsilon_softmax, softmax_policy


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


def some_mask(*shape, chance):
    mask = torch.rand(*shape, generator=chance) < 0.4
    return mask.scatter(-1, torch.randint(shape[-1], (*shape[:-1], 1), generator=chance), True)


def test_policies_by_hand():
    logits = torch.tensor([np.log(4.0), 0.0, 0.0])
    assert softmax_policy(logits, 0.0).tolist() == pytest.approx([4 / 6, 1 / 6, 1 / 6])
    assert softmax_policy(logits, 0.5).tolist() == pytest.approx([1 / 2, 1 / 4, 1 / 4])
    assert softmax_policy(logits, 1.0).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    mask = torch.tensor([True, True, False])
    assert softmax_policy(logits, 0.0, mask).tolist() == pytest.approx([4 / 5, 1 / 5, 0])
    assert softmax_policy(logits, 0.5, mask).tolist() == pytest.approx([0.65, 0.35, 0])
    assert softmax_policy(logits, 1.0, mask).tolist() == pytest.approx([1 / 2, 1 / 2, 0])


@settings(max_examples=40, deadline=None)
@given(epsilon=st.floats(0, 1), seed=st.integers(0, 10_000), spread=st.sampled_from([0.1, 1.0, 100.0]))
def test_a_policy_gives_allowed_actions_at_least_their_random_share_and_others_nothing(epsilon, seed, spread):
    chance = generator(seed)
    logits = spread * torch.randn(5, 3, 4, generator=chance)
    mask = some_mask(5, 3, 4, chance=chance)
    policy = softmax_policy(logits, epsilon, mask)
    torch.testing.assert_close(policy.sum(dim=-1), torch.ones(5, 3))
    assert not policy[~mask].any()
    share = epsilon * mask / mask.sum(dim=-1, keepdim=True)
    assert (policy >= share - 1e-6).all()


def test_without_epsilon_the_policy_is_the_softmax_of_the_logits():
    logits = torch.randn(2, 3, 4, generator=generator())
    torch.testing.assert_close(softmax_policy(logits, 0.0), logits.softmax(dim=-1))


def test_each_sequence_may_have_an_epsilon_of_its_own():
    chance = generator()
    logits, mask = torch.randn(6, 2, 3, 4, generator=chance), some_mask(6, 2, 3, 4, chance=chance)  # [T, B, N, A]
    policy = softmax_policy(logits, torch.tensor([0.1, 0.9])[:, None, None], mask)
    for b, epsilon in enumerate((0.1, 0.9)):
        torch.testing.assert_close(policy[:, b], softmax_policy(logits[:, b], epsilon, mask[:, b]))


@pytest.mark.parametrize("allowed", [[True, True, True, True], [True, False, True, True]])
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_draws_follow_the_policy(epsilon, allowed):
    logits, mask = torch.tensor([0.0, 1.0, -1.0, 0.5]), torch.tensor(allowed)
    actions = epsilon_softmax(logits.expand(1000, 4, 4), epsilon, generator(), mask.expand(1000, 4, 4))
    assert actions.shape == (1000, 4)
    assert actions.dtype == torch.int64
    expected = 4000 * softmax_policy(logits, epsilon, mask)
    found = counts(actions, 4)
    assert not found[~mask].any()
    assert chi_square(found[mask], expected[mask]) < 16.3  # one in a thousand for three degrees of freedom


def test_each_sequence_is_drawn_with_its_own_epsilon():
    logits = torch.tensor([0.0, 1000.0]).expand(2, 4000, 2)
    worse = (epsilon_softmax(logits, torch.tensor([0.2, 0.8])[:, None, None], generator()) == 0).double()
    assert worse.mean(dim=1).tolist() == pytest.approx([0.1, 0.4], abs=0.03)


def test_agents_draw_independently_of_each_other():
    worse = (epsilon_softmax(torch.tensor([0.0, 1.0]).expand(4000, 2, 2), 0.0, generator()) == 0).double()
    alone = 1 / (1 + np.e)
    assert float((worse[:, 0] * worse[:, 1]).mean()) == pytest.approx(alone**2, abs=0.015)


def test_equal_generators_draw_alike_and_others_do_not():
    logits = torch.zeros(50, 3, 4)
    one, two, other = (epsilon_softmax(logits, 0.5, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_without_a_generator_chance_is_torchs_own():
    logits, drawn = torch.zeros(50, 3, 4), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(epsilon_softmax(logits, 0.0, None))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_logits_and_mask_are_left_as_they_were_by_a_draw():
    logits, mask = torch.randn(2, 3, 4), some_mask(2, 3, 4, chance=generator())
    before = logits.clone(), mask.clone()
    epsilon_softmax(logits, 0.5, generator(), mask)
    assert torch.equal(logits, before[0])
    assert torch.equal(mask, before[1])
