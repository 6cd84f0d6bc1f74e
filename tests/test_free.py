"""Free embeddings: pairs without images, and the table that is optimised directly."""

import itertools
import math

import pytest
import torch
from studies_for_tests import changed

from robustness import store
from robustness.data import load, two_views
from robustness.losses import LOSSES
from robustness.metrics import cross_polytope, cross_polytope_distance, simplex, simplex_distance
from robustness.models import build
from robustness.plan import plan
from robustness.training import train_pack
from robustness.training.lockstep import Fused, Looped
from robustness.training.member import members_of
from robustness.trial import Trial
from search_spaces import StudyError, parse_study
from search_spaces.datasets import chance, known_dataset

CPU = torch.device("cpu")
FREE = {
    "name": "free",
    "data": {"dataset": "pairs", "num_pairs": 4},
    "model": {"encoder": "table", "projector": [8]},
    "training": {"epochs": 20, "learning_rate": 0.5, "momentum": 0.0, "schedule": "constant", "precision": "float64"},
    "evaluation": {"probes": []},
    "seeds": 1,
    "axes": {"batch_size": 2, "batch_policy": "full"},
    "families": {"info_nce": {"temperature": 1.0}},
    "analysis": {"outcome": "full_loss_gap"},
}


def study(**changes):
    return parse_study(
        changed(FREE, {place.replace("__", "."): value for place, value in changes.items()}), "free.yaml"
    )


def trials(**changes):
    return [Trial.from_json(text) for text in plan(study(**changes))["trial"]]


def points(*shape, seed=0):
    drawn = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=-1)


def matchings(items):
    """Every way to make pairs of some items."""
    if not items:
        yield []
        return
    first, *rest = items
    for other in rest:
        for others in matchings([item for item in rest if item != other]):
            yield [(first, other), *others]


@pytest.mark.parametrize("count", [2, 3, 8])
def test_the_corners_of_a_simplex_have_equal_products(count):
    products = simplex(count) @ simplex(count).T
    expected = torch.full((count, count), -1 / (count - 1), dtype=torch.float64).fill_diagonal_(1.0)
    torch.testing.assert_close(products, expected, rtol=0, atol=1e-14)
    assert simplex_distance(products) == pytest.approx(0, abs=1e-13)


@pytest.mark.parametrize("count", [4, 6, 10])
def test_a_cross_polytope_is_found_in_any_order(count):
    corners = cross_polytope(count)[torch.randperm(count, generator=torch.Generator().manual_seed(count))]
    assert cross_polytope_distance(corners @ corners.T) == pytest.approx(0, abs=1e-13)
    assert simplex_distance(corners @ corners.T) > 0.5


@pytest.mark.parametrize("seed", range(5))
def test_the_best_antipodes_are_the_best_of_all_matchings(seed):
    products = points(6, 3, seed=seed) @ points(6, 3, seed=seed + 50).T
    distances = []
    for matching in matchings(list(range(6))):
        target = torch.eye(6, dtype=torch.float64)
        for i, j in matching:
            target[i, j] = target[j, i] = -1
        distances.append(float((products - target).norm()))
    assert len(distances) == 15
    assert cross_polytope_distance(products) == pytest.approx(min(distances), abs=1e-12)


def test_rows_and_columns_are_ordered_together():
    """Each row may find an antipode of its own choice in a cycle of three: that is no cross-polytope."""
    cycle = torch.eye(6, dtype=torch.float64)
    for i, j in itertools.chain(itertools.pairwise([0, 1, 2, 0]), itertools.pairwise([3, 4, 5, 3])):
        cycle[i, j] = -1
    assert cross_polytope_distance(cycle) > 2


def test_the_two_views_of_a_pair_are_two_rows_of_the_table():
    (trial,) = trials()
    images = load(trial.data).train
    first, second = two_views(images, trial.data["augmentation"], seed=3)
    network = build("table", [8], dataset=trial.dataset, batch_norm=False, seed=0)
    rows = network.encoder[1].weight.T
    torch.testing.assert_close(network(first)[1], rows[:4], rtol=0, atol=0)
    torch.testing.assert_close(network(second)[1], rows[4:], rtol=0, atol=0)
    assert [tuple(weights.shape) for weights in network.parameters()] == [(8, 8)]


def test_rows_of_a_table_begin_as_standard_normals():
    rows = build("table", [64], dataset=known_dataset("pairs_500"), batch_norm=False, seed=0).encoder[1].weight
    assert rows.mean().item() == pytest.approx(0, abs=0.02)
    assert rows.var().item() == pytest.approx(1, abs=0.02)


def test_a_table_that_is_trained_long_enough_becomes_the_simplex():
    (trial,) = trials(training__epochs=20_000)
    (result,) = train_pack([trial])
    assert result.outcomes["simplex_distance"] < 0.01
    assert abs(result.outcomes["full_loss_gap"]) < 1e-4
    products = torch.tensor(result.outcomes["inner_products"], dtype=torch.float64).view(4, 4)
    assert products.diagonal().min() > 0.999
    assert simplex_distance(products) == pytest.approx(result.outcomes["simplex_distance"], abs=1e-12)


def test_the_gap_is_the_loss_above_the_closed_form():
    (trial,) = trials(training__epochs=3)
    (result,) = train_pack([trial], keep_weights=True)
    rows = result.weights["encoder.1.weight"].T
    loss = float(LOSSES["info_nce"](rows[:4], rows[4:], temperature=1.0))
    assert result.outcomes["full_loss_gap"] == pytest.approx(loss - 1.165315306 / 2, abs=1e-8)


@pytest.mark.parametrize(("dim", "told"), [(2, "cross-polytope"), (3, "simplex"), (1, "nothing")])
def test_the_gap_is_told_where_the_optimum_is_known(dim, told):
    (trial,) = trials(data__num_pairs=5 if told == "nothing" else 4, model__projector=[max(dim, 2)])
    (result,) = train_pack([trial])
    gap, distance = result.outcomes["full_loss_gap"], result.outcomes["cross_polytope_distance"]
    assert math.isnan(gap) == (told == "nothing")
    assert math.isnan(distance) == (told != "cross-polytope")


@pytest.mark.parametrize("encoder", ["table", "deep_linear", "relu_two_layer"])
def test_members_on_pairs_train_as_they_do_alone(encoder):
    changes = {"model__encoder": encoder, "families": {"info_nce": {}, "dhel": {}}}
    pair = trials(**changes)
    views = two_views(load(pair[0].data).train.double(), "pairs", seed=0)
    slices = [kind(members_of(pair, CPU), CPU) for kind in (Looped, Fused)]
    for slice_ in slices:
        for _ in range(5):
            slice_.update(views)
    for looped, fused in zip(*(slice_.members for slice_ in slices), strict=True):
        for one, other in zip(looped.network.parameters(), fused.network.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_losses_that_do_not_normalise_have_no_gap():
    (trial,) = trials(families={"vicreg": {}}, training__learning_rate=0.001)
    (result,) = train_pack([trial])
    assert result.status == "ok"
    assert math.isnan(result.outcomes["full_loss_gap"])
    assert result.outcomes["simplex_distance"] > 0


def test_deep_linear_is_linear_and_relu_two_layer_is_not():
    dataset = known_dataset("pairs_4")
    images = torch.randn(2, 3, *dataset.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for encoder, is_linear in (("deep_linear", True), ("relu_two_layer", False)):
        network = build(encoder, [8], dataset=dataset, batch_norm=False, seed=0).double().encoder
        torch.testing.assert_close(network(3 * images[0]), 3 * network(images[0]), rtol=1e-9, atol=1e-12)
        together = network(images[0] + images[1])
        apart = network(images[0]) + network(images[1])
        assert torch.allclose(together, apart, rtol=1e-9, atol=1e-12) == is_linear
        assert not any(name.endswith("bias") for name, _ in network.named_parameters())


def test_every_number_of_pairs_is_a_data_set_of_its_own():
    planned = plan(study(data__num_pairs=[4, 8], axes__batch_size={"values": [2, 4]}))
    assert sorted(planned["dataset"].unique()) == ["pairs_4", "pairs_8"]
    assert planned["trial_id"].is_unique
    assert len(planned) == 4


def test_chance_depends_on_what_is_guessed():
    assert chance("linear_top1", known_dataset("digits")) == 1 / 10
    assert chance("retrieval_top1", known_dataset("digits")) == 1 / 500


def test_outcomes_of_free_pairs_are_columns():
    (trial,) = trials(evaluation={"probes": ["retrieval"]})
    (result,) = train_pack([trial])
    assert set(result.outcomes) <= set(store.OUTCOMES)
    assert {"retrieval_top1", "simplex_distance", "full_loss_gap", "inner_products"} <= set(result.outcomes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"dataset": "pairs"}}, "data: expected dataset: pairs and num_pairs together"),
        ({"data": {"dataset": "digits", "num_pairs": 4}}, "data: expected dataset: pairs and num_pairs together"),
        ({"data__num_pairs": 1}, "data.num_pairs: expected a number of pairs from 2 to 4096"),
        (
            {"data__num_pairs": [4, 4]},
            "data.num_pairs: expected a number of pairs from 2 to 4096, or a list of different ones, got [4, 4]",
        ),
        ({"data__num_pairs": "8"}, "data.num_pairs: expected a number of pairs"),
        ({"data__augmentation": "affine"}, "data.augmentation: free pairs have their two views; remove it"),
        ({"evaluation": {"probes": ["knn"]}}, "evaluation.probes: free pairs have neither classes nor pixels"),
        ({"model__projector": [16, 8]}, "model.projector: a table has no projector, expected one number"),
        ({"model__projector_batch_norm": True}, "model.projector_batch_norm: a table has no projector"),
        ({"axes__batch_size": 8}, "axes.batch_size: pairs_4 has 4 training images, got a batch size of 8"),
        (
            {"axes": {"batch_size": 3, "batch_policy": "fixed"}},
            "axes.batch_policy: fixed: expected a batch size that divides the 4 images, got 3; the same 1 would",
        ),
        ({"analysis__outcome": "knn_top1"}, "analysis.outcome: 'knn_top1' is not measured by this study"),
    ],
)
def test_what_free_pairs_cannot_be_is_one_line(changes, message):
    with pytest.raises(StudyError) as error:
        plan(study(**changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_takes_no_images():
    changes = {"data": {"dataset": "digits"}, "evaluation__probes": ["knn"], "analysis__outcome": "knn_top1"}
    with pytest.raises(StudyError, match=r"model\.encoder: table holds the embeddings of free pairs"):
        plan(study(axes={"batch_size": 64}, **changes))
