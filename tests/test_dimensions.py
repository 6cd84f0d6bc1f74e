import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.dimensions import Choice, Continuous, Integer, choice

DIMENSIONS = [
    Continuous(-3.0, 7.0),
    Continuous(0.02, 5.0, "log"),
    Continuous(0.125, 32.0, "log2"),
    Integer(2, 100, "log2"),
    Choice((16, 64, 256), "log2"),
    Choice(("a", "b")),
]


@pytest.mark.parametrize("dimension", DIMENSIONS)
@given(point=st.floats(0, 1))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_a_value_goes_to_its_point_and_back(dimension, point):
    value = dimension.value(point)
    again = dimension.value(dimension.point(value))
    assert again == value if isinstance(value, str) else again == pytest.approx(value, rel=1e-10)


def test_levels_are_evenly_spaced_on_the_scale_with_both_ends():
    assert Continuous(0.01, 100.0, "log").levels(5) == pytest.approx((0.01, 0.1, 1, 10, 100), rel=1e-11)
    assert Continuous(1.0, 16.0, "log2").levels(5) == (1.0, 2.0, 4.0, 8.0, 16.0)
    assert Continuous(0.0, 1.0).levels(3) == (0.0, 0.5, 1.0)
    assert Integer(1, 3).levels(9) == (1, 2, 3)


def test_the_ends_of_a_log_range_are_exact():
    dimension = Continuous(0.05, 2.0, "log")
    assert (dimension.value(0.0), dimension.value(1.0)) == (0.05, 2.0)


def test_each_value_of_a_choice_has_an_equal_share():
    dimension = Choice((16, 64, 256), "log2")
    values = [dimension.value((k + 0.5) / 300) for k in range(300)]
    assert {value: values.count(value) for value in values} == {16: 100, 64: 100, 256: 100}
    assert dimension.value(1.0) == 256


@pytest.mark.parametrize(("low", "high", "scale"), [(2, 1, "linear"), (1, 1, "log"), (0, 1, "log"), (-1, 1, "log2")])
def test_impossible_ranges_are_refused(low, high, scale):
    with pytest.raises(ValueError, match="low"):
        Continuous(low, high, scale)


def test_numbers_without_a_scale_lie_on_a_linear_axis_and_names_are_categories():
    assert choice([1, 2], None).scale == "linear"
    assert choice(["a", "b"], None).scale is None
