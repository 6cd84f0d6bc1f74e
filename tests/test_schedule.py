import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustness.training.schedule import learning_rates

TRAINING = {
    "learning_rate": 0.4,
    "learning_rate_scaling": "none",
    "batch_size": 64,
    "schedule": "cosine",
    "warmup_epochs": 0,
}


def rates(total, *, steps_per_epoch=10, **changes):
    return learning_rates(TRAINING | changes, total=total, steps_per_epoch=steps_per_epoch)


lengths = {"total": st.integers(0, 400), "steps": st.integers(1, 50), "warmup": st.floats(0, 30)}


@given(**lengths)
@settings(derandomize=True, deadline=None)
def test_the_cosine_is_that_of_the_rest_behind_the_warm_up(total, steps, warmup):
    found = rates(total, steps_per_epoch=steps, warmup_epochs=warmup)
    rising = min(round(warmup * steps), total)
    assert len(found) == total
    for step, rate in enumerate(found):
        if step < rising:
            assert rate == pytest.approx(0.4 * (step + 1) / rising)
        else:
            assert rate == pytest.approx(0.4 * math.cos(math.pi / 2 * (step - rising) / (total - rising)) ** 2)


@given(**lengths)
@settings(derandomize=True, deadline=None)
def test_schedules_rise_to_the_peak_and_only_fall_behind_it(total, steps, warmup):
    rising = min(round(warmup * steps), total)
    for schedule in ("cosine", "constant"):
        found = rates(total, steps_per_epoch=steps, warmup_epochs=warmup, schedule=schedule)
        assert found[:rising] == sorted(found[:rising])
        assert found[rising:] == sorted(found[rising:], reverse=True)
        assert all(rate > 0 for rate in found)
        assert not found or max(found) == pytest.approx(0.4)


@given(**lengths)
@settings(derandomize=True, deadline=None)
def test_the_cosine_is_odd_around_its_middle(total, steps, warmup):
    rising = min(round(warmup * steps), total)
    falling = rates(total, steps_per_epoch=steps, warmup_epochs=warmup)[rising:]
    for early, late in zip(falling[1:], reversed(falling[1:]), strict=True):
        assert early + late == pytest.approx(0.4)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_one_update_is_made_at_the_peak(schedule):
    assert rates(1, schedule=schedule) == [0.4]
    assert rates(1, schedule=schedule, warmup_epochs=1) == [0.4]


def test_a_warm_up_as_long_as_the_training_ends_at_the_peak():
    expected = pytest.approx([0.4 * k / 30 for k in range(1, 31)])
    assert rates(30, warmup_epochs=3) == expected
    assert rates(30, warmup_epochs=300) == expected
    assert rates(30, warmup_epochs=3, schedule="constant") == expected


def test_a_warm_up_of_part_of_an_epoch_counts_in_updates():
    assert rates(5, steps_per_epoch=4, warmup_epochs=0.5, schedule="constant") == [0.2, 0.4, 0.4, 0.4, 0.4]


@pytest.mark.parametrize("scaling", ["none", "linear", "sqrt"])
@given(batch_size=st.integers(2, 65_536), total=st.integers(1, 60), warmup=st.floats(0, 9))
@settings(derandomize=True, deadline=None, max_examples=25)
def test_scaling_changes_the_peak_and_no_shape(scaling, batch_size, total, warmup):
    factor = {"none": 1, "linear": batch_size / 256, "sqrt": batch_size**0.5 / 16}[scaling]
    scaled = rates(total, batch_size=batch_size, learning_rate_scaling=scaling, warmup_epochs=warmup)
    assert scaled == pytest.approx([factor * rate for rate in rates(total, warmup_epochs=warmup)])


@pytest.mark.parametrize("scaling", ["none", "linear", "sqrt"])
def test_no_scaling_changes_a_batch_of_256(scaling):
    assert rates(20, batch_size=256, learning_rate_scaling=scaling) == rates(20)
