"""Encoders by name, and networks from a seed."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from functools import lru_cache, partial

import torch
from torch import nn

from robustness.models.encoders import Encoder, Shape, convnet, convnet_small, deep_linear, mlp, relu_two_layer, table
from robustness.models.networks import Network, projector
from robustness.models.shapes import refusal
from robustness.models.torchvision_encoders import torchvision_encoder, torchvision_names
from robustness.seeds import derive
from search_spaces.axes import suggestion
from search_spaces.datasets import Dataset

TABLE = "table"
"""The encoder that is the embeddings themselves."""

ENCODERS: Mapping[str, Callable[[Shape], Encoder]] = {
    "mlp": mlp,
    "convnet_small": convnet_small,
    "convnet": convnet,
    "deep_linear": deep_linear,
    "relu_two_layer": relu_two_layer,
    TABLE: table,
    "resnet18": partial(torchvision_encoder, "resnet18"),
    "resnet34": partial(torchvision_encoder, "resnet34"),
    "resnet50": partial(torchvision_encoder, "resnet50"),
}
"""Encoders that take images of any size; all other classification models of torchvision go by their name there."""

_SIDES = (32, 64, 96, 128, 224)


def find_encoder(name: str) -> Callable[[Shape], Encoder]:
    """What makes the encoder of this name: images' shape -> module and width.

    Raises:
        ValueError: there is none; one line with a suggestion.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    if name in torchvision_names():
        return partial(torchvision_encoder, name)
    close = get_close_matches(name, [*ENCODERS, *torchvision_names()], n=1)
    others = "" if close else ", or a classification model of torchvision"
    raise ValueError(f"no encoder of this name{suggestion(name, close or list(ENCODERS))}{others}")


def check(encoder: str, dataset: Dataset) -> None:
    """Check that there is an encoder of this name and that it takes images of this data set.

    Raises:
        ValueError: one line with the rule and the value.
    """
    if encoder == TABLE and not dataset.is_free:
        raise ValueError(f"{TABLE} holds the embeddings of free pairs; expected dataset: pairs, got other data")
    reason = _refusal(encoder, dataset.shape)
    if reason is None:
        return
    channels, height, width = dataset.shape
    sides = [side for side in _SIDES if side != max(height, width)]
    taken = next((side for side in sides if _refusal(encoder, (channels, side, side)) is None), None)
    hint = "" if taken is None else f"; it takes {taken} x {taken}"
    raise ValueError(f"{encoder} takes no images of {channels} x {height} x {width} ({reason}){hint}")


@lru_cache(maxsize=64)
def _refusal(encoder: str, shape: Shape) -> str | None:
    return refusal(find_encoder(encoder), shape)


def build(encoder: str, widths: Sequence[int], *, dataset: Dataset, batch_norm: bool, seed: int) -> Network:
    """A network with initial weights that depend on the seed, the encoder and the projector only.

    Drawn in float32 on the CPU, whatever the trial computes in: the same weights everywhere.

    Args:
        encoder: a name that `check` accepts for this data set.
        widths: of the projector's layers, the embedding's last.
        dataset: its images' shape, mean and deviation.
        batch_norm: whether the projector has batch normalisation.
    """
    return deepcopy(_drawn(encoder, tuple(widths), dataset, batch_norm, seed))


@lru_cache(maxsize=1)
def _drawn(encoder: str, widths: tuple[int, ...], dataset: Dataset, batch_norm: bool, seed: int) -> Network:
    """The members of a pack have equal weights: drawn once, and copied for each."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights", encoder, widths))
        return network_of(encoder, widths, dataset=dataset, batch_norm=batch_norm)


def network_of(encoder: str, widths: Sequence[int], *, dataset: Dataset, batch_norm: bool) -> Network:
    """A network with weights from torch's global generator; arguments as of `build`.

    A table has no projector: its rows are the embeddings.
    """
    head: nn.Module
    if encoder == TABLE:
        (body, _), head = table(dataset.shape, width=widths[-1]), nn.Identity()
    else:
        body, width = find_encoder(encoder)(dataset.shape)
        head = projector(width, widths, batch_norm=batch_norm)
    return Network(body, head, mean=dataset.mean, deviation=dataset.deviation)


__all__ = ["ENCODERS", "TABLE", "Network", "build", "check", "find_encoder", "network_of"]
