"""The default space of every family; ranges, reasons and sources are in `ranges`.

Families of installed packages are no part of the tables here: `find_space` finds them as well.
"""

from collections.abc import Mapping

from search_spaces import ranges
from search_spaces.axes import StudyError, suggestion
from search_spaces.hyperparameters import PACK_AXES, TRAINING_AXES, Hyperparameter, Space
from search_spaces.installed import LOSS_GROUP, SPACE_GROUP, announced, installed_space

_TEMPERATURE = {"temperature": ranges.TEMPERATURE}
_PAIR_WEIGHTS = {"temperature": ranges.PAIR_WEIGHT_TEMPERATURE}
_POWERS = {"exponent": ranges.PAIR_WEIGHT_EXPONENT, **_PAIR_WEIGHTS}
_KERNEL = {"bandwidth": ranges.BANDWIDTH, "gamma": ranges.GAMMA}

SPACES: Mapping[str, Space] = {
    "info_nce": Space("softmax over the other view's embeddings", _TEMPERATURE),
    "nt_xent": Space("SimCLR's loss: softmax over both views", _TEMPERATURE),
    "dcl": Space("NT-Xent without the positive in the denominator", _TEMPERATURE),
    "dhel": Space("decoupled, negatives of the same view only", _TEMPERATURE),
    "dhel_sum": Space("DHEL as released: the energies of both views added", _TEMPERATURE),
    "info_nce_one_sided": Space("InfoNCE with anchors in view 1 only", _TEMPERATURE),
    "dhel_one_sided": Space("DHEL with anchors in view 1 only", _TEMPERATURE),
    "kcl_gaussian": Space("kernel loss, Gaussian kernel", _KERNEL),
    "kcl_log": Space("kernel loss, logarithmic kernel", _KERNEL),
    "kcl_imq": Space(
        "kernel loss, inverse multiquadric kernel", {"kernel_scale": ranges.KERNEL_SCALE, "gamma": ranges.GAMMA}
    ),
    "kcl_riesz": Space("kernel loss, Riesz kernel", {"kernel_order": ranges.RIESZ_ORDER, "gamma": ranges.GAMMA}),
    "kcl_gaussian_riesz": Space(
        "kernel loss, Gaussian pull and inverse Riesz energy",
        {"kernel_order": ranges.INVERSE_RIESZ_ORDER, "gamma": ranges.GAMMA},
    ),
    "kcl_laplace": Space("kernel loss, Laplace kernel", _KERNEL),
    "kcl_linear_gaussian": Space("kernel loss, linear pull and Gaussian energy", _KERNEL),
    "info_nce_epsilon": Space(
        "phi = t log(eps + x), psi = exp(x/t): from DCL to NT-Xent", {**_TEMPERATURE, "epsilon": ranges.EPSILON}
    ),
    "mine": Space("phi = log x, psi = exp x", {}),
    "triplet": Space("phi = x, psi = max(x + margin, 0)", {"margin": ranges.MARGIN}),
    "soft_triplet": Space("phi = t log(1 + x), psi = exp(x/t + margin)", {**_TEMPERATURE, "margin": ranges.MARGIN}),
    "n_plus_one_tuplet": Space("phi = log(1 + x), psi = exp x", {}),
    "lifted_structured": Space("phi = max(log x, 0)^2, psi = exp(x + margin)", {"margin": ranges.LOG_MARGIN}),
    "modified_triplet": Space("phi = x, psi = sigmoid(slope x)", {"slope": ranges.SLOPE}),
    "triplet_contrastive": Space("phi = psi = x: constant pair weights", {}),
    "alpha_entropy": Space("pair weights exp(-q/t): DCL's gradient times t", _PAIR_WEIGHTS),
    "alpha_direct": Space("pair weights exp(-q^(p/2)/t)", _POWERS),
    "alpha_inverse": Space("pair weights (q + t)^-power", {"power": ranges.POWER, **_PAIR_WEIGHTS}),
    "alpha_square": Space("pair weights max(mu - q, 0)/t: many are exactly 0", _PAIR_WEIGHTS),
    "alpha_direct_backprop": Space("alpha_direct with the gradient through the weights", _POWERS),
    "align_uniform": Space(
        "alignment plus uniformity",
        {
            "exponent": ranges.ALIGNMENT_EXPONENT,
            "bandwidth": ranges.UNIFORMITY_BANDWIDTH,
            "weight": ranges.UNIFORMITY_WEIGHT,
        },
    ),
    "siglip": Space("a sigmoid for every pair", {"temperature": ranges.SIGMOID_TEMPERATURE, "bias": ranges.BIAS}),
    "spectral": Space("spectral contrastive loss", {"scale": ranges.SCALE}),
    "nt_xent_vrns": Space(
        "NT-Xent and a penalty on the variance of negatives",
        {**_TEMPERATURE, "weight": ranges.VARIANCE_PENALTY},
        bound=("num_images",),
    ),
    "temperature_free": Space("NT-Xent with 2 artanh(s) in place of s/t", {}),
    "barlow_twins": Space("no negatives: decorrelated dimensions", {"redundancy_weight": ranges.REDUNDANCY_WEIGHT}),
    "vicreg": Space(
        "no negatives: invariance, variance, covariance",
        {
            "invariance_weight": ranges.INVARIANCE_WEIGHT,
            "variance_weight": ranges.VARIANCE_WEIGHT,
            "covariance_weight": ranges.COVARIANCE_WEIGHT,
        },
    ),
}

UNTRAINED = "untrained"
"""A family but not a loss: the same initial weights, no updates; the line that training must beat."""

HYPERPARAMETERS: Mapping[str, Hyperparameter] = {
    **PACK_AXES,
    **TRAINING_AXES,
    **{name: axis for space in reversed(tuple(SPACES.values())) for name, axis in space.hyperparameters.items()},
}
"""Every name that may stand on an axis; where losses differ, as the first of them has it."""


def find_space(name: str) -> Space:
    """The default space of a family, built in or of an installed package; an empty one for `untrained`.

    Raises:
        StudyError: there is no such family, or its package breaks a rule.
    """
    spaces = {**SPACES, UNTRAINED: Space("the initial weights", {})}
    if name in announced(SPACE_GROUP) or name in announced(LOSS_GROUP):
        return installed_space(name, taken={*spaces, *HYPERPARAMETERS})
    if name not in spaces:
        raise StudyError(f"no family of this name{suggestion(name, [*spaces, *announced(SPACE_GROUP)])}")
    return spaces[name]
