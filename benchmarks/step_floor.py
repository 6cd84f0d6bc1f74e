"""The floor of a training step: the matrix products of encoder and projector, and nothing else.

For a layer of weights W (inputs x outputs), the 2B views X of a batch and the gradient G of its output, a step needs
X W forward, and X^T G and G W^T backward; the first layer needs no gradient of its input. The floor runs these for
every layer and every member of a slice with preallocated results, once as batched products over the members and once
as a loop over them; the faster counts. The loss's own products, biases, activations, augmentation and optimiser are
no part of it.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Shapes = Sequence[tuple[int, int]]
_SECONDS = 0.3
_MOST_REPEATS = 50


def layer_shapes(network: nn.Module) -> list[tuple[int, int]]:
    """Inputs and outputs of every linear layer, the one that sees the images first."""
    return [(layer.in_features, layer.out_features) for layer in network.modules() if isinstance(layer, nn.Linear)]


def floor_seconds(shapes: Shapes, *, members: int, batch_size: int) -> float:
    """Median seconds of the products of one step of a slice, in the faster of two ways, on torch's threads."""
    return min(
        _median_seconds(work) for work in (batched(shapes, members, batch_size), looped(shapes, members, batch_size))
    )


def batched(shapes: Shapes, members: int, batch_size: int) -> Callable[[], None]:
    """One product for all members."""
    return _products(_operands(shapes, members, batch_size), torch.bmm)


def looped(shapes: Shapes, members: int, batch_size: int) -> Callable[[], None]:
    """A product for each member."""
    works = [
        _products([tuple(operand[member] for operand in layer) for layer in layers], torch.mm)
        for layers in [_operands(shapes, members, batch_size)]
        for member in range(members)
    ]

    def work() -> None:
        for each in works:
            each()

    return work


def _operands(shapes: Shapes, members: int, batch_size: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """X, W and G of every layer, the members in front."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(members, *shape, generator=generator)

    return [(draw(2 * batch_size, i), draw(i, o), draw(2 * batch_size, o)) for i, o in shapes]


def _products(layers: Sequence[tuple[Tensor, ...]], product: Callable[..., Tensor]) -> Callable[[], None]:
    pairs = []
    for index, (x, w, g) in enumerate(layers):
        pairs += [(x, w), (x.mT, g)] + ([(g, w.mT)] if index else [])
    calls = [(left, right, product(left, right)) for left, right in pairs]

    def work() -> None:
        for left, right, result in calls:
            product(left, right, out=result)

    return work


def _median_seconds(work: Callable[[], None]) -> float:
    work()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < _SECONDS and len(times) < _MOST_REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)
