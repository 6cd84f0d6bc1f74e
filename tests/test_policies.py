"""Which images meet in a batch: designs, hard batches, clusters of images that are hard to tell apart."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import floats, integers, sampled_from

from robustness.data.designs import check_design, num_classes, parallel_class
from robustness.data.policies import (
    all_subsets,
    balanced_batches,
    epoch_batches,
    ordered_batches,
    shuffled_batches,
)
from robustness.data.spectral import pair_weights, spectral_batches
from robustness.losses import LOSSES

DESIGNS = [
    (4, 2), (6, 2), (10, 2), (12, 2), (9, 3), (27, 3), (16, 4), (25, 5), (49, 7), (64, 8),
    (8, 4), (16, 8), (27, 9), (32, 4), (32, 8), (64, 16), (5, 5), (12, 12),
]  # fmt: skip


@pytest.mark.parametrize(("points", "size"), DESIGNS)
def test_every_pair_meets_equally_often_in_a_cycle_of_partitions(points, size):
    meetings = np.zeros((points, points), dtype=int)
    for index in range(num_classes(points, batch_size=size)):
        blocks = parallel_class(points, batch_size=size, index=index)
        assert blocks.shape == (points // size, size)
        assert sorted(blocks.ravel()) == list(range(points))
        for block in blocks:
            meetings[np.ix_(block, block)] += 1
    off_diagonal = meetings[~np.eye(points, dtype=bool)]
    assert set(off_diagonal) == {num_classes(points, batch_size=size) * (size - 1) // (points - 1)}


@pytest.mark.parametrize(
    ("points", "size", "hint"),
    [
        (7, 2, "possible are 4, 6, 8, 10 images or batches of 7"),
        (10, 3, "possible are 3, 9 images or batches of 2, 10"),
        (1797, 64, "possible are 256, 512, 1024, 2048 images or batches of 1797"),
        (100, 20, "possible are 20 images or batches of 2, 100"),
        (4, 8, "possible are 8 images or batches of 2, 4"),
    ],
)
def test_where_there_is_no_design_sizes_nearby_are_named(points, size, hint):
    with pytest.raises(ValueError, match=f"no design is known of {points} images in batches of {size}; {hint}"):
        check_design(points, batch_size=size)
    with pytest.raises(ValueError, match="no design is known"):
        balanced_batches(points, batch_size=size, seed=0, epoch=0)


@given(sampled_from(DESIGNS), integers(0, 10**6), integers(0, 200))
@settings(max_examples=40, deadline=None)
def test_balanced_batches_are_partitions_that_depend_on_seed_and_epoch_alone(sizes, seed, epoch):
    points, size = sizes
    found = balanced_batches(points, batch_size=size, seed=seed, epoch=epoch)
    assert sorted(found.flatten().tolist()) == list(range(points))
    assert torch.equal(found, balanced_batches(points, batch_size=size, seed=seed, epoch=epoch))
    later = epoch + num_classes(points, batch_size=size)
    again = balanced_batches(points, batch_size=size, seed=seed, epoch=later)
    assert {frozenset(block) for block in found.tolist()} == {frozenset(block) for block in again.tolist()}


def test_a_fixed_partition_is_the_first_of_the_shuffled_ones():
    fixed = epoch_batches("fixed", 20, batch_size=6, seed=3, epoch=9)
    assert torch.equal(fixed, shuffled_batches(20, batch_size=6, seed=3, epoch=0))
    assert not torch.equal(fixed, shuffled_batches(20, batch_size=6, seed=3, epoch=1))
    assert fixed.shape == (3, 6)


def test_all_subsets_come_once_each_in_a_new_order():
    first, second = (all_subsets(7, batch_size=3, seed=1, epoch=epoch) for epoch in (0, 1))
    assert sorted(map(tuple, first.tolist())) == list(itertools.combinations(range(7), 3))
    assert sorted(first.tolist()) == sorted(second.tolist()) != first.tolist()
    assert first.tolist() != second.tolist()


def test_too_many_subsets_are_counted():
    rule = r"all_subsets: expected at most 100,000 subsets, got 635,745,396 of 8 out of 64 images"
    with pytest.raises(ValueError, match=rule.replace("635,745,396", f"{math.comb(64, 8):,}")):
        all_subsets(64, batch_size=8, seed=0, epoch=0)
    with pytest.raises(ValueError, match=r"got about 10\^15049 of 25000 out of 50000 images"):
        all_subsets(50_000, batch_size=25_000, seed=0, epoch=0)


@given(integers(2, 40), integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_ordered_batches_are_the_hardest_of_those_drawn(num_images, seed):
    values, drawn = torch.rand(num_images, generator=torch.Generator().manual_seed(seed)), []

    def loss(batches):
        drawn.append(batches)
        return values[batches].sum(dim=1)

    size = max(2, num_images // 3)
    found = ordered_batches(num_images, loss, batch_size=size, candidates=30, chosen=5, seed=seed, epoch=2)
    assert found.shape == (5, size)
    assert all(len(set(batch)) == size for batch in drawn[0].tolist())
    expected = sorted(loss(drawn[0]).tolist(), reverse=True)[:5]
    assert loss(found).tolist() == pytest.approx(expected)


def views(num_images, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, num_images, dim, generator=generator, dtype=torch.float64)


@given(integers(2, 9), integers(1, 5), floats(0.05, 5), integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_pair_weights_bound_the_loss_of_a_batch_from_below(size, dim, temperature, seed):
    u, v = views(size, dim, seed)
    bound = pair_weights(u, v, batch_size=size, temperature=temperature).triu(1).sum() / (size * (size - 1))
    # info_nce is the mean of both directions, their sum is twice that.
    loss = 2 * LOSSES["info_nce"](u, v, temperature=temperature)
    assert bound <= loss + 1e-9
    if size == 2:
        assert float(bound) == pytest.approx(float(loss))


def test_pair_weights_are_finite_at_any_temperature():
    u, v = views(6, 4, 0)
    assert pair_weights(u, v, batch_size=3, temperature=1e-4).isfinite().all()


@given(integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_images_that_are_hard_to_tell_apart_come_into_one_batch(seed):
    centres = torch.eye(4, dtype=torch.float64)
    which = torch.randperm(20, generator=torch.Generator().manual_seed(seed)) % 4
    u, v = (centres[which] + 0.05 * view for view in views(20, 4, seed))
    found = spectral_batches(u, v, batch_size=5, temperature=0.2, seed=seed, epoch=0)
    assert found.shape == (4, 5)
    assert all(len(set(which[batch].tolist())) == 1 for batch in found)


@pytest.mark.parametrize(("num_images", "size"), [(12, 4), (14, 4), (9, 2), (6, 6), (7, 6)])
def test_spectral_batches_are_disjoint_and_exactly_full(num_images, size):
    u, v = views(num_images, 3, 5)
    found = spectral_batches(u, v, batch_size=size, temperature=0.5, seed=1, epoch=3)
    assert found.shape == (num_images // size, size)
    assert len(set(found.flatten().tolist())) == found.numel()
    again = spectral_batches(u, v, batch_size=size, temperature=0.5, seed=1, epoch=3)
    assert torch.equal(found, again)
