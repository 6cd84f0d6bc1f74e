"""A pairwise loss as data: a rule on a tile of anchors, and what it is applied to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Views = Literal["other view", "same view", "both views"]
Own: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True)
class PairwiseLoss:
    """A loss that depends on unit embeddings through inner products, anchor by anchor.

    Args:
        rule: from `Anchors` and the hyperparameters to one term per anchor.
        negatives: the views whose embeddings of other images an anchor is compared with.
        one_sided: anchors in view 1 only; else the mean of both directions.
        pool: from all anchors' terms, their squared distances to their positives and the hyperparameters to the
            value of a direction; the mean of the terms unless given.
        shared: what both anchors of a pair have in common, so that it need be formed only once. `pairs`: a term
            is a mean over same-view negatives of a function of their similarity alone. `exponentials`: a term
            depends on its negatives by `Anchors.energy` alone.
        positive_in_sum: of the InfoNCE line, whose only hyperparameter is the temperature: whether the positive is in
            the log-sum; None for all others.
        kernel: of a kernel loss whose two kernels are one: from squared distances and all hyperparameters but gamma
            to the kernel; None for all others. Members of such families, as of the InfoNCE line, can be evaluated as
            one (`mixture.py`).
    """

    rule: Callable[..., Tensor]
    negatives: Views
    one_sided: bool = False
    pool: Callable[..., Tensor] | None = None
    shared: Literal["pairs", "exponentials"] | None = None
    positive_in_sum: bool | None = None
    kernel: Callable[..., Tensor] | None = None

    @property
    def num_views(self) -> int:
        """How many views an anchor is compared with."""
        return 2 if self.negatives == "both views" else 1

    def candidates(self, anchors: Tensor, others: Tensor) -> Tensor:
        """What anchors are compared with, view after view, the other view first."""
        if self.negatives == "both views":
            return torch.cat([others, anchors], dim=-2)
        return others if self.negatives == "other view" else anchors

    def pooled(self, terms: Tensor, distances: Callable[[], Tensor], own: Own) -> Tensor:
        """The value of a direction, one per member, from the terms of all its anchors.

        Args:
            terms: of shape (members, images, 1, 1).
            distances: squared, to the positives, in the same shape; asked for only where they are pooled.
            own: hyperparameters, of shape (members, 1, 1, 1).
        """
        return terms.mean((1, 2, 3)) if self.pool is None else self.pool(terms, distances(), **own).flatten()
