import math

import pytest

from lomaq.errors import InputError, check_bool, check_choice, check_float, check_int


def test_error_names_the_setting_what_is_allowed_what_came_and_the_remedy():
    error = InputError("kappa", "a whole number of at least 0", -1, "count hops from zero")
    assert str(error) == "kappa: expected a whole number of at least 0, got -1; count hops from zero"


def test_error_without_remedy_ends_with_what_came():
    assert str(InputError("kappa", "a number", "'two'")) == "kappa: expected a number, got 'two'"


def test_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


def test_error_is_one_line_whatever_it_is_told():
    error = InputError("graph\nfile", "a\treadable\r\nfile", ValueError("line 1\n   line 2"), "try\nagain")
    assert str(error) == "graph file: expected a readable file, got line 1 line 2; try again"


@pytest.mark.parametrize("value", [1, 2, 5])
def test_whole_number_inside_both_bounds_is_returned(value):
    assert check_int("kappa", value, 1, 5) == value


def test_whole_number_without_upper_bound_may_be_large():
    assert check_int("kappa", 10**30, 1) == 10**30


@pytest.mark.parametrize("value", [0, -3, 6, True, 2.0, "2", None, math.nan, [2]])
def test_what_is_no_whole_number_inside_the_bounds_is_refused(value):
    with pytest.raises(InputError, match=r"^kappa: expected a whole number from 1 to 5, got "):
        check_int("kappa", value, 1, 5)


def test_whole_number_below_an_open_range_is_refused():
    with pytest.raises(InputError, match=r"^kappa: expected a whole number of at least 1, got 0$"):
        check_int("kappa", 0, 1)


@pytest.mark.parametrize("value", [0, 0.5, 1, 1.0])
def test_number_inside_closed_bounds_comes_back_as_float(value):
    result = check_float("gamma", value, 0, 1)
    assert result == value
    assert type(result) is float


@pytest.mark.parametrize("value", [-1e-9, 1.5, math.nan, math.inf, -math.inf, True, "0.5", None, [0.5]])
def test_what_is_no_number_inside_closed_bounds_is_refused(value):
    with pytest.raises(InputError, match=r"^gamma: expected a number in \[0, 1\], got "):
        check_float("gamma", value, 0, 1)


def test_open_ends_refuse_the_bounds_themselves():
    assert check_float("decay", 0.5, 0, 1, above=True, below=True) == 0.5
    for bound in (0, 1):
        with pytest.raises(InputError, match=r"^decay: expected a number in \(0, 1\), got "):
            check_float("decay", bound, 0, 1, above=True, below=True)


def test_range_without_upper_bound_is_shown_open_and_refuses_infinity():
    assert check_float("lr", 1e300, 0) == 1e300
    with pytest.raises(InputError, match=r"^lr: expected a number in \[0, inf\), got inf$"):
        check_float("lr", math.inf, 0)


def test_whole_number_too_large_for_a_float_is_refused():
    with pytest.raises(InputError, match="lr"):
        check_float("lr", 10**400, 0)


def test_known_choice_is_returned():
    assert check_choice("mixer", "gcn", ("mlp", "gcn")) == "gcn"


@pytest.mark.parametrize("value", ["GCN", "", None, 1, ["gcn"]])
def test_unknown_choice_is_answered_with_the_choices(value):
    with pytest.raises(InputError) as caught:
        check_choice("mixer", value, ("mlp", "gcn"))
    assert str(caught.value) == f"mixer: expected one of mlp, gcn, got {value!r}"


@pytest.mark.parametrize("value", [True, False])
def test_true_and_false_are_returned(value):
    assert check_bool("double", value) is value


@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_what_is_neither_true_nor_false_is_refused(value):
    with pytest.raises(InputError, match=r"^double: expected true or false, got "):
        check_bool("double", value)
