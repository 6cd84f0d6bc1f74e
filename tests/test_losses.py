import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import MINIMA, REFERENCE_LOSSES
from torch.nn.functional import normalize

from robustness.losses import LOSSES
from search_spaces.families import SPACES

NAMES = sorted(LOSSES)
DECOUPLED = ["dhel", "kcl_gaussian", "kcl_log", "kcl_imq"]
TEMPERATURE_LOSSES = [name for name in NAMES if name in SPACES and "temperature" in SPACES[name].hyperparameters]
KNOWN_MINIMA = {"info_nce": 0.189339, "nt_xent": 0.348472, "dcl": -0.874907, "dhel": -1.568054}

every_loss = pytest.mark.parametrize("name", NAMES)
in_float32 = pytest.mark.parametrize("views", ["random", "equal views", "all equal", "antipodal"])
anywhere = given(seed=st.integers(0, 2**31 - 1), points=st.lists(st.floats(0, 1), min_size=8, max_size=8))
sampled = settings(derandomize=True, deadline=None, max_examples=25, database=None)


def hyperparameters_at(name, points):
    axes = SPACES[name].hyperparameters
    return {axis: float(axes[axis].dimension.value(point)) for axis, point in zip(axes, points, strict=False)}


def defaults(name):
    return {axis: float(entry.default) for axis, entry in SPACES[name].hyperparameters.items()}


def corners(name):
    num_axes = len(SPACES[name].hyperparameters)
    return [hyperparameters_at(name, point) for point in itertools.product((0.0, 0.5, 1.0), repeat=num_axes)]


def two_views(seed, *shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))


def simplex(num_images, dim):
    """A centred regular simplex on the unit sphere, turned by a random rotation."""
    centred = torch.eye(num_images, dtype=torch.float64) - 1 / num_images
    vertices = torch.linalg.svd(centred).U[:, : num_images - 1] * math.sqrt(num_images / (num_images - 1))
    padded = torch.zeros(num_images, dim, dtype=torch.float64)
    padded[:, : num_images - 1] = vertices
    return padded @ rotation(num_images, dim)


def rotation(seed, dim):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64)).Q


def value_and_gradients(name, u, v, hyperparameters):
    u, v = u.clone().requires_grad_(), v.clone().requires_grad_()
    value = LOSSES[name](u, v, **hyperparameters)
    return value.detach(), *torch.autograd.grad(value.sum(), (u, v))


def close(value, expected, tolerance=1e-10):
    return abs(float(value) - float(expected)) <= tolerance * max(1.0, abs(float(expected)))


def test_every_loss_has_a_reference_a_minimum_and_a_default_space():
    assert set(LOSSES) == set(REFERENCE_LOSSES)
    assert set(LOSSES) == set(MINIMA)
    assert set(LOSSES) <= set(SPACES)


@every_loss
@sampled
@anywhere
def test_loss_equals_slow_loops_anywhere_in_its_default_space(name, seed, points):
    num_images, dim = 2 + seed % 5, 1 + seed % 4
    u, v = two_views(seed, num_images, dim)
    hyperparameters = hyperparameters_at(name, points)
    expected = REFERENCE_LOSSES[name](u.numpy(), v.numpy(), **hyperparameters)
    assert close(LOSSES[name](u, v, **hyperparameters), expected)


@every_loss
def test_loss_equals_slow_loops_on_a_batch_of_65_images(name):
    u, v = two_views(5, 65, 8)
    expected = REFERENCE_LOSSES[name](u.numpy(), v.numpy(), **defaults(name))
    assert close(LOSSES[name](u, v, **defaults(name)), expected)


@every_loss
@sampled
@anywhere
def test_swapping_the_views_changes_nothing(name, seed, points):
    u, v = two_views(seed, 5, 3)
    hyperparameters = hyperparameters_at(name, points)
    value, u_gradient, v_gradient = value_and_gradients(name, u, v, hyperparameters)
    swapped, v_swapped, u_swapped = value_and_gradients(name, v, u, hyperparameters)
    assert close(swapped, value, 1e-12)
    torch.testing.assert_close(u_gradient, u_swapped, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(v_gradient, v_swapped, rtol=1e-9, atol=1e-10)


@every_loss
@sampled
@anywhere
def test_reordering_the_images_changes_nothing(name, seed, points):
    u, v = two_views(seed, 6, 3)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    hyperparameters = hyperparameters_at(name, points)
    loss = LOSSES[name]
    assert close(loss(u[order], v[order], **hyperparameters), loss(u, v, **hyperparameters), 1e-12)


@every_loss
@sampled
@anywhere
def test_a_common_rotation_changes_nothing(name, seed, points):
    u, v = two_views(seed, 5, 3)
    turn = rotation(seed, 3)
    hyperparameters = hyperparameters_at(name, points)
    loss = LOSSES[name]
    assert close(loss(u @ turn, v @ turn, **hyperparameters), loss(u, v, **hyperparameters), 1e-11)


@every_loss
@sampled
@anywhere
def test_positive_rescaling_of_rows_changes_nothing(name, seed, points):
    u, v = two_views(seed, 5, 3)
    factors, other_factors = (3 * row_noise[:, :1] for row_noise in two_views(seed + 1, 5, 3))
    hyperparameters = hyperparameters_at(name, points)
    loss = LOSSES[name]
    rescaled = loss(u * factors.exp(), v * other_factors.exp(), **hyperparameters)
    assert close(rescaled, loss(u, v, **hyperparameters), 1e-11)


@every_loss
@pytest.mark.parametrize("point", [0.0, None, 1.0])
def test_gradient_equals_finite_differences(name, point):
    hyperparameters = defaults(name) if point is None else hyperparameters_at(name, [point] * 8)
    u, v = (view.requires_grad_() for view in two_views(3, 4, 3))
    assert torch.autograd.gradcheck(lambda a, b: LOSSES[name](a, b, **hyperparameters), (u, v))


@every_loss
@pytest.mark.parametrize(("num_images", "dim"), [(2, 1), (2, 3), (3, 2), (4, 3), (4, 7), (8, 7), (9, 16)])
def test_simplex_value_is_the_closed_form_minimum_and_its_gradient_is_zero(name, num_images, dim):
    u = simplex(num_images, dim)
    for hyperparameters in [defaults(name), *corners(name)]:
        value, u_gradient, v_gradient = value_and_gradients(name, u, u, hyperparameters)
        assert close(value, MINIMA[name](num_images, hyperparameters))
        assert u_gradient.abs().max() < 1e-7
        assert v_gradient.abs().max() < 1e-7


@every_loss
@sampled
@anywhere
def test_no_perturbation_of_the_simplex_goes_below_its_minimum(name, seed, points):
    num_images, dim = 2 + seed % 4, 4
    hyperparameters = hyperparameters_at(name, points)
    minimum = MINIMA[name](num_images, hyperparameters)
    u, (u_noise, v_noise) = simplex(num_images, dim), two_views(seed, num_images, dim)
    for scale in (1e-4, 1e-2, 1.0, 100.0):
        perturbed = float(LOSSES[name](u + scale * u_noise, u + scale * v_noise, **hyperparameters))
        assert perturbed >= minimum - 1e-10 * max(1.0, abs(minimum))


@pytest.mark.parametrize("name", sorted(KNOWN_MINIMA))
def test_simplex_of_four_images_at_temperature_one_half_has_its_known_value(name):
    u = simplex(4, 3)
    assert float(LOSSES[name](u, u, temperature=0.5)) == pytest.approx(KNOWN_MINIMA[name], abs=5e-7)
    assert MINIMA[name](4, {"temperature": 0.5}) == pytest.approx(KNOWN_MINIMA[name], abs=5e-7)


@every_loss
def test_each_member_has_the_value_and_gradient_it_has_alone(name):
    u, v = two_views(11, 3, 6, 4)
    alone = [hyperparameters_at(name, [point] * 8) for point in (0.1, 0.5, 0.9)]
    together = {axis: torch.tensor([one[axis] for one in alone], dtype=torch.float64) for axis in alone[0]}
    values, u_gradients, v_gradients = value_and_gradients(name, u, v, together)
    assert values.shape == (3,)
    for member, hyperparameters in enumerate(alone):
        value, u_gradient, v_gradient = value_and_gradients(name, u[member], v[member], hyperparameters)
        assert value.shape == ()
        assert close(values[member], value, 1e-12)
        torch.testing.assert_close(u_gradients[member], u_gradient, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(v_gradients[member], v_gradient, rtol=1e-10, atol=1e-12)


@every_loss
@pytest.mark.parametrize("shape", [(), (3,), (2, 1), (2, 3), (1, 3)])
def test_hyperparameters_broadcast_against_two_leading_axes(name, shape):
    u, v = two_views(12, 2, 3, 5, 4)
    grid = torch.linspace(0, 1, math.prod(shape), dtype=torch.float64).flatten().tolist()
    settings_of_members = [hyperparameters_at(name, [point] * 8) for point in grid]
    together = {
        axis: torch.tensor([one[axis] for one in settings_of_members], dtype=torch.float64).reshape(shape)
        for axis in settings_of_members[0]
    }
    values = LOSSES[name](u, v, **together)
    assert values.shape == (2, 3)
    for a, b in itertools.product(range(2), range(3)):
        own = {axis: float(value.broadcast_to(2, 3)[a, b]) for axis, value in together.items()}
        assert close(values[a, b], LOSSES[name](u[a, b], v[a, b], **own), 1e-12)


@every_loss
def test_a_member_of_nan_leaves_the_other_members_as_they_are(name):
    u, v = two_views(13, 3, 6, 4)
    broken = u.clone()
    broken[1] = math.nan
    before, after = (value_and_gradients(name, first, v, defaults(name)) for first in (u, broken))
    for left, right in zip(before, after, strict=True):
        torch.testing.assert_close(right[[0, 2]], left[[0, 2]], rtol=1e-12, atol=1e-13)


def extreme_views(views):
    u, v = two_views(14, 256, 16, dtype=torch.float32)
    if views == "all equal":
        return u[:1].repeat(256, 1), u[:1].repeat(256, 1)
    return u, {"random": v, "equal views": u, "antipodal": -u}[views]


@every_loss
@in_float32
def test_value_and_gradient_are_finite_and_right_in_float32_everywhere_in_the_default_space(name, views):
    u, v = extreme_views(views)
    for hyperparameters in [defaults(name), *corners(name)]:
        value, u_gradient, v_gradient = value_and_gradients(name, u, v, hyperparameters)
        assert value.dtype == torch.float32
        assert close(value, LOSSES[name](u.double(), v.double(), **hyperparameters), 1e-3)
        assert torch.isfinite(u_gradient).all()
        assert torch.isfinite(v_gradient).all()


@pytest.mark.parametrize("name", TEMPERATURE_LOSSES)
@in_float32
def test_value_and_gradient_are_finite_and_right_in_float32_at_temperature_one_hundredth(name, views):
    u, v = extreme_views(views)
    hyperparameters = {**defaults(name), "temperature": 0.01}
    value, u_gradient, v_gradient = value_and_gradients(name, u, v, hyperparameters)
    assert close(value, LOSSES[name](u.double(), v.double(), **hyperparameters), 1e-3)
    assert torch.isfinite(u_gradient).all()
    assert torch.isfinite(v_gradient).all()


@every_loss
def test_two_images_are_enough(name):
    u, v = two_views(15, 2, 3)
    value, u_gradient, v_gradient = value_and_gradients(name, u, v, defaults(name))
    assert close(value, REFERENCE_LOSSES[name](u.numpy(), v.numpy(), **defaults(name)))
    assert torch.isfinite(u_gradient).all()
    assert torch.isfinite(v_gradient).all()


@every_loss
@pytest.mark.parametrize("leading", [(), (3,)])
def test_one_image_is_an_error_that_says_what_is_needed_and_what_came(name, leading):
    u, v = two_views(16, *leading, 1, 3)
    with pytest.raises(ValueError, match=r"2.*1"):
        LOSSES[name](u, v, **defaults(name))


@pytest.mark.parametrize("name", DECOUPLED)
def test_moving_other_images_of_view_1_leaves_the_gradient_at_an_image_of_view_2(name):
    u, v = two_views(17, 6, 4)
    moved = u + two_views(18, 6, 4)[0]
    moved[2] = u[2]
    gradient = value_and_gradients(name, u, v, defaults(name))[2]
    gradient_moved = value_and_gradients(name, moved, v, defaults(name))[2]
    torch.testing.assert_close(gradient_moved[2], gradient[2], rtol=1e-10, atol=1e-12)
    assert (gradient_moved - gradient).abs().amax(-1)[[0, 1, 3, 4, 5]].min() > 1e-9


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_dhel_gradient_is_the_pull_of_the_own_positive_plus_half_the_push_of_the_own_view(temperature):
    num_images = 5
    u, v = (normalize(view, dim=-1) for view in two_views(19, num_images, 4))
    gradient = value_and_gradients("dhel", u, v, {"temperature": temperature})[2]
    weights = np.zeros((num_images, num_images))
    for i, j in itertools.permutations(range(num_images), 2):
        weights[i, j] = math.exp(float(v[i] @ v[j]) / temperature)
    weights /= weights.sum(1, keepdims=True)
    for i in range(num_images):
        pull = -u[i] / (temperature * num_images)
        push = sum((weights[i, j] + weights[j, i]) * v[j] for j in range(num_images) if j != i)
        ambient = pull + push / (2 * temperature * num_images)
        torch.testing.assert_close(gradient[i], ambient - (ambient @ v[i]) * v[i], rtol=1e-9, atol=1e-11)
