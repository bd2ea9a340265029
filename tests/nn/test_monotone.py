import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.nn import ACTIVATIONS, CONSTRAINTS, INITS, activate, effective_weight, init_weight_
from lomaq.nn.monotone import GAIN

FINITE = st.floats(-20, 20, width=32)


def elu(x):
    return x if x > 0 else math.exp(x) - 1


def test_elu_is_the_identity_above_zero_and_an_exponential_below():
    result = activate(torch.tensor([2.0, 0.5, 0.0, -1.0]), "elu")
    np.testing.assert_allclose(result, [2.0, 0.5, 0.0, math.exp(-1) - 1], rtol=1e-6)


def test_split_is_elu_in_the_first_half_and_its_point_reflection_in_the_second():
    result = activate(torch.tensor([[2.0, -1.0, 2.0, -1.0]]), "split")
    np.testing.assert_allclose(result, [[2.0, math.exp(-1) - 1, 1 - math.exp(-2), -1.0]], rtol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@settings(max_examples=50, deadline=None)
@given(values=st.lists(FINITE, min_size=4, max_size=4), step=st.floats(0.125, 5))
def test_activations_never_fall(activation, values, step):
    x = torch.tensor(values)
    assert (activate(x + step, activation) >= activate(x, activation)).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_rise_strictly_around_zero(activation):
    x = torch.linspace(-3, 3, 25)[:, None].expand(-1, 2)
    assert (activate(x, activation).diff(dim=0) > 0).all()


@settings(max_examples=50, deadline=None)
@given(a=FINITE, b=FINITE)
def test_first_half_of_split_is_convex_and_second_half_concave(a, b):
    def at(x):
        return activate(torch.tensor([x, x], dtype=torch.float64), "split")

    bend = (at(a) + at(b)) / 2 - at((a + b) / 2)
    assert bend[0] >= -1e-12
    assert bend[1] <= 1e-12


def test_both_halves_of_split_really_bend():
    left, middle, right = activate(torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]]), "split")
    bend = (left + right) / 2 - middle
    np.testing.assert_allclose(bend, [math.exp(-1) / 2, -math.exp(-1) / 2], rtol=1e-6)


def test_activation_works_along_the_last_dimension_whatever_lies_before_it():
    x = torch.tensor([[-1.0, -1.0], [2.0, -2.0], [0.5, 0.5]])
    whole = activate(x.view(3, 1, 2), "split")
    assert whole.shape == (3, 1, 2)
    for row in range(3):
        torch.testing.assert_close(whole[row, 0], activate(x[row], "split"))


def test_reparametrisation_uses_the_absolute_value_of_the_weight_and_others_the_weight_itself():
    weight = torch.tensor([-2.0, 0.0, 3.0])
    assert effective_weight(weight, "projection").tolist() == [-2.0, 0.0, 3.0]
    assert effective_weight(weight, "soft").tolist() == [-2.0, 0.0, 3.0]
    assert effective_weight(weight, "reparametrisation").tolist() == [2.0, 0.0, 3.0]


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_effective_weight_lets_gradients_through(constraint):
    weight = torch.tensor([0.5, 2.0], requires_grad=True)
    effective_weight(weight, constraint).sum().backward()
    assert weight.grad.tolist() == [1.0, 1.0]


def test_mean_start_is_uniform_between_zero_and_twice_the_reciprocal_of_the_fan_in():
    torch.manual_seed(0)
    weight = torch.full((5, 400), -7.0)
    init_weight_(weight, 5, "mean")
    assert weight.min() >= 0
    assert weight.max() <= 2 / 5
    assert weight.max() > 0.9 * 2 / 5
    assert abs(float(weight.mean()) - 1 / 5) < 0.01  # so that five inputs are averaged


def test_mean_start_takes_a_fan_in_for_each_row():
    torch.manual_seed(0)
    weight = torch.empty(2, 1000)
    init_weight_(weight, torch.tensor([[1.0], [4.0]]), "mean")
    np.testing.assert_allclose(weight.mean(dim=1), [1.0, 0.25], rtol=0.06)
    assert weight[0].max() <= 2
    assert weight[1].max() <= 0.5


def test_free_start_has_both_signs_and_the_variance_of_one_over_the_inputs():
    torch.manual_seed(0)
    weight = torch.empty(200, 50)
    init_weight_(weight, 16, "free")
    assert weight.var().item() == pytest.approx(1 / 16, rel=0.05)
    assert (weight > 0).float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_normal_start_is_the_positive_part_of_a_standard_normal():
    torch.manual_seed(0)
    weight = torch.empty(4, 1000)
    init_weight_(weight, 50, "normal")
    assert weight.min() == 0
    assert 0.45 < float((weight == 0).float().mean()) < 0.55
    assert abs(float(weight[weight > 0].mean()) - math.sqrt(2 / math.pi)) < 0.05


@pytest.mark.parametrize(("init", "times"), [("mean", 1.0), ("negative_bias", 1.0), ("decayed", GAIN)])
def test_a_layer_starts_as_the_mean_of_its_inputs_times_the_gain(init, times):
    torch.manual_seed(0)
    weight = torch.empty(50, 400)
    init_weight_(weight, 50, init)
    assert 0 <= float(weight.min()) < float(weight.max()) <= times * 2 / 50
    assert float(weight.sum(dim=0).mean()) == pytest.approx(times, rel=0.02)


@pytest.mark.parametrize("init", INITS)
def test_starting_a_parameter_leaves_no_trace_in_its_gradient(init):
    weight = torch.nn.Parameter(torch.zeros(3, 3))
    init_weight_(weight, 3, init)
    assert weight.grad_fn is None
    assert weight.requires_grad
    assert (weight >= 0).all() or init == "free"
    assert (weight > 0).any()
