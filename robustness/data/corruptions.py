"""Corruptions of whole batches at five severities, for images of any size: a small set after CIFAR-10-C's.

Source:
    Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, ICLR 2019,
    arXiv:1903.12261. Lengths here are shares of the image's side, so that 8 pixels suffer as 224 do.
"""

import math
import warnings
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

with warnings.catch_warnings():
    # kornia registers types with torch.jit at import, which torch reports as deprecated.
    warnings.simplefilter("ignore")
    from kornia.filters import gaussian_blur2d

Images = Float[Tensor, "n channels height width"]

SEVERITIES = 5

_DEVIATIONS = (0.05, 0.1, 0.15, 0.25, 0.4)
_WIDTHS = (0.05, 0.065, 0.08, 0.1, 0.13)
_FACTORS = (0.6, 0.45, 0.3, 0.2, 0.1)
_ADDED = (0.1, 0.2, 0.3, 0.4, 0.5)
_SHARES = (0.75, 0.6, 0.5, 0.375, 0.25)


def noise(images: Images, severity: int, *, seed: int) -> Images:
    """Gaussian noise of each pixel and channel, of deviation .05 to .4, drawn on the CPU."""
    drawn = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return images + _DEVIATIONS[severity - 1] * drawn.to(images)


def blur(images: Images, severity: int, *, seed: int) -> Images:
    """A Gaussian of a deviation of .05 to .13 of the shorter side; not random."""
    deviation = _WIDTHS[severity - 1] * min(images.shape[-2:])
    size = 2 * math.ceil(3 * deviation) + 1
    soft: Images = gaussian_blur2d(images, (size, size), (deviation, deviation), border_type="reflect")
    return soft


def contrast(images: Images, severity: int, *, seed: int) -> Images:
    """Distances from the image's mean times .6 to .1; not random."""
    return torch.lerp(images.mean((1, 2, 3), keepdim=True), images, _FACTORS[severity - 1])


def brightness(images: Images, severity: int, *, seed: int) -> Images:
    """.1 to .5 added to every pixel; not random."""
    return images + _ADDED[severity - 1]


def pixelate(images: Images, severity: int, *, seed: int) -> Images:
    """.75 to .25 as many cells a side, each the mean of the area it covers, seen through the pixels; not random."""
    rows, columns = (
        _blocks(side, max(round(_SHARES[severity - 1] * side), 1)).to(images) for side in images.shape[-2:]
    )
    return rows @ images @ columns.T


def _blocks(side: int, count: int) -> Float[Tensor, "side side"]:
    """Means over `count` equal cells of a line of pixels; a pixel on a border is part of both cells.

    With cells of whole pixels, 8 pixels would have few severities.
    """
    width, places, cells = side / count, torch.arange(side).double(), torch.arange(count).double()[:, None]
    ends = torch.minimum((cells + 1) * width, places + 1), torch.maximum(cells * width, places)
    overlap = (ends[0] - ends[1]).clamp_min(0)
    return overlap.T @ overlap / width


CORRUPTIONS: Mapping[str, Callable[..., Images]] = {
    "noise": noise,
    "blur": blur,
    "contrast": contrast,
    "brightness": brightness,
    "pixelate": pixelate,
}
"""How images are corrupted: images of 0 to 1, a severity of 1 to 5 and a seed."""


def corrupted(images: Images, name: str, *, severity: int, seed: int) -> Images:
    """Images of 0 to 1 after one of `CORRUPTIONS`, of the same shape, type and device, 0 to 1 again.

    Args:
        severity: 1 to 5.
        seed: of what is random, the same on any device.
    """
    return CORRUPTIONS[name](images, severity, seed=seed).clamp(0, 1)
