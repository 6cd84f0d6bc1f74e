import math

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaincinv

from robustness.metrics.collapse import embedding_collapse, representation_collapse
from robustness.metrics.geometry import alignment, uniformity, uniformity_optimum, wasserstein
from robustness.metrics.lidar import lidar
from robustness.metrics.outcomes import Labelled, measure, measured_columns
from robustness.metrics.spectrum import alpha_req, spectral_metrics, spectrum
from robustness.store import OUTCOMES

RANKS = [
    "effective_rank",
    "effective_rank_centered",
    "rankme",
    "participation_ratio",
    "stable_rank",
    "numerical_rank",
]
SPECTRAL = sorted(reference.REFERENCE_SPECTRAL_METRICS)
OPTIMA = {2: -1.5750, 3: -2.0798, 8: -3.0825, 16: -3.5130, 128: -3.9375}
GEOMETRY = {"uniformity": uniformity, "wasserstein": wasserstein}

anywhere = given(seed=st.integers(0, 2**31 - 1), num_rows=st.integers(3, 14), dim=st.integers(2, 9))
sampled = settings(derandomize=True, deadline=None, max_examples=25, database=None)
every_dtype = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
every_collapse = pytest.mark.parametrize("collapse", [embedding_collapse, representation_collapse])


def normal(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def rotation(seed, dim):
    return torch.linalg.qr(normal(seed, dim, dim)).Q


def shuffled(seed, num_rows):
    return torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed))


def with_singular_values(seed, num_rows, sigma):
    """A matrix whose columns have mean zero and whose singular values are sigma."""
    noise = normal(seed, num_rows, len(sigma))
    orthonormal = torch.linalg.qr(noise - noise.mean(0)).Q
    return orthonormal * torch.tensor(sigma, dtype=torch.float64) @ rotation(seed + 1, len(sigma)).T


def padded(x, num_columns):
    return torch.cat([x, torch.zeros(len(x), num_columns, dtype=x.dtype)], dim=1)


def close(value, expected, tolerance=1e-9):
    return float(value) == pytest.approx(float(expected), rel=tolerance, abs=tolerance)


def assert_same(metrics, expected, names, tolerance=1e-9):
    for name in names:
        assert close(metrics[name], expected[name], tolerance), name


@sampled
@anywhere
def test_geometry_equals_slow_loops(seed, num_rows, dim):
    z, z_view2 = normal(seed, num_rows, dim), normal(seed + 1, num_rows, dim)
    assert close(alignment(z, z_view2), reference.alignment(z.numpy(), z_view2.numpy()), 1e-12)
    assert close(uniformity(z), reference.uniformity(z.numpy()), 1e-11)
    assert close(wasserstein(z), reference.wasserstein(z.numpy()), 1e-6)


@pytest.mark.parametrize(("num_rows", "dim"), [(120, 2), (120, 3), (120, 40)])
def test_geometry_of_120_points_equals_slow_loops(num_rows, dim):
    z = normal(dim, num_rows, dim)
    assert close(uniformity(z), reference.uniformity(z.numpy()), 1e-11)
    assert close(wasserstein(z), reference.wasserstein(z.numpy()), 1e-5)


@sampled
@anywhere
def test_geometry_ignores_rotation_order_and_length_of_rows(seed, num_rows, dim):
    z, z_view2 = normal(seed, num_rows, dim), normal(seed + 1, num_rows, dim)
    turn, order = rotation(seed + 2, dim), shuffled(seed, num_rows)
    lengths = normal(seed + 3, num_rows, 2).exp()
    changed, changed_view2 = (z @ turn * lengths[:, :1])[order], (z_view2 @ turn * lengths[:, 1:])[order]
    assert close(alignment(changed, changed_view2), alignment(z, z_view2))
    assert close(uniformity(changed), uniformity(z))
    assert close(wasserstein(changed), wasserstein(z), 1e-7)


def test_geometry_of_many_points_equals_that_of_all_their_pairs_at_once():
    z = normal(101, 700, 5)
    unit = (z / z.norm(dim=1, keepdim=True)).numpy()
    cosines = np.sort((unit @ unit.T)[np.triu_indices(700, 1)])
    share = (np.arange(len(cosines)) + 0.5) / len(cosines)
    assert close(uniformity(z), np.log(np.exp(-4 * (1 - cosines)).mean()), 1e-11)
    assert close(wasserstein(z), np.abs(cosines - (2 * betaincinv(2, 2, share) - 1)).mean(), 1e-6)


def test_alignment_is_0_for_equal_views_and_4_for_opposite_views_and_symmetric():
    z, z_view2 = normal(1, 20, 5), normal(2, 20, 5)
    assert close(alignment(z, 3 * z), 0.0, 1e-14)
    assert close(alignment(z, -z), 4.0)
    assert close(alignment(z, z_view2), alignment(z_view2, z), 1e-14)


@every_dtype
def test_geometry_is_computed_in_float64_whatever_the_dtype(dtype):
    z, z_view2 = normal(3, 30, 6).to(dtype), normal(4, 30, 6).to(dtype)
    assert close(alignment(z, z_view2), alignment(z.double(), z_view2.double()), 1e-14)
    for metric in GEOMETRY.values():
        assert close(metric(z), metric(z.double()), 1e-14)


@pytest.mark.parametrize("dim", sorted(OPTIMA))
def test_uniformity_optimum_has_its_known_values(dim):
    assert uniformity_optimum(dim) == pytest.approx(OPTIMA[dim], abs=5e-5)


@pytest.mark.parametrize("dim", [2, 3, 5, 8, 16, 64, 128, 349, 512, 2048, 100_000])
def test_uniformity_optimum_equals_its_series_in_any_dimension(dim):
    assert uniformity_optimum(dim) == pytest.approx(reference.uniformity_optimum(dim), abs=1e-9)


def test_uniformity_optimum_falls_towards_minus_4_as_dimensions_are_added():
    optima = [uniformity_optimum(2**power) for power in range(1, 13)]
    assert optima == sorted(optima, reverse=True)
    assert -4 < optima[-1] < -3.99


@pytest.mark.parametrize("dim", [2, 3, 16])
def test_uniform_points_come_near_the_uniformity_optimum(dim):
    assert float(uniformity(normal(5, 1500, dim))) == pytest.approx(uniformity_optimum(dim), abs=0.02)


def test_uniformity_of_a_single_point_is_0_and_of_two_opposite_points_is_minus_8():
    assert close(uniformity(torch.ones(6, 3)), 0.0, 1e-12)
    assert close(uniformity(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])), -8.0)


def test_appending_zero_columns_leaves_uniformity_and_alignment():
    z, z_view2 = normal(6, 30, 6), normal(7, 30, 6)
    assert close(uniformity(padded(z, 10)), uniformity(z), 1e-12)
    assert close(alignment(padded(z, 10), padded(z_view2, 10)), alignment(z, z_view2), 1e-12)


@pytest.mark.parametrize("dim", [2, 3, 32, 344, 2048])
def test_wasserstein_is_1_for_a_single_point_in_any_dimension(dim):
    assert float(wasserstein(normal(8, 1, dim).repeat(40, 1))) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("dim", [2, 3, 32, 344, 2048])
def test_wasserstein_is_near_0_for_uniform_points_in_any_dimension(dim):
    assert 0 <= float(wasserstein(normal(9, 500, dim))) < 0.02


def test_wasserstein_of_a_regular_polygon_on_the_circle_is_near_0():
    angles = torch.arange(600, dtype=torch.float64) * (2 * math.pi / 600)
    assert 0 <= float(wasserstein(torch.stack([angles.cos(), angles.sin()], dim=1))) < 0.005


def test_wasserstein_of_uniform_points_in_32_of_128_dimensions_is_0_0715():
    assert float(wasserstein(padded(normal(10, 700, 32), 96))) == pytest.approx(0.0715, abs=0.001)


def test_wasserstein_is_deterministic_and_draws_no_random_numbers():
    z = normal(11, 50, 7)
    state = torch.get_rng_state()
    assert float(wasserstein(z)) == float(wasserstein(z.clone()))
    assert torch.equal(torch.get_rng_state(), state)


@sampled
@anywhere
def test_spectral_metrics_equal_slow_loops(seed, num_rows, dim):
    x = normal(seed, num_rows, dim) + normal(seed + 1, dim)
    metrics = spectral_metrics(x)
    expected = {name: slow(x.numpy()) for name, slow in reference.REFERENCE_SPECTRAL_METRICS.items()}
    assert_same(metrics, expected, SPECTRAL)


def test_spectral_metrics_are_floats_under_the_reference_names():
    metrics = spectral_metrics(normal(12, 10, 4))
    assert set(SPECTRAL) <= set(metrics)
    assert all(type(metrics[name]) is float for name in SPECTRAL)


@every_dtype
def test_spectrum_is_the_descending_uncentred_singular_values_in_float64(dtype):
    x = (normal(13, 12, 5) + 2).to(dtype)
    sigma = spectrum(x)
    assert sigma.dtype == torch.float64
    assert sigma.tolist() == sorted(sigma.tolist(), reverse=True)
    assert sigma.tolist() == pytest.approx(reference.singular_values(x.double().numpy()), rel=1e-11)
    assert close((sigma**2).sum(), (x.double() ** 2).sum(), 1e-12)


@pytest.mark.parametrize("shape", [(12, 5), (5, 12)])
def test_spectrum_has_as_many_values_as_the_shorter_side(shape):
    assert spectrum(normal(14, *shape)).shape == (5,)


@every_dtype
def test_spectral_metrics_are_computed_in_float64_whatever_the_dtype(dtype):
    x = (normal(15, 40, 6) + 1).to(dtype)
    same = [name for name in SPECTRAL if name != "numerical_rank"]
    assert_same(spectral_metrics(x), spectral_metrics(x.double()), same, 1e-13)


@sampled
@anywhere
def test_ranks_ignore_rotation_order_and_scale(seed, num_rows, dim):
    x = normal(seed, num_rows, dim) + normal(seed + 1, dim)
    order = shuffled(seed, num_rows)
    for factor in (1e-3, 1.0, 1e3):
        changed = spectral_metrics(factor * (x @ rotation(seed + 2, dim))[order])
        assert_same(changed, spectral_metrics(x), RANKS)


def test_scale_moves_mean_norm_linearly_and_total_variance_quadratically():
    x = normal(16, 30, 6) + 1
    metrics, scaled = spectral_metrics(x), spectral_metrics(3 * x)
    assert close(scaled["mean_norm"], 3 * metrics["mean_norm"], 1e-12)
    assert close(scaled["total_variance"], 9 * metrics["total_variance"], 1e-12)


def test_duplicating_all_samples_leaves_the_ranks_and_the_mean():
    x = normal(17, 30, 6) + 1
    assert_same(spectral_metrics(torch.cat([x, x])), spectral_metrics(x), [*RANKS, "mean_norm"])


def test_appending_zero_columns_raises_no_rank_and_rankme_by_less_than_1e_4():
    x = normal(18, 60, 12) + 1
    metrics, wider = spectral_metrics(x), spectral_metrics(padded(x, 32))
    assert_same(wider, metrics, [name for name in SPECTRAL if name != "rankme"])
    assert metrics["rankme"] <= wider["rankme"] < metrics["rankme"] * (1 + 1e-4)


@pytest.mark.parametrize("num_equal", [1, 4, 9])
def test_equal_singular_values_of_centred_data_have_every_rank_equal_to_their_number(num_equal):
    metrics = spectral_metrics(padded(with_singular_values(19, 30, [2.0] * num_equal), 3))
    for name in RANKS:
        assert close(metrics[name], num_equal, 1e-4 if name == "rankme" else 1e-9), name


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7])
def test_geometric_singular_values_have_the_closed_form_ranks(ratio):
    metrics = spectral_metrics(with_singular_values(20, 200, [ratio**k for k in range(90)]))
    expected = ratio ** (-ratio / (1 - ratio)) / (1 - ratio)
    assert close(metrics["effective_rank"], expected, 1e-7)
    assert close(metrics["effective_rank_centered"], expected, 1e-7)
    assert close(metrics["participation_ratio"], (1 + ratio**2) / (1 - ratio**2), 1e-7)
    assert close(metrics["stable_rank"], 1 / (1 - ratio**2), 1e-7)


def test_halving_singular_values_have_effective_rank_4_and_participation_ratio_five_thirds():
    metrics = spectral_metrics(with_singular_values(21, 120, [0.5**k for k in range(60)]))
    assert metrics["effective_rank"] == pytest.approx(4, abs=1e-6)
    assert metrics["participation_ratio"] == pytest.approx(5 / 3, abs=1e-6)


def test_eigenvalues_that_fall_like_1_over_i_have_effective_rank_107():
    metrics = spectral_metrics(with_singular_values(22, 300, [i**-0.5 for i in range(1, 129)]))
    assert metrics["effective_rank"] == pytest.approx(107.05, abs=0.005)


def test_isotropic_gaussian_has_the_participation_ratio_of_its_shape():
    metrics = spectral_metrics(normal(23, 1000, 100))
    assert metrics["participation_ratio"] == pytest.approx(1000 * 100 / (1000 + 100), rel=0.01)


def test_a_constant_with_tiny_noise_has_rank_1_uncentred_and_almost_full_rank_centred():
    metrics = spectral_metrics(normal(24, 1, 128) + 1e-6 * normal(25, 500, 128))
    assert metrics["effective_rank"] == pytest.approx(1.0, abs=1e-3)
    assert metrics["effective_rank_centered"] == pytest.approx(123.5, abs=0.5)
    assert metrics["total_variance"] == pytest.approx(128e-12, rel=0.02)


def test_released_rank_counts_covariance_eigenvalues_above_1e_5():
    eigenvalues = [1.0, 1e-2, 1.1e-5, 0.9e-5, 1e-8]
    x = with_singular_values(26, 50, [math.sqrt(49 * value) for value in eigenvalues])
    assert spectral_metrics(x)["released_rank"] == 3
    assert spectral_metrics(10 * x)["released_rank"] == 4


def test_float32_data_of_rank_16_has_the_tail_of_its_rounding_and_no_more():
    exact = normal(27, 1000, 16) @ normal(28, 16, 64)
    rounding = float(torch.linalg.matrix_norm(exact.float().double() - exact, ord=2))
    assert float(spectrum(exact.float())[16]) <= 1.01 * rounding
    assert float(spectrum(exact)[16]) < 1e-10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_data_of_rank_16_has_numerical_rank_16_in_its_own_precision(dtype):
    exact = normal(27, 1000, 16) @ normal(28, 16, 64)
    assert spectral_metrics(exact.to(dtype))["numerical_rank"] == 16


def test_all_zero_data_has_ranks_of_nan():
    metrics = spectral_metrics(torch.zeros(10, 4))
    assert all(math.isnan(metrics[name]) for name in RANKS if name != "numerical_rank")
    assert metrics["numerical_rank"] == 0
    assert metrics["mean_norm"] == metrics["total_variance"] == 0


def test_constant_data_has_rank_1_uncentred_and_nan_centred():
    for row in (torch.ones(4), normal(48, 4)):
        metrics = spectral_metrics(row.repeat(49, 1))
        assert close(metrics["effective_rank"], 1.0)
        assert all(math.isnan(metrics[name]) for name in ("effective_rank_centered", "participation_ratio"))
        assert metrics["mean_norm"] == pytest.approx(float(row.norm()))


@every_collapse
@every_dtype
def test_isotropic_points_are_not_collapsed(collapse, dtype):
    assert collapse(normal(29, 300, 32).to(dtype)) == "none"
    assert collapse(normal(30, 16, 64).to(dtype)) == "none"


@every_collapse
@pytest.mark.parametrize(("used", "expected"), [(2, "dimensional"), (12, "dimensional"), (20, "none"), (30, "none")])
def test_points_in_fewer_than_half_of_the_dimensions_are_dimensionally_collapsed(collapse, used, expected):
    assert collapse(padded(normal(31, 400, used), 32 - used) @ rotation(32, 32)) == expected


@every_collapse
def test_a_single_point_and_all_zeros_are_complete_collapse(collapse):
    assert collapse(torch.ones(50, 8)) == "complete"
    assert collapse(normal(33, 1, 8).repeat(50, 1)) == "complete"
    assert collapse(torch.zeros(50, 8)) == "complete"


@every_collapse
def test_complete_collapse_begins_where_the_mean_of_unit_rows_has_squared_length_above_1_minus_1e_6(collapse):
    direction = torch.zeros(32, dtype=torch.float64)
    direction[0] = 1
    assert collapse(direction + 1e-4 * normal(34, 300, 32)) == "complete"
    assert collapse(direction + 4e-4 * normal(35, 300, 32)) != "complete"


@every_collapse
def test_one_direction_with_rows_of_many_lengths_is_complete_collapse(collapse):
    assert collapse(normal(36, 60, 1).exp() * normal(37, 1, 16)) == "complete"


def test_embeddings_of_tight_clusters_or_with_a_large_mean_are_dimensionally_collapsed():
    centres = normal(38, 10, 128)
    clusters = centres.repeat(30, 1) / centres.norm(dim=1).repeat(30)[:, None] + 0.002 * normal(39, 300, 128)
    assert embedding_collapse(clusters) == "dimensional"
    assert embedding_collapse(normal(40, 300, 32) + 5) == "dimensional"


def test_a_large_mean_does_not_collapse_a_representation():
    assert representation_collapse(normal(41, 300, 32) + 5) == "none"
    assert representation_collapse(normal(42, 300, 32).relu()) == "none"
    assert representation_collapse(padded(normal(43, 300, 6), 26) + 5) == "dimensional"


@every_collapse
@pytest.mark.parametrize("used", [1, 6, 32])
def test_collapse_ignores_rotation_order_and_scale(collapse, used):
    x = padded(normal(44, 200, used), 32 - used)
    order = shuffled(0, 200)
    assert collapse(100 * (x @ rotation(45, 32))[order]) == collapse(x)
    assert collapse(0.01 * x) == collapse(x)


def test_embedding_collapse_ignores_the_lengths_of_rows():
    x = normal(46, 200, 16)
    assert embedding_collapse(x * (3 * normal(47, 200, 1)).exp()) == embedding_collapse(x) == "none"


def test_alpha_req_is_the_exponent_of_a_power_law():
    for alpha in (0.0, 0.5, 1.7):
        variances = torch.arange(1, 129, dtype=torch.float64) ** -alpha
        assert close(alpha_req(variances, num_rows=2000), alpha, 1e-10)


def test_alpha_req_looks_at_eigenvalues_11_to_100_only():
    variances = torch.arange(1, 129, dtype=torch.float64) ** -1.0
    variances[:10], variances[100:] = 1e6, 1e-9
    assert close(alpha_req(variances, num_rows=2000), 1.0, 1e-10)
    for changed in (10, 99):
        other = variances.clone()
        other[changed] *= 1.01
        assert not close(alpha_req(other, num_rows=2000), 1.0, 1e-6)


def test_alpha_req_equals_the_slow_weighted_line():
    x = normal(102, 1200, 110) * torch.arange(1, 111) ** -0.4
    assert close(spectral_metrics(x)["alpha_req"], reference.alpha_req(x.numpy()))


@pytest.mark.parametrize(("num_rows", "dim"), [(1000, 100), (1010, 101), (60, 200)])
def test_alpha_req_is_nan_with_few_dimensions_or_few_rows(num_rows, dim):
    assert math.isnan(spectral_metrics(normal(103, num_rows, dim))["alpha_req"])


def test_alpha_req_is_nan_where_an_eigenvalue_it_needs_is_0():
    assert math.isnan(spectral_metrics(padded(normal(104, 1200, 60), 50))["alpha_req"])


def views_of(means, deviation, seed, num_views=10):
    return [means + deviation * normal(seed + view, *means.shape) for view in range(num_views)]


@pytest.mark.parametrize("dim", [2, 5])
def test_lidar_equals_slow_loops(dim):
    views = views_of(normal(105, 60, dim) * torch.arange(1, dim + 1), 0.3, 106)
    assert close(lidar(views), reference.lidar([view.numpy() for view in views]))


@pytest.mark.parametrize("num_equal", [1, 3, 6])
def test_lidar_is_the_number_of_equal_directions_in_which_images_differ(num_equal):
    means = padded(with_singular_values(107, 80, [4.0] * num_equal), 6 - num_equal) @ rotation(108, 6)
    offsets = [sign * 0.05 * math.sqrt(6) * torch.eye(6, dtype=torch.float64)[k] for k in range(6) for sign in (1, -1)]
    assert lidar([means + offset for offset in offsets]) == pytest.approx(num_equal, rel=1e-4)


def test_lidar_counts_directions_in_units_of_what_views_do():
    means = with_singular_values(109, 4000, [60.0, 6.0])
    noise = torch.tensor([0.3, 0.03], dtype=torch.float64)
    turn = torch.linalg.svd(means, full_matrices=False).Vh
    views = [means + (normal(110 + view, 4000, 2) * noise) @ turn for view in range(10)]
    assert lidar(views) == pytest.approx(2, rel=0.05)
    assert lidar(views_of(means, 0.05, 120)) < 1.2


def test_lidar_is_nan_for_pure_noise_and_for_a_single_point():
    assert math.isnan(lidar([normal(130 + view, 640, 64) for view in range(10)]))
    assert math.isnan(lidar([torch.ones(40, 4)] * 10))


def test_lidar_ignores_rotation_and_the_order_of_images_and_views():
    views = views_of(normal(140, 60, 4) * torch.arange(1, 5), 0.3, 141)
    order = shuffled(3, 60)
    changed = [(view @ rotation(142, 4))[order] for view in reversed(views)]
    assert close(lidar(changed), lidar(views))


def features(seed, dim, device="cpu", num_views=10, dtype=torch.float32):
    """Splits and views of an encoder of 3 classes, as `measure` takes them."""
    generator = torch.Generator().manual_seed(seed)
    centres, splits = normal(seed, 3, dim), {}
    for name, size in (("train", 300), ("validation", 90), ("test", 200)):
        y = torch.randint(3, (size,), generator=generator)
        splits[name] = Labelled((centres[y] + normal(seed + size, size, dim)).to(device, dtype), y.to(device))
    test = splits["test"].x
    views = [test + 0.2 * normal(seed + 1000 + view, 200, dim).to(device, dtype) for view in range(num_views)]
    return splits, views


ALL_PROBES = ["linear", "knn", "linear_sgd", "retrieval"]


def measured(device="cpu", h_dim=24, num_views=10, dtype=torch.float32):
    (h, h_views), (z, z_views) = (features(seed, dim, device, num_views, dtype) for seed, dim in ((1, h_dim), (2, 8)))
    return measure(h, z, h_views, z_views, probes=ALL_PROBES, num_classes=3, num_images=200)


def test_measure_measures_lidar_of_10_views_of_10_images_a_dimension_and_else_leaves_it_out():
    outcomes = measured(h_dim=20)
    _, views = features(2, 8)
    unit = [torch.nn.functional.normalize(view[:80].double()) for view in views]
    assert close(outcomes["z_lidar"], lidar(unit))
    assert outcomes["h_lidar"] > 1
    assert "h_lidar" not in measured(h_dim=21)
    assert not {"h_lidar", "z_lidar"} & set(measured(num_views=9))


def test_measure_gives_every_outcome_of_its_probes_under_the_names_of_columns():
    outcomes = measured(h_dim=20)
    assert measured_columns(ALL_PROBES) - {"final_loss"} <= set(outcomes)
    assert set(outcomes) <= set(OUTCOMES)


def test_measure_shares_decompositions_without_changing_a_value():
    (h, h_views), (z, z_views) = features(1, 24), features(2, 8)
    outcomes = measured()
    x, unit = h["test"].x, torch.nn.functional.normalize(z["test"].x.double())
    for prefix, own, views in (("h", x, h_views), ("z", unit, z_views)):
        eps = torch.finfo(torch.float32).eps
        expected = spectral_metrics(own.double(), eps=eps) | {"alignment": alignment(*views[:2])}
        expected |= {name: metric(own) for name, metric in GEOMETRY.items()}
        for name, value in expected.items():
            assert outcomes[f"{prefix}_{name}"] == pytest.approx(value, rel=1e-12, nan_ok=True), name
        assert outcomes[f"{prefix}_spectrum"] == pytest.approx(spectrum(own).tolist(), rel=1e-12)
    assert outcomes["collapse"] == embedding_collapse(z["test"].x)
    assert outcomes["h_collapse"] == representation_collapse(x)


def assert_equal_outcomes(outcomes, expected):
    assert set(outcomes) == set(expected)
    for name, value in expected.items():
        if isinstance(value, str):
            assert outcomes[name] == value, name
        else:
            assert outcomes[name] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), name


def test_features_in_float32_score_as_the_same_numbers_in_float64():
    single, double = measured(), measured(dtype=torch.float64)
    for name in ("linear_top1", "knn_top1", "linear_sgd_top1", "retrieval_top1", "z_linear_top1", "collapse"):
        assert single[name] == double[name], name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_outcomes_on_a_cuda_device_equal_those_on_the_cpu():
    assert_equal_outcomes(measured("cuda"), measured())
