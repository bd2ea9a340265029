import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.objectives import lambda_returns


def slow_returns(rewards, next_values, terminal, cut, gamma, lam):
    """One sequence and block at a time, forward: Σ of λ-weighted steps until the sequence ends."""
    steps, batch, blocks = rewards.shape
    result = np.zeros(rewards.shape)
    for b in range(batch):
        for p in range(blocks):
            for t in range(steps):
                total, weight = 0.0, 1.0
                for k in range(t, steps):
                    total += weight * rewards[k, b, p]
                    if terminal[k, b]:
                        break
                    if cut[k, b] or k == steps - 1:
                        total += weight * gamma * next_values[k, b, p]
                        break
                    total += weight * gamma * (1 - lam) * next_values[k, b, p]
                    weight *= gamma * lam
                result[t, b, p] = total
    return result


def flags(*columns):
    """``[T, B]`` bool from one string of 0 and 1 for each sequence."""
    return torch.tensor([[c == "1" for c in row] for row in zip(*columns, strict=True)])


def column(*values):
    """``[T, 1, 1]``."""
    return torch.tensor(values)[:, None, None]


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(1, 6),
    gamma=st.floats(0, 1),
    lam=st.floats(0, 1),
    how_often=st.sampled_from([0.0, 0.3, 0.7]),
    seed=st.integers(0, 10_000),
)
def test_returns_equal_a_loop_over_all_following_steps(steps, gamma, lam, how_often, seed):
    generator = torch.Generator().manual_seed(seed)
    rewards, next_values = torch.randn(2, steps, 3, 2, generator=generator)
    terminal, cut = torch.rand(2, steps, 3, generator=generator) < how_often
    expected = slow_returns(*(x.numpy() for x in (rewards, next_values, terminal, cut)), gamma, lam)
    result = lambda_returns(rewards, next_values, terminal, cut, gamma, lam)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_three_steps_by_hand():
    result = lambda_returns(column(1.0, 2.0, 3.0), column(10.0, 20.0, 30.0), flags("000"), flags("000"), 0.5, 0.8)
    # the last: 3 + 0.5·30 = 18; 2 + 0.5 (0.2·20 + 0.8·18) = 11.2; 1 + 0.5 (0.2·10 + 0.8·11.2) = 6.48
    np.testing.assert_allclose(result.flatten(), [6.48, 11.2, 18.0], rtol=1e-6)


def test_an_end_in_the_middle_of_three_steps_by_hand():
    rewards, next_values = column(1.0, 2.0, 3.0), column(10.0, 20.0, 30.0)
    ended = lambda_returns(rewards, next_values, flags("010"), flags("010"), 0.5, 0.8)
    np.testing.assert_allclose(ended.flatten(), [1 + 0.5 * (0.2 * 10 + 0.8 * 2), 2.0, 18.0], rtol=1e-6)
    cut_off = lambda_returns(rewards, next_values, flags("000"), flags("010"), 0.5, 0.8)
    np.testing.assert_allclose(cut_off.flatten(), [1 + 0.5 * (0.2 * 10 + 0.8 * 12), 12.0, 18.0], rtol=1e-6)


def test_lambda_zero_is_the_one_step_target():
    rewards, next_values = torch.randn(2, 5, 2, 3)
    terminal = flags("00100", "00001")
    result = lambda_returns(rewards, next_values, terminal, terminal, 0.9, 0.0)
    torch.testing.assert_close(result, rewards + 0.9 * next_values * ~terminal[..., None])


def test_lambda_one_is_the_whole_return_with_the_value_behind_the_last_step_only():
    rewards = column(1.0, 1.0, 1.0, 1.0)
    next_values = column(100.0, 200.0, 300.0, 8.0)
    result = lambda_returns(rewards, next_values, flags("0000"), flags("0000"), 0.5, 1.0)
    assert result.flatten().tolist() == [1.875 + 0.5, 1.75 + 1, 1.5 + 2, 1 + 4]
    ended = lambda_returns(rewards, next_values, flags("0001"), flags("0001"), 0.5, 1.0)
    assert ended.flatten().tolist() == [1.875, 1.75, 1.5, 1.0]


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_truncation_goes_on_from_the_value_behind_it_and_termination_does_not(lam):
    rewards, next_values = column(1.0, 1.0), column(8.0, 8.0)
    truncated = lambda_returns(rewards, next_values, flags("00"), flags("10"), 0.5, lam)
    terminated = lambda_returns(rewards, next_values, flags("10"), flags("10"), 0.5, lam)
    assert truncated[0].item() == 1 + 0.5 * 8
    assert terminated[0].item() == 1


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_nothing_flows_over_a_cut_or_an_end(lam):
    rewards, next_values = torch.randn(2, 4, 1, 1)
    for terminal, cut in ((flags("0000"), flags("0100")), (flags("0100"), flags("0000"))):
        before = lambda_returns(rewards, next_values, terminal, cut, 0.9, lam)
        other = rewards.clone()
        other[2:] += 100
        after = lambda_returns(other, next_values + column(0.0, 0.0, 50.0, 50.0), terminal, cut, 0.9, lam)
        assert torch.equal(before[:2], after[:2])
        assert not torch.isclose(before[2:], after[2:]).any()


def test_without_discount_only_the_reward_counts():
    rewards, next_values = torch.randn(2, 4, 2, 2)
    none = torch.zeros(4, 2, dtype=torch.bool)
    assert torch.equal(lambda_returns(rewards, next_values, none, none, 0.0, 0.7), rewards)


def test_arguments_are_left_as_they_were():
    arguments = (torch.randn(3, 1, 2), torch.randn(3, 1, 2), flags("010"), flags("011"))
    copies = [x.clone() for x in arguments]
    lambda_returns(*arguments, 0.9, 0.5)
    assert all(torch.equal(x, copy) for x, copy in zip(arguments, copies, strict=True))
