"""What a hyperparameter is, and those that belong to no loss: batch size, projector, optimiser."""

from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces.dimensions import Choice, Continuous, Dimension, Value


@dataclass(frozen=True)
class Hyperparameter:
    """One axis of a default space.

    Args:
        dimension: the range that is swept, on its scale.
        default: the value where a study does not name the axis.
        levels: how many values a grid takes by default.
        above: every value must be greater than this; None where any number is allowed.
        least: every value must be at least this; None where there is no such bound.
        below: every value must be less than this; None where there is no such bound.
        reason: why this range.
        source: where the default or the range comes from.
    """

    dimension: Dimension
    default: Value
    reason: str
    source: str
    levels: int = 6
    above: float | None = None
    least: float | None = None
    below: float | None = None

    def broken_rule(self, value: float) -> str | None:
        """What must hold for every value and does not for this one; None for a value that is allowed."""
        if self.above is not None and not value > self.above:
            return f"expected a number above {self.above:g}"
        if self.least is not None and not value >= self.least:
            return f"expected at least {self.least:g}"
        if self.below is not None and not value < self.below:
            return f"expected a number below {self.below:g}"
        return None


@dataclass(frozen=True)
class Space:
    """The default space of one family.

    Args:
        summary: the family in a few words.
        hyperparameters: its axes by their names in the loss's signature.
        bound: further arguments of the loss that training supplies and no study sets: `num_images`, the
            number of training images.
    """

    summary: str
    hyperparameters: Mapping[str, Hyperparameter]
    bound: tuple[str, ...] = ()


BATCH_POLICIES: Mapping[str, str] = {
    "shuffled": "a new random partition of the training images in each epoch",
    "fixed": "the same partition in all epochs",
    "balanced": "partitions by a block design: over a cycle of epochs every pair of images meets equally often",
    "ordered": "of random batches, those with the highest loss (ordered SGD), chosen anew in each epoch",
    "spectral": "images that are hard to tell apart, by spectral clustering, chosen anew in each epoch",
    "all_subsets": "every subset of that size once in an epoch",
    "full": "all training images in one batch, an update an epoch, whatever the batch size says",
}
"""Which images meet in a batch, in words."""

PACK_AXES: Mapping[str, Hyperparameter] = {
    "batch_size": Hyperparameter(
        dimension=Choice((16, 32, 64, 128, 256), "log2"),
        default=256,
        least=2,
        reason="powers of two up to what one device holds; a contrastive loss needs at least two images",
        source="Chen et al., SimCLR, 2020, arXiv:2002.05709, figure 9 (256 to 8192)",
    ),
    "projector_dim": Hyperparameter(
        dimension=Choice((32, 64, 128), "log2"),
        default=128,
        least=2,
        reason="the last width of the projector; one dimension leaves only two unit vectors",
        source="Chen et al., SimCLR, 2020, arXiv:2002.05709, figure 8",
    ),
    "batch_policy": Hyperparameter(
        dimension=Choice(tuple(BATCH_POLICIES)),
        default="shuffled",
        reason="which images meet in a batch decides which optimum mini-batches have, and how fast they reach it",
        source="Cho et al., Mini-Batch Optimization of Contrastive Loss, 2023, arXiv:2307.05906",
    ),
}
"""Axes that are the same for a whole pack: always a list of values."""

TRAINING_AXES: Mapping[str, Hyperparameter] = {
    "learning_rate": Hyperparameter(
        dimension=Continuous(0.001, 1.0, "log"),
        default=0.1,
        above=0.0,
        reason="three decades around the usual value of SGD with momentum at batch 256",
        source="Chen et al., SimCLR, 2020, arXiv:2002.05709, appendix B",
    ),
    "weight_decay": Hyperparameter(
        dimension=Continuous(1e-6, 1e-2, "log"),
        default=0.0,
        least=0.0,
        reason="from negligible to visibly regularising",
        source="Chen et al., SimCLR, 2020, arXiv:2002.05709, appendix B (1e-6)",
    ),
}
"""Hyperparameters of the optimiser that any study may put on an axis."""
