"""A wrong value given to a loss is a ValueError, a wrong name or type a TypeError: what must hold and what came."""

import math
import re

import jaxtyping
import pytest
import torch
from views_for_tests import NAMES, PAIRWISE, axes, defaults, two_views

from robustness.losses import LOSSES

OUT_OF_RANGE = [
    (name, axis, value)
    for name in NAMES
    for axis, entry in LOSSES[name].space.hyperparameters.items()
    for value in [
        *([] if entry.above is None else [entry.above, entry.above - 1]),
        *([] if entry.least is None else [entry.least - 0.5]),
        *([] if entry.below is None else [entry.below, entry.below + 1]),
        math.nan,
        math.inf,
    ]
]
WITH_AXES = [name for name in NAMES if axes(name)]

every_loss = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def _as_in_use(monkeypatch):
    """Without the type checks that only tests have: the losses' own must do."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@every_loss
@pytest.mark.parametrize("leading", [(), (3,)])
def test_one_image_is_an_error_that_says_what_is_needed_and_what_came(name, leading):
    u, v = two_views(16, *leading, 1, 3)
    with pytest.raises(ValueError, match=r"2.*1"):
        LOSSES[name](u, v, **defaults(name))


@every_loss
@pytest.mark.parametrize("shape", [(5, 4), (4, 3), (2, 5, 3)])
def test_views_of_different_shapes_are_an_error_that_names_both(name, shape):
    u, v = two_views(17, 5, 3)[0], two_views(17, *shape)[0]
    with pytest.raises(ValueError, match=re.escape("5, 3")) as raised:
        LOSSES[name](u, v, **defaults(name))
    assert ", ".join(map(str, shape)) in str(raised.value)


@every_loss
def test_a_single_row_without_images_is_an_error(name):
    u, v = two_views(18, 5)
    with pytest.raises(ValueError, match="5"):
        LOSSES[name](u, v, **defaults(name))


@pytest.mark.parametrize(("name", "axis", "value"), OUT_OF_RANGE)
def test_a_hyperparameter_out_of_its_range_is_an_error_that_names_it_and_the_number(name, axis, value):
    u, v = two_views(19, 5, 3)
    shown = "nan|NaN" if math.isnan(value) else re.escape(f"{value:g}")
    for given in (value, torch.tensor(value, dtype=torch.float64)):
        with pytest.raises(ValueError, match=axis) as raised:
            LOSSES[name](u, v, **{**defaults(name), axis: given})
        assert re.search(shown, str(raised.value))


@pytest.mark.parametrize("name", WITH_AXES)
def test_one_member_with_a_hyperparameter_out_of_range_is_an_error(name):
    u, v = two_views(20, 3, 5, 3)
    axis = axes(name)[0]
    values = torch.tensor([defaults(name)[axis], math.nan, defaults(name)[axis]], dtype=torch.float64)
    with pytest.raises(ValueError, match=axis):
        LOSSES[name](u, v, **{**defaults(name), axis: values})


@pytest.mark.parametrize("name", WITH_AXES)
@pytest.mark.parametrize("value", ["0.5", None, [0.5], 1j, True])
def test_a_hyperparameter_that_is_no_number_is_a_type_error_that_names_it(name, value):
    u, v = two_views(21, 5, 3)
    axis = axes(name)[-1]
    with pytest.raises(TypeError, match=rf"{axis}.*{re.escape(repr(value))}"):
        LOSSES[name](u, v, **{**defaults(name), axis: value})


@pytest.mark.parametrize("name", WITH_AXES)
def test_a_hyperparameter_tensor_that_fits_no_member_is_an_error_that_names_both_shapes(name):
    u, v = two_views(22, 2, 5, 3)
    axis = axes(name)[0]
    wrong = torch.full((3,), defaults(name)[axis], dtype=torch.float64)
    with pytest.raises(ValueError, match=rf"{axis}.*3"):
        LOSSES[name](u, v, **{**defaults(name), axis: wrong})


@every_loss
def test_an_unknown_hyperparameter_is_a_type_error_that_names_it(name):
    u, v = two_views(23, 5, 3)
    with pytest.raises(TypeError, match="warmth"):
        LOSSES[name](u, v, **defaults(name), warmth=0.5)


@pytest.mark.parametrize(("name", "axis"), [(name, axis) for name in NAMES for axis in defaults(name)])
def test_a_missing_hyperparameter_is_a_type_error_that_names_it(name, axis):
    u, v = two_views(24, 5, 3)
    others = {other: value for other, value in defaults(name).items() if other != axis}
    with pytest.raises(TypeError, match=axis):
        LOSSES[name](u, v, **others)


@every_loss
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("view", [0, 1])
def test_embeddings_that_are_not_finite_are_an_error_that_says_so(name, value, view):
    views = two_views(25, 5, 3)
    views[view][2, 1] = value
    with pytest.raises(ValueError, match="finite"):
        LOSSES[name](*views, **defaults(name))


@every_loss
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_embeddings_that_are_not_floating_point_are_an_error_that_names_their_type(name, dtype):
    u, v = (view.to(dtype) for view in two_views(26, 5, 3))
    with pytest.raises(ValueError, match=str(dtype).removeprefix("torch.")):
        LOSSES[name](u, v, **defaults(name))


@every_loss
def test_views_of_different_types_are_an_error_that_names_both(name):
    u, v = two_views(27, 5, 3)
    with pytest.raises(ValueError, match=r"float64.*float32"):
        LOSSES[name](u, v.float(), **defaults(name))


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("tile", [0, -3])
def test_a_tile_without_anchors_is_an_error_that_says_what_came(name, tile):
    u, v = two_views(28, 5, 3)
    with pytest.raises(ValueError, match=rf"tile.*{tile}"):
        LOSSES[name](u, v, tile=tile, **defaults(name))
