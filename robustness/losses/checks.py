"""The border of the losses: what they are given is checked once, here, and trusted inside."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from robustness.losses.pairwise.evaluation import evaluate
from robustness.losses.pairwise.loss import PairwiseLoss
from search_spaces.axes import suggestion
from search_spaces.hyperparameters import Space


@dataclass(frozen=True)
class Loss:
    """A family: its formula, and the space of its hyperparameters.

    Calling it checks embeddings and hyperparameters first, which waits for a device; `compute` does not.

    Args:
        name: in messages and in the registry.
        formula: a `PairwiseLoss`, or a function of two views and hyperparameters.
        space: names and bounds of the hyperparameters.
    """

    name: str
    formula: PairwiseLoss | Callable[..., Tensor]
    space: Space

    def __call__(self, u: Tensor, v: Tensor, *, tile: int | None = None, **hyperparameters: float | Tensor) -> Tensor:
        """The loss of each member.

        Args:
            u, v: embeddings of the two views, of shape (..., images, dim), at least two images.
            tile: anchors at a time, of a pairwise loss; None chooses by size.
            hyperparameters: all that the family has; numbers, or tensors that broadcast against the leading
                shape (...).

        Returns:
            Values of the leading shape; lower is better.

        Raises:
            ValueError: what must hold and what came: two views of one shape and one floating-point dtype, two
                images or more, nothing infinite or NaN, hyperparameters within their bounds, a positive tile.
            TypeError: a hyperparameter is missing, unknown or no number.
        """
        _check_embeddings(self.name, u, v)
        if tile is not None and (isinstance(tile, bool) or not isinstance(tile, int) or tile < 1):
            raise ValueError(f"{self.name}: tile: expected a whole number of at least 1, got {tile!r}")
        self._check_hyperparameters(u, hyperparameters)
        return self.compute(u, v, tile=tile, **hyperparameters)

    def compute(self, u: Tensor, v: Tensor, *, tile: int | None = None, **hyperparameters: float | Tensor) -> Tensor:
        """The same without checks: for a training loop, where a member may diverge and others go on."""
        if isinstance(self.formula, PairwiseLoss):
            return evaluate(self.formula, u, v, tile=tile, hyperparameters=hyperparameters)
        return self.formula(u, v, **hyperparameters)

    def _check_hyperparameters(self, u: Tensor, given: dict[str, float | Tensor]) -> None:
        names = [*self.space.hyperparameters, *self.space.bound]
        for name in given:
            if name not in names:
                there_is = suggestion(name, names) if names else "; it has none"
                raise TypeError(f"{self.name}: {name}: no such hyperparameter{there_is}")
        for name in names:
            if name not in given:
                raise TypeError(f"{self.name}: {name}: this hyperparameter is missing")
            self._check_value(name, given[name], u)

    def _check_value(self, name: str, value: float | Tensor, u: Tensor) -> None:
        place = f"{self.name}: {name}"
        if isinstance(value, bool) or not isinstance(value, int | float | Tensor):
            raise TypeError(f"{place}: expected a number or a tensor, got {value!r}")
        shape, leading = (value.shape if isinstance(value, Tensor) else ()), u.shape[:-2]
        if len(shape) > len(leading) or any(
            size not in (1, members) for size, members in zip(reversed(shape), reversed(leading), strict=False)
        ):
            raise ValueError(f"{place}: expected a shape that broadcasts to {tuple(leading)}, got {tuple(shape)}")
        for number in value.detach().flatten().tolist() if isinstance(value, Tensor) else [value]:
            rule = self._broken_rule(name, number) if math.isfinite(number) else "expected a finite number"
            if rule is not None:
                raise ValueError(f"{place}: {rule}, got {number:g}")

    def _broken_rule(self, name: str, number: float) -> str | None:
        if name in self.space.bound:
            return None if number > 1 else "expected a number above 1"
        return self.space.hyperparameters[name].broken_rule(number)


def _check_embeddings(name: str, u: Tensor, v: Tensor) -> None:
    if u.shape != v.shape or u.dim() < 2 or not u.shape[-1]:
        shapes = f"{tuple(u.shape)} and {tuple(v.shape)}"
        raise ValueError(f"{name}: expected two views of one shape (..., images, dim), got {shapes}")
    if u.shape[-2] < 2:
        raise ValueError(f"{name}: expected at least 2 images, got {u.shape[-2]}: there would be no negatives")
    if u.dtype != v.dtype or u.device != v.device or not u.dtype.is_floating_point:
        kinds = f"{u.dtype} on {u.device} and {v.dtype} on {v.device}"
        raise ValueError(f"{name}: expected two views of one floating-point dtype on one device, got {kinds}")
    for view, embeddings in (("u", u), ("v", v)):
        # A finite sum proves that all are finite, ten times faster than a look at each.
        if not math.isfinite(float(embeddings.detach().sum())) and not bool(embeddings.isfinite().all()):
            unsound = int(embeddings.isfinite().logical_not().sum())
            raise ValueError(f"{name}: expected finite embeddings, got {unsound} NaN or infinite values in {view}")
