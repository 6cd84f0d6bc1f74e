"""Small encoders, for images of a few hundred or thousand pixels and for machines without a GPU."""

import math
from itertools import pairwise

from torch import nn

Shape = tuple[int, int, int]
"""Channels, height and width of an image."""

Encoder = tuple[nn.Module, int]
"""A module that makes representations of images, and how wide they are."""


def mlp(shape: Shape) -> Encoder:
    """Pixels - 256 - 128, a ReLU behind each: an encoder for images of a few hundred pixels."""
    pixels = math.prod(shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU()), 128


def deep_linear(shape: Shape) -> Encoder:
    """Pixels - 128 - 128 - 128 - 128, linear without biases: what depth does by itself.

    Source:
        Tian, Understanding Deep Contrastive Learning via Coordinate-wise Optimization, NeurIPS 2022, arXiv:2201.12680.
    """
    widths = [math.prod(shape), 128, 128, 128, 128]
    return nn.Sequential(nn.Flatten(), *(nn.Linear(*pair, bias=False) for pair in pairwise(widths))), widths[-1]


def relu_two_layer(shape: Shape) -> Encoder:
    """Pixels - 256 - 128, without biases and with one ReLU between: the least that is not linear.

    Source:
        Tian, NeurIPS 2022, arXiv:2201.12680, section 5.
    """
    first, second = nn.Linear(math.prod(shape), 256, bias=False), nn.Linear(256, 128, bias=False)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), second), 128


def table(shape: Shape, *, width: int = 128) -> Encoder:
    """A row of its own for every view of every pair, drawn from N(0, 1): embeddings that are optimised directly.

    Args:
        shape: of free pairs, whose images are unit vectors.
        width: of a row.
    """
    rows = nn.Linear(math.prod(shape), width, bias=False)
    nn.init.normal_(rows.weight)
    return nn.Sequential(nn.Flatten(), rows), width


def convnet_small(shape: Shape) -> Encoder:
    """Three convolutions of 16, 32 and 64 channels: 23,696 parameters for colour images."""
    return _convnet(shape[0], 16, 32, 64)


def convnet(shape: Shape) -> Encoder:
    """Three convolutions of 32, 64 and 128 channels: 93,472 parameters for colour images."""
    return _convnet(shape[0], 32, 64, 128)


def _convnet(*channels: int) -> Encoder:
    """3 x 3 convolutions, each halving the image and followed by batch normalisation and a ReLU; then the mean."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        # The bias would go with the batch's mean.
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels[-1]
