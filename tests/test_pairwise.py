"""Tile by tile, a loss is what it is on all pairs at once."""

import math
import weakref

import pytest
import torch
from reference_losses import REFERENCE_LOSSES
from views_for_tests import (
    NAMES,
    PAIRWISE,
    anywhere,
    assert_gradients_close,
    axes,
    bound,
    close,
    defaults,
    hyperparameters_at,
    sampled,
    stacked,
    two_views,
    value_and_gradients,
)

from robustness.losses import LOSSES

every_loss = pytest.mark.parametrize("name", NAMES)
every_pairwise_loss = pytest.mark.parametrize("name", PAIRWISE)

TENSORS = [name for name in PAIRWISE if axes(name)]


def all_gradients(name, u, v, hyperparameters, *, tile, weights=None):
    """Value, gradients of both views and of every hyperparameter, which are tensors; unequal pulls on the members."""
    u, v = u.clone().requires_grad_(), v.clone().requires_grad_()
    leaves = {axis: value.clone().requires_grad_() for axis, value in hyperparameters.items() if axis in axes(name)}
    value = LOSSES[name].compute(u, v, tile=tile, **{**bound(name), **leaves})
    total = (value * (1.0 if weights is None else weights)).sum()
    gradients = torch.autograd.grad(total, (u, v, *leaves.values()), allow_unused=True, materialize_grads=True)
    return value.detach(), *gradients


def numbers_kept_for_backward(name, u, v, *, tile):
    """How many numbers autograd still holds when the value is there."""
    alive = weakref.WeakSet()

    class Kept:
        def __init__(self, tensor):
            self.tensor = tensor
            alive.add(self)

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        value = LOSSES[name].compute(u.requires_grad_(), v.requires_grad_(), tile=tile, **defaults(name))
        assert value.requires_grad
        return sum(kept.tensor.numel() for kept in alive)


def assert_the_same(left, right):
    assert torch.allclose(left[0], right[0], rtol=1e-10, atol=1e-10)
    assert_gradients_close(left[1:], right[1:])


@every_loss
@pytest.mark.parametrize(("num_images", "tile"), [(13, 5), (13, 1), (13, 13), (13, 20), (2, 1), (8, 4)])
def test_tiled_equals_dense_with_gradients_of_views_and_hyperparameters(name, num_images, tile):
    u, v = two_views(41, num_images, 4)
    hyperparameters = stacked([defaults(name)], ())
    dense = all_gradients(name, u, v, hyperparameters, tile=None)
    assert_the_same(all_gradients(name, u, v, hyperparameters, tile=tile), dense)


@every_pairwise_loss
@sampled
@anywhere
def test_tiled_equals_dense_anywhere_in_the_default_space(name, seed, points):
    u, v = two_views(seed, 2 + seed % 7, 3)
    # Not at the very ends: at epsilon 0 the slope of log(epsilon) is not a number.
    hyperparameters = stacked([hyperparameters_at(name, [0.01 + 0.98 * point for point in points])], ())
    dense = all_gradients(name, u, v, hyperparameters, tile=None)
    assert_the_same(all_gradients(name, u, v, hyperparameters, tile=1 + seed % 5), dense)


@every_pairwise_loss
def test_tiled_equals_slow_loops(name):
    u, v = two_views(42, 7, 3)
    expected = REFERENCE_LOSSES[name](u.numpy(), v.numpy(), **defaults(name))
    assert close(LOSSES[name](u, v, tile=3, **defaults(name)), expected)


@every_loss
@pytest.mark.parametrize("shape", [(2, 3), (3,), (2, 1), ()])
def test_tiled_equals_dense_for_members_with_hyperparameters_of_their_own(name, shape):
    u, v = two_views(43, 2, 3, 7, 4)
    weights = two_views(44, 2, 3)[0]
    points = torch.linspace(0.05, 0.95, math.prod(shape), dtype=torch.float64).tolist()
    together = stacked([hyperparameters_at(name, [point] * 3) for point in points], shape)
    dense = all_gradients(name, u, v, together, tile=None, weights=weights)
    tiled = all_gradients(name, u, v, together, tile=3, weights=weights)
    assert tiled[0].shape == (2, 3)
    assert_the_same(tiled, dense)


@every_pairwise_loss
def test_what_is_chosen_for_a_large_batch_keeps_no_matrix_of_pairs_and_a_small_batch_does(name):
    large, small = two_views(45, 530, 4), two_views(45, 20, 4)
    assert numbers_kept_for_backward(name, *large, tile=None) < 530**2 / 4
    assert numbers_kept_for_backward(name, *large, tile=100) < 530**2 / 4
    assert numbers_kept_for_backward(name, *small, tile=None) >= 20**2


@every_pairwise_loss
def test_what_is_chosen_for_a_large_batch_equals_small_tiles(name):
    u, v = two_views(45, 530, 8)
    numbers = stacked([defaults(name)], ())
    chosen = all_gradients(name, u, v, numbers, tile=None)
    assert_the_same(chosen, all_gradients(name, u, v, numbers, tile=100))


@every_loss
@pytest.mark.parametrize("tile", [None, 3])
def test_value_without_gradients_is_the_value_with_them(name, tile):
    u, v = two_views(46, 7, 4)
    value, *_ = value_and_gradients(name, u, v, defaults(name), tile=tile)
    plain = LOSSES[name](u, v, tile=tile, **defaults(name))
    with torch.no_grad():
        silent = LOSSES[name](u.clone().requires_grad_(), v, tile=tile, **defaults(name))
    assert not plain.requires_grad
    assert not silent.requires_grad
    assert close(plain, value, 1e-12)
    assert close(silent, value, 1e-12)


@every_loss
@pytest.mark.parametrize("tile", [None, 3])
def test_one_view_alone_gets_the_gradient_it_gets_with_the_other(name, tile):
    u, v = two_views(47, 7, 4)
    _, *gradients = value_and_gradients(name, u, v, defaults(name), tile=tile)
    alone = u.clone().requires_grad_(), v.clone().requires_grad_()
    values = (
        LOSSES[name](alone[0], v, tile=tile, **defaults(name)),
        LOSSES[name](u, alone[1], tile=tile, **defaults(name)),
    )
    for value, view, expected in zip(values, alone, gradients, strict=True):
        assert_gradients_close(torch.autograd.grad(value, view), [expected])


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("tile", [None, 3])
def test_hyperparameters_alone_get_the_gradients_they_get_with_the_views(name, tile):
    u, v = two_views(48, 7, 4)
    numbers = stacked([defaults(name)], ())
    expected = all_gradients(name, u, v, numbers, tile=tile)[3:]
    leaves = {axis: numbers[axis].clone().requires_grad_() for axis in axes(name)}
    value = LOSSES[name].compute(u, v, tile=tile, **{**bound(name), **leaves})
    if not value.requires_grad:
        assert all(float(gradient) == 0 for gradient in expected)
        return
    gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
    assert_gradients_close(gradients, expected)


@every_pairwise_loss
def test_gradients_accumulate_over_two_uses_of_the_same_views(name):
    u, v = (view.requires_grad_() for view in two_views(49, 7, 4))
    _, *gradients = value_and_gradients(name, u.detach(), v.detach(), defaults(name))
    tiled, dense = (LOSSES[name](u, v, tile=tile, **defaults(name)) for tile in (3, None))
    (2 * tiled - 5 * dense).backward()
    assert_gradients_close([u.grad, v.grad], [-3 * gradient for gradient in gradients])


@every_pairwise_loss
@pytest.mark.parametrize("tile", [None, 2])
def test_a_second_derivative_is_refused_rather_than_wrong(name, tile):
    u, v = (view.requires_grad_() for view in two_views(50, 5, 3))
    (gradient,) = torch.autograd.grad(LOSSES[name](u, v, tile=tile, **defaults(name)), u, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|not require grad|not have been used"):
        torch.autograd.grad(gradient.square().sum(), u)
