"""Which images make a batch, in which order."""

import torch
from jaxtyping import Int
from torch import Tensor

from robustness.seeds import derive


def epoch_batches(num_images: int, *, batch_size: int, seed: int, epoch: int) -> Int[Tensor, "steps batch"]:
    """Indices of every batch of one epoch: a fresh shuffle, the last partial batch dropped.

    The shuffle depends on the trial's seed, the batch size and the epoch: on nothing that a loss could
    change.
    """
    generator = torch.Generator().manual_seed(derive(seed, "order", batch_size, epoch))
    order = torch.randperm(num_images, generator=generator)
    steps = num_images // batch_size
    return order[: steps * batch_size].view(steps, batch_size)
