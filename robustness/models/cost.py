"""What a network costs on one image, found out without weights and without arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from robustness.models import network_of
from robustness.models.shapes import no_memory
from search_spaces.datasets import Dataset


@dataclass(frozen=True)
class Cost:
    """Of a network, on one image: parameters, floating-point operations forward, and numbers that layers return."""

    parameters: int
    operations: int
    activations: int


def network_cost(encoder: str, widths: Sequence[int], *, dataset: Dataset, batch_norm: bool) -> Cost:
    """The cost of an encoder and its projector; arguments as of `robustness.models.build`."""
    return _cost(encoder, tuple(widths), dataset, batch_norm)


@lru_cache(maxsize=64)
def _cost(encoder: str, widths: tuple[int, ...], dataset: Dataset, batch_norm: bool) -> Cost:
    with no_memory(), torch.random.fork_rng(devices=[]):
        network = network_of(encoder, widths, dataset=dataset, batch_norm=batch_norm)
    network = network.to("meta").eval()
    returned = 0

    def count(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal returned
        returned += output.numel() if isinstance(output, Tensor) else 0

    for layer in network.modules():
        if not any(layer.children()):
            layer.register_forward_hook(count)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, *dataset.shape, device="meta"))
    return Cost(sum(weights.numel() for weights in network.parameters()), counter.get_total_flops(), returned)
