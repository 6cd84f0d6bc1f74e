import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from robustness.metrics.linear import linear_probe, linear_sgd_top1
from robustness.metrics.neighbours import knn_top1, retrieval_top1

sampled = settings(derandomize=True, deadline=None, max_examples=25, database=None)


def normal(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


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


def test_linear_probe_of_features_whose_variances_span_12_orders_agrees_with_scikit_learn():
    def drawn(seed, count):
        y = torch.arange(count) % 4
        x = 2 * normal(60, 4, 10)[y] + 2 * normal(seed, count, 10)
        return x * torch.logspace(0, -6, 10, dtype=torch.float64) @ torch.linalg.qr(normal(61, 10, 10)).Q, y

    train, validation, (test_x, test_y) = drawn(1, 200), drawn(2, 200), drawn(3, 4000)
    strength = linear_probe(*train, *validation, test_x, test_y, num_classes=4).strength
    predictions = sklearn_model(*train, strength)(test_x)
    probe = linear_probe(*train, *validation, test_x, predictions, num_classes=4)
    assert probe.strength == strength
    assert probe.test >= 0.999


def test_linear_probe_of_equal_features_predicts_the_largest_class():
    train_y, test_y = torch.tensor([0, 1, 1, 1, 2]), torch.tensor([1, 1, 0, 2])
    probe = linear_probe(torch.ones(5, 3), train_y, torch.ones(4, 3), test_y, torch.ones(4, 3), test_y, num_classes=3)
    assert (probe.test, probe.validation) == (0.5, 0.5)


def test_linear_sgd_predicts_what_slow_sgd_in_float64_predicts():
    train_x, train_y, _, _, test_x, _ = digits()
    train_x, test_x = train_x[:, 20:44], test_x[:, 20:44] + 1e-3 * normal(62, len(test_x), 24).float()
    train_x = train_x + 1e-3 * normal(63, len(train_x), 24).float()
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(train_x), generator=generator).numpy() for _ in range(200)]
    predictions = reference.sgd_predictions(
        train_x.double().numpy(), train_y.numpy(), test_x.double().numpy(), num_classes=10, orders=orders
    )
    score = linear_sgd_top1(train_x, train_y, test_x, torch.tensor(predictions), num_classes=10)
    assert score >= 1 - 1.01 / len(test_x)


def test_linear_sgd_is_deterministic_and_draws_no_global_random_numbers():
    train, test = blobs(1, 90), blobs(3, 90)
    state = torch.get_rng_state()
    score = linear_sgd_top1(*train, *test, num_classes=3)
    assert score == linear_sgd_top1(*train, *test, num_classes=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert score > 0.6


@sampled
@given(seed=st.integers(0, 2**31 - 1), num_rows=st.integers(1, 25), noise=st.floats(0.01, 3))
def test_retrieval_equals_slow_loops(seed, num_rows, noise):
    x = normal(seed, num_rows, 3)
    x_other = x + noise * normal(seed + 1, num_rows, 3)
    assert retrieval_top1(x, x_other) == reference.retrieval_top1(x.numpy(), x_other.numpy())


def test_retrieval_looks_among_all_images_however_many():
    x = normal(64, 2500, 6)
    other = x.clone()
    other[[0, 2400]] = x[[2400, 0]]
    assert retrieval_top1(x, x) == 1
    assert retrieval_top1(x, other) == 1 - 2 / 2500
    assert retrieval_top1(x, other.roll(1, 0)) == 0


def test_an_encoder_that_tells_nothing_apart_retrieves_nothing():
    assert retrieval_top1(torch.ones(10, 4), torch.ones(10, 4)) == 0
