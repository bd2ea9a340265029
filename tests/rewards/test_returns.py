"""λ-returns against loops and by hand, and how they read a rollout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.errors import InputError
from lomaq.objectives import Returns, lambda_returns


def forward_returns(rewards, next_values, terminal, cut, gamma, lam):
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
    expected = forward_returns(*(x.numpy() for x in (rewards, next_values, terminal, cut)), gamma, lam)
    result = lambda_returns(rewards, next_values, terminal, cut, gamma, lam)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_three_steps_by_hand(flags):
    result = lambda_returns(column(1.0, 2.0, 3.0), column(10.0, 20.0, 30.0), flags("000"), flags("000"), 0.5, 0.8)
    # the last: 3 + 0.5·30 = 18; 2 + 0.5 (0.2·20 + 0.8·18) = 11.2; 1 + 0.5 (0.2·10 + 0.8·11.2) = 6.48
    np.testing.assert_allclose(result.flatten(), [6.48, 11.2, 18.0], rtol=1e-6)


def test_an_end_in_the_middle_of_three_steps_by_hand(flags):
    rewards, next_values = column(1.0, 2.0, 3.0), column(10.0, 20.0, 30.0)
    ended = lambda_returns(rewards, next_values, flags("010"), flags("010"), 0.5, 0.8)
    np.testing.assert_allclose(ended.flatten(), [1 + 0.5 * (0.2 * 10 + 0.8 * 2), 2.0, 18.0], rtol=1e-6)
    cut_off = lambda_returns(rewards, next_values, flags("000"), flags("010"), 0.5, 0.8)
    np.testing.assert_allclose(cut_off.flatten(), [1 + 0.5 * (0.2 * 10 + 0.8 * 12), 12.0, 18.0], rtol=1e-6)


def test_lambda_zero_is_the_one_step_target(flags):
    rewards, next_values = torch.randn(2, 5, 2, 3)
    terminal = flags("00100", "00001")
    result = lambda_returns(rewards, next_values, terminal, terminal, 0.9, 0.0)
    torch.testing.assert_close(result, rewards + 0.9 * next_values * ~terminal[..., None])


def test_lambda_one_is_the_whole_return_with_the_value_after_the_last_step_only(flags):
    rewards = column(1.0, 1.0, 1.0, 1.0)
    next_values = column(100.0, 200.0, 300.0, 8.0)
    result = lambda_returns(rewards, next_values, flags("0000"), flags("0000"), 0.5, 1.0)
    assert result.flatten().tolist() == [1.875 + 0.5, 1.75 + 1, 1.5 + 2, 1 + 4]
    ended = lambda_returns(rewards, next_values, flags("0001"), flags("0001"), 0.5, 1.0)
    assert ended.flatten().tolist() == [1.875, 1.75, 1.5, 1.0]


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_truncation_goes_on_from_the_value_after_it_and_termination_does_not(flags, lam):
    rewards, next_values = column(1.0, 1.0), column(8.0, 8.0)
    truncated = lambda_returns(rewards, next_values, flags("00"), flags("10"), 0.5, lam)
    terminated = lambda_returns(rewards, next_values, flags("10"), flags("10"), 0.5, lam)
    assert truncated[0].item() == 1 + 0.5 * 8
    assert terminated[0].item() == 1


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_nothing_flows_over_a_cut_or_an_end(flags, lam):
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


def test_arguments_are_left_as_they_were(flags):
    arguments = (torch.randn(3, 1, 2), torch.randn(3, 1, 2), flags("010"), flags("011"))
    copies = [x.clone() for x in arguments]
    lambda_returns(*arguments, 0.9, 0.5)
    assert all(torch.equal(x, copy) for x, copy in zip(arguments, copies, strict=True))


# -------------------------------------------------------------- along a rollout

ENDS = [
    {},
    {"terminated": ("010", "000"), "truncated": ("000", "100"), "valid": ("110", "101")},
    {"terminated": ("001", "000"), "truncated": ("000", "001")},
    {"valid": ("101", "111")},
]


@pytest.mark.parametrize("time_limit", ["bootstrap", "terminal"])
@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("ends", ENDS)
def test_returns_of_a_rollout_equal_a_loop(make_rollout, slow_returns, ends, lam, time_limit):
    rollout, next_values = make_rollout(**ends), torch.randn(3, 2, 4)
    rewards = torch.randn(3, 2, 4)
    found = Returns(0.9, lam, time_limit)(rewards, next_values, rollout)
    expected = slow_returns(rewards, next_values, rollout, 0.9, lam, time_limit)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def along(rollout, lam=1.0, time_limit="bootstrap"):
    """Returns of rewards 1, 2, 4 and values 8, 16, 32, with γ = 0.5."""
    return Returns(0.5, lam, time_limit)(column(1.0, 2.0, 4.0), column(8.0, 16.0, 32.0), rollout).flatten().tolist()


def test_a_whole_rollout_by_hand(make_rollout):
    assert along(make_rollout(valid=("111",))) == [1 + 0.5 * (2 + 0.5 * 20), 2 + 0.5 * 20, 4 + 0.5 * 32]
    assert along(make_rollout(valid=("111",)), lam=0.5) == [1 + 0.5 * (4 + 0.5 * 11), 2 + 0.5 * (8 + 10), 20]


def test_a_time_limit_goes_on_with_the_value_unless_it_counts_as_an_end(make_rollout):
    limited = make_rollout(truncated=("010",), valid=("111",))
    assert along(limited, time_limit="bootstrap") == [1 + 0.5 * (2 + 0.5 * 16), 2 + 0.5 * 16, 20]
    assert along(limited, time_limit="terminal") == [1 + 0.5 * 2, 2, 20]


def test_a_real_end_is_an_end_either_way(make_rollout):
    ended = make_rollout(terminated=("010",), valid=("111",))
    for time_limit in ("bootstrap", "terminal"):
        assert along(ended, time_limit=time_limit) == [1 + 0.5 * 2, 2, 20]


def test_a_return_goes_on_with_the_value_before_a_step_that_is_no_transition(make_rollout):
    assert along(make_rollout(valid=("110",)))[:2] == [1 + 0.5 * (2 + 0.5 * 16), 2 + 0.5 * 16]
    assert along(make_rollout(valid=("101",)))[::2] == [1 + 0.5 * 8, 20]


def test_the_flags_of_the_rollout_are_left_as_they_were(make_rollout):
    rollout = make_rollout(terminated=("100",), truncated=("010",), valid=("101",))
    before = [x.clone() for x in (rollout.terminated, rollout.truncated, rollout.mask)]
    along(rollout, time_limit="terminal")
    for flag, old in zip((rollout.terminated, rollout.truncated, rollout.mask), before, strict=True):
        assert torch.equal(flag, old)


def test_a_time_limit_is_no_end_unless_told():
    assert Returns(0.9, 0.5) == Returns(gamma=0.9, lam=0.5, time_limit="bootstrap")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ((1.0, 0.5), ["learner.objective.returns.gamma", "[0, 1)", "1.0"]),
        ((-0.1, 0.5), ["learner.objective.returns.gamma", "-0.1"]),
        ((0.9, 1.5), ["learner.objective.returns.lam", "[0, 1]", "1.5"]),
        ((0.9, -0.5), ["learner.objective.returns.lam", "[0, 1]", "-0.5"]),
        ((0.9, 0.5, "never"), ["learner.objective.returns.time_limit", "bootstrap, terminal", "'never'"]),
    ],
)
def test_impossible_settings_are_named(arguments, names):
    with pytest.raises(InputError) as error:
        Returns(*arguments)
    assert all(name in str(error.value) for name in names)


def test_gamma_0_and_lambda_1_are_possible():
    assert Returns(0.0, 1.0).gamma == 0
