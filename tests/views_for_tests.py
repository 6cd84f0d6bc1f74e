"""Embeddings and hyperparameters that tests of losses share."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustness.losses import LOSSES

NAMES = sorted(LOSSES)
ONE_SIDED = ["dhel_one_sided", "info_nce_one_sided"]
PER_DIMENSION = ["barlow_twins", "vicreg"]
PAIRWISE = [name for name in NAMES if name not in PER_DIMENSION]
FROZEN_WEIGHTS = ["alpha_direct", "alpha_entropy", "alpha_inverse", "alpha_square"]

anywhere = given(seed=st.integers(0, 2**31 - 1), points=st.lists(st.floats(0, 1), min_size=3, max_size=3))
sampled = settings(derandomize=True, deadline=None, max_examples=8, database=None)

Hyperparameters = dict[str, float]


def axes(name: str) -> list[str]:
    return list(LOSSES[name].space.hyperparameters)


def bound(name: str) -> Hyperparameters:
    """What training supplies and no study sets."""
    return {argument: {"num_images": 1024.0}[argument] for argument in LOSSES[name].space.bound}


def hyperparameters_at(name: str, points: Sequence[float]) -> Hyperparameters:
    space = LOSSES[name].space.hyperparameters
    return bound(name) | {axis: float(space[axis].dimension.value(p)) for axis, p in zip(space, points, strict=False)}


def defaults(name: str) -> Hyperparameters:
    return bound(name) | {axis: float(entry.default) for axis, entry in LOSSES[name].space.hyperparameters.items()}


def corners(name: str) -> list[Hyperparameters]:
    """Both ends of every axis, and the middle of all."""
    points = itertools.product((0.0, 1.0), repeat=len(axes(name)))
    return [hyperparameters_at(name, point) for point in [*points, [0.5] * 3]]


def stacked(members: Sequence[Hyperparameters], shape: Sequence[int] | None = None) -> dict[str, Tensor]:
    """One tensor a hyperparameter, one entry a member."""
    shape = [len(members)] if shape is None else shape
    return {
        axis: torch.tensor([member[axis] for member in members], dtype=torch.float64).reshape(shape)
        for axis in members[0]
    }


def two_views(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return first.to(dtype), second.to(dtype)


def rotation(seed: int, dim: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64)).Q


def simplex(num_images: int, dim: int) -> Tensor:
    """A centred regular simplex on the unit sphere, turned by a random rotation."""
    centred = torch.eye(num_images, dtype=torch.float64) - 1 / num_images
    vertices = torch.linalg.svd(centred).U[:, : num_images - 1] * math.sqrt(num_images / (num_images - 1))
    padded = torch.zeros(num_images, dim, dtype=torch.float64)
    padded[:, : num_images - 1] = vertices
    return padded @ rotation(num_images, dim)


def value_and_gradients(
    name: str, u: Tensor, v: Tensor, hyperparameters: Mapping[str, float | Tensor], *, tile: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    u, v = u.clone().requires_grad_(), v.clone().requires_grad_()
    value = LOSSES[name].compute(u, v, tile=tile, **hyperparameters)
    return value.detach(), *torch.autograd.grad(value.sum(), (u, v))


def relative_difference(value: float | Tensor, expected: float | Tensor) -> float:
    """Of numbers below 1, the difference itself."""
    return abs(float(value) - float(expected)) / max(1.0, abs(float(expected)))


def close(value: float | Tensor, expected: float | Tensor, tolerance: float = 1e-10) -> bool:
    return relative_difference(value, expected) <= tolerance


def assert_gradients_close(gradients: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float = 1e-10) -> None:
    """Relative to the largest entry of what is expected."""
    for gradient, other in zip(gradients, expected, strict=True):
        assert gradient.shape == other.shape
        assert float((gradient - other).abs().max()) <= tolerance * max(0.01, float(other.abs().max()))


def members(shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*(range(length) for length in shape))
