import colorsys
import itertools
import math

import pytest
import torch
from torchvision.transforms import functional as single

from robustness.data import AUGMENTATIONS, COLOUR_AUGMENTATIONS, augmentation, colours, crops, load, two_views
from robustness.models import build
from search_spaces.datasets import DATASETS

PRESETS = pytest.mark.parametrize("preset", sorted(AUGMENTATIONS))
JITTER = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def random_images(*shape, seed=0, dtype=torch.float32):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def drawn(transform, images, seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transform(images, **options)


def images_for(preset, *size, **options):
    return random_images(size[0], 3 if preset in COLOUR_AUGMENTATIONS else 1, *size[1:], **options)


@PRESETS
def test_views_depend_on_their_seed_only(preset):
    images = images_for(preset, 32, 8, 8)
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


@PRESETS
@pytest.mark.parametrize("size", [(8, 8), (9, 14), (33, 32)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_views_of_any_size_are_images_of_the_same_size_and_type(preset, size, dtype):
    images = images_for(preset, 40, *size, dtype=dtype)
    kept = images.clone()
    for view in two_views(images, preset, seed=3):
        assert (view.shape, view.dtype) == (images.shape, dtype)
        assert 0 <= view.min() < view.max() <= 1
    assert torch.equal(images, kept)


@PRESETS
def test_a_batch_of_one_has_views(preset):
    for seed in range(12):
        assert two_views(images_for(preset, 1, 8, 8), preset, seed=seed)[0].isfinite().all()


@PRESETS
def test_how_an_image_is_changed_does_not_depend_on_the_others_or_on_the_precision(preset):
    images = images_for(preset, 24, 12, 12, dtype=torch.float64)
    others = torch.cat([images[:1], 1 - images[1:]])
    assert torch.allclose(two_views(images, preset, seed=5)[1][0], two_views(others, preset, seed=5)[1][0])
    single_precision = two_views(images.float(), preset, seed=5)
    for a, b in zip(two_views(images, preset, seed=5), single_precision, strict=True):
        assert torch.allclose(a, b.double(), atol=1e-4)


def test_drawing_views_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    for preset in AUGMENTATIONS:
        two_views(images_for(preset, 4, 8, 8), preset, seed=1)
    build("mlp", [8], dataset=DATASETS["digits"], batch_norm=False, seed=0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_views_of_digits_are_those_that_results_were_computed_with():
    views = two_views(load({"dataset": "digits"}).train[:256], "affine_erasing", seed=1)
    assert [view.double().sum().item() for view in views] == pytest.approx([4196.04, 4239.66], abs=0.02)


def test_erasing_blanks_a_patch_of_half_of_the_views(monkeypatch):
    # Without the affine part, so that every zero is an erased pixel.
    monkeypatch.setattr(augmentation, "affine", lambda images: images)
    erased = torch.cat(two_views(torch.ones(1000, 1, 20, 20), "affine_erasing", seed=0)) == 0
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


# Crops: the columns and rows of a ramp say where each pixel of a view was taken from.


def boxes(*, count, height, width, smallest, seed=0):
    """Left, top, width and height of crops in pixels, and whether they are mirrored, from views of two ramps."""
    x = ((torch.arange(width, dtype=torch.float64) + 0.5) / width).expand(height, width)
    y = ((torch.arange(height, dtype=torch.float64) + 0.5) / height)[:, None].expand(height, width)
    images = torch.stack([x, y]).repeat(count, 1, 1, 1)
    views = drawn(crops.crop_and_flip, images, seed, smallest=smallest)
    # The ends of a crop can lie beyond the last pixel's centre, where images are continued: use the middle.
    h, w = height // 4, width // 4
    across = (views[:, 0, 0, -1 - w] - views[:, 0, 0, w]) / (width - 1 - 2 * w) * width
    down = (views[:, 1, -1 - h, 0] - views[:, 1, h, 0]) / (height - 1 - 2 * h) * height
    left = views[:, 0, 0, w] - across * (w + 0.5) / width
    top = views[:, 1, h, 0] - down * (h + 0.5) / height
    mirrored = across < 0
    left = torch.where(mirrored, left + across, left)
    return left * width, top * height, across.abs() * width, down * height, mirrored


@pytest.mark.parametrize("smallest", [0.2, 0.08])
def test_crops_have_a_uniform_area_a_log_uniform_shape_and_any_place(smallest):
    left, top, width, height, mirrored = boxes(count=4000, height=32, width=32, smallest=smallest)
    area, ratio = width * height / 32**2, (width / height).log() / math.log(4 / 3)
    assert smallest - 1e-6 <= area.min() < smallest + 0.01
    assert 0.98 < area.max() <= 1 + 1e-6
    assert ratio.abs().max() <= 1 + 1e-6
    assert mirrored.double().mean().item() == pytest.approx(0.5, abs=0.03)
    # Shapes that don't fit are drawn again, so only small crops are uniform: those below 3/4 of the image always fit.
    small = area < 0.75
    assert area[small].mean().item() == pytest.approx((smallest + 0.75) / 2, abs=0.015)
    assert ratio[small].mean().item() == pytest.approx(0, abs=0.04)
    assert ratio[small].pow(2).mean().item() == pytest.approx(1 / 3, abs=0.03)
    for start, length in ((left, width), (top, height)):
        place = (start / (32 - length))[small]
        assert -1e-6 <= place.min() < 0.01
        assert 0.99 < place.max() <= 1 + 1e-6
        assert place.mean().item() == pytest.approx(0.5, abs=0.02)
        assert place.pow(2).mean().item() == pytest.approx(1 / 3, abs=0.02)
    assert (
        torch.corrcoef(torch.stack([left / (32 - width), top / (32 - height), mirrored.double()])).triu(1).abs().max()
        < 0.06
    )


def test_crops_of_oblong_images_stay_inside():
    left, top, width, height, _ = boxes(count=2000, height=16, width=48, smallest=0.2)
    assert min(left.min(), top.min()) > -1e-6
    assert (left + width).max() < 48 + 1e-6
    assert (top + height).max() < 16 + 1e-6
    ratio = width / height
    assert ((ratio > 0.749) & (ratio < 1.334) | (ratio - 3).abs().lt(1e-6)).all()


def test_a_crop_is_bilinear_interpolation():
    images, count = random_images(6, 2, 7, 9, dtype=torch.float64), 6
    views = drawn(crops.crop_and_flip, images, 4, smallest=0.2)
    x = (torch.arange(9, dtype=torch.float64) + 0.5).expand(7, 9)
    y = (torch.arange(7, dtype=torch.float64) + 0.5)[:, None].expand(7, 9)
    taken = drawn(crops.crop_and_flip, torch.stack([x, y]).repeat(count, 1, 1, 1), 4, smallest=0.2) - 0.5
    for n, c, i, j in itertools.product(range(count), range(2), range(7), range(9)):
        u, v = float(taken[n, 0, i, j]), float(taken[n, 1, i, j])
        expected = sum(
            images[n, c, b, a] * (1 - abs(u - a)) * (1 - abs(v - b))
            for a in range(9)
            for b in range(7)
            if abs(u - a) < 1 and abs(v - b) < 1
        )
        assert views[n, c, i, j] == pytest.approx(float(expected), abs=1e-12)


def test_a_preset_crops_as_much_as_it_says(monkeypatch):
    seen = []
    monkeypatch.setattr(augmentation, "crop_and_flip", lambda images, smallest: seen.append(smallest) or images)
    for preset in ("crop_flip", "cifar", "stl", "imagenet"):
        two_views(torch.ones(1, 3, 8, 8), preset, seed=0)
    assert seen == [0.2, 0.2, 0.08, 0.08]


# Colours.


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_factors_are_uniform_around_one_and_change_four_images_of_five(name):
    images = random_images(4000, 3, 8, 8, dtype=torch.float64) * 0.2 + 0.4
    views = drawn(colours.jitter, images, **JITTER | {name: 0.4})
    flat = [x.flatten(1) for x in (images, views)]
    if name != "brightness":
        grey = (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
        towards = grey.mean((1, 2, 3), keepdim=True) if name == "contrast" else grey
        flat = [(x - towards).flatten(1) for x in (images, views)]
    factor = (flat[0] * flat[1]).sum(1) / flat[0].pow(2).sum(1)
    changed = (factor - 1).abs() > 1e-9
    assert changed.double().mean().item() == pytest.approx(0.8, abs=0.02)
    assert 0.6 <= factor.min() < 0.605
    assert 1.395 < factor.max() <= 1.4 + 1e-9
    assert factor[changed].mean().item() == pytest.approx(1, abs=0.01)
    assert factor[changed].var().item() == pytest.approx(0.8**2 / 12, abs=0.003)


def test_hues_turn_uniformly_both_ways():
    red = torch.tensor([1.0, 0, 0], dtype=torch.float64)[:, None, None].expand(4000, 3, 2, 2)
    views = drawn(colours.jitter, red, **JITTER | {"hue": 0.1})[:, :, 0, 0]
    turns = torch.tensor([colorsys.rgb_to_hsv(*view.tolist())[0] for view in views])
    turns = torch.where(turns > 0.5, turns - 1, turns)
    turned = turns.abs() > 1e-9
    assert turned.double().mean().item() == pytest.approx(0.8, abs=0.02)
    assert -0.1 <= turns.min() < -0.098
    assert 0.098 < turns.max() <= 0.1
    assert turns[turned].std().item() == pytest.approx(0.2 / math.sqrt(12), abs=0.002)


@pytest.mark.parametrize(
    ("ours", "theirs", "factors"),
    [
        (colours._brightened, single.adjust_brightness, [0.2, 1.0, 1.8]),
        (colours._contrasted, single.adjust_contrast, [0.2, 1.0, 1.8]),
        (colours._saturated, single.adjust_saturation, [0.2, 1.0, 1.8]),
        (colours._turned, single.adjust_hue, [-0.5, -0.2, -0.01, 0.0, 0.1, 0.3, 0.5]),
    ],
)
def test_a_change_of_colour_is_that_of_torchvision(ours, theirs, factors):
    images = random_images(len(factors), 3, 16, 16)
    # Greys, primaries, black and white: ties between channels.
    images[:, :, 0, :8] = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1],
                                        [1, 0, 1.0]]).T  # fmt: skip
    views = ours(images, torch.tensor(factors)[:, None, None, None])
    for image, view, factor in zip(images, views, factors, strict=True):
        assert torch.allclose(view, theirs(image, factor), atol=2e-4)


def test_colours_change_in_every_order():
    steps = []

    def recorded(name):
        return lambda images, factor: steps.append(name) or images

    with pytest.MonkeyPatch.context() as patch:
        for name in ("_brightened", "_contrasted", "_saturated", "_turned"):
            patch.setattr(colours, name, recorded(name))
        for seed in range(200):
            drawn(colours.jitter, torch.ones(20, 3, 8, 8), seed, **JITTER)
    orders = [tuple(steps[k : k + 4]) for k in range(0, len(steps), 4)]
    assert len(orders) == 200
    assert len(set(orders)) == 24


def test_a_fifth_of_the_images_lose_their_colours():
    images = random_images(4000, 3, 8, 8)
    views = drawn(colours.greyed, images)
    grey = (views.amax(1) == views.amin(1)).flatten(1).all(1)
    assert grey.double().mean().item() == pytest.approx(0.2, abs=0.02)
    assert torch.equal(views[~grey], images[~grey])
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    assert torch.allclose(views[grey][:, 0], (images[grey] * weights).sum(1), atol=1e-6)


@pytest.mark.parametrize(("side", "kernel"), [(8, 3), (32, 3), (96, 9), (224, 23)])
def test_half_of_the_images_are_blurred_by_gaussians_of_a_tenth_of_the_side(side, kernel):
    # One bright pixel: its image is the kernel.
    count = 600 if side < 100 else 60
    images = torch.zeros(count, 1, side, side, dtype=torch.float64)
    images[:, :, side // 2, side // 2] = 1
    views = drawn(colours.blurred, images)[:, 0]
    blurred = views[:, side // 2, side // 2] < 1
    if side < 100:
        assert blurred.double().mean().item() == pytest.approx(0.5, abs=0.07)
    assert views.sum((1, 2)).tolist() == pytest.approx([1] * count)
    row = views[blurred].sum(1)
    reach = (row > 0).nonzero()[:, 1]
    assert reach.max() - reach.min() + 1 == kernel
    middle, beside = row[:, side // 2], row[:, side // 2 + 1]
    deviations = (-0.5 / (beside / middle).clamp_min(1e-300).log()).sqrt()
    assert 0.1 <= deviations.min() < 0.15 + 10 / count
    assert 1.9 - 10 / count < deviations.max() <= 2


def test_presets_for_colours_need_three_channels():
    for preset in AUGMENTATIONS:
        if preset in COLOUR_AUGMENTATIONS:
            with pytest.raises((ValueError, TypeError, RuntimeError)):
                two_views(torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)), preset, seed=0)
        else:
            two_views(torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)), preset, seed=0)
