import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lomaq.errors import InputError
from lomaq.nn.exploration import Epsilon


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


def test_environments_explore_along_a_geometric_ladder():
    ladder = Epsilon(start=0.5, end=0.5, spread=2.0).ladder(0, 3)
    assert ladder.tolist() == pytest.approx([0.5, 0.5**2, 0.5**3])
    assert Epsilon(start=0.5, spread=2.0).ladder(0, 1).tolist() == [0.5]


def test_without_a_spread_all_environments_explore_alike():
    assert Epsilon(start=0.5).ladder(0, 3) == 0.5


def test_a_spread_below_zero_is_refused():
    with pytest.raises(InputError, match=r"learner\.epsilon\.spread"):
        Epsilon(spread=-0.1)
