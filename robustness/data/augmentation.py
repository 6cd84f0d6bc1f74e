"""Random views of whole batches, drawn from a seed."""

import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

with warnings.catch_warnings():
    # kornia registers types with torch.jit at import, which torch reports as deprecated.
    warnings.simplefilter("ignore")
    import kornia.augmentation as K

Images = Float[Tensor, "n channels height width"]


def affine() -> tuple[torch.nn.Module, ...]:
    """Rotation to 15 degrees, shift to .15 of the side, scale .75 to 1.25."""
    return (K.RandomAffine(degrees=15.0, translate=(0.15, 0.15), scale=(0.75, 1.25), p=1.0),)


def affine_erasing() -> tuple[torch.nn.Module, ...]:
    """`affine`, then with probability .5 a rectangle of .05 to .2 of the area set to 0."""
    return (*affine(), K.RandomErasing(scale=(0.05, 0.2), p=0.5))


AUGMENTATIONS: Mapping[str, Callable[[], tuple[torch.nn.Module, ...]]] = {
    "affine": affine,
    "affine_erasing": affine_erasing,
}


def two_views(images: Images, preset: str, *, seed: int) -> tuple[Images, Images]:
    """Two independent augmented views of every image: the same for the same images, preset and seed.

    Parameters are drawn on the CPU whatever the device, so every machine draws the same ones.
    """
    both = torch.cat([images, images])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for transform in _transforms(preset):
            both = transform(both)
    return both[: len(images)], both[len(images) :]


@lru_cache
def _transforms(preset: str) -> tuple[torch.nn.Module, ...]:
    return AUGMENTATIONS[preset]()
