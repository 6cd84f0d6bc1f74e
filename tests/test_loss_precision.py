"""Losses in float32 and below: finite everywhere, and right wherever the number itself is not lost."""

import pytest
import torch
from views_for_tests import NAMES, axes, close, corners, defaults, two_views, value_and_gradients

from robustness.losses import LOSSES

VIEWS = ["random", "equal views", "all equal", "antipodal"]
HALF = [torch.bfloat16, torch.float16]
TEMPERATURE_LOSSES = [name for name in NAMES if "temperature" in axes(name)]

TOLERANCE = 5e-4
"""Of float32 against float64; the largest difference is 2.4e-4, of kcl_log with all embeddings equal."""

EXCEPTIONS = {
    ("temperature_free", "all equal"): (1e-2, "2 artanh near 1 - 1e-6: one rounding of s is a tenth of 1 - s"),
    ("temperature_free", "antipodal"): (1e-2, "the same near -1"),
    ("kcl_gaussian_riesz", "all equal"): (None, "r^(-order/2) at r = 0 is what the floor of 8 eps makes it"),
}
"""(family, views): the tolerance there, None where the number depends on the dtype by definition; and why."""

every_loss = pytest.mark.parametrize("name", NAMES)
every_view = pytest.mark.parametrize("views", VIEWS)


def extreme_views(views):
    u, v = two_views(14, 256, 16, dtype=torch.float32)
    if views == "all equal":
        return u[:1].repeat(256, 1), u[:1].repeat(256, 1)
    return u, {"random": v, "equal views": u, "antipodal": -u}[views]


def assert_finite_and_right(name, views, hyperparameters):
    u, v = extreme_views(views)
    value, *gradients = value_and_gradients(name, u, v, hyperparameters)
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    tolerance, _ = EXCEPTIONS.get((name, views), (TOLERANCE, ""))
    if tolerance is not None:
        assert close(value, LOSSES[name](u.double(), v.double(), **hyperparameters), tolerance), hyperparameters


@every_loss
@every_view
def test_value_and_gradient_are_finite_and_right_in_float32_at_the_ends_of_the_default_space(name, views):
    for hyperparameters in [defaults(name), *corners(name)]:
        assert_finite_and_right(name, views, hyperparameters)


@pytest.mark.parametrize("name", TEMPERATURE_LOSSES)
@every_view
def test_value_and_gradient_are_finite_and_right_in_float32_at_temperature_one_hundredth(name, views):
    for hyperparameters in [defaults(name), *corners(name)]:
        assert_finite_and_right(name, views, {**hyperparameters, "temperature": 0.01})


@every_loss
@every_view
def test_tiles_are_finite_and_equal_to_dense_in_float32_too(name, views):
    u, v = (view[:50] for view in extreme_views(views))
    coldest = [{**defaults(name), "temperature": 0.01}] if name in TEMPERATURE_LOSSES else []
    for hyperparameters in [defaults(name), *corners(name), *coldest]:
        dense = value_and_gradients(name, u, v, hyperparameters)
        tiled = value_and_gradients(name, u, v, hyperparameters, tile=20)
        assert all(torch.isfinite(part).all() for part in tiled)
        assert close(tiled[0], dense[0], EXCEPTIONS.get((name, views), (1e-4, ""))[0] or TOLERANCE), hyperparameters


def value_and_gradients_under_autocast(name, u, v, dtype, tile, *, enabled=True):
    """The backward pass is outside, as torch asks for: inside it, products of matrices are cast whatever we do."""
    u, v = u.clone().requires_grad_(), v.clone().requires_grad_()
    with torch.autocast("cpu", dtype, enabled=enabled):
        value = LOSSES[name].compute(u, v, tile=tile, **defaults(name))
    return value.detach(), *torch.autograd.grad(value, (u, v))


@every_loss
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("tile", [None, 5])
def test_autocast_changes_nothing(name, dtype, tile):
    u, v = two_views(51, 12, 8, dtype=torch.float32)
    plain = value_and_gradients(name, u, v, defaults(name), tile=tile)
    cast = value_and_gradients_under_autocast(name, u, v, dtype, tile)
    assert cast[0].dtype == torch.float32
    for left, right in zip(cast, plain, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)


@every_loss
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("tile", [None, 5])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_embeddings_are_compared_in_float32(name, dtype, tile, autocast):
    u, v = two_views(52, 12, 8, dtype=dtype)
    expected = value_and_gradients(name, u.float(), v.float(), defaults(name), tile=tile)
    value, *gradients = value_and_gradients_under_autocast(name, u, v, dtype, tile, enabled=autocast)
    assert value.dtype == torch.float32
    assert close(value, expected[0], 1e-5)
    for gradient, right in zip(gradients, expected[1:], strict=True):
        assert gradient.dtype == dtype
        assert torch.isfinite(gradient).all()
        torch.testing.assert_close(gradient.float(), right, rtol=2e-2, atol=1e-5)


@every_loss
@pytest.mark.parametrize("dtype", HALF)
def test_gradients_of_collapsed_half_precision_embeddings_are_finite(name, dtype):
    u = two_views(53, 1, 8, dtype=dtype)[0].repeat(12, 1)
    for v in (u, -u):
        assert all(torch.isfinite(part).all() for part in value_and_gradients(name, u, v, defaults(name)))


@every_loss
def test_float32_tensors_as_hyperparameters_are_the_same_as_numbers(name):
    u, v = two_views(54, 12, 8, dtype=torch.float32)
    tensors = {axis: torch.tensor(value) for axis, value in defaults(name).items()}
    value = LOSSES[name](u, v, **tensors)
    assert value.dtype == torch.float32
    assert close(value, LOSSES[name](u, v, **defaults(name)), 1e-6)
