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
    weights = start.clone().requires_grad_()
    target = F.one_hot(y, weights.shape[1]).double()
    optimizer = torch.optim.LBFGS(
        [weights],
        max_iter=300,
        history_size=20,
        tolerance_grad=1e-5,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        # The gradient is written out: it costs a third of what autograd takes on matrices this small.
        with torch.no_grad():
            log_p = torch.addmm(weights[-1], x, weights[:-1]).log_softmax(1)
            residual = (log_p.exp() - target) / len(x)
            weights.grad = torch.cat([x.T @ residual + strength * weights[:-1], residual.sum(0, keepdim=True)])
            return -(log_p * target).sum() / len(x) + strength / 2 * weights[:-1].square().sum()

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    return weights.detach()


def _accuracy(x: Features, y: Labels, weights: Coefficients) -> float:
    return float((torch.addmm(weights[-1], x, weights[:-1]).argmax(1) == y).double().mean())
