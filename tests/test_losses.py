import math

import pytest
import torch
from reference_losses import REFERENCE_LOSSES
from reference_minima import MINIMA
from views_for_tests import (
    FROZEN_WEIGHTS,
    NAMES,
    ONE_SIDED,
    PAIRWISE,
    PER_DIMENSION,
    anywhere,
    assert_gradients_close,
    axes,
    bound,
    close,
    defaults,
    hyperparameters_at,
    members,
    rotation,
    sampled,
    stacked,
    two_views,
    value_and_gradients,
)

from robustness.losses import LOSSES
from search_spaces.families import SPACES

TWO_SIDED = [name for name in NAMES if name not in ONE_SIDED]
DIFFERENTIABLE = [name for name in NAMES if name not in FROZEN_WEIGHTS]
WITH_HYPERPARAMETERS = [name for name in NAMES if axes(name)]
OWN_VIEW_ENERGY = ["dhel", "dhel_sum", *(name for name in NAMES if name.startswith("kcl_")), "align_uniform"]

every_loss = pytest.mark.parametrize("name", NAMES)
every_pairwise_loss = pytest.mark.parametrize("name", PAIRWISE)


def expected_value(name, u, v, hyperparameters):
    return REFERENCE_LOSSES[name](u.numpy(), v.numpy(), **hyperparameters)


def test_every_loss_has_a_reference_and_a_default_space():
    assert set(LOSSES) == set(REFERENCE_LOSSES) == set(SPACES)
    assert set(MINIMA) <= set(LOSSES)
    for name, loss in LOSSES.items():
        assert loss.space is SPACES[name]


@every_loss
@sampled
@anywhere
def test_loss_equals_slow_loops_anywhere_in_its_default_space(name, seed, points):
    u, v = two_views(seed, 2 + seed % 5, 1 + seed % 4)
    hyperparameters = hyperparameters_at(name, points)
    assert close(LOSSES[name](u, v, **hyperparameters), expected_value(name, u, v, hyperparameters))


@every_loss
def test_loss_equals_slow_loops_on_a_batch_of_33_images(name):
    u, v = two_views(5, 33, 8)
    assert close(LOSSES[name](u, v, **defaults(name)), expected_value(name, u, v, defaults(name)))


@every_loss
def test_loss_equals_slow_loops_where_rows_are_far_from_length_1(name):
    u, v = two_views(6, 7, 3)
    u, v = 3 * u, v / 50
    assert close(LOSSES[name](u, v, **defaults(name)), expected_value(name, u, v, defaults(name)))


@pytest.mark.parametrize("name", TWO_SIDED)
@sampled
@anywhere
def test_swapping_the_views_changes_nothing(name, seed, points):
    u, v = two_views(seed, 5, 3)
    hyperparameters = hyperparameters_at(name, points)
    value, *gradients = value_and_gradients(name, u, v, hyperparameters)
    swapped, *swapped_gradients = value_and_gradients(name, v, u, hyperparameters)
    assert close(swapped, value, 1e-12)
    assert_gradients_close(swapped_gradients[::-1], gradients)


@pytest.mark.parametrize("name", ONE_SIDED)
def test_swapping_the_views_of_a_one_sided_loss_changes_it_and_the_mean_of_both_orders_is_the_two_sided_loss(name):
    u, v = two_views(7, 5, 3)
    forth, back = (LOSSES[name](*views, temperature=0.2) for views in ((u, v), (v, u)))
    assert abs(float(forth - back)) > 1e-3
    assert close((forth + back) / 2, LOSSES[name.removesuffix("_one_sided")](u, v, temperature=0.2), 1e-12)


@every_loss
@sampled
@anywhere
def test_reordering_the_images_reorders_the_gradients_and_changes_nothing_else(name, seed, points):
    u, v = two_views(seed, 6, 3)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    hyperparameters = hyperparameters_at(name, points)
    value, *gradients = value_and_gradients(name, u, v, hyperparameters)
    reordered, *reordered_gradients = value_and_gradients(name, u[order], v[order], hyperparameters)
    assert close(reordered, value, 1e-12)
    assert_gradients_close(reordered_gradients, [gradient[order] for gradient in gradients])


@every_pairwise_loss
@sampled
@anywhere
def test_a_common_rotation_changes_nothing(name, seed, points):
    u, v = two_views(seed, 5, 3)
    turn, hyperparameters = rotation(seed, 3), hyperparameters_at(name, points)
    loss = LOSSES[name]
    assert close(loss(u @ turn, v @ turn, **hyperparameters), loss(u, v, **hyperparameters), 1e-11)


@every_pairwise_loss
@sampled
@anywhere
def test_positive_rescaling_of_rows_changes_nothing(name, seed, points):
    u, v = two_views(seed, 5, 3)
    factors, other_factors = (3 * noise[:, :1] for noise in two_views(seed + 1, 5, 3))
    hyperparameters, loss = hyperparameters_at(name, points), LOSSES[name]
    rescaled = loss(u * factors.exp(), v * other_factors.exp(), **hyperparameters)
    assert close(rescaled, loss(u, v, **hyperparameters), 1e-11)


@pytest.mark.parametrize("name", PER_DIMENSION)
@sampled
@anywhere
def test_per_dimension_losses_change_under_rotation_but_not_under_reordered_flipped_or_shifted_dimensions(
    name, seed, points
):
    u, v = two_views(seed, 6, 4)
    hyperparameters, loss = hyperparameters_at(name, points), LOSSES[name]
    value = loss(u, v, **hyperparameters)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(4, generator=generator)
    signs = torch.randint(0, 2, (4,), generator=generator) * 2.0 - 1
    shift = torch.randn(4, generator=generator, dtype=torch.float64)
    for a, b in ((u[:, order], v[:, order]), (u * signs, v * signs), (u + shift, v + shift)):
        assert close(loss(a, b, **hyperparameters), value, 1e-11)
    turn = rotation(seed, 4)
    assert not close(loss(u @ turn, v @ turn, **hyperparameters), value, 1e-6)


def test_barlow_twins_of_whitened_equal_views_is_what_the_variance_floor_leaves():
    white = torch.linalg.qr(two_views(8, 12, 4)[0] - two_views(8, 12, 4)[0].mean(0)).Q
    value = LOSSES["barlow_twins"](3 * white, 3 * white, redundancy_weight=0.3)
    variance = 9 / 12
    assert close(value, 4 * (1e-5 / (variance + 1e-5)) ** 2, 1e-14)


def test_vicreg_of_equal_decorrelated_views_of_deviation_above_one_is_zero():
    white = torch.linalg.qr(two_views(8, 12, 4)[0] - two_views(8, 12, 4)[0].mean(0)).Q
    assert abs(float(LOSSES["vicreg"](4 * white, 4 * white, **defaults("vicreg")))) < 1e-25
    short = float(LOSSES["vicreg"](2 * white, 2 * white, **defaults("vicreg")))
    assert short == pytest.approx(25 * 2 * (1 - math.sqrt(4 / 11 + 1e-4)))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("point", [0.0, None, 1.0])
def test_gradient_with_respect_to_views_and_hyperparameters_equals_finite_differences(name, point):
    inside = 0.02 + 0.96 * (0.0 if point is None else point)
    numbers = defaults(name) if point is None else hyperparameters_at(name, [inside] * 3)
    names = axes(name)
    tensors = [torch.tensor(numbers[axis], dtype=torch.float64, requires_grad=True) for axis in names]

    def value(a, b, *values):
        return LOSSES[name].compute(a, b, **bound(name), **dict(zip(names, values, strict=True)))

    u, v = (view.requires_grad_() for view in two_views(3, 4, 3))
    assert torch.autograd.gradcheck(value, (u, v, *tensors))


@every_loss
def test_each_member_has_the_value_and_gradient_it_has_alone(name):
    u, v = two_views(11, 3, 6, 4)
    alone = [hyperparameters_at(name, [point] * 3) for point in (0.1, 0.5, 0.9)]
    values, *gradients = value_and_gradients(name, u, v, stacked(alone))
    assert values.shape == (3,)
    for member, hyperparameters in enumerate(alone):
        value, *own_gradients = value_and_gradients(name, u[member], v[member], hyperparameters)
        assert value.shape == ()
        assert close(values[member], value, 1e-12)
        assert_gradients_close([gradient[member] for gradient in gradients], own_gradients)


@pytest.mark.parametrize("name", WITH_HYPERPARAMETERS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 1), (2, 3), (1, 3)])
def test_hyperparameters_broadcast_against_two_leading_axes(name, shape):
    u, v = two_views(12, 2, 3, 5, 4)
    grid = torch.linspace(0, 1, math.prod(shape), dtype=torch.float64).flatten().tolist()
    together = stacked([hyperparameters_at(name, [point] * 3) for point in grid], shape)
    values = LOSSES[name](u, v, **together)
    assert values.shape == (2, 3)
    for member in members((2, 3)):
        own = {axis: float(value.broadcast_to(2, 3)[member]) for axis, value in together.items()}
        assert close(values[member], LOSSES[name](u[member], v[member], **own), 1e-12)


@every_loss
@pytest.mark.parametrize("tile", [None, 4])
def test_a_member_of_nan_leaves_the_other_members_as_they_are(name, tile):
    u, v = two_views(13, 3, 6, 4)
    broken = u.clone()
    broken[1] = math.nan
    before = value_and_gradients(name, u, v, defaults(name), tile=tile)
    after = value_and_gradients(name, broken, v, defaults(name), tile=tile)
    assert math.isnan(after[0][1])
    for left, right in zip(before, after, strict=True):
        torch.testing.assert_close(right[[0, 2]], left[[0, 2]], rtol=1e-12, atol=1e-13)


@every_loss
def test_two_images_are_enough(name):
    u, v = two_views(15, 2, 3)
    value, *gradients = value_and_gradients(name, u, v, defaults(name))
    assert close(value, expected_value(name, u, v, defaults(name)))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@every_loss
def test_one_tensor_as_both_views_gets_the_gradients_of_both(name):
    u = two_views(16, 5, 3)[0]
    _, *gradients = value_and_gradients(name, u, u, defaults(name))
    both = u.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(LOSSES[name](both, both, **defaults(name)), both)
    assert_gradients_close([gradient], [gradients[0] + gradients[1]])


@every_loss
def test_the_inputs_and_hyperparameters_are_left_as_they_were(name):
    u, v = two_views(17, 5, 3)
    kept, hyperparameters = (u.clone(), v.clone()), stacked([defaults(name)], ())
    kept_hyperparameters = {axis: value.clone() for axis, value in hyperparameters.items()}
    LOSSES[name](u, v, **hyperparameters)
    assert torch.equal(u, kept[0])
    assert torch.equal(v, kept[1])
    assert all(torch.equal(hyperparameters[axis], value) for axis, value in kept_hyperparameters.items())


@pytest.mark.parametrize("name", OWN_VIEW_ENERGY)
def test_moving_other_images_of_view_1_leaves_the_gradient_at_an_image_of_view_2(name):
    u, v = two_views(17, 6, 4)
    moved = u + two_views(18, 6, 4)[0]
    moved[2] = u[2]
    gradient = value_and_gradients(name, u, v, defaults(name))[2]
    gradient_moved = value_and_gradients(name, moved, v, defaults(name))[2]
    torch.testing.assert_close(gradient_moved[2], gradient[2], rtol=1e-10, atol=1e-12)
    assert (gradient_moved - gradient).abs().amax(-1)[[0, 1, 3, 4, 5]].min() > 1e-9
