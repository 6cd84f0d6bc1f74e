import math

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from robustness.metrics.collapse import embedding_collapse, representation_collapse
from robustness.metrics.geometry import alignment, uniformity, uniformity_optimum, wasserstein
from robustness.metrics.probes import knn_top1, linear_probe
from robustness.metrics.spectrum import spectral_metrics, spectrum

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


def digits():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = torch.tensor(x[order], dtype=torch.float32), torch.tensor(y[order])
    return x[:500], y[:500], x[500:800], y[500:800], x[800:], y[800:]


def share_correct(predictions, labels):
    return sum(int(a == b) for a, b in zip(predictions, labels.tolist(), strict=True)) / len(labels)


def sklearn_model(train_x, train_y, strength):
    """What scikit-learn predicts with the objective of the probe."""
    mean, std = train_x.double().mean(0), train_x.double().std(0, correction=0)
    std[std == 0] = 1
    model = LogisticRegression(C=1 / (strength * len(train_x)), tol=1e-9, max_iter=5000)
    model.fit(((train_x - mean) / std).numpy(), train_y.numpy())
    return lambda x: torch.tensor(model.predict(((x - mean) / std).numpy()))


def test_linear_probe_agrees_with_scikit_learn_on_digits_at_the_strength_it_chose():
    train_x, train_y, validation_x, validation_y, test_x, test_y = digits()
    probe = linear_probe(train_x, train_y, validation_x, validation_y, test_x, test_y, num_classes=10)
    predict = sklearn_model(train_x, train_y, probe.strength)
    expected = share_correct(predict(test_x).tolist(), test_y)
    expected_validation = share_correct(predict(validation_x).tolist(), validation_y)
    assert probe.test == pytest.approx(expected, abs=0.002)
    assert probe.validation == pytest.approx(expected_validation, abs=1.01 / len(validation_y))
    assert probe.test > 0.9


@pytest.mark.parametrize(("num_rows", "noise"), [(24, 2.0), (100, 1.0), (300, 3.0)])
def test_linear_probe_predicts_what_scikit_learn_predicts_of_overlapping_unequal_classes(num_rows, noise):
    def drawn(seed, count):
        y = (torch.arange(count) % 8 > 5).long() + (torch.arange(count) % 8 > 6).long()
        return normal(98, 3, 12)[y] + noise * normal(seed, count, 12) * torch.linspace(1, 5, 12) + 1, y

    (train_x, train_y), (validation_x, validation_y), (test_x, test_y) = (
        drawn(1, num_rows),
        drawn(2, 200),
        drawn(3, 4000),
    )
    splits = (train_x, train_y, 3 * validation_x, validation_y)
    strength = linear_probe(*splits, test_x, test_y, num_classes=3).strength
    predictions = sklearn_model(train_x, train_y, strength)(test_x)
    probe = linear_probe(*splits, test_x, predictions, num_classes=3)
    assert probe.strength == strength
    assert probe.test >= 0.998


def test_linear_probe_ignores_a_feature_that_is_constant_in_training_up_to_rounding():
    (train_x, train_y), validation, (test_x, test_y) = (blobs(seed, 90) for seed in (1, 2, 3))
    probe = linear_probe(train_x, train_y, *validation, test_x, test_y, num_classes=3)
    constant = normal(5, 1, 10).repeat(90, 1)
    with_constant = [torch.cat([x, constant], dim=1) for x in (train_x, validation[0])]
    with_noise = torch.cat([test_x, constant + normal(4, 90, 10)], dim=1)
    again = linear_probe(with_constant[0], train_y, with_constant[1], validation[1], with_noise, test_y, num_classes=3)
    assert (again.strength, again.validation) == (probe.strength, probe.validation)
    assert again.test == pytest.approx(probe.test, abs=0.02)


def blobs(seed, num_rows, num_classes=3):
    y = torch.arange(num_rows) % num_classes
    return normal(99, num_classes, 4)[y] * 1.5 + normal(seed, num_rows, 4), y


def test_linear_probe_chooses_nothing_on_the_test_split():
    (train, validation, (test_x, test_y)) = (blobs(seed, 90) for seed in (1, 2, 3))
    probe = linear_probe(*train, *validation, test_x, test_y, num_classes=3)
    other = linear_probe(*train, *validation, -test_x, test_y.flip(0), num_classes=3)
    assert (other.strength, other.validation) == (probe.strength, probe.validation)
    assert other.test != probe.test


def wide_blobs(seed, num_rows):
    y = torch.arange(num_rows) % 2
    x = normal(seed, num_rows, 50)
    x[:, 0] += 4.0 * y - 2
    return x, y


def test_linear_probe_chooses_the_strength_on_the_validation_split():
    (x, y), test = wide_blobs(1, 60), wide_blobs(3, 60)
    mislabelled = torch.where(torch.arange(60) % 5 == 0, 1 - y, y)
    clean = linear_probe(x, mislabelled, *wide_blobs(2, 400), *test, num_classes=2)
    remembered = linear_probe(x, mislabelled, x, mislabelled, *test, num_classes=2)
    assert remembered.validation == 1.0
    assert remembered.strength < clean.strength


def test_linear_probe_ignores_shift_and_scale_of_features_and_constant_features():
    splits = [blobs(seed, 90) for seed in (1, 2, 3)]
    probe = linear_probe(*splits[0], *splits[1], *splits[2], num_classes=3)
    factors = torch.tensor([1e-3, 1.0, 10.0, 1e3], dtype=torch.float64)
    changed = [(torch.cat([x * factors + 7, torch.full((90, 2), 5.0)], dim=1), y) for x, y in splits]
    again = linear_probe(*changed[0], *changed[1], *changed[2], num_classes=3)
    assert again.strength == probe.strength
    assert again.test == pytest.approx(probe.test, abs=1.01 / 90)


def test_linear_probe_separates_classes_that_lie_apart_and_allows_classes_without_images():
    splits = [(50 * torch.eye(3)[y] + x[:, :3], y) for x, y in (blobs(seed, 60) for seed in (1, 2, 3))]
    probe = linear_probe(*splits[0], *splits[1], *splits[2], num_classes=5)
    assert probe.test == probe.validation == 1.0


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8])
def test_knn_equals_slow_loops_with_ties_to_the_smallest_label(k):
    train_x, test_x = normal(50, 60, 3), normal(51, 40, 3)
    generator = torch.Generator().manual_seed(k)
    train_y, test_y = (torch.randint(4, (count,), generator=generator) for count in (60, 40))
    predictions = reference.knn_predictions(train_x.numpy(), train_y.numpy(), test_x.numpy(), k=k)
    for labels in (test_y, torch.tensor(predictions)):
        expected = share_correct(predictions, labels)
        score = knn_top1(train_x, train_y, test_x, labels, num_classes=4, k=k)
        assert score == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [1, 4, 7])
def test_knn_equals_scikit_learn_on_digits(k):
    train_x, train_y, _, _, test_x, test_y = digits()
    model = KNeighborsClassifier(n_neighbors=k, metric="cosine", algorithm="brute")
    model.fit(train_x.double().numpy(), train_y.numpy())
    expected = model.score(test_x.double().numpy(), test_y.numpy())
    score = knn_top1(train_x, train_y, test_x, test_y, num_classes=10, k=k)
    assert score == pytest.approx(expected, abs=1e-9)


def test_knn_vote_tie_goes_to_the_smallest_label_not_to_the_nearest():
    train_x, test_x = torch.tensor([[1.0, 0.0], [1.0, 0.5], [-1.0, 0.0]]), torch.tensor([[1.0, -0.1]])
    for labels, expected in (([2, 1, 0], 1), ([1, 2, 0], 1), ([0, 2, 1], 0)):
        for label in range(3):
            score = knn_top1(train_x, torch.tensor(labels), test_x, torch.tensor([label]), num_classes=3, k=2)
            assert score == float(label == expected)


def test_knn_uses_cosines_so_lengths_of_rows_change_nothing():
    train_x, test_x = normal(52, 80, 4), normal(53, 50, 4)
    generator = torch.Generator().manual_seed(1)
    train_y, test_y = (torch.randint(3, (count,), generator=generator) for count in (80, 50))
    score = knn_top1(train_x, train_y, test_x, test_y, num_classes=3, k=3)
    lengths = normal(54, 80, 1).exp()
    assert knn_top1(train_x * lengths, train_y, 9 * test_x, test_y, num_classes=3, k=3) == score


@pytest.mark.parametrize(("num_rows", "k"), [(300, 5), (4999, 5), (5000, 20)])
def test_knn_defaults_to_20_neighbours_or_5_for_training_sets_under_5000(num_rows, k):
    train_x, test_x = normal(55, num_rows, 3), normal(56, 12, 3)
    train_y = torch.randint(3, (num_rows,), generator=torch.Generator().manual_seed(2))
    predictions = {
        count: reference.knn_predictions(train_x.numpy(), train_y.numpy(), test_x.numpy(), k=count) for count in (5, 20)
    }
    assert predictions[5] != predictions[20]
    assert knn_top1(train_x, train_y, test_x, torch.tensor(predictions[k]), num_classes=3) == 1.0
