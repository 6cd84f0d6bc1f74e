"""Encoders by name, and networks from a seed."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from robustness.models.networks import Network, mlp, projector
from robustness.seeds import derive

ENCODERS: Mapping[str, Callable[[tuple[int, int, int]], tuple[nn.Module, int]]] = {"mlp": mlp}


def build(
    encoder: str,
    widths: Sequence[int],
    *,
    shape: tuple[int, int, int],
    batch_norm: bool,
    seed: int,
) -> Network:
    """A network with initial weights that depend on the seed, the encoder and the projector only.

    Drawn in float32 on the CPU, whatever the trial computes in: the same weights everywhere.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights", encoder, tuple(widths)))
        body, width = ENCODERS[encoder](shape)
        return Network(body, projector(width, widths, batch_norm=batch_norm))


__all__ = ["ENCODERS", "Network", "build"]
