"""Random views of whole batches, drawn from a seed."""

import warnings
from collections.abc import Callable, Mapping
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

with warnings.catch_warnings():
    # kornia registers types with torch.jit at import, which torch reports as deprecated.
    warnings.simplefilter("ignore")
    import kornia.augmentation as K

from robustness.data.colours import blurred, greyed, jitter
from robustness.data.crops import crop_and_flip
from search_spaces.datasets import PAIRS

Images = Float[Tensor, "n channels height width"]


def affine(images: Images) -> Images:
    """Rotation to 15 degrees, shift to .15 of the side, scale .75 to 1.25."""
    moved: Images = _affine()(images)
    return moved


def affine_erasing(images: Images) -> Images:
    """`affine`, then with probability .5 a rectangle of .05 to .2 of the area set to 0."""
    erased: Images = _erasing()(affine(images))
    return erased


def crop_flip(images: Images) -> Images:
    """Crops of .2 to 1 of the image, mirrored or not; no change of colour."""
    return crop_and_flip(images, smallest=0.2)


def cifar(images: Images) -> Images:
    """`crop_flip`, colour jitter of half strength, grey: for colour images of about 32 pixels.

    Source:
        Chen et al., ICML 2020, arXiv:2002.05709, appendix B.9: colours at half strength and no blur for CIFAR-10;
        crops from .2 of the image, the MoCo releases' bound (He et al., CVPR 2020, arXiv:1911.05722).
    """
    return greyed(jitter(crop_flip(images), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1))


def stl(images: Images) -> Images:
    """Crops of .08 to 1, mirrored or not, colour jitter of half strength, grey, blur: for about 96 pixels.

    Source:
        Chuang et al., Debiased Contrastive Learning, NeurIPS 2020, arXiv:2007.00224: what its release does to STL10.
    """
    cropped = crop_and_flip(images, smallest=0.08)
    return blurred(greyed(jitter(cropped, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)))


def imagenet(images: Images) -> Images:
    """Crops of .08 to 1, mirrored or not, colour jitter of full strength, grey, blur: for about 224 pixels.

    Source:
        Chen et al., ICML 2020, arXiv:2002.05709, appendix A, at strength 1.
    """
    cropped = crop_and_flip(images, smallest=0.08)
    return blurred(greyed(jitter(cropped, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)))


AUGMENTATIONS: Mapping[str, Callable[[Images], Images]] = {
    "affine": affine,
    "affine_erasing": affine_erasing,
    "crop_flip": crop_flip,
    "cifar": cifar,
    "stl": stl,
    "imagenet": imagenet,
}
"""One random view of each image; drawn from torch's global generator of the CPU, in a fixed order."""

COLOUR_AUGMENTATIONS = frozenset({"cifar", "stl", "imagenet"})
"""Those that need red, green and blue."""


def two_views(images: Images, preset: str, *, seed: int) -> tuple[Images, Images]:
    """Two independent augmented views of every image: the same for the same images, preset and seed.

    Parameters are drawn on the CPU whatever the device, so every machine draws the same ones.

    Args:
        images: 0 to 1, at least 8 x 8.
        preset: a name of `AUGMENTATIONS`, or `pairs` for free pairs, whose views are not random.
        seed: of all draws; how many there are depends on the number of images only.

    Returns:
        Views of the images' shape, type and device, 0 to 1.
    """
    if preset == PAIRS:
        return images, images.roll(images.shape[-1] // 2, dims=-1)
    both = torch.cat([images, images])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        both = AUGMENTATIONS[preset](both)
    return both[: len(images)], both[len(images) :]


@cache
def _affine() -> torch.nn.Module:
    transform: torch.nn.Module = K.RandomAffine(degrees=15.0, translate=(0.15, 0.15), scale=(0.75, 1.25), p=1.0)
    return transform


@cache
def _erasing() -> torch.nn.Module:
    transform: torch.nn.Module = K.RandomErasing(scale=(0.05, 0.2), p=0.5)
    return transform
