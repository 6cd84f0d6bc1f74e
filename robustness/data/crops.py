"""Random crops, resized to the image's own size and mirrored: one bilinear sampling for a whole batch."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

Images = Float[Tensor, "n channels height width"]

_TRIES = 10
_LOG_RATIO = math.log(4 / 3)


def crop_and_flip(images: Images, *, smallest: float) -> Images:
    """A random part of each image at full size, mirrored left to right with probability .5.

    A crop covers a share of the image that is uniform on [smallest, 1], and its width over its height is
    log-uniform on [3/4, 4/3]. Crops begin anywhere, not only at whole pixels. One pass, where kornia's
    crop and flip are two.

    Args:
        images: of any size.
        smallest: the least share of the image that a crop covers, in (0, 1].

    Source:
        Szegedy et al., Going Deeper with Convolutions, CVPR 2015, section 6, arXiv:1409.4842; with ten tries at a
        shape that fits and then the whole image, as torchvision's RandomResizedCrop without its limit on the ratio.
    """
    count, _, height, width = images.shape
    top, left, crop_height, crop_width = _boxes(count, height, width, smallest=smallest)
    rows = _places(top, crop_height, height)
    columns = _places(left, crop_width, width)
    columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns)
    rows, columns = (places.to(images.device, images.dtype) for places in (rows, columns))
    shape = (count, height, width)
    grid = torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], dim=-1)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)


def _boxes(count: int, height: int, width: int, *, smallest: float) -> Float[Tensor, "4 n"]:
    """Top, left, height and width of a crop for each image, in pixels: the first of ten shapes that fits."""
    areas = smallest + (1 - smallest) * torch.rand(count, _TRIES, dtype=torch.float64)
    ratios = torch.exp(_LOG_RATIO * (2 * torch.rand(count, _TRIES, dtype=torch.float64) - 1))
    heights, widths = (height * width * areas / ratios).sqrt(), (height * width * areas * ratios).sqrt()
    fits = (heights <= height) & (widths <= width)
    first = fits.to(torch.uint8).argmax(1, keepdim=True)
    found = fits.any(1)
    crop_height = torch.where(found, heights.gather(1, first)[:, 0], height)
    crop_width = torch.where(found, widths.gather(1, first)[:, 0], width)
    top = (height - crop_height) * torch.rand(count, dtype=torch.float64)
    left = (width - crop_width) * torch.rand(count, dtype=torch.float64)
    return torch.stack([top, left, crop_height, crop_width])


def _places(start: Float[Tensor, "n"], length: Float[Tensor, "n"], side: int) -> Float[Tensor, "n side"]:
    """Where the pixels of a crop lie along one side of the image, from -1 at its one edge to 1 at the other."""
    centres = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    return 2 * (start[:, None] + length[:, None] * centres) / side - 1
