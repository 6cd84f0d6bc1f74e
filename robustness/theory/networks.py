"""What fixed pair weights make of a network: statements T16 and T17.

Source:
    Tian, Understanding Deep Contrastive Learning via Coordinate-wise Optimization, NeurIPS 2022, arXiv:2201.12680.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from robustness.theory.free import drawn
from robustness.theory.statement import Measurement, above, below, equal

Activation = Callable[[Tensor], Tensor]

_DIM = 8


def deep_linear() -> Sequence[Measurement]:
    """T16: a deep linear network with layers of norm 1 maximises the energy at the first principal component."""
    inputs = drawn(30, _DIM, seed=0)
    distances = torch.cdist(inputs, inputs).square() / 2
    alpha = (-distances / _DIM).fill_diagonal_(-torch.inf).softmax(-1)
    covariance = _scatter(inputs, alpha)
    largest, vectors = torch.linalg.eigh(covariance)
    found = []
    for depth in range(1, 5):
        first, product = _trained_linear(covariance, depth, seed=depth)
        values = torch.linalg.svdvals(first)
        direction = torch.linalg.svd(first).Vh[0]
        energy = (product @ covariance @ product.T).trace() / 2
        found += [
            equal(f"energy over its bound, depth {depth}", energy / (largest[-1] / 2), 1.0, within=1e-8),
            below(f"second over first singular value of the first layer, depth {depth}", values[1] / values[0], 1e-6),
            above(f"cosine with the first eigenvector, depth {depth}", (direction @ vectors[:, -1]).abs(), 1 - 1e-8),
        ]
    return found


def _scatter(inputs: Float[Tensor, "n dim"], alpha: Float[Tensor, "n n"]) -> Float[Tensor, "dim dim"]:
    between = inputs[:, None] - inputs[None, :]
    return torch.einsum("ij,ijk,ijl->kl", alpha, between, between)


def _trained_linear(
    covariance: Float[Tensor, "dim dim"], depth: int, *, seed: int
) -> tuple[Float[Tensor, "dim dim"], Float[Tensor, "dim dim"]]:
    """First layer and product of all, each of Frobenius norm 1, at the highest energy that L-BFGS finds."""
    weights = drawn(depth, _DIM, _DIM, seed=seed, purpose="layers").requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weights], max_iter=5000, max_eval=10_000, history_size=30, line_search_fn="strong_wolfe",
        tolerance_grad=1e-14, tolerance_change=0.0,
    )  # fmt: skip

    def product() -> Tensor:
        whole: Tensor
        whole, *others = _of_norm_1(weights)
        for layer in others:
            whole = layer @ whole
        return whole

    def closure() -> Tensor:
        optimizer.zero_grad()
        whole = product()
        # In the logarithm, or products of many layers begin where nothing slopes.
        value = -(whole @ covariance @ whole.T).trace().log()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach()[0], product().detach()


_SEEDS, _INPUTS, _HIDDEN, _OUTPUTS, _STEPS = 20, 6, 40, 10, 8000


def relu() -> Sequence[Measurement]:
    """T17: behind a ReLU a first layer keeps several directions where a linear one keeps a single one.

    In a setting in which that is so for every seed: one-hot inputs, equal pair weights, norm 1 of each hidden unit's
    weights and of the output layer. Units that are 0 for all inputs do not count. These are fixed points at the corner
    of the ReLU, where its slope is taken as 0, and not maxima: 1e-3 of noise in all weights, and ascent finds more
    energy for nearly every seed, at stable ranks above 1.5 still. The output has one direction in both.

    With norm 1 of the first layer as a whole it is not so: the stable ranks are 1 for both with equal pair weights, and
    1 to 4 for both with a softmax at temperature .01.
    """
    ranks, slopes = _trained_two_layer(torch.relu)
    linear_ranks, linear_slopes = _trained_two_layer(lambda hidden: hidden)
    return [
        above(f"least stable rank of the first layer, ReLU, {_SEEDS} seeds", ranks.min(), 1.5),
        below(f"largest stable rank of the first layer, linear, {_SEEDS} seeds", linear_ranks.max(), 1 + 1e-6),
        below("largest slope along the constraint, ReLU", slopes.max(), 1e-6),
        below("largest slope along the constraint, linear", linear_slopes.max(), 1e-6),
    ]


def _trained_two_layer(activation: Activation) -> tuple[Float[Tensor, "seeds"], Float[Tensor, "seeds"]]:
    """Stable rank of the first layer after gradient ascent of the energy, and the slope that is left."""
    first = normalize(drawn(_SEEDS, _HIDDEN, _INPUTS, seed=0, purpose="first"), dim=-1)
    second = _of_norm_1(drawn(_SEEDS, _OUTPUTS, _HIDDEN, seed=0, purpose="second"))
    for _ in range(_STEPS):
        slopes = _slopes(first, second, activation)
        first = normalize(first + slopes[0], dim=-1)
        second = _of_norm_1(second + slopes[1])
    slopes = _slopes(first, second, activation)
    along = [
        slopes[0] - (slopes[0] * first).sum(-1, keepdim=True) * first,
        slopes[1] - (slopes[1] * second).sum((-2, -1), keepdim=True) * second,
    ]
    living = activation(first).abs().amax(-1, keepdim=True) > 0
    values = torch.linalg.svdvals(first * living).square()
    return values.sum(-1) / values[:, 0], torch.stack([one.flatten(1).norm(dim=1) for one in along]).amax(0)


def _slopes(first: Tensor, second: Tensor, activation: Activation) -> tuple[Tensor, ...]:
    weights = [matrix.detach().requires_grad_() for matrix in (first, second)]
    # One-hot inputs: hidden units see their weights.
    outputs = activation(weights[0].mT) @ weights[1].mT
    # Of equal weights the energy is the scatter about the mean.
    return torch.autograd.grad((outputs - outputs.mean(1, keepdim=True)).square().sum(), weights)


def _of_norm_1(matrices: Float[Tensor, "several rows columns"]) -> Float[Tensor, "several rows columns"]:
    norms: Tensor = torch.linalg.matrix_norm(matrices, keepdim=True)
    return matrices / norms
