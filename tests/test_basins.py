import numpy as np
import pytest

from analysis.robustness.basins import basin_width


def _slow(at, values, here, least):
    if values[here] < least - 1e-12:
        return 0.0, False
    ends, touches = [], False
    for step in (-1, 1):
        place = here
        while 0 <= place + step < len(at) and values[place + step] >= least - 1e-12:
            place += step
        if not 0 <= place + step < len(at):
            touches = True
            ends.append(at[place])
        else:
            share = (values[place] - least) / (values[place] - values[place + step])
            ends.append(at[place] + share * (at[place + step] - at[place]))
    return ends[1] - ends[0], touches


def test_widths_equal_a_slow_walk_from_the_best():
    rng = np.random.default_rng(0)
    at = np.sort(rng.uniform(0, 5, (200, 9)), axis=1)
    values, here = rng.normal(size=(200, 9)).round(1), rng.integers(9, size=200)
    least = np.take_along_axis(values, here[:, None], axis=1)[:, 0] - rng.choice([-0.5, 0.5, 1.5, 5.0], 200)
    width, touches = basin_width(at, values, here, least)
    slow = [_slow(*row) for row in zip(at, values, here, least, strict=True)]
    np.testing.assert_allclose(width, [one for one, _ in slow])
    assert touches.tolist() == [one for _, one in slow]


@pytest.mark.parametrize(("a", "delta"), [(1.0, 0.05), (4.0, 0.02)])
def test_the_basin_of_a_quadratic_is_its_closed_form(a, delta):
    x = np.linspace(-1, 1, 2001)
    width, touches = basin_width(x, -a * x**2, np.array(1000), np.array(-delta))
    assert width == pytest.approx(2 * np.sqrt(delta / a), abs=1e-5)
    assert not touches


def test_a_basin_at_the_end_of_the_range_is_censored():
    x = np.linspace(0, 1, 101)
    width, touches = basin_width(x, -(x**2), np.array(0), np.array(-0.25))
    assert (float(width), bool(touches)) == (pytest.approx(0.5), True)
