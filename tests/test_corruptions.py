"""Corruptions of images, and retrieval under them."""

import itertools
import math

import pytest
import torch
from studies_for_tests import tiny

from robustness import store
from robustness.data import load
from robustness.data.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from robustness.metrics import retrieval_top1
from robustness.plan import pack_costs, plan
from robustness.seeds import derive
from robustness.training import train_pack
from robustness.training.corrupted import corrupted_outcomes
from robustness.training.member import members_of
from robustness.trial import Trial
from search_spaces import StudyError

SHAPES = [(4, 1, 8, 8), (4, 1, 9, 9), (3, 3, 32, 32), (2, 3, 17, 40)]


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_severity_is_farther_from_the_image_than_the_one_before(name, shape):
    clean = images(*shape)
    views = [corrupted(clean, name, severity=severity, seed=1) for severity in range(1, SEVERITIES + 1)]
    distances = [(view - clean).square().mean().item() for view in views]
    assert distances[0] > 0
    assert all(one < other for one, other in itertools.pairwise(distances))
    for view in views:
        assert (view.shape, view.dtype) == (clean.shape, clean.dtype)
        assert 0 <= view.min() <= view.max() <= 1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_seed_corrupts_the_same_way_in_either_precision(name):
    clean = images(3, 3, 16, 16)
    one, same = (corrupted(clean, name, severity=3, seed=5) for _ in range(2))
    assert torch.equal(one, same)
    torch.testing.assert_close(corrupted(clean.double(), name, severity=3, seed=5), one.double(), rtol=0, atol=1e-6)
    other = corrupted(clean, name, severity=3, seed=6)
    assert torch.equal(one, other) == (name != "noise")


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - {"noise"}))
def test_images_are_corrupted_one_by_one(name):
    clean = images(5, 3, 12, 12)
    order = torch.tensor([3, 0, 4, 1, 2])
    whole = corrupted(clean, name, severity=4, seed=0)
    torch.testing.assert_close(corrupted(clean[order], name, severity=4, seed=0), whole[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - {"noise"}))
def test_other_images_of_a_batch_change_nothing(name):
    clean = images(3, 3, 12, 12) * torch.tensor([0.2, 0.6, 1.0])[:, None, None, None]
    whole = corrupted(clean, name, severity=4, seed=0)
    alone = torch.cat([corrupted(image[None], name, severity=4, seed=0) for image in clean])
    torch.testing.assert_close(alone, whole, rtol=0, atol=1e-6)


def test_blur_is_as_wide_as_the_shorter_side_says():
    point = torch.zeros(1, 1, 16, 40, dtype=torch.float64)
    point[..., 8, 20] = 1
    row = corrupted(point, "blur", severity=3, seed=0)[0, 0].sum(0)
    places = torch.arange(40) - 20
    assert (row * places**2).sum().sqrt().item() == pytest.approx(0.08 * 16, rel=0.01)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_digits_suffer_more_with_each_severity(name):
    clean = load({"dataset": "digits"}).test.images
    views = [corrupted(clean, name, severity=severity, seed=1) for severity in range(1, SEVERITIES + 1)]
    distances = [(view - clean).double().square().mean().item() for view in views]
    assert distances[0] > 1e-4
    assert all(one < other for one, other in itertools.pairwise(distances))


def slow(name, image):
    """Severity 3 of one channel of 8 x 8, pixel by pixel."""
    mean, result = sum(map(sum, image)) / 64, [[0.0] * 8 for _ in range(8)]
    deviation = 0.08 * 8
    weights = [math.exp(-((k - 2) ** 2) / (2 * deviation**2)) for k in range(5)]
    for row in range(8):
        for column in range(8):
            value = image[row][column]
            if name == "contrast":
                value = mean + 0.3 * (value - mean)
            if name == "brightness":
                value = min(value + 0.3, 1.0)
            if name == "pixelate":
                block = [image[row // 2 * 2 + k][column // 2 * 2 + m] for k in (0, 1) for m in (0, 1)]
                value = sum(block) / 4
            if name == "blur":
                value = (
                    sum(
                        weights[k] * weights[m] * image[mirrored(row + k - 2)][mirrored(column + m - 2)]
                        for k in range(5)
                        for m in range(5)
                    )
                    / sum(weights) ** 2
                )
            result[row][column] = value
    return result


def mirrored(place):
    return 7 - abs(7 - abs(place))


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - {"noise"}))
def test_corruptions_are_what_slow_loops_make(name):
    clean = images(1, 1, 8, 8, seed=3).double()
    found = corrupted(clean, name, severity=3, seed=0)[0, 0]
    torch.testing.assert_close(found, torch.tensor(slow(name, clean[0, 0].tolist()), dtype=torch.float64))


def test_noise_has_the_deviation_that_it_should():
    grey = torch.full((200, 1, 8, 8), 0.5, dtype=torch.float64)
    added = corrupted(grey, "noise", severity=2, seed=0) - 0.5
    assert added.std().item() == pytest.approx(0.1, rel=0.02)
    assert added.mean().item() == pytest.approx(0.0, abs=0.003)


def trial(**changes):
    study = tiny(
        **{
            "families": {"nt_xent": {}},
            "axes": {"batch_size": 256},
            "seeds": 1,
            "evaluation": {"probes": ["corruptions"], "images": 100},
            "analysis": {"outcome": "retrieval_corrupted_top1"},
            **changes,
        }
    )
    (text,) = plan(study)["trial"]
    return Trial.from_json(text)


def test_retrieval_is_told_for_each_corruption_and_severity():
    (result,) = train_pack([trial()], every=1)
    outcomes = result.outcomes
    shares = torch.tensor(outcomes["retrieval_severities"], dtype=torch.float64).view(len(CORRUPTIONS), SEVERITIES)
    assert set(outcomes) <= set(store.OUTCOMES)
    for name, row in zip(CORRUPTIONS, shares, strict=True):
        assert outcomes[f"retrieval_{name}_top1"] == pytest.approx(row.mean().item())
    assert outcomes["retrieval_corrupted_top1"] == pytest.approx(shares.mean().item())
    assert (shares >= 0).all()
    assert shares[:, 0].min() > shares[:, 4].max() - 0.5
    assert shares[0, 0] > shares[0, 4]


def test_it_is_representations_that_find_each_other():
    (member,) = members_of([trial()], torch.device("cpu"))
    clean = load({"dataset": "digits"}).test.images[:100]
    found = corrupted_outcomes(member, clean)["retrieval_severities"]
    seed = derive(member.trial.seed, "corrupt", "pixelate", 5)
    views = corrupted(clean, "pixelate", severity=5, seed=seed)
    of_h, of_z = (retrieval_top1(member.network(views)[k], member.network(clean)[k]) for k in (0, 1))
    assert found[-1] == of_h != of_z


def test_a_scheduler_needs_an_outcome_measured_on_the_way():
    design = {"kind": "tpe", "configurations": 5, "scheduler": "asha"}
    with pytest.raises(StudyError, match="retrieval_corrupted_top1 is measured at the end only"):
        plan(
            tiny(
                design=design,
                evaluation={"probes": ["corruptions"], "every": 1},
                analysis={"outcome": "retrieval_corrupted_top1"},
            )
        )


def test_images_without_a_corruption_find_themselves(monkeypatch):
    monkeypatch.setattr("robustness.training.corrupted.corrupted", lambda clean, name, *, severity, seed: clean)
    (result,) = train_pack([trial()])
    unlike = len(torch.unique(load({"dataset": "digits"}).test.images[:100], dim=0)) / 100
    assert result.outcomes["retrieval_corrupted_top1"] == pytest.approx(unlike)


def test_corruptions_are_measured_at_the_end_alone():
    (result,) = train_pack([trial(training={"epochs": 2})], every=1)
    first, last = result.history
    assert "retrieval_corrupted_top1" not in first
    assert last["retrieval_corrupted_top1"] == result.outcomes["retrieval_corrupted_top1"]


def test_dear_probes_raise_the_expected_seconds():
    (plain,) = pack_costs(plan(cifar([])), every=None).values()
    for probe in ("corruptions", "cifar_c", "gradient"):
        (cost,) = pack_costs(plan(cifar([probe])), every=None).values()
        assert cost > 1.02 * plain


def cifar(probes):
    return tiny(
        data={"dataset": "cifar10"},
        model={"encoder": "convnet_small"},
        families={"nt_xent": {}},
        axes={"batch_size": 4},
        seeds=1,
        evaluation={"probes": probes},
        analysis={"outcome": "final_loss"},
    )


def test_an_outcome_that_no_probe_measures_is_one_line():
    with pytest.raises(StudyError, match="'retrieval_blur_top1' is not measured by this study"):
        plan(tiny(analysis={"outcome": "retrieval_blur_top1"}))
