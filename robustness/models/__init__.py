"""Encoders by name, and networks from a seed."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from robustness.models.networks import Network, mlp, projector
from robustness.seeds import derive
from search_spaces.datasets import Dataset

ENCODERS: Mapping[str, Callable[[tuple[int, int, int]], tuple[nn.Module, int]]] = {"mlp": mlp}


def build(encoder: str, widths: Sequence[int], *, dataset: Dataset, batch_norm: bool, seed: int) -> Network:
    """A network with initial weights that depend on the seed, the encoder and the projector only.

    Drawn in float32 on the CPU, whatever the trial computes in: the same weights everywhere.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights", encoder, tuple(widths)))
        body, width = ENCODERS[encoder](dataset.shape)
        head = projector(width, widths, batch_norm=batch_norm)
        return Network(body, head, mean=dataset.mean, deviation=dataset.deviation)


__all__ = ["ENCODERS", "Network", "build"]
