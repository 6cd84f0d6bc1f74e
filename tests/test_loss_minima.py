import pytest
import torch
from reference_minima import MINIMA
from views_for_tests import (
    NAMES,
    anywhere,
    close,
    corners,
    defaults,
    hyperparameters_at,
    sampled,
    simplex,
    two_views,
    value_and_gradients,
)

from robustness.losses import LOSSES

KNOWN_MINIMA = {"info_nce": 0.189339, "nt_xent": 0.348472, "dcl": -0.874907, "dhel": -1.568054, "dhel_sum": -1.136109}
NO_KNOWN_MINIMUM = {
    "barlow_twins": "0 is approached as the variance grows, not reached",
    "modified_triplet": "a sigmoid is not convex: the simplex need not be best",
    "siglip": "for a small bias or temperature other configurations are better (Lee et al., 2024)",
    "spectral": "smallest at orthogonal embeddings, not at a simplex: a test of its own",
    "vicreg": "0 at decorrelated dimensions: a test in test_losses.py",
}
CUSPS = {
    "kcl_riesz": "r^(order/2) has an infinite slope at r = 0",
    "kcl_laplace": "sqrt(r) has an infinite slope at r = 0",
    "align_uniform": "|u - v| has a kink at 0 for an exponent of 1",
}

every_minimum = pytest.mark.parametrize("name", sorted(MINIMA))
sizes = pytest.mark.parametrize(("num_images", "dim"), [(2, 1), (3, 2), (4, 7), (8, 7)])


def with_all_images(hyperparameters, num_images):
    """The penalty of `nt_xent_vrns` is least on a simplex of all N images: here N = M."""
    return {axis: float(num_images) if axis == "num_images" else value for axis, value in hyperparameters.items()}


def settings_of(name, num_images):
    return [with_all_images(hyperparameters, num_images) for hyperparameters in [defaults(name), *corners(name)]]


def test_every_loss_has_a_known_minimum_or_a_reason_why_not():
    assert set(MINIMA) | set(NO_KNOWN_MINIMUM) == set(NAMES)
    assert not set(MINIMA) & set(NO_KNOWN_MINIMUM)


@every_minimum
@sizes
def test_simplex_value_is_the_closed_form_minimum(name, num_images, dim):
    u = simplex(num_images, dim)
    for hyperparameters in settings_of(name, num_images):
        assert close(LOSSES[name](u, u, **hyperparameters), MINIMA[name](num_images, hyperparameters))


@pytest.mark.parametrize("name", sorted(set(MINIMA) - set(CUSPS)))
@sizes
def test_gradient_at_the_simplex_is_zero(name, num_images, dim):
    u = simplex(num_images, dim)
    for hyperparameters in settings_of(name, num_images):
        _, *gradients = value_and_gradients(name, u, u, hyperparameters)
        assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-7


def test_gradient_of_align_uniform_at_the_simplex_is_zero_for_exponents_of_two_and_more():
    u = simplex(4, 7)
    for exponent in (2.0, 3.0, 4.0):
        _, *gradients = value_and_gradients("align_uniform", u, u, {**defaults("align_uniform"), "exponent": exponent})
        assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-7


@every_minimum
@sampled
@anywhere
def test_no_perturbation_of_the_simplex_goes_below_its_minimum(name, seed, points):
    num_images, dim = 2 + seed % 4, 4
    hyperparameters = with_all_images(hyperparameters_at(name, points), num_images)
    minimum = MINIMA[name](num_images, hyperparameters)
    u, (u_noise, v_noise) = simplex(num_images, dim), two_views(seed, num_images, dim)
    for scale in (1e-4, 1e-2, 1.0, 100.0):
        perturbed = float(LOSSES[name](u + scale * u_noise, u + scale * v_noise, **hyperparameters))
        assert perturbed >= minimum - 1e-10 * max(1.0, abs(minimum))


@pytest.mark.parametrize("name", sorted(CUSPS))
def test_every_small_perturbation_of_a_cusp_raises_the_value(name):
    u = simplex(4, 5)
    for hyperparameters in settings_of(name, 4):
        minimum = MINIMA[name](4, hyperparameters)
        for seed, scale in enumerate((1e-4, 1e-3, 1e-2, 1e-1)):
            u_noise, v_noise = two_views(seed, 4, 5)
            raised = float(LOSSES[name](u + scale * u_noise, u + scale * v_noise, **hyperparameters)) - minimum
            assert raised > 1e-11


@every_minimum
def test_descent_from_random_starts_does_not_go_below_the_minimum(name):
    """Eight starts at once, as members; the best of them comes close unless pulls die out far from u = v."""
    num_images, dim = 4, 3
    hyperparameters = with_all_images(defaults(name), num_images)
    u, v = (view.requires_grad_() for view in two_views(21, 8, num_images, dim))
    descent = torch.optim.Adam([u, v], lr=0.05)
    for _ in range(120):
        descent.zero_grad()
        values = LOSSES[name].compute(u, v, **hyperparameters)
        values.sum().backward()
        descent.step()
    minimum = MINIMA[name](num_images, hyperparameters)
    best = float(LOSSES[name](u.detach(), v.detach(), **hyperparameters).min())
    assert best >= minimum - 1e-10 * max(1.0, abs(minimum))
    assert best <= minimum + 0.1 * max(1.0, abs(minimum))


@pytest.mark.parametrize("name", sorted(KNOWN_MINIMA))
def test_simplex_of_four_images_at_temperature_one_half_has_its_known_value(name):
    u = simplex(4, 3)
    assert float(LOSSES[name](u, u, temperature=0.5)) == pytest.approx(KNOWN_MINIMA[name], abs=5e-7)
    assert MINIMA[name](4, {"temperature": 0.5}) == pytest.approx(KNOWN_MINIMA[name], abs=5e-7)


@pytest.mark.parametrize("scale", [0.5, 1.0, 16.0])
def test_spectral_is_smallest_at_equal_orthogonal_embeddings(scale):
    u = torch.eye(5, dtype=torch.float64)[:3]
    value, *gradients = value_and_gradients("spectral", u, u, {"scale": scale})
    assert close(value, -2 * scale)
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-12
    for seed in range(20):
        u_noise, v_noise = two_views(seed, 3, 5)
        assert float(LOSSES["spectral"](u + 0.1 * u_noise, u + 0.1 * v_noise, scale=scale)) > float(value)
