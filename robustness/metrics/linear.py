"""What a linear classifier makes of frozen features."""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Rows = Float[Tensor, "n dim"]
Labels = Int[Tensor, "n"]
Columns = Float[Tensor, "inputs n"]
"""Features, and 1 for the bias, of an image a column."""
Coefficients = Float[Tensor, "classes inputs"]
Shares = Float[Tensor, "classes n"]

STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4)
"""L2 strengths that the validation split chooses from, strongest first."""

_SGD_EPOCHS, _SGD_BATCH, _SGD_LEARNING_RATE = 200, 256, 0.1
_TOLERANCE = 1e-8
_MOST_STEPS = 100
_MOST_PRODUCTS = 200


@dataclass(frozen=True)
class LinearProbe:
    """Accuracies (shares of 1) of the chosen linear classifier, and the L2 strength that was chosen."""

    test: float
    validation: float
    strength: float


def linear_probe(
    train_x: Float[Tensor, "train dim"],
    train_y: Int[Tensor, "train"],
    validation_x: Float[Tensor, "validation dim"],
    validation_y: Int[Tensor, "validation"],
    test_x: Float[Tensor, "test dim"],
    test_y: Int[Tensor, "test"],
    *,
    num_classes: int,
) -> LinearProbe:
    """Multinomial logistic regression on frozen, standardised features.

        minimise  mean cross entropy + strength/2 |W|^2      (biases are not penalised)

    on the training split, for each of `STRENGTHS`, by Newton's method in float64. The validation split picks the
    strength (the stronger of equals); the test split is scored once, with that one, and chooses nothing.

    Args:
        train_x, validation_x, test_x: features; standardised here by the training split's mean and
            standard deviation, a constant feature becomes 0.
        train_y, validation_y, test_y: classes 0 .. num_classes - 1.

    Returns:
        Shares of correct predictions, 0 to 1, higher is better.
    """
    train, validation, test = (_with_ones(x) for x in standardised(train_x, validation_x, test_x))
    targets = F.one_hot(train_y, num_classes).T.to(train).contiguous()
    weights = train.new_zeros(num_classes, len(train))
    best: LinearProbe | None = None
    for strength in STRENGTHS:
        weights = _fit(train, targets, weights, strength)
        score = _accuracy(validation, validation_y, weights)
        if best is None or score > best.validation:
            best = LinearProbe(_accuracy(test, test_y, weights), score, strength)
    assert best is not None
    return best


def linear_sgd_top1(
    train_x: Float[Tensor, "train dim"],
    train_y: Int[Tensor, "train"],
    test_x: Float[Tensor, "test dim"],
    test_y: Int[Tensor, "test"],
    *,
    num_classes: int,
) -> float:
    """What papers call linear evaluation: softmax regression on frozen, standardised features by SGD.

    Momentum .9, learning rate .1 that falls to 0 as a cosine over 200 epochs of batches of 256 (the last one smaller),
    no weight decay, from zero, in float32 on the device of the features. Epochs are shuffled alike for every encoder.
    The test split is scored once, after the last epoch, and chooses nothing.

    Args:
        train_x, test_x: features; standardised here by the training split's mean and standard deviation.
        train_y, test_y: classes 0 .. num_classes - 1.

    Returns:
        Share of correct predictions, 0 to 1, higher is better.
    """
    train, test = (x.float() for x in standardised(train_x, test_x))
    weights = train.new_zeros(num_classes, train.shape[1], requires_grad=True)
    biases = train.new_zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.SGD([weights, biases], lr=_SGD_LEARNING_RATE, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _SGD_EPOCHS)
    generator = torch.Generator().manual_seed(0)
    for _ in range(_SGD_EPOCHS):
        for batch in torch.split(torch.randperm(len(train), generator=generator).to(train.device), _SGD_BATCH):
            optimizer.zero_grad()
            F.cross_entropy(F.linear(train[batch], weights, biases), train_y[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
    return float((F.linear(test, weights, biases).argmax(1) == test_y).double().mean())


def standardised(train: Rows, *others: Float[Tensor, "_ dim"]) -> tuple[Float[Tensor, "_ dim"], ...]:
    """All in float64 by the mean and standard deviation of the first; a feature that is constant there becomes 0."""
    mean, deviation = train.double().mean(0), train.double().std(0, correction=0)
    tiny = torch.finfo(torch.float64).eps * mean.abs().clamp_min(1e-300) * len(train)
    scale = torch.where(deviation > tiny, 1 / deviation, 0.0)
    return tuple((x.double() - mean) * scale for x in (train, *others))


def _with_ones(x: Rows) -> Columns:
    # Images lie along rows: products with this few classes take half the time, sums over classes a seventh.
    return torch.cat([x, x.new_ones(len(x), 1)], 1).T.contiguous()


def _fit(x: Columns, targets: Shares, start: Coefficients, strength: float) -> Coefficients:
    """Minimise the probe's objective by Newton's method; conjugate gradients find each direction.

    All happens in coordinates `weights @ factor`, in which the second derivative at the start, if all classes had
    the mean of their curvatures, would be the identity. So conjugate gradients need about 16 products per direction,
    also for collapsed features, whose variances span many orders.
    """
    penalty = x.new_full((len(x),), strength)
    penalty[-1] = 0
    shares = (start @ x).softmax(0)
    curvature = (x * (shares * (1 - shares)).mean(0)) @ x.T / x.shape[1]
    # The bias gets the penalty here too: where all predictions are certain, nothing else bends.
    curvature.diagonal().add_(strength)
    factor = torch.linalg.cholesky(curvature)
    inverse = torch.linalg.solve_triangular(factor, torch.eye(len(x)).to(x), upper=False)
    problem = _Problem(inverse @ x, targets, (inverse * penalty) @ inverse.T)
    weights: Coefficients = problem.minimum(start @ factor) @ inverse
    return weights


@dataclass(frozen=True)
class _Problem:
    """mean cross entropy of softmax(weights x) + <weights penalty, weights>/2, with targets as shares."""

    x: Columns
    targets: Shares
    penalty: Float[Tensor, "inputs inputs"]

    @cached_property
    def x_float32(self) -> Float[Tensor, "inputs n"]:
        return self.x.float()

    def minimum(self, weights: Coefficients) -> Coefficients:
        """The weights at which the squared gradient is below the tolerance, which is twice what is left to gain."""
        value, shares = self.value_and_shares(weights)
        for _ in range(_MOST_STEPS):
            gradient = (shares - self.targets) @ self.x.T / self.x.shape[1] + weights @ self.penalty
            if float(gradient.square().sum()) < _TOLERANCE:
                break
            direction = self._direction(shares, gradient)
            slope, size = float((gradient * direction).sum()), 1.0
            while True:
                moved = weights + size * direction
                new_value, shares = self.value_and_shares(moved)
                if new_value <= value + 1e-4 * size * slope or size < 1e-6:
                    break
                size /= 2
            weights, value = moved, new_value
        return weights

    def value_and_shares(self, weights: Coefficients) -> tuple[float, Shares]:
        log_shares = (weights @ self.x).log_softmax(0)
        fit = -(log_shares * self.targets).sum() / self.x.shape[1]
        return float(fit + (weights @ self.penalty * weights).sum() / 2), log_shares.exp_()

    def _direction(self, shares: Shares, gradient: Coefficients) -> Coefficients:
        """Second derivative x direction = -gradient, to a tenth, by conjugate gradients in float32.

        A direction needs no more digits than that: the gradient and the value decide in float64 where it ends.
        """
        x, penalty, shares = self.x_float32, self.penalty.float(), shares.float()
        weighted = shares / x.shape[1]
        residual = -gradient.float()
        direction, step = torch.zeros_like(residual), residual.clone()
        size = float(residual.square().sum())
        enough = 0.01 * size
        for _ in range(_MOST_PRODUCTS):
            logits = step @ x
            logits -= (shares * logits).sum(0)
            bent = torch.addmm(step @ penalty, logits.mul_(weighted), x.T)
            curvature = float((step * bent).sum())
            if curvature <= 0:
                break
            direction.add_(step, alpha=size / curvature)
            residual.sub_(bent, alpha=size / curvature)
            previous, size = size, float(residual.square().sum())
            if size < enough:
                break
            step.mul_(size / previous).add_(residual)
        return direction.double()


def _accuracy(x: Columns, y: Labels, weights: Coefficients) -> float:
    return float(((weights @ x).argmax(0) == y).double().mean())
