"""The default space of every family: range, default, reason, source.

The range of an axis decides every robustness number, so each one states why it is what it is.
"""

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


@dataclass(frozen=True)
class Space:
    """The default space of one family."""

    summary: str
    hyperparameters: Mapping[str, Hyperparameter]


_TEMPERATURE = Hyperparameter(
    dimension=Continuous(0.02, 5.0, "log"),
    default=0.2,
    above=0.0,
    reason="published choices run from .05 to 1; two to four times beyond both ends shows where a loss breaks",
    source="Chen et al., SimCLR, 2020, arXiv:2002.05709; Koromilas et al., ICML 2024, arXiv:2405.18045",
)
_KERNEL_SOURCE = "Koromilas et al., Bridging Mini-Batch and Asymptotic Analysis, ICML 2024, arXiv:2405.18045"
_GAMMA = Hyperparameter(
    dimension=Continuous(1.0, 64.0, "log2"),
    default=16.0,
    above=0.0,
    levels=4,
    reason="the weight of the energy, from no heavier than the alignment to four times the published one",
    source=_KERNEL_SOURCE,
)
_BANDWIDTH = Hyperparameter(
    dimension=Continuous(0.125, 32.0, "log2"),
    default=2.0,
    above=0.0,
    levels=5,
    reason="squared distances lie in [0, 4]: from a kernel that is nearly linear there to one that sees only "
    "near neighbours; bandwidth 1/(2 temperature) matches an InfoNCE temperature of 4 to .016",
    source=_KERNEL_SOURCE,
)
_KERNEL_SCALE = Hyperparameter(
    dimension=Continuous(0.125, 8.0, "log2"),
    default=2.0,
    above=0.0,
    levels=4,
    reason="distances lie in [0, 2]: from a kernel much narrower than the sphere to one that is flat on it",
    source=_KERNEL_SOURCE,
)

SPACES: Mapping[str, Space] = {
    "info_nce": Space("softmax over the other view's embeddings", {"temperature": _TEMPERATURE}),
    "nt_xent": Space("SimCLR's loss: softmax over both views", {"temperature": _TEMPERATURE}),
    "dcl": Space("NT-Xent without the positive in the denominator", {"temperature": _TEMPERATURE}),
    "dhel": Space("decoupled, negatives of the same view only", {"temperature": _TEMPERATURE}),
    "kcl_gaussian": Space("kernel loss, Gaussian kernel", {"bandwidth": _BANDWIDTH, "gamma": _GAMMA}),
    "kcl_log": Space("kernel loss, logarithmic kernel", {"bandwidth": _BANDWIDTH, "gamma": _GAMMA}),
    "kcl_imq": Space("kernel loss, inverse multiquadric kernel", {"kernel_scale": _KERNEL_SCALE, "gamma": _GAMMA}),
}

UNTRAINED = "untrained"
"""A family but not a loss: the same initial weights, no updates; the line that training must beat."""

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

HYPERPARAMETERS: Mapping[str, Hyperparameter] = {
    **PACK_AXES,
    **TRAINING_AXES,
    **{name: axis for space in SPACES.values() for name, axis in space.hyperparameters.items()},
}
"""Every name that may stand on an axis."""
