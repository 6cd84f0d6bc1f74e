"""Exact gradients of a large batch in the memory of a small one."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

Images = Shaped[Tensor, "n channels height width"]
Embeddings = Float[Tensor, "n *members dim"]
Losses = Float[Tensor, "*members"]


class Weights(Protocol):
    """A network, or several as one."""

    def parameters(self) -> Iterable[Tensor]:
        """What is trained."""

    def buffers(self) -> Iterable[Tensor]:
        """What else a forward pass changes."""


def backward_in_micro_batches(
    network: Weights,
    views: tuple[Images, Images],
    loss: Callable[[Embeddings, Embeddings], Losses],
    *,
    embed: Callable[[Images], Embeddings],
    micro_batch: int,
    scale: Callable[[Losses], Losses] = lambda losses: losses,
) -> Losses:
    """Add the gradients of one step on the whole batch, with activations of one micro-batch at a time.

    A contrastive loss needs all embeddings at once, but reaches the weights only through them. So: embed all
    micro-batches without a graph; take the loss and its gradient with respect to every embedding; embed
    each micro-batch again, now with a graph, and send its part of that gradient through.

        d loss / d weights = sum over micro-batches of (d loss / d embeddings) (d embeddings / d weights)

    This equals the plain step, `loss(*embed(cat(views)).chunk(2)).backward()`, up to rounding, for every loss.
    What differs is how layers act that look beyond one image:

    - Batch normalisation in training mode takes its mean and variance over a micro-batch (both views of
      its images) where the plain step takes them over the batch, so loss and gradients are those of that network.
      Its running statistics move once per micro-batch, in order: more and noisier moves than the plain step's one.
    - Random layers (dropout, stochastic depth) draw a micro-batch at a time. Both passes draw the same, from
      torch's generators of the CPU and of the network's devices, which end where one pass would leave them.
      Draws from any other generator aren't repeated.

    A micro-batch of the batch or more is the plain step itself. Nothing here waits for a device.

    Args:
        network: what holds the weights, in the mode in which it shall be evaluated.
        views: two views of every image. Only slices are taken, so that `embed` can cast or move a micro-batch
            at a time: whole views in float32 may outweigh the activations.
        loss: of the embeddings of the first and of the second view; it may ignore either, not both. One value, or
            one for each of several networks, whose gradients are those of the sum.
        embed: images of both views to embeddings, row by row, by `network`.
        micro_batch: number of images, 1 or more, whose two views are embedded together; the last may have fewer.
        scale: what gradients are taken of instead of the loss, where half precision needs larger ones.

    Returns:
        The value of the loss, unscaled, without a graph. Gradients are added to `.grad` of all weights, the loss's
        own too.

    Source:
        Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, RepL4NLP 2021,
        arXiv:2101.06983. Theirs restores random states; restoring running statistics is ours.
    """
    if micro_batch >= len(views[0]):
        value = loss(*_halves(embed(torch.cat(views))))
        _backward(scale(value).sum())
        return value.detach()
    micro_batches = [slice(start, start + micro_batch) for start in range(0, len(views[0]), micro_batch)]
    devices = sorted({weights.device for weights in network.parameters()} - {torch.device("cpu")}, key=str)
    states, halves = [], []
    with torch.no_grad(), _buffers_kept(network):
        for rows in micro_batches:
            states.append(_random_states(devices))
            halves.append(_halves(embed(torch.cat([view[rows] for view in views]))))
    # Under torch 2.9, autocast keeps weights that it cast without a graph for the pass that needs one (pytorch 112583).
    torch.clear_autocast_cache()
    z = tuple(torch.cat(parts).requires_grad_() for parts in zip(*halves, strict=True))
    value = loss(*z)
    _backward(scale(value).sum())
    end = _random_states(devices)
    for rows, state in zip(micro_batches, states, strict=True):
        _restore(state, devices)
        gradients = [torch.zeros_like(view[rows]) if view.grad is None else view.grad[rows] for view in z]
        _backward(embed(torch.cat([view[rows] for view in views])), torch.cat(gradients))
    _restore(end, devices)
    return value.detach()


def _halves(embeddings: Embeddings) -> tuple[Embeddings, Embeddings]:
    first, second = embeddings.chunk(2)
    return first, second


def _backward(outputs: Tensor, gradients: Tensor | None = None) -> None:
    # A backward pass has the types of its forward pass; autocast would cast them once more.
    with torch.autocast(outputs.device.type, enabled=False):
        torch.autograd.backward(outputs, gradients)


@contextmanager
def _buffers_kept(network: Weights) -> Iterator[None]:
    """Undo what the first pass does to running statistics: the second does it again."""
    kept = [buffer.clone() for buffer in network.buffers()]
    try:
        yield
    finally:
        for buffer, value in zip(network.buffers(), kept, strict=True):
            buffer.copy_(value)


def _random_states(devices: list[torch.device]) -> list[Tensor]:
    """The states of torch's generators, the CPU's first; they're kept on the host, so this doesn't wait."""
    return [torch.get_rng_state(), *(torch.get_device_module(device).get_rng_state(device) for device in devices)]


def _restore(states: list[Tensor], devices: list[torch.device]) -> None:
    torch.set_rng_state(states[0])
    for device, state in zip(devices, states[1:], strict=True):
        torch.get_device_module(device).set_rng_state(state, device)
