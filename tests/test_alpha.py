"""Pair weights, and what ties the families to each other."""

import itertools
import math

import numpy as np
import pytest
import torch
from reference_losses import pair_weights
from torch.nn.functional import normalize
from views_for_tests import (
    anywhere,
    assert_gradients_close,
    close,
    corners,
    defaults,
    hyperparameters_at,
    sampled,
    two_views,
    value_and_gradients,
)

from robustness.losses import LOSSES

ALPHA = ["alpha_direct", "alpha_direct_backprop", "alpha_entropy", "alpha_inverse", "alpha_square"]
FROZEN = [name for name in ALPHA if name != "alpha_direct_backprop"]
TEMPERATURES = [0.01, 0.05, 0.5, 5.0, 500.0]

# name -> hyperparameters -> (derivative of phi, derivative of psi)
PHI_PSI = {
    "info_nce_epsilon": lambda at: (
        lambda xi: at["temperature"] / (at["epsilon"] + xi),
        lambda x: math.exp(x / at["temperature"]) / at["temperature"],
    ),
    "mine": lambda at: (lambda xi: 1 / xi, math.exp),
    "triplet": lambda at: (lambda xi: 1.0, lambda x: float(x + at["margin"] > 0)),
    "soft_triplet": lambda at: (
        lambda xi: at["temperature"] / (1 + xi),
        lambda x: math.exp(x / at["temperature"] + at["margin"]) / at["temperature"],
    ),
    "n_plus_one_tuplet": lambda at: (lambda xi: 1 / (1 + xi), math.exp),
    "lifted_structured": lambda at: (
        lambda xi: 2 * max(math.log(xi), 0.0) / xi,
        lambda x: math.exp(x + at["margin"]),
    ),
    "modified_triplet": lambda at: (
        lambda xi: 1.0,
        lambda x: at["slope"] / (2 + math.exp(at["slope"] * x) + math.exp(-at["slope"] * x)),
    ),
    "triplet_contrastive": lambda at: (lambda xi: 1.0, lambda x: 1.0),
}
# xi = sum_j psi(x_ij) from x, as the table has it
PSI = {
    "info_nce_epsilon": lambda x, at: math.exp(x / at["temperature"]),
    "mine": lambda x, at: math.exp(x),
    "triplet": lambda x, at: max(x + at["margin"], 0.0),
    "soft_triplet": lambda x, at: math.exp(x / at["temperature"] + at["margin"]),
    "n_plus_one_tuplet": lambda x, at: math.exp(x),
    "lifted_structured": lambda x, at: math.exp(x + at["margin"]),
    "modified_triplet": lambda x, at: 1 / (1 + math.exp(-at["slope"] * x)),
    "triplet_contrastive": lambda x, at: x,
}


def cosines_and_positive(z):
    unit = normalize(z, dim=-1)
    return unit @ unit.T, torch.arange(len(z)).roll(len(z) // 2)


def weights_of_every_anchor(u, v, row):
    """2M x 2M; `row` maps (cosine of the positive, cosines of the negatives) to weights of the negatives."""
    cosines, positive = cosines_and_positive(torch.cat([u, v]))
    weights = torch.zeros_like(cosines)
    for i in range(len(cosines)):
        negatives = [j for j in range(len(cosines)) if j not in (i, int(positive[i]))]
        own = row(float(cosines[i, positive[i]]), [float(cosines[i, j]) for j in negatives])
        weights[i, negatives] = torch.tensor(own, dtype=torch.float64)
    return weights


def energy_and_gradients(u, v, weights):
    """-E_alpha/(2M) = mean over anchors of sum_j alpha_ij (s_ij - s_i), the weights held fixed."""
    u, v = u.clone().requires_grad_(), v.clone().requires_grad_()
    cosines, positive = cosines_and_positive(torch.cat([u, v]))
    differences = cosines - cosines.gather(1, positive[:, None])
    value = (weights * differences).sum() / len(cosines)
    return value.detach(), *torch.autograd.grad(value, (u, v))


def coefficients(u, v, gradients):
    """The gradient at each unit row as a combination of all rows, which must be linearly independent."""
    rows, pull = torch.cat([u, v]), torch.cat(list(gradients))
    return torch.linalg.lstsq(rows.T, pull.T).solution.T


def projected_onto_the_simplex(x):
    """The nearest point with entries >= 0 and sum 1, by sorting (Held, Wolfe & Crowder, 1974)."""
    ordered = np.sort(x)[::-1]
    excess = (np.cumsum(ordered) - 1) / np.arange(1, len(x) + 1)
    return np.maximum(x - excess[np.nonzero(ordered > excess)[0][-1]], 0)


@pytest.mark.parametrize("name", FROZEN)
def test_alpha_gradient_is_that_of_the_energy_with_its_weights_held_fixed(name):
    u, v = two_views(31, 5, 4)
    for hyperparameters in [defaults(name), *corners(name)]:
        weights = weights_of_every_anchor(u, v, lambda s, q, at=hyperparameters: pair_weights(name, q, at))
        value, *gradients = value_and_gradients(name, u, v, hyperparameters)
        energy, *energy_gradients = energy_and_gradients(u, v, weights)
        assert close(value, energy)
        assert_gradients_close(gradients, energy_gradients)


@sampled
@anywhere
def test_alpha_direct_with_and_without_backprop_have_one_value_and_two_gradients(seed, points):
    u, v = two_views(seed, 5, 4)
    hyperparameters = hyperparameters_at("alpha_direct", points) | {"temperature": 0.1 + points[2]}
    value, *gradients = value_and_gradients("alpha_direct", u, v, hyperparameters)
    other_value, *other_gradients = value_and_gradients("alpha_direct_backprop", u, v, hyperparameters)
    assert float(value) == float(other_value)
    assert float((gradients[0] - other_gradients[0]).abs().max()) > 1e-3


@sampled
@anywhere
def test_alpha_entropy_has_the_gradient_of_dcl_times_temperature(seed, points):
    u, v = two_views(seed, 5, 4)
    hyperparameters = hyperparameters_at("alpha_entropy", points)
    _, *gradients = value_and_gradients("alpha_entropy", u, v, hyperparameters)
    _, *dcl_gradients = value_and_gradients("dcl", u, v, hyperparameters)
    assert_gradients_close(gradients, [hyperparameters["temperature"] * gradient for gradient in dcl_gradients])


def test_alpha_direct_with_exponent_two_is_alpha_entropy():
    u, v = two_views(32, 5, 4)
    direct = value_and_gradients("alpha_direct", u, v, {"exponent": 2.0, "temperature": 0.3})
    assert_gradients_close(direct, value_and_gradients("alpha_entropy", u, v, {"temperature": 0.3}))


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_alpha_square_weights_sum_to_one_and_are_the_projection_onto_the_simplex(temperature):
    """Recovered from the gradient: at row i it is (alpha_ij + alpha_ji)/2M along row j, minus the row sums of i and i'
    along its positive i'."""
    u, v = (normalize(view, dim=-1) for view in two_views(33, 6, 40))
    _, *gradients = value_and_gradients("alpha_square", u, v, {"temperature": temperature})
    recovered = 12 * coefficients(u, v, gradients)
    rule = weights_of_every_anchor(
        u, v, lambda s, row: projected_onto_the_simplex(-(1 - np.array(row)) / temperature).tolist()
    )
    _, positive = cosines_and_positive(torch.cat([u, v]))
    for i, j in itertools.permutations(range(12), 2):
        expected = -2.0 if j == positive[i] else float(rule[i, j] + rule[j, i])
        assert float(recovered[i, j]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", sorted(PHI_PSI))
@sampled
@anywhere
def test_gradient_is_that_of_the_energy_weighted_by_phi_prime_times_psi_prime(name, seed, points):
    u, v = two_views(seed, 4, 4)
    hyperparameters = hyperparameters_at(name, points)
    if "temperature" in hyperparameters:
        hyperparameters["temperature"] = max(hyperparameters["temperature"], 0.1)
    phi_prime, psi_prime = PHI_PSI[name](hyperparameters)

    def row(s, negatives):
        xi = math.fsum(PSI[name](x - s, hyperparameters) for x in negatives)
        return [phi_prime(xi) * psi_prime(x - s) for x in negatives]

    _, *gradients = value_and_gradients(name, u, v, hyperparameters)
    _, *energy_gradients = energy_and_gradients(u, v, weights_of_every_anchor(u, v, row))
    assert_gradients_close(gradients, energy_gradients)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_one_family_is_another_at_special_hyperparameters(temperature):
    u, v = two_views(34, 5, 4)

    def at(name, **hyperparameters):
        return value_and_gradients(name, u, v, hyperparameters)

    def times(factor, values):
        return [factor * value for value in values]

    t = temperature
    for same, other in [
        (at("info_nce_epsilon", temperature=t, epsilon=1.0), times(t, at("nt_xent", temperature=t))),
        (at("info_nce_epsilon", temperature=t, epsilon=0.0), times(t, at("dcl", temperature=t))),
        (at("soft_triplet", temperature=t, margin=0.0), times(t, at("nt_xent", temperature=t))),
        (at("mine"), at("dcl", temperature=1.0)),
        (at("n_plus_one_tuplet"), at("nt_xent", temperature=1.0)),
        (at("nt_xent_vrns", temperature=t, weight=0.0, num_images=9.0), at("nt_xent", temperature=t)),
    ]:
        assert_gradients_close(same, other)
    assert_gradients_close(at("triplet", margin=2.5)[1:], at("triplet_contrastive")[1:])
    assert close(at("triplet", margin=2.5)[0] - 8 * 2.5, at("triplet_contrastive")[0])


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_a_gaussian_of_bandwidth_one_over_two_t_is_the_exponential_of_cosines_over_t(temperature):
    """Two images and equal views: dhel is (s - 1)/t, kcl_gaussian -1 + gamma K."""
    u = two_views(35, 2, 3)[0]
    dhel = LOSSES["dhel"](u, u, temperature=temperature)
    kernel = (LOSSES["kcl_gaussian"](u, u, bandwidth=1 / (2 * temperature), gamma=4.0) + 1) / 4
    assert float(math.exp(1 / temperature) * kernel) == pytest.approx(math.exp(float(dhel) + 1 / temperature))


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_dhel_sum_weighs_the_energy_twice(temperature):
    u, v = two_views(36, 5, 4)
    pull = (normalize(u, dim=-1) * normalize(v, dim=-1)).sum(-1).mean() / temperature
    dhel = LOSSES["dhel"](u, v, temperature=temperature)
    assert close(LOSSES["dhel_sum"](u, v, temperature=temperature), 2 * dhel + pull, 1e-12)


@pytest.mark.parametrize("temperature", [0.02, 0.5, 5.0])
def test_one_sided_dhel_pulls_view_2_straight_to_its_positive(temperature):
    u, v = two_views(37, 5, 4)
    gradient = value_and_gradients("dhel_one_sided", u, v, {"temperature": temperature})[2]
    unit_u, unit_v = normalize(u, dim=-1), normalize(v, dim=-1)
    on_the_sphere = unit_u - (unit_u * unit_v).sum(-1, keepdim=True) * unit_v
    assert_gradients_close([gradient], [-on_the_sphere / (temperature * 5 * v.norm(dim=-1, keepdim=True))])


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
