import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustness.data import AUGMENTATIONS, LOADERS, augmentation, epoch_batches, two_views
from robustness.models import ENCODERS, build
from robustness.seeds import derive
from search_spaces.datasets import DATASETS


def test_every_data_set_has_sizes_and_a_loader():
    assert set(DATASETS) == set(LOADERS)
    assert {entry.augmentation for entry in DATASETS.values()} <= set(AUGMENTATIONS)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_data_set_is_what_its_entry_says(name):
    entry = DATASETS[name]
    splits = LOADERS[name]()
    sizes = (len(splits.train), len(splits.fit.images), len(splits.validation.images), len(splits.test.images))
    assert sizes == (entry.num_train, entry.num_fit, entry.num_validation, entry.num_test)
    for split in (splits.fit, splits.validation, splits.test):
        assert split.images.shape[1:] == entry.shape
        assert 0 <= split.images.min() < split.images.max() <= 1
        assert set(split.labels.tolist()) == set(range(entry.num_classes))


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_splits_are_disjoint_stratified_and_fixed(name):
    first, again = LOADERS[name](), LOADERS[name]()
    assert torch.equal(first.train, again.train)
    rows = {part: {x.numpy().tobytes() for x in getattr(first, part).images} for part in ("fit", "validation", "test")}
    assert not rows["fit"] & rows["test"]
    assert not rows["validation"] & (rows["fit"] | rows["test"])
    shares = [np.bincount(getattr(first, part).labels) / len(getattr(first, part).labels) for part in rows]
    assert np.ptp(shares, axis=0).max() < 0.01


@given(size=st.integers(2, 300), count=st.integers(300, 1100), seed=st.integers(0, 2**40), epoch=st.integers(0, 99))
@settings(derandomize=True, deadline=None, max_examples=25)
def test_an_epoch_shows_no_image_twice_and_only_whole_batches(size, count, seed, epoch):
    batches = epoch_batches(count, batch_size=size, seed=seed, epoch=epoch)
    assert batches.shape == (count // size, size)
    assert len(set(batches.flatten().tolist())) == batches.numel()


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_networks_see_standardised_images(name):
    pixels = LOADERS[name]().train.transpose(0, 1).flatten(1)
    assert pixels.mean(1).tolist() == pytest.approx(DATASETS[name].mean, abs=1e-3)
    assert pixels.std(1).tolist() == pytest.approx(DATASETS[name].deviation, abs=1e-3)
    network = build("mlp", [8], dataset=DATASETS[name], batch_norm=False, seed=0)
    seen = []
    network.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(LOADERS[name]().train)
    assert seen[0].mean().item() == pytest.approx(0, abs=0.01)
    assert seen[0].std().item() == pytest.approx(1, abs=0.01)


def test_every_epoch_and_seed_has_its_own_order():
    orders = {
        tuple(epoch_batches(64, batch_size=8, seed=seed, epoch=epoch).flatten().tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


@pytest.mark.parametrize("preset", sorted(AUGMENTATIONS))
def test_views_depend_on_their_seed_only(preset):
    images = LOADERS["digits"]().train[:32]
    before = torch.random.get_rng_state()
    first = two_views(images, preset, seed=1)
    torch.rand(7)
    again = two_views(images, preset, seed=1)
    other = two_views(images, preset, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[1])
    assert first[0].shape == images.shape
    torch.random.set_rng_state(before)


def test_drawing_views_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    two_views(torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), "affine_erasing", seed=1)
    build("mlp", [8], dataset=DATASETS["digits"], batch_norm=False, seed=0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_erasing_blanks_a_patch_of_half_of_the_views(monkeypatch):
    # Without the affine part, so that every zero is an erased pixel.
    monkeypatch.setattr(augmentation, "affine", tuple)
    augmentation._transforms.cache_clear()
    erased = torch.cat(two_views(torch.ones(1000, 1, 20, 20), "affine_erasing", seed=0)) == 0
    augmentation._transforms.cache_clear()
    areas = erased.flatten(1).float().mean(1)
    assert (areas > 0).float().mean().item() == pytest.approx(0.5, abs=0.04)
    assert 0.03 < areas[areas > 0].min() < areas.max() < 0.22
    assert areas[areas > 0].mean().item() == pytest.approx(0.125, abs=0.015)


def test_the_affine_part_turns_shifts_and_scales_within_its_bounds():
    # A bar in the middle: its mean is the shift, its second moments give angle and length.
    bar = torch.zeros(1, 1, 65, 65)
    bar[..., 31:34, 12:53] = 1
    view = torch.cat(two_views(bar.repeat(1000, 1, 1, 1), "affine", seed=0))[:, 0].double()
    grid = torch.arange(65.0, dtype=torch.float64) - 32
    mass = view.sum((1, 2))
    x, y = (view.sum(1) @ grid) / mass, (view.sum(2) @ grid) / mass
    inside = (view[:, [0, -1], :].sum((1, 2)) + view[:, :, [0, -1]].sum((1, 2))) == 0
    xx = (view.sum(1) @ grid**2) / mass - x**2
    yy = (view.sum(2) @ grid**2) / mass - y**2
    xy = torch.einsum("nij,i,j->n", view, grid, grid) / mass - x * y
    angle = torch.rad2deg(torch.atan2(2 * xy, xx - yy) / 2)[inside].abs()
    length = (xx + yy).sqrt()[inside] / (41**2 / 12 + 9 / 12) ** 0.5
    for shift in (x[inside].abs(), y[inside].abs()):
        assert 0.13 * 65 < shift.max() < 0.155 * 65
    assert 14 < angle.max() < 15.5
    assert 0.73 < length.min() < 0.78
    assert 1.2 < length.max() < 1.27


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
def test_initial_weights_depend_on_seed_encoder_and_projector_only(encoder):
    def weights(seed, widths):
        network = build(encoder, widths, dataset=DATASETS["digits"], batch_norm=False, seed=seed)
        return torch.cat([w.flatten() for w in network.parameters()])

    assert torch.equal(weights(0, [128, 32]), weights(0, [128, 32]))
    assert not torch.equal(weights(0, [128, 32]), weights(1, [128, 32]))


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_network_gives_representations_and_embeddings(encoder, batch_norm):
    network = build(encoder, [64, 16, 8], dataset=DATASETS["digits"], batch_norm=batch_norm, seed=0)
    h, z = network(torch.rand(5, 1, 8, 8))
    assert h.shape == (5, ENCODERS[encoder]((1, 8, 8))[1])
    assert z.shape == (5, 8)
    assert sum(isinstance(m, torch.nn.BatchNorm1d) for m in network.projector) == 2 * batch_norm


def test_derived_seeds_are_the_same_on_any_machine_and_differ_by_purpose():
    assert derive(0, "order", 16, 3) == 3232729795097351905
    assert len({derive(s, p, *parts) for s in (0, 1) for p in ("order", "augment") for parts in ((1, 2), (2, 1))}) == 8
