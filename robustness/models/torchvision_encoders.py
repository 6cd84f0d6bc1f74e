"""Torchvision's classification models as encoders: untrained, without their classifier."""

from functools import cache
from typing import Any

from torch import nn
from torchvision import models
from torchvision.ops import StochasticDepth

from robustness.models.encoders import Encoder, Shape

SMALL_IMAGE = 64
"""Below this many pixels a side, a ResNet's first layers leave too little: 32 x 32 becomes 8 x 8."""


@cache
def torchvision_names() -> tuple[str, ...]:
    """Every classification model that torchvision has."""
    return tuple(models.list_models(module=models))


def torchvision_encoder(name: str, shape: Shape) -> Encoder:
    """A classification model whose last layer is left out, so that it gives what that layer would see.

    Dropout and stochastic depth are left out too: what they draw would be no part of a trial's seeds, and no two
    losses would see the same. ResNets see images below 64 pixels through the stem that SimCLR gave them for CIFAR:
    a 3 x 3 convolution that keeps their size, and no pooling. Grey images are seen as three equal channels.

    Args:
        name: one of `torchvision_names()`.
        shape: of the images; 1 or 3 channels.

    Source:
        Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020, appendix
        B.9 (the stem). arXiv:2002.05709.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise ValueError(f"expected images of 1 or 3 channels, got {channels}")
    model = models.get_model(name, weights=None, **_arguments(name, height))
    if isinstance(model, models.ResNet) and min(height, width) < SMALL_IMAGE:
        _give_small_stem(model)
    if channels == 1:
        _see_grey_images(model)
    _leave_out_randomness(model)
    return model, _leave_out_classifier(model)


def _arguments(name: str, height: int) -> dict[str, Any]:
    if name.startswith("vit_"):
        return {"image_size": height}
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    return {}


def _give_small_stem(model: models.ResNet) -> None:
    model.conv1 = nn.Conv2d(3, model.conv1.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()


def _see_grey_images(model: nn.Module) -> None:
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    first.in_channels = 1
    first.weight = nn.Parameter(first.weight.detach().sum(1, keepdim=True))


def _leave_out_randomness(model: nn.Module) -> None:
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Dropout | StochasticDepth):
            model.set_submodule(name, nn.Identity())


def _leave_out_classifier(model: nn.Module) -> int:
    """Put an identity where the class scores are computed, and say how wide its input is."""
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    name, last = layers[-1]
    model.set_submodule(name, nn.Identity())
    return last.in_features if isinstance(last, nn.Linear) else last.in_channels
