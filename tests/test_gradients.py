"""Bias and variance of mini-batch gradients."""

import itertools
import math

import pytest
import torch
from studies_for_tests import tiny

from robustness.data import Split, Splits, load, two_views
from robustness.plan import evaluation_updates, plan
from robustness.seeds import derive
from robustness.training import gradients, train_pack
from robustness.training.gradients import gradient_outcomes
from robustness.training.member import members_of
from robustness.trial import Trial

CPU = torch.device("cpu")
COUPLED, KERNELS = ("info_nce", "nt_xent", "dhel"), ("kcl_gaussian", "kcl_log", "kcl_imq")


def trials(*losses, batch_size=4, **changes):
    study = tiny(
        **{
            "families": {loss: {} for loss in losses},
            "axes": {"batch_size": batch_size},
            "seeds": 1,
            "training": {"epochs": 2, "precision": "float64"},
            "evaluation": {"probes": ["gradient"], "images": 50},
            "analysis": {"outcome": "gradient_variance"},
            **changes,
        }
    )
    return [Trial.from_json(text) for text in plan(study)["trial"]]


def first_images(count):
    splits = load({"dataset": "digits"})
    images, labels = splits.images[:count], splits.labels[:count]
    return Splits(images, labels, Split(images, labels), num_train=count, num_fit=count)


def by_hand(member, splits, size):
    """The same over every batch there is, each with its own gradient."""
    trial = member.trial
    images = splits.train.double()
    views = two_views(images, trial.data["augmentation"], seed=derive(trial.seed, "gradient"))
    network = member.network.requires_grad_().eval()

    def gradient(chosen):
        first, second = (network(view[chosen])[1] for view in views)
        parts = torch.autograd.grad(member.loss(first, second), list(network.parameters()))
        return torch.cat([part.flatten() for part in parts])

    every = torch.stack([gradient(list(chosen)) for chosen in itertools.combinations(range(len(images)), size)])
    full, mean = gradient(list(range(len(images)))), every.mean(0)
    norm = full.norm()
    variance = (every - mean).square().sum(1).mean()
    return norm.item(), ((mean - full).norm() / norm).item() ** 2, (variance / norm**2).item()


@pytest.mark.parametrize("loss", ["info_nce", "dhel", "kcl_gaussian", "alpha_direct", "vicreg"])
def test_bias_and_variance_are_those_of_all_batches(monkeypatch, loss):
    monkeypatch.setattr(gradients, "MEAN_IMAGES", 2**17)
    monkeypatch.setattr(gradients, "VARIANCE_BATCHES", 512)
    (member,) = members_of(trials(loss, batch_size=3), CPU)
    splits = first_images(7)
    found = gradient_outcomes(member, splits)
    norm, bias, variance = by_hand(member, splits, 3)
    assert found["gradient_norm"] == pytest.approx(norm, rel=1e-9)
    assert found["gradient_variance"] == pytest.approx(variance, rel=0.1)
    # 43,690 draws: chance moves the mean by a hundredth of a batch's deviation at most.
    assert found["gradient_squared_bias"] == pytest.approx(
        bias, abs=1e-3 * variance + 0.02 * math.sqrt(bias * variance)
    )


def test_kernel_losses_have_no_bias_and_the_others_have():
    splits = load({"dataset": "digits"})
    for member in members_of(trials(*COUPLED, *KERNELS), CPU):
        found = gradient_outcomes(member, splits)
        noise = found["gradient_variance"] * 4 / gradients.MEAN_IMAGES
        if member.trial.loss in KERNELS:
            assert abs(found["gradient_squared_bias"]) < noise
        else:
            assert found["gradient_squared_bias"] > 2 * noise


def test_variance_falls_with_the_batch_size():
    splits, found = load({"dataset": "digits"}), []
    for size in (4, 16, 64, 256):
        (member,) = members_of(trials("nt_xent", batch_size=size), CPU)
        found.append(gradient_outcomes(member, splits)["gradient_variance"])
    assert found == sorted(found, reverse=True)
    assert found[0] > 20 * found[3]


def test_the_full_batch_has_neither():
    (member,) = members_of(trials("nt_xent", batch_size=16), CPU)
    found = gradient_outcomes(member, first_images(16))
    assert found["gradient_norm"] > 0
    assert (found["gradient_squared_bias"], found["gradient_variance"]) == (0, 0)


def test_a_batch_as_large_as_the_full_one_of_more_images_has_nothing_to_compare_with(monkeypatch):
    monkeypatch.setattr(gradients, "GRADIENT_IMAGES", 16)
    (member,) = members_of(trials("nt_xent", batch_size=16), CPU)
    found = gradient_outcomes(member, first_images(20))
    assert found["gradient_norm"] > 0
    assert math.isnan(found["gradient_squared_bias"])
    assert math.isnan(found["gradient_variance"])


def test_micro_batches_bound_what_has_a_graph_and_change_nothing(monkeypatch):
    splits, embedded, plain = first_images(7), [], gradients._embeddings

    def noted(network, views):
        embeddings = plain(network, views)
        embedded.append((views.shape[1], embeddings.requires_grad))
        return embeddings

    monkeypatch.setattr(gradients, "_embeddings", noted)
    training = {"epochs": 2, "precision": "float64"}
    whole = gradient_outcomes(members_of(trials("dhel", training=training), CPU)[0], splits)
    embedded.clear()
    parts = gradient_outcomes(members_of(trials("dhel", training=training | {"micro_batch": 3}), CPU)[0], splits)
    assert parts == pytest.approx(whole, rel=1e-9)
    assert max(count for count, graph in embedded if graph) == 3


def test_a_gradient_of_zero_has_no_relative_error():
    (member,) = members_of(trials("nt_xent"), CPU)
    for weights in member.network.parameters():
        weights.data.zero_()
    found = gradient_outcomes(member, first_images(16))
    assert found["gradient_norm"] == 0
    assert math.isnan(found["gradient_variance"])


def test_measuring_changes_nothing():
    loss = {"analysis": {"outcome": "final_loss"}}
    plain, measured = (
        trials("nt_xent", evaluation={"probes": probes, "images": 50}, **loss)[0] for probes in ([], ["gradient"])
    )
    one, other = (train_pack([trial], every=1, keep_weights=True)[0] for trial in (plain, measured))
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    assert "gradient_norm" not in one.outcomes


def test_batch_normalisation_uses_running_statistics_and_keeps_them():
    (member,) = members_of(trials("nt_xent", batch_size=3, model={"projector_batch_norm": True}), CPU)
    before = {name: value.clone() for name, value in member.network.state_dict().items()}
    assert any("running" in name for name in before)
    splits = first_images(7)
    found = gradient_outcomes(member, splits)["gradient_norm"]
    assert all(torch.equal(value, before[name]) for name, value in member.network.state_dict().items())
    assert found == pytest.approx(by_hand(member, splits, 3)[0], rel=1e-9)


def test_a_fresh_encoder_is_measured_too():
    pack = trials("nt_xent", "dhel", batch_size=256)
    results = train_pack(pack, every=1)
    for result in results:
        assert [row["epoch"] for row in result.history] == [0, 1, 2]
        assert result.history[0]["gradient_norm"] != result.history[1]["gradient_norm"]
        assert result.history[0]["final_loss"] is None
    assert (
        evaluation_updates(
            trials("nt_xent", evaluation={"probes": []}, analysis={"outcome": "final_loss"})[0], every=1
        )[0]
        > 0
    )


def test_an_untrained_encoder_has_no_loss_and_no_gradient():
    (trial,) = trials("untrained")
    (result,) = train_pack([trial])
    assert result.status == "ok"
    assert "gradient_norm" not in result.outcomes
