"""What frozen features are worth: a linear classifier and nearest neighbours on them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from robustness.metrics.geometry import unit_rows

Features = Float[Tensor, "n dim"]
Labels = Int[Tensor, "n"]
Coefficients = Float[Tensor, "dim+1 classes"]

STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4)
"""L2 strengths that the validation split chooses from, strongest first."""

_ROWS_AT_ONCE = 2048
_CURVATURE = 0.05
_TOLERANCE = 1e-4


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

    by L-BFGS on the training split, for each of `STRENGTHS`. The validation split picks the strength (the
    stronger of equals); the test split is scored once, with that one, and chooses nothing.

    Args:
        train_x, validation_x, test_x: features; standardised here by the training split's mean and
            standard deviation, a constant feature becomes 0.
        train_y, validation_y, test_y: classes 0 .. num_classes - 1.

    Returns:
        Shares of correct predictions, 0 to 1, higher is better. Not finite features: scored as they predict.
    """
    mean, deviation = train_x.double().mean(0), train_x.double().std(0, correction=0)
    tiny = torch.finfo(torch.float64).eps * mean.abs().clamp_min(1e-300) * len(train_x)
    scale = torch.where(deviation > tiny, 1 / deviation, 0.0)
    train, validation, test = ((x.double() - mean) * scale for x in (train_x, validation_x, test_x))
    weights = train.new_zeros(train.shape[1] + 1, num_classes)
    best: LinearProbe | None = None
    for strength in STRENGTHS:
        weights = _fit(train, train_y, weights, strength)
        score = _accuracy(validation, validation_y, weights)
        if best is None or score > best.validation:
            best = LinearProbe(_accuracy(test, test_y, weights), score, strength)
    assert best is not None
    return best


def knn_top1(
    train_x: Float[Tensor, "train dim"],
    train_y: Int[Tensor, "train"],
    test_x: Float[Tensor, "test dim"],
    test_y: Int[Tensor, "test"],
    *,
    num_classes: int,
    k: int | None = None,
) -> float:
    """Share of test images whose nearest training images, by cosine, vote for their class.

    Args:
        k: number of neighbours; 20 by default, 5 for training sets under 5,000. Ties go to the smallest class.

    Returns:
        0 to 1, higher is better.
    """
    neighbours = k if k is not None else (5 if len(train_x) < 5_000 else 20)
    train, test = unit_rows(train_x), unit_rows(test_x)
    # Less than one vote in all, and more for a larger class: it decides ties and nothing else.
    preference = torch.arange(num_classes, device=train.device) / num_classes
    correct = 0
    for start in range(0, len(test), _ROWS_AT_ONCE):
        rows, classes = test[start : start + _ROWS_AT_ONCE], test_y[start : start + _ROWS_AT_ONCE]
        nearest = (rows @ train.T).topk(min(neighbours, len(train)), dim=1).indices
        votes = F.one_hot(train_y[nearest], num_classes).sum(1)
        correct += int(((votes - preference).argmax(1) == classes).sum())
    return correct / len(test)


def _fit(x: Features, y: Labels, start: Coefficients, strength: float) -> Coefficients:
    """Minimise the probe's objective by L-BFGS, in coordinates that make it well scaled.

    In the eigenbasis of the features' covariance each coordinate is divided by sqrt(curvature * variance +
    strength), an estimate of its second derivative. The minimum is the same; on collapsed features, whose
    variances span many orders, it is reached in a third of the time.
    """
    variances, basis = torch.linalg.eigh(x.T @ x / len(x))
    scale = (_CURVATURE * variances.clamp_min(0) + strength).rsqrt().unsqueeze(1)
    scaled, penalty = (x @ basis) * scale.T, strength * scale.square()
    target = F.one_hot(y, start.shape[1]).double()
    inner = torch.cat([basis.T @ start[:-1] / scale, start[-1:]]).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [inner],
        max_iter=300,
        history_size=20,
        tolerance_grad=_TOLERANCE,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        # The gradient is written out: it costs a third of what autograd takes on matrices this small.
        with torch.no_grad():
            log_p = torch.addmm(inner[-1], scaled, inner[:-1]).log_softmax(1)
            residual = (log_p.exp() - target) / len(x)
            inner.grad = torch.cat([scaled.T @ residual + penalty * inner[:-1], residual.sum(0, keepdim=True)])
            value: Tensor = -(log_p * target).sum() / len(x) + (penalty * inner[:-1].square()).sum() / 2
            return value

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    found = inner.detach()
    weights: Coefficients = torch.cat([basis @ (found[:-1] * scale), found[-1:]])
    return weights


def _accuracy(x: Features, y: Labels, weights: Coefficients) -> float:
    return float((torch.addmm(weights[-1], x, weights[:-1]).argmax(1) == y).double().mean())
