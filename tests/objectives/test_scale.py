import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import GCNMixer, MaskedMLPMixer
from lomaq.nn import Utilities
from lomaq.objectives import ValueNetworks
from lomaq.objectives.scale import ValueScale


def spread(deviation, middle=0.0):
    """Returns with that standard deviation."""
    return torch.tensor([middle - deviation, middle + deviation])


def test_the_scale_is_one_before_it_has_seen_anything():
    assert ValueScale().sigma == 1.0


def test_the_average_is_corrected_for_its_start_by_hand():
    scale = ValueScale(decay=0.5)
    assert scale.update(spread(2.0)) == pytest.approx(1 / 2)  # from 1 to 2
    assert scale.sigma == pytest.approx(2.0)
    # weights 1/4 and 1/2, which sum to 3/4: (2/4 + 4/2) / (3/4) = 10/3
    assert scale.update(spread(4.0)) == pytest.approx(2 / (10 / 3))
    assert scale.sigma == pytest.approx(10 / 3)


def test_without_memory_the_scale_is_the_deviation_of_the_last_returns():
    scale = ValueScale(decay=0.0)
    for deviation in (3.0, 0.5, 70.0):
        scale.update(spread(deviation))
        assert scale.sigma == pytest.approx(deviation)


@settings(max_examples=40, deadline=None)
@given(
    decay=st.floats(0, 0.99),
    rounds=st.lists(st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=5), min_size=1, max_size=5),
)
def test_the_scale_is_the_weighted_mean_of_standard_deviations(decay, rounds):
    scale = ValueScale(decay, floor=1e-3)
    ratios = [scale.update(torch.tensor(returns)) for returns in rounds]
    weights = decay ** np.arange(len(rounds))[::-1]
    deviations = [np.std(np.array(returns)) for returns in rounds]
    expected = max(np.average(deviations, weights=weights), 1e-3)
    assert scale.sigma == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert np.prod(ratios) == pytest.approx(1 / scale.sigma, rel=1e-6)


def test_the_mean_of_the_returns_does_not_matter():
    near, far = ValueScale(), ValueScale()
    near.update(spread(2.0))
    far.update(spread(2.0, middle=1000.0))
    assert far.sigma == pytest.approx(near.sigma, rel=1e-6)


def test_returns_of_any_shape_count_number_by_number():
    flat, shaped = ValueScale(), ValueScale()
    returns = torch.tensor([1.0, 5.0, -2.0, 0.0, 3.0, 7.0])
    flat.update(returns)
    shaped.update(returns.view(3, 2))
    assert shaped.sigma == flat.sigma == pytest.approx(float(returns.std(correction=0)))


@pytest.mark.parametrize("constant", [0.0, 5.0, -1e6])
def test_returns_that_do_not_vary_are_held_at_the_floor(constant):
    scale = ValueScale(floor=0.01)
    ratio = scale.update(torch.full((4,), constant))
    assert scale.sigma == 0.01
    assert ratio == pytest.approx(100)


@pytest.mark.parametrize("mixer_class", [MaskedMLPMixer, GCNMixer])
def test_what_the_networks_say_in_the_rewards_unit_stays_the_same(mixer_class):
    torch.manual_seed(0)
    graph = AgentGraph.line(3)
    mixer = mixer_class(graph, Partition([[0, 1], [2]], 3), 1, 4)
    networks = ValueNetworks(Utilities(graph, 2, 2, hidden=[4]), mixer)
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    utilities = torch.randn(5, 3)
    scale = ValueScale(decay=0.9)
    raw = scale.sigma * networks.mixer(utilities)
    for deviation in (7.0, 0.2, 130.0):
        before = networks.mixer(utilities)
        networks.rescale_(scale.update(spread(deviation)))
        assert not torch.allclose(networks.mixer(utilities), before)
        torch.testing.assert_close(scale.sigma * networks.mixer(utilities), raw)


def test_a_stored_scale_goes_on_as_if_it_had_never_stopped():
    scale, again = ValueScale(0.8), ValueScale(0.8)
    scale.update(spread(3.0))
    again.load_state_dict(scale.state_dict())
    assert again.sigma == scale.sigma == pytest.approx(3.0)
    assert again.update(spread(9.0)) == scale.update(spread(9.0))
    assert again.state_dict() == scale.state_dict()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"decay": 1.0}, ["learner.scale_decay", "[0, 1)"]),
        ({"decay": -0.5}, ["learner.scale_decay", "-0.5"]),
        ({"floor": 0.0}, ["learner.scale_floor", "0.0"]),
    ],
)
def test_impossible_settings_are_named(options, names):
    with pytest.raises(InputError) as error:
        ValueScale(**options)
    assert all(name in str(error.value) for name in names)
